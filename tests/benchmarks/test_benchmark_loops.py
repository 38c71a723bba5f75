"""The PyTorch side of benchmarks.synthesis computes what ours computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from benchmarks import synthesis_side as synthesis
from benchmarks import torch_models
from benchmarks.torch_synthesis import Loop, window
from benchmarks.turns import take_turns
from datafree_nas import teachers
from datafree_nas.synthesis import synthesizer
from datafree_nas.synthesis.canvas import Canvas
from tests.tiers import full

BATCH = 4


def to_torch(x: jax.Array) -> torch.Tensor:
    return torch.from_numpy(np.array(x).transpose(0, 3, 1, 2).copy())


def to_ours(x: torch.Tensor) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("offset", [(0, 0), (1, 4), (4, 2)])
@pytest.mark.parametrize("flip", [False, True])
def test_windows_are_the_same(offset, flip):
    pixels = jax.random.normal(jax.random.key(0), (2, 12, 12, 3))
    canvas = Canvas(pixels.shape, margin=4)
    ours = canvas.apply({"params": {"pixels": pixels}}, jnp.array(offset), jnp.array(flip), 1)
    np.testing.assert_array_equal(to_ours(window(to_torch(pixels), offset, flip, 4)), ours)


@pytest.fixture
def traced(monkeypatch):
    """torch.compile traces, but leaves the compiling, which takes minutes, to those with a GPU."""
    compiles = torch.compile

    def trace(function, fullgraph, dynamic, mode):
        return compiles(function, fullgraph=fullgraph, dynamic=dynamic, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", trace)


@pytest.mark.parametrize(
    "how", full({"tuned": False}, {"tuned": True}, {"tuned": True, "compiled": True})
)
def test_iterations_are_the_same(how, traced):
    """Terms, gradients and schedule: with no margin and no flip nothing is left to chance."""
    teacher, config = teachers.create_teacher("cifar_resnet8"), synthesis.synthesis_config()
    config.update(margin=0, flip=False, warmup=2)
    model = torch_models.random("cifar_resnet8", teacher.num_classes)
    frozen = synthesizer.Frozen(synthesis.port(teacher, model))
    labels = jnp.arange(BATCH) % teacher.num_classes
    state = synthesizer.create_synthesis_state(jax.random.key(1), labels, teacher, config)
    step = jax.jit(
        synthesizer.make_synthesis_step(teacher, config, batch=BATCH, pool=1, iterations=8)
    )
    pixels = to_torch(state.params["pixels"])
    loop = Loop(model, teacher, config, pixels, torch.arange(BATCH), 8, **how)
    with jax.default_matmul_precision("highest"):
        for _ in range(4):
            state, metrics = step(state, frozen)
            terms = loop.step()
            assert metrics.keys() == terms.keys() | {"loss", "confidence"}
            for name, term in terms.items():
                np.testing.assert_allclose(term.item(), metrics[name], rtol=1e-4, err_msg=name)
        difference = np.abs(to_ours(loop.pixels) - state.params["pixels"])
    assert np.mean(difference > 0.01) < 0.02  # Adam makes much of the last bit of tiny gradients


@pytest.mark.full
def test_terms_in_bfloat16():
    """Nearly the same on both sides; the plain one stays in float32."""
    teacher, config = (
        teachers.create_teacher("cifar_resnet8"),
        synthesis.synthesis_config(dtype="bfloat16"),
    )
    config.update(margin=0, flip=False)
    model = torch_models.random("cifar_resnet8", teacher.num_classes)
    frozen = synthesizer.Frozen(synthesis.port(teacher, model))
    labels = jnp.arange(BATCH) % teacher.num_classes
    state = synthesizer.create_synthesis_state(jax.random.key(1), labels, teacher, config)
    step = jax.jit(
        synthesizer.make_synthesis_step(teacher, config, batch=BATCH, pool=1, iterations=8)
    )
    _, metrics = step(state, frozen)
    pixels, found = to_torch(state.params["pixels"]), {}
    for tuned in (False, True):
        loop = Loop(model, teacher, config, pixels, torch.arange(BATCH), 8, tuned=tuned)
        found[tuned] = loop.step()
        for name, term in found[tuned].items():
            np.testing.assert_allclose(term.item(), metrics[name], rtol=0.02, err_msg=name)
    assert found[False]["cross_entropy"] != found[True]["cross_entropy"]


def test_only_the_plain_loop_computes_gradients_of_weights():
    teacher, config = teachers.create_teacher("cifar_resnet8"), synthesis.synthesis_config()
    for tuned in (False, True):
        model = torch_models.random("cifar_resnet8", teacher.num_classes)
        pixels = torch.zeros(BATCH, 3, 36, 36)
        Loop(model, teacher, config, pixels, torch.arange(BATCH), 8, tuned=tuned).step()
        assert (model.conv1.weight.grad is None) == tuned


def test_a_side_that_may_fail_is_left_out(capsys):
    def fails(n):
        raise RuntimeError("no compiler\nwas found")

    sides = {"ours": lambda n: None, "best": fails}
    first, seconds = take_turns(sides, 1, 1, may_fail=("best",))
    assert first.keys() == seconds.keys() == {"ours"}
    assert capsys.readouterr().err == "best failed: RuntimeError: no compiler was found\n"
    with pytest.raises(RuntimeError):
        take_turns(sides, 1, 1)
