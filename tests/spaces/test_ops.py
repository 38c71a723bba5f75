import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.runtime import lowering
from datafree_nas.spaces import ops

X = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_both_lowerings_are_one_convolution(kernel, stride, random_variables):
    plain = nn.Conv(6, (kernel, kernel), stride, padding=kernel // 2)
    variables = random_variables(plain, X)

    def look(layer):
        def loss(variables, x):
            y = layer.apply(variables, x)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables, X)

    expected = look(plain)
    for in_switch in (False, True):
        found = look(ops.Conv(6, kernel, stride, use_bias=True, in_switch=in_switch))
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("in_switch", [False, True])
def test_bias_is_optional(in_switch):
    layer = ops.Conv(6, 3, in_switch=in_switch)
    variables = jax.eval_shape(layer.init, jax.random.key(0), X)
    assert variables["params"].keys() == {"kernel"}


@pytest.mark.parametrize("train", [True, False])
def test_norm_is_the_same_on_a_cpu_and_an_accelerator(train, random_variables):
    layer = ops.Norm(in_supernet=False)
    variables = random_variables(layer, X, train=train)

    def look(cpu):
        with lowering.target(cpu):
            return layer.apply(variables, X, train, mutable=["batch_stats"])

    found, expected = look(cpu=True), look(cpu=False)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cpu", [True, False])
def test_average_pool_does_not_count_its_padding(cpu):
    with lowering.target(cpu):
        _check_average_pool()


def _check_average_pool():
    np.testing.assert_allclose(ops.average_pool(jnp.ones((1, 4, 5, 2))), 1.0, rtol=1e-6)
    x = jnp.arange(12.0).reshape(1, 3, 4, 1)
    pooled = ops.average_pool(x)[0, :, :, 0]
    assert pooled.shape == (3, 4)
    np.testing.assert_allclose(pooled[0, 0], (0 + 1 + 4 + 5) / 4)
    np.testing.assert_allclose(pooled[1, 1], (0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10) / 9)
