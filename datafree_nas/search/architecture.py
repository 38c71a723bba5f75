"""Architecture parameters: one number an op at every position, as DARTS and ProxylessNAS have."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from datafree_nas.runtime.config import Config
from datafree_nas.spaces.space import Architecture, Space

Alphas = Float[Array, "positions ops"]
# probabilities over a search, those before the last step of each stretch of it
Trace = Float[Array, "stretches positions ops"]
SKIPS = ("skip_connect", "identity", "zero")  # connections without weights
_SCALE = 1e-3
_STRETCHES = 100


def init(key: Key[Array, ""], space: Space) -> Alphas:
    """Nearly equal: `1e-3 N(0, 1)`."""
    return _SCALE * jax.random.normal(key, space.has.shape)


def probabilities(alphas: Alphas, space: Space) -> Float[Array, "positions ops"]:
    """Softmax over the ops that a position has."""
    return jax.nn.softmax(jnp.where(space.has, alphas, -jnp.inf), axis=-1)


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with coupled decay.

    Args:
        config: `config.search.alphas`: `learning_rate`, `betas`, `weight_decay`.
    """
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.adam(config.learning_rate, *config.betas),
    )


def derive(alphas: Alphas, space: Space) -> Architecture:
    """What the space makes of the probabilities."""
    return space.derive(np.asarray(probabilities(alphas, space)))


def metrics(alphas: Alphas, space: Space) -> dict[str, Any]:
    """How far the search has decided, and whether it collapses.

    Returns:
        `entropy`: of a position's probabilities, mean, in nats. `skips`: positions whose largest
        op is a connection without weights.
    """
    chances = probabilities(alphas, space)
    entropy = -jnp.sum(jnp.where(space.has, chances * jnp.log(chances + 1e-20), 0.0), axis=-1)
    skips = jnp.array([op in SKIPS for op in space.ops])
    return {
        "entropy": jnp.mean(entropy),
        "skips": jnp.sum(skips[jnp.argmax(chances, axis=-1)]),
    }


def start_trace(space: Space, steps: int) -> Trace:
    """An empty one, for a search of so many steps."""
    return jnp.zeros((min(steps, _STRETCHES), *space.has.shape))


def record(trace: Trace, alphas: Alphas, space: Space, step: Int[Array, ""], steps: int) -> Trace:
    """Notes the probabilities before a step, over those of earlier steps of its stretch."""
    stretch = step * len(trace) // steps
    return trace.at[stretch].set(probabilities(alphas, space))


def describe(trace: Trace, alphas: Alphas, space: Space, steps: int) -> dict[str, Any]:
    """`probabilities.json`: `values[i]`, `[positions ops]`, are those after `steps[i]` steps."""
    count = len(trace)
    ends = [-(-(i + 1) * steps // count) - 1 for i in range(count)]
    values = [*np.asarray(trace), np.asarray(probabilities(alphas, space))]
    return {
        "steps": [*ends, steps],
        "ops": list(space.ops),
        "positions": space.position_names,
        "values": [np.round(each.astype(float), 5).tolist() for each in values],
    }
