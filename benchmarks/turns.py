"""Timing of several sides in turn, so that a change of the machine hits all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping

Advance = Callable[[int], object]  # does that many iterations and waits until they are done


def take_turns(
    sides: Mapping[str, Advance], iterations: int, repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Times the sides in turn.

    Args:
        sides: by name.
        iterations: of a turn.
        repeats: turns of each side, after the first.

    Returns:
        By side, in seconds: the first turn, which compiles, and the median of the others.
    """
    first = {name: _seconds(advance, iterations) for name, advance in sides.items()}
    turns: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, advance in sides.items():
            turns[name].append(_seconds(advance, iterations))
    return first, {name: statistics.median(seconds) for name, seconds in turns.items()}


def _seconds(advance: Advance, iterations: int) -> float:
    began = time.perf_counter()
    advance(iterations)
    return time.perf_counter() - began
