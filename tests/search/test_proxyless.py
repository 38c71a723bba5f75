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
from datafree_nas.search import hardware
from datafree_nas.search import run as search
from datafree_nas.search.alphas import start_trace
from datafree_nas.search.strategies import proxyless
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.ops import Paths
from datafree_nas.training.trainer import TrainState
from tests import tiny

SPACE = spaces.create_space("nasbench201", image_size=(8, 8, 1), channels=4, cells=1)
OUTPUTS = jax.random.normal(jax.random.key(3), (6, 5))  # of the ops, in a toy without images


@pytest.fixture
def config():
    config = tiny.get_config().search
    config.strategy, config.held_out = "proxyless", 0.5
    config.proxyless.update(every=2, warmup=5)
    return config


def _loss(gates):
    """The sum over positions of the square of the mixture's output; the reward is its sign."""
    if isinstance(gates, Paths):
        outputs = jnp.take_along_axis(OUTPUTS, gates.index, axis=-1)
        mixed = jnp.sum(gates.weight * outputs, axis=-1)
    elif gates.ndim == 2:
        mixed = jnp.sum(gates * OUTPUTS, axis=-1)
    else:
        mixed = OUTPUTS[jnp.arange(6), gates]
    value = jnp.sum(jnp.square(mixed))
    return value, value / 10


def _state(alphas, adam):
    train = TrainState(jax.random.key(0), jnp.zeros((), jnp.int32), {}, {}, ())
    trace = start_trace(SPACE, 3)
    return proxyless.ProxylessState(train, alphas, adam.init(alphas), jnp.zeros(()), trace)


ALPHAS = jax.random.normal(jax.random.key(4), (6, 5))


def _gradient(turn, config, key, cost=None):
    """What the turn does to the alphas, by an optimizer that just subtracts the gradient."""
    sgd = optax.sgd(1.0)
    problem = proxyless._Problem(SPACE, cost, sgd, config)
    return ALPHAS - turn(_state(ALPHAS, sgd), key, _loss, problem).alphas


def test_full_gradient_is_that_of_the_binary_gates(config):
    """`Σ_j g_j p_j (δ_ij − p_i)`, g_j = the gradient of the loss at gate j (equation 4)."""
    key = jax.random.key(7)
    found = _gradient(proxyless._full, config, key)
    p = jax.nn.softmax(ALPHAS)
    drawn = jax.nn.one_hot(jax.random.categorical(key, jnp.log(p)), 5)
    g = jax.grad(lambda gates: _loss(gates)[0])(drawn)
    expected = p * g - p * jnp.sum(p * g, axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_two_paths_touch_two_ops_and_keep_their_mass(config):
    chances, gradient = [], jax.jit(lambda key: _gradient(proxyless._two, config, key))
    for seed in range(40):
        change = np.asarray(gradient(jax.random.key(seed)))
        assert np.all(np.sum(change != 0, axis=-1) == 2)
        after = jax.nn.softmax(ALPHAS - change)
        before = jax.nn.softmax(ALPHAS)
        others = change == 0
        np.testing.assert_allclose(after[others], before[others], rtol=1e-4)
        chances.append(change != 0)
    assert np.all(np.any(chances, axis=0)), "each op is drawn now and then"


def test_two_paths_have_the_gradient_of_two_gates(config):
    """Before the mass is put back, so where only one position matters: by the ratio of the two."""
    key = jax.random.key(1)
    change = np.asarray(_gradient(proxyless._two, config, key))
    for position in range(6):
        i, j = np.flatnonzero(change[position])
        p = np.asarray(jax.nn.softmax(ALPHAS[position, jnp.array([i, j])]))
        outputs = np.asarray(OUTPUTS[position, jnp.array([i, j])])
        moved = (change[position, i] - change[position, j]) / (2 * p[0] * p[1])
        # d loss / d alpha_i = −d loss / d alpha_j = p_i p_j (g_i − g_j), g = 2 · mixture · output
        candidates = [2 * active * (outputs[0] - outputs[1]) for active in outputs]
        assert min(abs(moved - c) for c in candidates) < 1e-3 * max(map(abs, candidates))


def test_reinforce_estimates_the_gradient_of_the_mean_reward(config):
    keys = jax.random.split(jax.random.key(0), 4000)
    turn = jax.jit(jax.vmap(lambda key: _gradient_of_reward(config, key)))
    estimated = jnp.mean(turn(keys), axis=0)

    def mean_reward(alphas):
        return jnp.sum(jax.nn.softmax(alphas) * jnp.square(OUTPUTS)) / 10

    expected = jax.grad(mean_reward)(ALPHAS)
    np.testing.assert_allclose(-estimated, expected, atol=0.15 * np.abs(expected).max())


def _gradient_of_reward(config, key):
    sgd = optax.sgd(1.0)
    state = _state(ALPHAS, sgd)._replace(baseline=jnp.float32(0.5))
    problem = proxyless._Problem(SPACE, None, sgd, config)
    return ALPHAS - proxyless._reinforce(state, key, _loss, problem).alphas


def test_zero_keeps_the_gradient_of_the_cost(config):
    """Also of ops that cost nothing and were drawn: their share of the mean cost is pushed up."""
    config.hardware.update(form="add#linear", penalty=1.0, reference=100.0)
    cost = Cost(10, np.tile(np.array([0, 1, 2, 3, 4]), (6, 1)))
    key = jax.random.key(7)
    without = _gradient(proxyless._full, config, key)
    difference = _gradient(proxyless._full, config, key, cost) - without
    expected = jax.grad(lambda a: hardware.expected(jax.nn.softmax(a), cost) / 100)(ALPHAS)
    np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-5)
    assert np.all(expected[:, 0] < 0)


@pytest.mark.parametrize(
    ("form", "expected"),
    [("mul#log", 0.2 * 2.0 * (np.log(70) / np.log(100)) ** 0.3), ("add#linear", 2 + 0.1 * -0.3)],
)
def test_forms_of_the_cost(form, expected, config):
    config.hardware.update(form=form, reference=100.0)
    cost = Cost(10, np.array([[20, 100], [0, 0]]))
    chances = jnp.array([[0.5, 0.5], [0.2, 0.8]])
    np.testing.assert_allclose(hardware.expected(chances, cost), 70)
    found = hardware.loss(jnp.float32(2), chances, cost, config.hardware)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert hardware.loss(jnp.float32(2), chances, None, config.hardware) == 2


# the strategy


@pytest.fixture
def images():
    pixels = jax.random.randint(jax.random.key(5), (96, 8, 8, 1), 0, 256).astype(jnp.uint8)
    return ImageSet(np.asarray(pixels), np.arange(96, dtype=np.int32) % 10)


def _bright(variables, x):
    level = jnp.mean(x, axis=(1, 2, 3))[:, None]
    return -jnp.square(level * variables - jnp.linspace(-2, 2, 10))


@pytest.mark.full
@pytest.mark.parametrize("gradient", proxyless.GRADIENTS)
def test_search(gradient, tmp_path, images, config):
    config.proxyless.gradient, config.hardware.cost = gradient, "macs"
    config.alphas.learning_rate = 0.1
    labeller = Labeller(_bright, jnp.float32(5), Preprocessing((0.3,), (0.4,)))
    found = search.search(tmp_path, SPACE, labeller, images, config, 0)
    assert SPACE.decode(found["architecture"]).shape == (6,)
    metrics = read_jsonl(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in metrics] == [5, 10]
    costs = [row["expected_cost"] for row in metrics]
    assert costs[0] != costs[-1], "the alphas have moved after the warm-up"
    start = hardware.expected(jax.nn.softmax(jnp.zeros((6, 5))), SPACE.macs_cost)
    assert abs(costs[0] / start - 1) < 0.01, "and not before"
