"""The cost that a search weighs against the score: `config.search.front_cost`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from datafree_nas.runtime.config import Config
from datafree_nas.search import hardware
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.space import Architecture, Space


class Kind(NamedTuple):
    """A kind of cost.

    Attributes:
        column: name of the cost in the rows of `history.jsonl`.
        of: function `(space, architecture, latency table) -> cost`.
        table: function `(space, latency table) -> cost of every op at every position`. For a cost
            that is no sum over positions, the table of another cost that rises with it.
    """

    column: str
    of: Callable[[Space, Architecture, Any], float]
    table: Callable[[Space, Any], Cost]


COSTS = {
    "macs": Kind("macs", lambda s, a, _: s.macs(a), lambda s, _: s.macs_cost),
    "params": Kind("params", lambda s, a, _: s.params(a), lambda s, _: s.params_cost),
    "latency": Kind("latency_ms", lambda s, a, table: s.latency(a, table), lambda _, table: table),
    "memory": Kind("memory", lambda s, a, _: s.peak_memory(a), lambda s, _: s.macs_cost),
}


def check(space: Space, config: Config) -> None:
    """Checks, before anything is trained, that the cost of the space's networks is known.

    Args:
        space: search space.
        config: block `config.search`.

    Raises:
        UserError: the latency table is missing or of another space, or the space does not list the
            ops of its networks, so that their memory is unknown.
    """
    function(space, config)(np.zeros(len(space.choices), int))


def column(config: Config) -> str:
    """Returns the name of the cost in the rows of `history.jsonl`.

    Args:
        config: block `config.search`.
    """
    return COSTS[config.front_cost].column


def function(space: Space, config: Config) -> Callable[[Architecture], float]:
    """Builds the function that computes the cost of an architecture.

    Args:
        space: search space.
        config: block `config.search`.

    Raises:
        UserError: the latency table is missing or of another space.
    """
    kind, latency = COSTS[config.front_cost], hardware.latency(space, config)
    return lambda architecture: kind.of(space, architecture, latency)


def table(space: Space, config: Config) -> Cost:
    """Returns the cost of every op at every position.

    Args:
        space: search space.
        config: block `config.search`.

    Raises:
        UserError: the latency table is missing or of another space.
    """
    return COSTS[config.front_cost].table(space, hardware.latency(space, config))
