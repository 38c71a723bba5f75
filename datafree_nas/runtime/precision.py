"""The dtype that layers compute in. Weights, statistics and losses are in float32.

Linen's layers compute in the dtype of their input and weights. Its BatchNorm computes statistics in
float32, whatever that dtype is.
"""

from typing import Any

import jax
import jax.numpy as jnp

DTYPES = ("float32", "bfloat16")


def weights_in(dtype: Any, params: Any) -> Any:
    """Converts the collection `params` to a dtype; gradients come back in the dtype of `params`.

    Args:
        dtype: dtype of the images.
        params: collection `params` of a network.
    """
    return jax.tree.map(lambda weight: weight.astype(jnp.dtype(dtype)), params)


def network_in(dtype: Any, variables: Any) -> Any:
    """Converts `params` of a network's variables to a dtype, and keeps statistics as they are."""
    return {**variables, "params": weights_in(dtype, variables["params"])}
