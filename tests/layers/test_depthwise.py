import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.layers.depthwise import DepthwiseConv
from datafree_nas.runtime import costs, lowering
from tests.tiers import full


@pytest.mark.parametrize("in_switch", [False, True], ids=["dense", "shifts"])
@pytest.mark.parametrize("padding", ["SAME", *full(0), 1, *full(3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), *full((5, 1), (3, 2)), (5, 2)])
def test_all_lowerings_are_the_same(kernel, dilation, stride, padding, in_switch):
    layer = DepthwiseConv(kernel, stride, padding, dilation, in_switch)
    x = jax.random.normal(jax.random.key(0), (2, 9, 12, 4))
    variables = layer.init(jax.random.key(1), x)
    assert variables["params"]["kernel"].shape == (kernel, kernel, 1, 4)

    def run(variables, x):
        y = layer.apply(variables, x)
        return jnp.sum(jnp.sin(y)), y

    def results(variables, x):
        return jax.jit(jax.value_and_grad(run, (0, 1), has_aux=True))(variables, x)

    assert lowering.depthwise(4, in_switch) == ("shifts" if in_switch else "dense")
    here = results(variables, x)
    with lowering.plain():
        assert lowering.depthwise(4, in_switch) == "grouped"
        plain = results(variables, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), here, plain)


def test_many_channels_are_not_dense():
    assert lowering.depthwise(1000, False) == "shifts"


def test_macs_do_not_depend_on_the_lowering():
    layer = DepthwiseConv(5, 2)
    x = jnp.zeros((1, 9, 12, 4))
    variables = layer.init(jax.random.key(0), x)
    assert costs.macs(layer.apply, variables, x) == 25 * 4 * 5 * 6
