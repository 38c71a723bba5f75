"""The standard streams of a command, and the text that it prints.

A command calls `prepare` first: its other imports take seconds, in which signals may come, too, and
libraries may print.
"""

import errno
import io
import os
import signal
import sys

from datafree_nas.runtime import interrupt

_NO_READER = (errno.EPIPE, errno.EIO)  # of a pipe without reader, of a terminal that was closed
_failures: list[OSError] = []  # of writing to the standard streams; global, as these are


def prepare() -> None:
    """Makes printing never fail, and signals end the program without a traceback."""
    interrupt.end_at_signals()
    for descriptor in range(3):
        _fill(descriptor)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        setattr(sys, name, _stream(getattr(sys, name), descriptor))


def _fill(descriptor: int) -> None:
    """Opens a descriptor that was closed; a file could get its number, and libraries' output."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        os.set_inheritable(null, True)


class _Output(io.FileIO):
    """A standard stream that drops what cannot be written, and remembers why.

    Nobody reads what goes to `head -1` after its first line, or to `tee` after a Ctrl-C, which ends
    `tee` as well. A run should not fail then, but save its state and stop.
    """

    def write(self, content, /):  # `content` is a memoryview of the buffer above this stream
        try:
            return super().write(content)
        except OSError as error:
            if not _failures:
                _failures.append(error)
            if error.errno in _NO_READER:
                interrupt.request(signal.SIGPIPE)
            return content.nbytes


def _stream(before: io.TextIOWrapper | None, descriptor: int) -> io.TextIOWrapper:
    """Builds a text stream that accepts any character, like the one before (None if closed)."""
    immediate = descriptor == 2 or getattr(before, "write_through", False)  # PYTHONUNBUFFERED
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, "w", closefd=False)),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=immediate or (before is not None and before.isatty()),
    )


def failure() -> OSError | None:
    """Returns why something that was printed has not arrived; None if all of it has."""
    sys.stdout.flush()
    return _failures[0] if _failures else None


def nobody_reads(error: OSError) -> bool:
    """Tells whether the reader of the output has gone; if not, e.g. the disk is full."""
    return error.errno in _NO_READER


def printable(text: object) -> str:
    r"""Turns a text into one line that a terminal shows as it is.

    Names in files may hold line breaks, escape sequences that overwrite other lines, or characters
    that reverse the direction of writing; these become `\n`, `\x1b`, `\u202e`.

    Args:
        text: any object, of which `str(text)` is shown.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
