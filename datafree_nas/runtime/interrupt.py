"""Ctrl-C and SIGTERM, turned into a question that a loop asks between two iterations.

`processes.check_stop` asks it, for all processes of a run.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []  # signals belong to the process, and so does this


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Within this block a first signal is remembered; a second one stops at once."""

    own: list[int] = []

    def remember(signum: int, _frame: FrameType | None) -> None:
        if own:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        own.append(signum)
        request(signum)
        print("\nstopping after this iteration; again to stop at once", file=sys.stderr)

    _received.clear()
    before = {s: signal.signal(s, remember) for s in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        _received.clear()


def request(signum: int) -> None:
    """Asks for a stop, as a signal does; one that came to another process, for instance."""
    _received.append(signum)


def received() -> int:
    """The signal that has asked this process to stop, 0 if none has."""
    return _received[0] if _received else 0
