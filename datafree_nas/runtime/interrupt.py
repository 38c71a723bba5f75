"""Ctrl-C, SIGTERM and a closed terminal: a loop asks between two steps if such a signal has come.

`processes.check_stop` asks, for all processes of a run. Before the loop, a signal ends the program.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], None]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []  # global, because signals go to the whole process


def _listened() -> list[signal.Signals]:
    """Lists the signals to handle: `SIGNALS`, but not SIGHUP if `nohup` has it ignored."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signum for signum in SIGNALS if not (nohup and signum == signal.SIGHUP)]


def end_at_signals() -> None:
    """Makes a signal end the program with one line, wherever the program is.

    An exception would not be enough: some libraries go on after a failed import.
    """

    def end(signum: int, _frame: FrameType | None) -> None:
        tell("interrupted")
        os._exit(128 + signum)

    for signum in _listened():
        signal.signal(signum, end)


@contextlib.contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    before = {signum: signal.signal(signum, handler) for signum in _listened()}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)


@contextlib.contextmanager
def raised_signals() -> Iterator[None]:
    """Makes a first signal in this block raise `SystemExit`, so that unfinished work is removed."""

    def end(signum: int, _frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)
        tell("interrupted")
        raise SystemExit(128 + signum)

    with _handled(end):
        yield


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Remembers a first signal in this block; a second one stops the program at once."""

    own: list[int] = []

    def remember(signum: int, _frame: FrameType | None) -> None:
        if own:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        own.append(signum)
        request(signum)
        tell("\nstopping after this iteration; again to stop at once")

    _received.clear()
    with _handled(remember):
        try:
            yield
        finally:
            _received.clear()


def tell(line: str) -> None:
    """Prints on standard error in a signal handler, which may interrupt a `print`."""
    with contextlib.suppress(OSError):  # the terminal was closed, or the reader has gone
        os.write(2, f"{line}\n".encode())


def request(signum: int) -> None:
    """Asks this process to stop, as a signal does; e.g. after a signal to another process."""
    if signum not in _received:
        _received.append(signum)


def received() -> int:
    """Returns the signal that has asked this process to stop, 0 if none has."""
    return _received[0] if _received else 0
