"""What a command prints, and what it prints to.

`prepare` is the first thing that a command does: the rest of its imports takes seconds, in which
there are signals too, and libraries that print.
"""

import errno
import io
import os
import signal
import sys

from datafree_nas.runtime import interrupt

_NO_READER = (errno.EPIPE, errno.EIO)  # of a pipe, of a terminal that was closed
_failures: list[OSError] = []  # of writing to the standard streams, which belong to the process


def prepare() -> None:
    """Makes the standard streams such that printing never fails, and a signal end this quietly."""
    interrupt.end_at_signals()
    for descriptor in range(3):
        _fill(descriptor)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        setattr(sys, name, _stream(getattr(sys, name), descriptor))


def _fill(descriptor: int) -> None:
    """Opens what was closed, or the next file would get that number, and what libraries print."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)  # becomes the lowest number that is free
        os.set_inheritable(null, True)


class _Output(io.FileIO):
    """A standard stream that drops what cannot be written, and remembers why.

    Nobody reads what goes to `head -1` after its first line, or to `tee` after a Ctrl-C, which ends
    it as well. A run shall not fail at that, but save and stop.
    """

    def write(self, content, /):  # a memoryview of the buffer above
        try:
            return super().write(content)
        except OSError as error:
            if not _failures:
                _failures.append(error)
            if error.errno in _NO_READER:
                interrupt.request(signal.SIGPIPE)
            return content.nbytes


def _stream(before: io.TextIOWrapper | None, descriptor: int) -> io.TextIOWrapper:
    """A text stream like the one before, None if it was closed; any character can be written."""
    immediate = descriptor == 2 or getattr(before, "write_through", False)  # PYTHONUNBUFFERED
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, "w", closefd=False)),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=immediate or (before is not None and before.isatty()),
    )


def failure() -> OSError | None:
    """Why something that was printed has not arrived; None if all of it has."""
    sys.stdout.flush()
    return _failures[0] if _failures else None


def nobody_reads(error: OSError) -> bool:
    """Whether the reader of the output has gone, rather than that there is no room for it."""
    return error.errno in _NO_READER


def printable(text: object) -> str:
    r"""A text as one line that a terminal shows as it is.

    Names in files may hold line breaks, escape sequences that overwrite other lines, or characters
    that turn the direction of writing; these become `\n`, `\x1b`, `\u202e`.

    Args:
        text: anything; its `str` counts.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
