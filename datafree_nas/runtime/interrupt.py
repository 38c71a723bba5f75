"""Ctrl-C and SIGTERM, turned into a question that a loop asks between two iterations."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from datafree_nas.runtime.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []  # signals belong to the process, and so does this


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Within this block a first signal is remembered; a second one stops at once."""

    def remember(signum: int, _frame: FrameType | None) -> None:
        if _received:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        _received.append(signum)
        print("\nstopping after this iteration; again to stop at once", file=sys.stderr)

    _received.clear()
    before = {s: signal.signal(s, remember) for s in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        _received.clear()


def requested() -> bool:
    """Whether a signal has asked the run to stop."""
    return bool(_received)


def check() -> None:
    """Between two pieces of finished work: raises `Interrupted` if a signal has come."""
    if _received:
        raise Interrupted(_received[0])
