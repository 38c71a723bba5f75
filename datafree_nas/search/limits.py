"""The limits on what an architecture may cost: `config.search.evolution.max_*`."""

from collections.abc import Callable, Iterator

import numpy as np

from datafree_nas.runtime import seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values, integer, number
from datafree_nas.search import costs, hardware, least_memory
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.space import Architecture, Space

# values of the fields of `config.search.evolution` that are limits; 0 is no limit
FIELDS: dict[str, Values] = {
    "max_macs": integer(0, 10**18),
    "max_params": integer(0, 10**18),
    "max_memory": integer(0, 10**18),
    "max_latency": number(0, 1e9),
}
TRIES = 1000  # random architectures for each one wanted, before a search gives up


def make_test(space: Space, config: Config) -> Callable[[Architecture], bool]:
    """Builds the test whether an architecture is connected and keeps all limits.

    Args:
        space: search space.
        config: block `config.search`.

    Raises:
        UserError: a latency is limited and there is no latency table of the space.
    """
    latency = hardware.latency(space, config)

    def allowed(architecture: Architecture) -> bool:
        within = not exceeded(space, architecture, latency, config.evolution)
        return within and space.connected(architecture)

    return allowed


def exceeded(space: Space, architecture: Architecture, latency: Cost | None, config: Config) -> str:
    """Finds the first limit that an architecture does not keep.

    Args:
        space: search space of the architecture.
        architecture: network whose costs are compared with the limits.
        latency: latency table of the space, in ms; None if there is no table, and then no limit.
        config: block `config.search.evolution`; a limit of 0 is none.

    Returns:
        `max_macs=100, it has 120`; empty if it keeps all limits.
    """
    costs_of: dict[str, Callable[[], float]] = {
        "max_macs": lambda: space.macs(architecture),
        "max_params": lambda: space.params(architecture),
        "max_memory": lambda: space.peak_memory(architecture),
        "max_latency": lambda: space.latency(architecture, latency) if latency else 0.0,
    }
    for name, cost in costs_of.items():
        if config[name] and (found := cost()) > config[name]:
            return f"{name}={config[name]}, it has {found}"
    return ""


def check(space: Space, config: Config) -> None:
    """Checks, before anything is trained, that some architecture keeps the limits.

    Args:
        space: search space.
        config: block `config.search`.

    Raises:
        UserError: no architecture keeps a limit, or none of many random ones keeps all of them; or
            the memory is limited, and that of the space's networks is unknown.
    """
    chosen, latency = config.evolution, hardware.latency(space, config)
    tables = {"max_macs": space.macs_cost, "max_params": space.params_cost, "max_latency": latency}
    of_table = {name: table for name, table in tables.items() if chosen[name] and table is not None}
    for name, table in of_table.items():
        least, _ = table.bounds(space.has)
        if chosen[name] < least:
            raise UserError(
                f"config.search.evolution.{name}={chosen[name]}: the smallest network of "
                f"{space.name} has {least:g}; raise the limit"
            )
    if chosen.max_memory:
        least_memory.check(space, chosen.max_memory)
    limited = [*of_table, *(["max_memory"] if chosen.max_memory else [])]
    if limited and next(_drawn(space, config), None) is None:
        listed = ", ".join(f"{name}={chosen[name]}" for name in limited)
        raise UserError(
            f"config.search.evolution: none of {_tries(config)} random networks of {space.name} "
            f"keeps {listed}; raise these limits"
        )


def check_sizes(space: Space, config: Config, count: int) -> None:
    """Checks, before anything is trained, that a space has networks of so many costs.

    Args:
        space: search space.
        config: block `config.search`.
        count: number of networks of different cost that are wanted.

    Raises:
        UserError: many random networks have fewer different costs.
    """
    cost, found = costs.function(space, config), set[float]()
    for architecture in filter(space.connected, _random(space, config)):
        found.add(cost(architecture))
        if len(found) >= count:
            return
    raise UserError(
        f"config.student.count={count}, but {_tries(config)} random networks of {space.name} have "
        f"only {len(found)} different costs (config.search.front_cost={config.front_cost!r}); "
        "lower it"
    )


def _tries(config: Config) -> int:
    return TRIES * int(config.evolution.population)


def _drawn(space: Space, config: Config) -> Iterator[Architecture]:
    """Draws random architectures, and yields those that keep the limits."""
    return filter(make_test(space, config), _random(space, config))


def _random(space: Space, config: Config) -> Iterator[Architecture]:
    """Draws random architectures."""
    generator, options = seeds.numpy_generator(seeds.key_for(0, "limits")), space.choices
    return (np.asarray(generator.integers(options)) for _ in range(_tries(config)))
