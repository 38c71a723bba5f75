"""The PyTorch side of benchmarks.search_speed computes what ours computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from benchmarks import search_step, torch_supernet
from datafree_nas import plan, spaces
from datafree_nas.data.images import ImageSet
from datafree_nas.interop.torch_names import state_dict
from datafree_nas.search.alphas import op_probabilities
from datafree_nas.search.strategy import supernet_variables
from datafree_nas.spaces.nasbench201 import EDGES, OPS

STEPS = 3
PATHS = [(3, 3, 4, 1, 2, 0), (2, 0, 3, 4, 0, 3), (0,) * 6]


@pytest.fixture
def quickly_compiled():
    """Three steps are not worth XLA's optimizations, which take longer."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def small(name, batch=4):
    """An experiment on 16x16 images whose batches leave nothing to chance: one image over and over,
    and another one held out.
    """
    config = search_step.experiment(name, cells=1, batch=batch)
    config.teacher.update(image_size=(16, 16, 1), mean=(0.5,), std=(0.25,))
    config.search.space.channels = 4
    config.search.evolution.max_macs = 0  # that of the digits is for images of 8x8
    config.search.train.update(crop_padding=0, flip=False, steps=8)
    space = plan.experiment_of(config).space
    images = search_step.random_images(space).take(np.arange(2))
    return config.search, space, images


def copied(variables, space):
    """The PyTorch supernet with these weights."""
    tensors = state_dict(variables, torch_supernet.module_name)
    model = torch_supernet.Supernet(space)
    model.load_state_dict({name: torch.tensor(value) for name, value in tensors.items()})
    return model


def check_weights(ours, model):
    found = state_dict({"params": ours.state.train.params}, torch_supernet.module_name)
    for name, value in model.named_parameters():
        np.testing.assert_allclose(found[name], value.detach(), atol=1e-5, err_msg=name)


def sampler(images: ImageSet, space, config):
    pixels = torch.from_numpy(images.images.transpose(0, 3, 1, 2).copy())
    data = torch_supernet.Data(pixels, torch.from_numpy(images.logits))
    return torch_supernet.Sampler(data, search_step.preprocessing(space), config.train)


@pytest.mark.parametrize("name", ["nasbench201_spos", "digits_spos"])
@pytest.mark.parametrize("cells", [1, 3])
def test_supernets_have_the_same_weights(name, cells):
    space = plan.experiment_of(search_step.experiment(name, cells, batch=64)).space
    params = supernet_variables(space, jax.random.key(0))["params"]
    model = torch_supernet.Supernet(space)
    theirs = {key: tuple(value.shape) for key, value in model.named_parameters()}
    ours = state_dict({"params": params}, torch_supernet.module_name)
    assert theirs == {key: value.shape for key, value in ours.items()}


@pytest.mark.full
def test_logits_are_the_same(random_variables):
    """Of paths and of a mixture, in train mode."""
    space = spaces.create_space(
        "nasbench201", num_classes=7, image_size=(8, 8, 3), channels=4, cells=1
    )
    supernet = space.supernet()
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    variables = random_variables(supernet, x, jnp.array(PATHS[0]))
    model = copied(variables, space)
    mixture = np.random.default_rng(1).dirichlet(np.ones(len(OPS)), len(EDGES)).astype(np.float32)
    apply = jax.jit(lambda gates: supernet.apply(variables, x, gates, True, mutable="batch_stats"))
    for gates in [*PATHS, mixture]:
        theirs = torch.from_numpy(gates) if gates is mixture else gates
        expected = model(torch.tensor(np.array(x).transpose(0, 3, 1, 2)), theirs)
        found, _ = apply(jnp.asarray(gates))
        np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-4)


@pytest.mark.full
@pytest.mark.usefixtures("quickly_compiled")
def test_steps_of_spos_are_the_same():
    """Gradients, momentum, decay and schedule, of whatever a path uses."""
    config, space, images = small("digits_spos")
    ours = search_step.Search(config, space, images)
    train, _ = search_step.halves(images)
    state = ours.state.train
    model = copied({"params": state.params, "batch_stats": state.batch_stats}, space)
    theirs = torch_supernet.Weights(model, sampler(train, space, config), config.train)
    for path in ours.paths(STEPS):
        expected = theirs.step(path).item()
        np.testing.assert_allclose(ours.advance(1)["loss"], expected, rtol=1e-4)
    check_weights(ours, model)


@pytest.mark.usefixtures("quickly_compiled")
@pytest.mark.slow
def test_steps_of_darts_are_the_same():
    config, space, images = small("nasbench201_darts")
    config.alphas.learning_rate = 0.03
    ours = search_step.Search(config, space, images)
    train, held_out = (sampler(part, space, config) for part in search_step.halves(images))
    state = ours.state.train
    model = copied({"params": state.params, "batch_stats": state.batch_stats}, space)
    weights = torch_supernet.Weights(model, train, config.train)
    alphas = torch_supernet.Alphas(model, held_out, config)
    alphas.values.data = torch.from_numpy(np.array(ours.state.alphas))
    for _ in range(STEPS):
        mixture = alphas.step()
        expected = weights.step(mixture).item()
        np.testing.assert_allclose(ours.advance(1)["loss"], expected, rtol=1e-5)
        found = op_probabilities(ours.state.alphas, space)
        np.testing.assert_allclose(found, mixture.numpy(), atol=1e-5)
    check_weights(ours, model)


def test_crops_are_windows():
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5) + 1
    assert torch.equal(torch_supernet.crop(images, 0), images)
    padded = np.pad(images.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1)])
    for _ in range(9):
        for number, found in enumerate(torch_supernet.crop(images, 1).numpy()):
            windows = [padded[number, :, y : y + 4, x : x + 5] for y in range(3) for x in range(3)]
            assert any(np.array_equal(found, window) for window in windows)


def test_batches_are_mirrored_and_normalized():
    config, space, images = small("digits_spos", batch=32)
    config.train.flip = True
    x, logits = sampler(images.take(np.arange(1)), space, config)()
    assert logits.shape == (32, space.num_classes)
    (upright,) = search_step.preprocessing(space)(jnp.asarray(images.images[:1]))
    upright = np.array(upright).transpose(2, 0, 1)
    mirrored = [np.allclose(each, upright[:, :, ::-1], atol=1e-6) for each in x.numpy()]
    assert 0 < sum(mirrored) < 32
    np.testing.assert_allclose(x[np.argmin(mirrored)], upright, atol=1e-6)
