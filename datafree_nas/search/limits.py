"""The limits on what an architecture may cost: `config.search.evolution.max_*`."""

from collections.abc import Callable

from datafree_nas.runtime.config import Config
from datafree_nas.spaces.space import Architecture, Cost, Space


def exceeded(space: Space, architecture: Architecture, latency: Cost | None, config: Config) -> str:
    """The first limit that an architecture does not keep.

    Args:
        space: of the architecture.
        architecture: to look at.
        latency: the table of the space, in ms; None if none is given, and then there is no limit.
        config: `config.search.evolution`; a limit of 0 is none.

    Returns:
        `max_macs=100, it has 120`; empty if it keeps all limits.
    """
    costs: dict[str, Callable[[], float]] = {
        "max_macs": lambda: space.macs(architecture),
        "max_params": lambda: space.params(architecture),
        "max_latency": lambda: space.latency(architecture, latency) if latency else 0.0,
    }
    for name, cost in costs.items():
        if config[name] and (found := cost()) > config[name]:
            return f"{name}={config[name]}, it has {found}"
    return ""
