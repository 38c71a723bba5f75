"""Zen-score (Lin et al. 2021): how far features before pooling move with a little noise."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from benchmarks.proxies import untrained
from datafree_nas.spaces.space import Architecture, Space

_IMAGES = 16
_STEP = 0.01


def proxy(space: Space, architecture: Architecture, key: jax.Array) -> dict[str, float]:
    """`log E‖f(x) − f(x + 0.01 ε)‖₁ + Σ log σ`, σ what each BatchNorm divides by.

    f is the output of the last ReLU, x and ε are noise, all weights standard normal. As in the
    release σ² is a mean over channels, but of this batch, not a running one.
    """
    of_weights, *of_images = jax.random.split(key, 3)
    network, variables = untrained.create(space, architecture, of_weights, _standard_normal)
    x, step = (untrained.noise(space, _IMAGES, k) for k in of_images)

    def scales(variables: Any, x: Float[Array, "b h w c"]) -> list[Array]:
        found: list[Array] = []

        def see(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if isinstance(context.module, nn.BatchNorm):
                variance = jnp.var(args[0], range(args[0].ndim - 1))
                found.append(jnp.log(jnp.mean(variance) + context.module.epsilon) / 2)
            return next_call(*args, **kwargs)

        with nn.intercept_methods(see):
            untrained.apply(network, variables, x)
        return found

    logs, relus = untrained.with_relu_inputs(scales, variables, x)
    _, moved = untrained.with_relu_inputs(scales, variables, x + _STEP * step)
    apart = jnp.abs(nn.relu(relus[-1]) - nn.relu(moved[-1]))
    return {"zen": float(jnp.log(jnp.sum(apart) / len(x)) + sum(logs))}


def _standard_normal(name: str, _shape: tuple[int, ...]) -> tuple[float, float]:
    kind = name.rpartition("/")[2]
    return (0.0, 1.0) if kind == "kernel" else (float(kind in ("scale", "var")), 0.0)
