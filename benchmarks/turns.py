"""Times several sides in turns, so that changes of the machine's speed affect all alike."""

import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping

from datafree_nas.runtime.terminal import printable

Advance = Callable[[int], object]  # does that many iterations and waits until they are done


def take_turns(
    sides: Mapping[str, Advance], iterations: int, repeats: int, may_fail: Collection[str] = ()
) -> tuple[dict[str, float], dict[str, float]]:
    """Times the sides in turn.

    Args:
        sides: functions to time, by name.
        iterations: number of iterations of a turn.
        repeats: number of turns of each side, after the first.
        may_fail: names of sides that are left out, with a line on standard error, if their first
            turn fails.

    Returns:
        The first turn, which compiles, and the median of the others, each by side, in seconds.
    """
    first: dict[str, float] = {}
    for name, advance in sides.items():
        try:
            first[name] = _seconds(advance, iterations)
        except Exception as error:  # a compiler may raise anything
            if name not in may_fail:
                raise
            print(f"{name} failed: {_one_line(error)}", file=sys.stderr, flush=True)
    turns: dict[str, list[float]] = {name: [] for name in first}
    for _ in range(repeats):
        for name in first:
            turns[name].append(_seconds(sides[name], iterations))
    return first, {name: statistics.median(seconds) for name, seconds in turns.items()}


def _one_line(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _seconds(advance: Advance, iterations: int) -> float:
    began = time.perf_counter()
    advance(iterations)
    return time.perf_counter() - began
