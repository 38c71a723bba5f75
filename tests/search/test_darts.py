import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from datafree_nas import spaces
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime.files import read_jsonl
from datafree_nas.search import run as search
from datafree_nas.search.alphas import alpha_metrics, derive_architecture, op_probabilities
from datafree_nas.search.strategies import darts
from datafree_nas.training import recipe, trainer
from datafree_nas.training.trainer import Batch
from tests import tiny

SPACE = spaces.create_space("nasbench201", image_size=(8, 8, 1), channels=4, cells=1)


@pytest.fixture
def config():
    config = tiny.get_config().search
    config.strategy, config.held_out = "darts", 0.5
    config.train.update(nesterov=False, clip=0.5, warmup=2)
    return config


# the gradient of the architecture parameters, on a problem of few numbers: mixtures of elementwise
# functions between linear maps


def _toy_loss(params, gates, batch_stats, batch):
    x = batch.x[:, 0, 0]
    for weights, gate in zip(params, gates, strict=True):
        y = x @ weights
        ops = (0 * y, y, jnp.tanh(y), jnp.sin(y), jnp.cos(y))
        x = sum(weight * op for weight, op in zip(gate, ops, strict=True))
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(x, batch.labels)), None


@pytest.fixture
def toy(config):
    keys = jax.random.split(jax.random.key(0), 10)
    params = [0.4 * jax.random.normal(k, (4, 4)) for k in keys[4:]]
    transform = recipe.optimizer(config.train)
    train = trainer.create_train_state(keys[0], {"params": params}, transform)
    labels = jnp.arange(6) % 4
    batches = [Batch(jax.random.normal(k, (6, 1, 1, 4)), labels, None, k) for k in keys[1:3]]
    # a momentum buffer that is not empty
    grads = jax.grad(lambda p: _toy_loss(p, jnp.ones((6, 5)) / 5, {}, batches[0])[0])(params)
    train = train._replace(optimizer=transform.update(grads, train.optimizer, params)[1])
    return transform, jax.random.normal(keys[3], (6, 5)), train, batches


def _gradient(toy, order):
    transform, alphas, train, batches = toy
    gradient = darts._ALPHA_GRADIENTS[order](_toy_loss, transform, SPACE)
    return jax.jit(gradient)(alphas, train, *batches)


def _objective(toy, alphas, ahead):
    transform, _, train, (batch, held_out) = toy
    gates = op_probabilities(alphas, SPACE)
    params = train.params
    if ahead:
        grads = jax.grad(lambda p: _toy_loss(p, gates, {}, batch)[0])(params)
        params = optax.apply_updates(
            params, transform.update(grads, train.optimizer, train.params)[0]
        )
    return _toy_loss(params, gates, {}, held_out)[0]


@pytest.mark.parametrize(
    ("order", "ahead", "tolerance"),
    [("first", False, 1e-3), ("second", True, 1e-3), ("second_fd", True, 1e-2)],
)
def test_gradient_of_alpha(order, ahead, tolerance, toy):
    """Against central differences of the objective in every alpha, in double precision."""
    with jax.enable_x64(True):
        double = jax.tree.map(
            lambda v: v.astype(jnp.float64) if jnp.issubdtype(v.dtype, jnp.floating) else v,
            toy[1:],
        )
        problem = (toy[0], *double)
        found, alphas = _gradient(problem, order), problem[1]
        objective = jax.jit(lambda alphas: _objective(problem, alphas, ahead))
        steps = 1e-5 * np.eye(alphas.size).reshape(-1, *alphas.shape)
        expected = [(objective(alphas + d) - objective(alphas - d)) / 2e-5 for d in steps]
        expected = np.array(expected).reshape(alphas.shape)
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    first = _gradient(toy, "first")
    difference = np.abs(first - expected).max() / np.abs(expected).max()
    assert difference > 0.02 if ahead else difference < 1e-3, "second order is told from first"


def test_metrics():
    alphas = jnp.full((6, 5), -20.0).at[:, 1].set(20.0)
    seen = alpha_metrics(alphas, SPACE)
    assert (round(float(seen["entropy"]), 5), int(seen["skips"])) == (0.0, 6)
    assert SPACE.encode(derive_architecture(alphas, SPACE)).count("skip_connect") == 6
    uniform = alpha_metrics(jnp.zeros((6, 5)), SPACE)
    np.testing.assert_allclose(uniform["entropy"], np.log(5), rtol=1e-5)


# the strategy


@pytest.fixture
def images():
    pixels = jax.random.randint(jax.random.key(5), (96, 8, 8, 1), 0, 256).astype(jnp.uint8)
    return ImageSet(np.asarray(pixels), np.arange(96, dtype=np.int32) % 10)


def _bright(variables, x):
    level = jnp.mean(x, axis=(1, 2, 3))[:, None]
    return -jnp.square(level * variables - jnp.linspace(-2, 2, 10))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"order": "first", "beta_darts": 50.0, "sdarts_rs": 0.3}, marks=pytest.mark.full
        ),
        pytest.param({"order": "second"}, marks=pytest.mark.slow),
        pytest.param({"order": "second_fd"}, marks=pytest.mark.slow),
    ],
    ids=lambda changes: changes["order"],
)
def test_search(changes, tmp_path, images, config):
    config.darts.update(changes)
    labeller = Labeller(_bright, jnp.float32(5), Preprocessing((0.3,), (0.4,)))
    found = search.search(tmp_path, SPACE, labeller, images, config, 0)
    history = read_jsonl(tmp_path / "history.jsonl")
    assert [row["architecture"] for row in history] == [found["architecture"]]
    assert json.loads((tmp_path / "architecture.json").read_text()) == found
    metrics = read_jsonl(tmp_path / "metrics.jsonl")
    assert {"loss", "accuracy", "entropy", "skips"} <= set(metrics[-1])
