"""What an architecture costs on average, as a term of a loss (Cai et al. 2019, section 3.3)."""

from pathlib import Path

import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import read_json
from datafree_nas.runtime.values import WEIGHT, Values, number, one_of
from datafree_nas.spaces import latency as tables
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.space import Space

FORMS = ("mul#log", "add#linear")
COSTS = ("none", "macs", "params", "latency")
# values of the fields of `config.search.hardware`
FIELDS: dict[str, Values] = {
    "cost": one_of(COSTS),
    "reference": number(0, 1e18, above=True),
    "form": one_of(FORMS),
    "alpha": number(0, 1e6, above=True),
    "beta": number(0, 100),
    "penalty": WEIGHT,
}


def expected(probabilities: Float[Array, "positions ops"], cost: Cost) -> Float[Array, ""]:
    """Computes the mean cost over paths: `fixed + Σ p · table`."""
    return cost.fixed + jnp.sum(probabilities * jnp.asarray(cost.table, jnp.float32))


def of(space: Space, config: Config) -> Cost | None:
    """Returns the cost that `config.search.hardware.cost` names; None for `none`.

    Args:
        space: search space.
        config: block `config.search`.

    Raises:
        UserError: the latency table is not one of the space, or `hardware` does not fit it.
    """
    known = {
        "none": None,
        "macs": space.macs_cost,
        "params": space.params_cost,
        "latency": latency(space, config),
    }
    cost = known[config.hardware.cost]
    if cost is not None and config.hardware.cost == "latency":
        _check_milliseconds(cost, space, config.hardware)
    if cost is not None and config.hardware.form == "mul#log" and config.hardware.reference <= 1:
        raise UserError(
            f"config.search.hardware.reference={config.hardware.reference:g} must be above 1 for "
            "form='mul#log', which divides by its logarithm"
        )
    return cost


def latency(space: Space, config: Config) -> Cost | None:
    """Reads the latency table `config.search.latency_table`, in ms; None if none is named.

    Raises:
        UserError: a table is needed and not named, or the named one is missing or of another space.
    """
    check_table(config)
    return tables.load(Path(config.latency_table), space) if config.latency_table else None


def check_table(config: Config) -> None:
    """Checks that there is a latency table, of any space, if `config.search` asks for one.

    Raises:
        UserError: it is not named, or not there.
    """
    if config.latency_table:
        read_json(Path(config.latency_table))
    elif needing := [
        *["evolution.max_latency"] * bool(config.evolution.max_latency),
        *["hardware.cost=latency"] * (config.hardware.cost == "latency"),
        *["front_cost=latency"] * (config.front_cost == "latency"),
    ]:
        raise UserError(
            f"config.search.{needing[0]} needs config.search.latency_table; measure one with "
            "python -m benchmarks.latency"
        )


def _check_milliseconds(cost: Cost, space: Space, config: Config) -> None:
    """Refuses a reference out of reach, and logarithms that are not positive."""
    least, most = cost.bounds(space.has)
    if not least <= config.reference <= most:
        raise UserError(
            f"config.search.hardware.reference={config.reference:g} is in ms; networks of "
            f"config.search.latency_table take {least:.3g} to {most:.3g}"
        )
    if config.form == "mul#log" and least <= 1:
        raise UserError(
            "config.search.hardware.form='mul#log' needs networks of more than 1 ms; those of "
            f"config.search.latency_table take {least:.3g} and more; set form=add#linear"
        )


def loss(
    cross_entropy: Float[Array, ""],
    probabilities: Float[Array, "positions ops"],
    cost: Cost | None,
    config: Config,
) -> Float[Array, ""]:
    """Combines the task's loss with the mean cost of the networks.

    Args:
        cross_entropy: loss of the task.
        probabilities: probability of every op at every position.
        cost: cost of every op at every position; None leaves the loss as it is.
        config: block `config.search.hardware`. With E the mean cost and ref its `reference`,
            `form` is `mul#log`, `alpha · loss · (log E / log ref)^beta`, or `add#linear`,
            `loss + penalty (E − ref) / ref`.
    """
    if cost is None:
        return cross_entropy
    mean = expected(probabilities, cost)
    if config.form == "mul#log":
        ratio = jnp.log(mean) / jnp.log(config.reference)
        return config.alpha * cross_entropy * ratio**config.beta
    return cross_entropy + config.penalty * (mean - config.reference) / config.reference
