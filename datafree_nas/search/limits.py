"""What a searched network may cost at most: `config.search.evolution.max_macs` and its kin."""

from collections.abc import Callable

import numpy as np

from datafree_nas.runtime import seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.search import hardware
from datafree_nas.spaces.space import Architecture, Cost, Space

TRIES = 1000  # random networks for each one wanted, before a search gives up


def make(space: Space, config: Config) -> Callable[[Architecture], bool]:
    """Builds the test whether a network is connected and keeps all limits.

    Args:
        space: searched.
        config: `config.search`.

    Raises:
        UserError: a latency is limited and there is no latency table of the space.
    """
    limits = _limits(space, config)

    def allowed(architecture: Architecture) -> bool:
        within = all(cost(architecture) <= most for _, most, cost, _ in limits)
        return within and space.connected(architecture)

    return allowed


def check(space: Space, config: Config) -> None:
    """Sees, before anything is trained, that some network keeps the limits.

    Args:
        space: searched.
        config: `config.search`.

    Raises:
        UserError: no network keeps a limit, or none of many random ones keeps all of them; says
            what the smallest costs.
    """
    limits = _limits(space, config)
    for field, most, _, table in limits:
        least, _ = table.bounds(space.has)
        if most < least:
            raise UserError(
                f"config.search.evolution.{field}={most:g}: the smallest network of {space.name} "
                f"has {least:g}; raise the limit"
            )
    allowed, generator = make(space, config), seeds.numpy_generator(seeds.key_for(0, "limits"))
    options, tries = np.asarray(space.choices), TRIES * config.evolution.population
    drawn = (np.asarray(generator.integers(options)) for _ in range(tries))
    if limits and not any(map(allowed, drawn)):
        named = ", ".join(f"{field}={most:g}" for field, most, _, _ in limits)
        raise UserError(
            f"config.search.evolution: none of {tries} random networks of {space.name} keeps "
            f"{named}; raise these limits"
        )


def _limits(
    space: Space, config: Config
) -> list[tuple[str, float, Callable[[Architecture], float], Cost]]:
    """For every limit that is set: field, value, cost of a network, and costs of all ops."""
    chosen, latency = config.evolution, hardware.latency(space, config)
    limits: list[tuple[str, float, Callable[[Architecture], float], Cost]] = []
    if chosen.max_macs:
        limits.append(("max_macs", chosen.max_macs, space.macs, space.macs_cost))
    if chosen.max_params:
        limits.append(("max_params", chosen.max_params, space.params, space.params_cost))
    if chosen.max_latency and latency is not None:
        limits.append(
            ("max_latency", chosen.max_latency, lambda a: space.latency(a, latency), latency)
        )
    return limits
