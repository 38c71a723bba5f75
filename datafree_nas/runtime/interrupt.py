"""Ctrl-C, SIGTERM and a closed terminal, turned into a question that a loop asks between two steps.

`processes.check_stop` asks it, for all processes of a run. Before the loop, a signal ends the
program.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], None]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []  # signals belong to the process, and so does this


def _listened() -> list[signal.Signals]:
    """Those of `SIGNALS` that are to be heard; `nohup` has had SIGHUP ignored, and so it stays."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signum for signum in SIGNALS if not (nohup and signum == signal.SIGHUP)]


def end_at_signals() -> None:
    """From here on a signal ends the program with a line, wherever it is.

    An exception would not do: some libraries go on when one of their imports has failed.
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
    """Within this block a first signal raises `SystemExit`, so that what is half done goes."""

    def end(signum: int, _frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)
        tell("interrupted")
        raise SystemExit(128 + signum)

    with _handled(end):
        yield


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
        tell("\nstopping after this iteration; again to stop at once")

    _received.clear()
    with _handled(remember):
        try:
            yield
        finally:
            _received.clear()


def tell(line: str) -> None:
    """Prints on standard error in a signal handler, which may interrupt a `print`."""
    with contextlib.suppress(OSError):  # the terminal was closed, or whoever read has gone
        os.write(2, f"{line}\n".encode())


def request(signum: int) -> None:
    """Asks for a stop, as a signal does; one that came to another process, for instance."""
    if signum not in _received:
        _received.append(signum)


def received() -> int:
    """The signal that has asked this process to stop, 0 if none has."""
    return _received[0] if _received else 0
