"""Times calls on this device in turns, so that its changes of speed affect all alike."""

import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

_SAMPLE = 2e-3  # seconds that one measurement takes at least


def milliseconds(calls: Sequence[Callable[[], object]], rounds: Iterable[object]) -> list[float]:
    """Measures the time of each call: the tenth percentile over rounds.

    In each round every call has its turn, so that all of them run while the machine is warm, slow
    or busy alike. Where another program interrupts half of the measurements, the median would be
    with or without an interruption by chance.

    Args:
        calls: functions to time.
        rounds: one element a round.
    """
    counts = [1 + int(_SAMPLE / min(_seconds(call, 1) for _ in range(5))) for call in calls]
    turns = list(zip(calls, counts, strict=True))
    found = [[_seconds(call, count) for call, count in turns] for _ in rounds]
    return (1e3 * np.percentile(found, 10, axis=0)).tolist()


def _seconds(call: Callable[[], object], count: int) -> float:
    """Measures the seconds of one call, as a mean over `count` calls."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count
