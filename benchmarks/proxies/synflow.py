"""SynFlow (Tanaka et al. 2020), summed over the weights (Abdelfattah et al. 2021)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.proxies import untrained
from datafree_nas.spaces.space import Architecture, Space


def proxy(space: Space, architecture: Architecture, key: jax.Array) -> dict[str, float]:
    """`Σ |θ · ∂R/∂θ|`, R the sum of logits for an image of ones, of weights |θ|, no BatchNorm."""
    network, variables = untrained.create(space, architecture, key)
    return {"synflow": flow(network, variables, space.image_size)}


def flow(network: nn.Module, variables: Any, image_size: tuple[int, int, int]) -> float:
    """See `proxy`.

    All weights are positive and so are the derivatives: the sum is R's derivative in the direction
    of the weights, one pass forward. Each convolution multiplies R by 10 or 20 and double precision
    has room for 10^308.

    Args:
        network: called as `network.apply(variables, x, train=False)`.
        variables: whose kernels count, made positive; biases are 0.
        image_size: `(h, w, c)`.
    """
    with jax.enable_x64(True), nn.intercept_methods(_without_batch_norm):
        x = jnp.ones((1, *image_size), jnp.float64)
        weights = jax.tree.map(lambda p: jnp.abs(p.astype(jnp.float64)), variables["params"])

        def total(params: Any) -> jax.Array:
            return jnp.sum(network.apply({**variables, "params": params}, x, train=False))

        return jax.jvp(total, (weights,), (weights,))[1].item()


def _without_batch_norm(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    if isinstance(context.module, nn.BatchNorm):
        return args[0]
    return next_call(*args, **kwargs)
