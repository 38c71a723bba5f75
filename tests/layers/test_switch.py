import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from datafree_nas.layers.switch import switch

BRANCHES = [
    lambda w, x: (jnp.tanh(x @ w["a"]), {"seen": jnp.sum(x)}),
    lambda w, x: (x * w["b"], {"seen": jnp.zeros(())}),
]
WEIGHTS = {"a": jnp.eye(3) / 2, "b": jnp.arange(3.0)}
X = jnp.linspace(-1, 1, 6).reshape(2, 3)


def _loss(choose):
    def loss(operands, index):
        y, aside = choose(jnp.asarray(index), BRANCHES, *operands)
        return jnp.sum(y**2) + 2 * aside["seen"]

    return loss


@pytest.mark.parametrize("index", [0, 1])
def test_values_and_gradients_are_those_of_lax_switch(index):
    ours, theirs = (
        jax.value_and_grad(_loss(choose))((WEIGHTS, X), index) for choose in (switch, lax.switch)
    )
    jax.tree.map(np.testing.assert_allclose, ours, theirs)


def test_nothing_but_the_operands_is_kept_for_gradients():
    large = jnp.ones((64, 64))
    deep = [lambda x: jnp.sin(jnp.sin(jnp.sin(x))), lambda x: jnp.cos(jnp.exp(jnp.tanh(x)))]

    def kept(choose):
        back = jax.eval_shape(
            lambda x: jax.vjp(lambda x: choose(0 * x[0, 0] > 1, deep, x), x)[1], large
        )
        return sum(leaf.size for leaf in jax.tree.leaves(back) if leaf.ndim)

    assert kept(lambda i, b, x: switch(i.astype(int), b, x)) == large.size
    assert kept(lambda i, b, x: lax.switch(i.astype(int), b, x)) > large.size
