"""The least memory with which a network of a space runs, for the limit `max_memory`."""

import numpy as np

from datafree_nas.runtime import seeds
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces import memory
from datafree_nas.spaces.space import Architecture, Space

_STARTS = 2  # random networks that the search begins with


def check(space: Space, limit: int) -> None:
    """Checks, before anything is trained, that a network can keep a limit on the memory.

    Args:
        space: search space.
        limit: value of `config.search.evolution.max_memory`.

    Raises:
        UserError: no network was found that keeps it, or the space has no `schedule`.
    """
    least = find(space)
    if limit < least:
        raise UserError(
            f"config.search.evolution.max_memory={limit}: a search for the smallest network of "
            f"{space.name} found none that takes less than {least}; raise the limit"
        )


def find(space: Space) -> int:
    """Searches for the network of the least peak memory.

    The peak is no sum over positions, so a smaller one than the one found can exist.

    Args:
        space: search space.

    Returns:
        Peak memory of that network, see `Space.peak_memory`.
    """
    generator = seeds.numpy_generator(seeds.key_for(0, "least memory"))
    options = np.asarray(space.choices)
    starts: list[Architecture] = []
    while len(starts) < _STARTS:
        drawn = np.asarray(generator.integers(options))
        starts += [drawn] if space.connected(drawn) else []
    return min(_descend(space, start) for start in starts)


def _descend(space: Space, start: Architecture) -> int:
    """Changes one choice after another as long as the memory becomes less."""
    best, least, before = start, _demands(space, start), None
    while least != before:
        before = least
        for place, options in enumerate(space.choices):
            for option in range(options):
                other = best.copy()
                other[place] = option
                if space.connected(other) and (found := _demands(space, other)) < least:
                    best, least = other, found
    return least[0]


def _demands(space: Space, architecture: Architecture) -> list[int]:
    """Lists the memory of all ops, the largest first.

    Where several ops need as much as the peak, lists show a change that makes one of them smaller.
    """
    return sorted(memory.profile(space.schedule(architecture)), reverse=True)
