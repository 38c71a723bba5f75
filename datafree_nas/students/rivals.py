"""Architectures that the found one is compared with: random ones of similar cost, the largest."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from datafree_nas.runtime import seeds
from datafree_nas.spaces.space import Architecture, Space

_SIMILAR = 0.1  # MACs of a random rival may differ by a tenth
_CANDIDATES = 2000


def random_rivals(space: Space, found: Architecture, count: int, seed: int) -> list[Architecture]:
    """Draws different connected architectures, other than the one found, of similar MACs.

    They are the first of 2000 random ones whose MACs differ by a tenth at most; if those are too
    few, the ones whose MACs are nearest.

    Args:
        space: search space.
        found: architecture that they are compared with.
        count: number of architectures wanted; fewer are returned if the space has no more.
        seed: seed of the run.
    """
    drawn = {space.encode(a): a for a in _drawn(space, seed)}
    drawn.pop(space.encode(found), None)
    others = [a for a in drawn.values() if space.connected(a)]
    target = space.macs(found)
    gaps = np.array([abs(space.macs(a) - target) for a in others])
    order = np.argsort(np.where(gaps <= _SIMILAR * target, 0, gaps), kind="stable")
    return [others[i] for i in order[:count]]


def largest(
    space: Space, found: Architecture, allowed: Callable[[Architecture], bool], seed: int
) -> Architecture:
    """Finds an architecture of as many MACs as the limits allow, without looking at images.

    It begins with the largest of 2000 random architectures that keep the limits, or with the one
    found if that is larger, and changes one choice at a time as long as that brings more MACs.

    Args:
        space: search space.
        found: architecture that keeps the limits.
        allowed: test whether an architecture is connected and keeps the limits.
        seed: seed of the run.
    """
    starts = [found, *(a for a in _drawn(space, seed) if allowed(a))]
    return _climb(space, max(starts, key=space.macs), allowed)


def _drawn(space: Space, seed: int) -> list[Architecture]:
    keys = jax.random.split(seeds.key_for(seed, "rival"), _CANDIDATES)
    return list(np.asarray(jax.vmap(space.sample)(keys)))


def _climb(
    space: Space, start: Architecture, allowed: Callable[[Architecture], bool]
) -> Architecture:
    """Changes one choice at a time to the most MACs, as long as there are more."""
    current = start
    while True:
        better = max(_neighbours(space, current), key=lambda a: (allowed(a), space.macs(a)))
        if not allowed(better) or space.macs(better) <= space.macs(current):
            return current
        current = better


def _neighbours(space: Space, architecture: Architecture) -> Iterator[Architecture]:
    """Yields the architectures that differ in one choice."""
    for place, options in enumerate(space.choices):
        for option in range(options):
            if option != architecture[place]:
                other = architecture.copy()
                other[place] = option
                yield other
