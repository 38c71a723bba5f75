"""What an architecture costs on average, as a term of a loss (Cai et al. 2019, section 3.3)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.runtime.config import Config
from datafree_nas.spaces.space import Cost, Space

FORMS = ("mul#log", "add#linear")
COSTS = ("none", "macs", "params")


def expected(probabilities: Float[Array, "positions ops"], cost: Cost) -> Float[Array, ""]:
    """The mean over paths: `fixed + Σ p · table`."""
    return cost.fixed + jnp.sum(probabilities * jnp.asarray(cost.table, jnp.float32))


def of(space: Space, config: Config) -> Cost | None:
    """The cost that `config.search.hardware.cost` names."""
    return {"none": None, "macs": space.macs_cost, "params": space.params_cost}[config.cost]


def loss(
    cross_entropy: Float[Array, ""],
    probabilities: Float[Array, "positions ops"],
    cost: Cost | None,
    config: Config,
) -> Float[Array, ""]:
    """The task's loss with the cost in it.

    Args:
        cross_entropy: the task's loss.
        probabilities: of ops at positions.
        cost: None leaves the loss as it is.
        config: `config.search.hardware`. With E the mean cost and ref its `reference`, `form` is
            `mul#log`, `alpha · loss · (log E / log ref)^beta`, or `add#linear`,
            `loss + penalty (E − ref) / ref`.
    """
    if cost is None:
        return cross_entropy
    mean = expected(probabilities, cost)
    if config.form == "mul#log":
        ratio = jnp.log(mean) / jnp.log(config.reference)
        return config.alpha * cross_entropy * ratio**config.beta
    return cross_entropy + config.penalty * (mean - config.reference) / config.reference
