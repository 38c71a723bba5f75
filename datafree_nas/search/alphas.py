"""Architecture parameters (alphas) of DARTS and ProxylessNAS: one for each op at each position."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from datafree_nas.runtime.config import Config
from datafree_nas.runtime.values import BETAS, LEARNING_RATE, Values, number
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.space import Architecture, Space

# values of the fields of `config.search.alphas`
FIELDS: dict[str, Values] = {
    "learning_rate": LEARNING_RATE,
    "betas": BETAS,
    "weight_decay": number(0, 1e3),
}
Alphas = Float[Array, "positions ops"]
# probabilities over a search, which is divided into stretches: those before the last step of each
Trace = Float[Array, "stretches positions ops"]
SKIPS = ("skip_connect", "identity", "zero")  # connections without weights
_SCALE = 1e-3
_STRETCHES = 100
_WEIGHTS = 50  # most weights of the cost for which an architecture is derived


def init_alphas(key: Key[Array, ""], space: Space) -> Alphas:
    """Draws alphas that are nearly equal: `1e-3 N(0, 1)`."""
    return _SCALE * jax.random.normal(key, space.has.shape)


def op_probabilities(alphas: Alphas, space: Space) -> Float[Array, "positions ops"]:
    """Computes the softmax over the ops that each position has."""
    return jax.nn.softmax(jnp.where(space.has, alphas, -jnp.inf), axis=-1)


def alpha_optimizer(config: Config) -> optax.GradientTransformation:
    """Builds Adam with L2 regularization: the decay is added to the gradient.

    Args:
        config: block `config.search.alphas`, with `learning_rate`, `betas` and `weight_decay`.
    """
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.adam(config.learning_rate, *config.betas),
    )


def derive_architecture(alphas: Alphas, space: Space) -> Architecture:
    """Returns the architecture that the space derives from the probabilities."""
    return space.derive(np.asarray(op_probabilities(alphas, space)))


def derive_cheaper(alphas: Alphas, space: Space, cost: Cost) -> list[Architecture]:
    """Derives architectures that cost less and less.

    The cost gets a weight λ, and the space derives an architecture from `log p - λ cost` in place
    of the probabilities p of the ops. As λ rises, the best op of a position changes only where two
    ops become equal, at `(log p - log q) / (cost of p - cost of q)`; one λ is taken between each
    two of these values, or 50 of them where there are more.

    Args:
        alphas: architecture parameters.
        space: search space.
        cost: cost of every op at every position.

    Returns:
        Different connected architectures by rising λ, without the one that is derived at λ = 0.
    """
    logs = np.asarray(jax.nn.log_softmax(jnp.where(space.has, alphas, -jnp.inf), axis=-1), float)
    found = {space.encode(derived := space.derive(logs)): derived}
    for weight in _weights_of_cost(logs, cost):
        architecture = space.derive(logs - weight * cost.table)
        if space.connected(architecture):
            found.setdefault(space.encode(architecture), architecture)
    return list(found.values())[1:]


def _weights_of_cost(logs: Float[np.ndarray, "positions ops"], cost: Cost) -> list[float]:
    """Returns rising weights of the cost; another op becomes the best one between each two."""
    more = cost.table[:, :, None] - cost.table[:, None, :]
    with np.errstate(invalid="ignore"):  # ops that a position lacks
        gain = logs[:, :, None] - logs[:, None, :]
    counts = (more > 0) & np.isfinite(gain) & (gain > 0)
    equal = np.unique(gain[counts] / more[counts])
    if not len(equal):
        return []
    between = np.append((equal[1:] + equal[:-1]) / 2, 2 * equal[-1])
    chosen = np.linspace(0, len(between) - 1, min(len(between), _WEIGHTS))
    return between[np.round(chosen).astype(int)].tolist()


def alpha_metrics(alphas: Alphas, space: Space) -> dict[str, Any]:
    """Measures how far the search has decided, and whether it collapses to skip connections.

    Returns:
        `entropy`: entropy of a position's probabilities, mean over positions, in nats. `skips`:
        number of positions whose most probable op is a connection without weights.
    """
    chances = op_probabilities(alphas, space)
    entropy = -jnp.sum(jnp.where(space.has, chances * jnp.log(chances + 1e-20), 0.0), axis=-1)
    skips = jnp.array([op in SKIPS for op in space.ops])
    return {
        "entropy": jnp.mean(entropy),
        "skips": jnp.sum(skips[jnp.argmax(chances, axis=-1)]),
    }


def start_trace(space: Space, steps: int) -> Trace:
    """Returns an empty trace for a search of `steps` steps."""
    return jnp.zeros((min(steps, _STRETCHES), *space.has.shape))


def record(trace: Trace, alphas: Alphas, space: Space, step: Int[Array, ""], steps: int) -> Trace:
    """Writes the probabilities before a step over those of earlier steps of the same stretch."""
    stretch = step * len(trace) // steps
    return trace.at[stretch].set(op_probabilities(alphas, space))


def describe_trace(trace: Trace, alphas: Alphas, space: Space, steps: int) -> dict[str, Any]:
    """Returns what `probabilities.json` holds.

    Returns:
        `steps`, and `values`, whose entry i, `[positions ops]`, holds the probabilities after
        `steps[i]` steps; names of `ops` and `positions`.
    """
    count = len(trace)
    ends = [-(-(i + 1) * steps // count) - 1 for i in range(count)]
    values = [*np.asarray(trace), np.asarray(op_probabilities(alphas, space))]
    return {
        "steps": [*ends, steps],
        "ops": list(space.ops),
        "positions": space.position_names,
        "values": [np.round(each.astype(float), 5).tolist() for each in values],
    }
