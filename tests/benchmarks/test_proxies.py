"""Zero-cost proxies against what is known of them, on small networks."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import proxies
from benchmarks.proxies import az_nas, naswot, synflow, untrained
from datafree_nas import spaces
from datafree_nas.runtime.errors import UserError

KEY = jax.random.key(0)
CELLS = spaces.create_space("nasbench201", image_size=(8, 8, 3), channels=4, cells=1)
NONE, CONV, SKIP = ([op] * 6 for op in (0, 3, 1))


def measured(proxy, architecture, space=CELLS, key=KEY):
    return proxies.PROXIES[proxy](space, np.array(architecture, np.int32), key)


class TwoLayers(nn.Module):
    """Linear if its input is not negative: 3 pixels, 2 hidden numbers, 2 logits."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(2, use_bias=False, name="first")(x.reshape(len(x), -1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(2, use_bias=False, name="second")(nn.relu(x))


def two_layers():
    model, image = TwoLayers(), jnp.ones((1, 1, 3, 1))
    variables = model.init(KEY, image, train=False)
    variables["params"]["first"]["kernel"] = jnp.array([[1.0, -2.0], [-3.0, 4.0], [5.0, 6.0]])
    variables["params"]["second"]["kernel"] = jnp.array([[1.0, -1.0], [2.0, 3.0]])
    return model, variables


@pytest.mark.full
@pytest.mark.parametrize("proxy", proxies.PROXIES)
def test_the_key_decides(proxy):
    once, again, other = (
        measured(proxy, [1, 2, 0, 1, 2, 0], key=jax.random.key(seed)) for seed in (1, 1, 2)
    )
    assert all(np.isfinite(list(once.values())))
    assert once == again
    assert (once == other) == (proxy in ("params", "macs"))


@pytest.mark.full
@pytest.mark.parametrize("proxy", proxies.PROXIES)
def test_a_network_that_the_image_cannot_cross_is_the_last(proxy):
    found = [measured(proxy, cell) for cell in (CONV, NONE, [2, 1, 2, 1, 2, 1])]
    assert np.argmin(proxies.scores(found)) == 1


def test_costs_are_those_of_the_space():
    assert measured("params", CONV) == {"params": CELLS.params(np.array(CONV))}
    assert measured("macs", CONV) == {"macs": CELLS.macs(np.array(CONV))}


def test_synflow_by_hand():
    """The hidden numbers are 1+3+5 and 2+4+6; every path counts once for each of its layers."""
    model, variables = two_layers()
    assert synflow.flow(model, variables, (1, 3, 1)) == 2 * (9 * (1 + 1) + 12 * (2 + 3))


@pytest.mark.full
def test_synflow_has_room():
    published = spaces.create_space("nasbench201", image_size=(4, 4, 3))
    assert 1e39 < measured("synflow", CONV, published)["synflow"] < np.inf  # float32 ends at 3e38


def test_relu_inputs():
    model, variables = two_layers()
    x = jax.random.normal(KEY, (5, 1, 3, 1))
    logits, (seen,) = untrained.with_relu_inputs(
        lambda v, x: {"logits": untrained.apply(model, v, x)}, variables, x
    )
    np.testing.assert_allclose(logits["logits"], untrained.apply(model, variables, x), rtol=1e-5)
    hidden = x.reshape(5, 3) @ variables["params"]["first"]["kernel"]
    normal = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    np.testing.assert_allclose(seen, normal, rtol=1e-4, atol=1e-5)


def test_agreement_of_codes():
    first, second = jnp.array([[1.0, -1.0], [1.0, 1.0]]), jnp.array([[-1.0], [0.0]])
    np.testing.assert_array_equal(naswot.agreement([first, second]), [[3, 2], [2, 3]])


@pytest.mark.full
def test_naswot_of_equal_images(monkeypatch):
    monkeypatch.setattr(untrained, "noise", lambda space, n, _key: jnp.ones((n, *space.image_size)))
    assert measured("naswot", CONV)["naswot"] == -np.inf


def test_entropy():
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)[:, None, None]
    assert az_nas.entropy(corners + 7) == pytest.approx(np.log(2))
    assert az_nas.entropy(corners * [1, 0]) == pytest.approx(0, abs=1e-6)
    assert az_nas.entropy(corners * 0) == 0


class Blocks(nn.Module):
    """A 1x1 convolution, an identity, and twice the mean of every four pixels."""

    def block(self, x):
        return nn.Conv(3, (1, 1), use_bias=False, name="conv")(x)

    def identity(self, x):
        return x

    def smaller(self, x):
        return 2 * nn.avg_pool(x, (2, 2), (2, 2))

    @nn.compact
    def __call__(self, x, train):
        return self.smaller(self.identity(self.block(x)))


def test_blocks_are_run_back_one_by_one():
    model, x = Blocks(), jax.random.normal(KEY, (512, 4, 4, 3))
    variables = model.init(KEY, x, train=True)
    kernel = variables["params"]["conv"]["kernel"][0, 0]
    features, signs, gradients = az_nas.through_blocks(
        model, variables, x, KEY, re.compile("block|identity|smaller")
    )
    np.testing.assert_allclose(features[1], x @ kernel, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients[0], signs[1] @ kernel.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(gradients[1], signs[2])
    np.testing.assert_array_equal(gradients[2][:, ::2, 1::2], signs[3] / 2)
    norms = [az_nas.spectral_norm(g, s) for g, s in zip(gradients, signs[1:], strict=True)]
    # of the kernel; of the unit matrix; of four halves
    expected = [np.linalg.norm(kernel, 2), 1, 1]
    np.testing.assert_allclose(norms, expected, rtol=0.1)


@pytest.mark.full
def test_an_identity_trains_nothing():
    assert measured("az_nas", SKIP)["trainability"] > -np.inf  # three ways through are four
    assert measured("az_nas", [0, 0, 0, 1, 0, 0])["trainability"] == -np.inf


@pytest.mark.parametrize(("space", "blocks"), [("nasbench201", 17), ("nasbench_macro", 8)])
def test_blocks_of_the_spaces(space, blocks):
    space = spaces.create_space(space)
    model, found = space.network(np.ones(len(space.choices), np.int32)), []

    def count(call, args, kwargs, context):
        name = "/".join((*context.module.path, context.method_name))
        found.extend(re.findall(f"^(?:{az_nas.BLOCKS[space.name]})$", name))
        return call(*args, **kwargs)

    with nn.intercept_methods(count):
        jax.eval_shape(model.init, KEY, jnp.ones((1, *space.image_size)))
    assert len(found) == blocks


def test_az_nas_wants_to_know_the_blocks():
    with pytest.raises(UserError, match="nasbench201, nasbench_macro, not of shufflenet"):
        measured("az_nas", [0], spaces.create_space("shufflenet"))


def test_ranks_are_put_together():
    found = [{"a": 3, "b": -np.inf}, {"a": 1, "b": 5}, {"a": 2, "b": 5}, {"a": 9, "b": 7}]
    ranks = np.array([[3, 1], [1, 2.5], [2, 2.5], [4, 4]])
    np.testing.assert_allclose(proxies.scores(found), np.log(ranks / 4).sum(1))
