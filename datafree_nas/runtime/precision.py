"""The type that layers compute in; weights are kept, and statistics and losses taken, in float32.

Linen's layers compute in the type of their input and weights, and its BatchNorm takes statistics in
float32 whatever that is.
"""

from typing import Any

import jax
import jax.numpy as jnp

DTYPES = ("float32", "bfloat16")


def weights_in(dtype: Any, params: Any) -> Any:
    """The collection `params`, of that type; gradients come back in their own.

    Args:
        dtype: of the images.
        params: of a network.
    """
    return jax.tree.map(lambda weight: weight.astype(jnp.dtype(dtype)), params)


def network_in(dtype: Any, variables: Any) -> Any:
    """A network's variables, with `params` of that type and statistics as they are."""
    return {**variables, "params": weights_in(dtype, variables["params"])}
