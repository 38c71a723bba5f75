"""Errors that a user can fix, and how they are shown."""

import difflib
import signal
import sys
import threading
from collections.abc import Callable, Iterable

from datafree_nas.runtime import terminal
from datafree_nas.runtime.terminal import printable

LOST = 75  # exit status: nothing is wrong with this process, run the same command again


class UserError(Exception):
    """Something the user can fix: one line that says what is wrong, where, and what to do.

    Attributes:
        status: exit status of a program that ends with this error.
    """

    status = 2


class LostError(UserError):
    """Another process of the run was lost: there is nothing to fix, all have to start again."""

    status = LOST


class Interrupted(Exception):
    """A signal asked the run to stop; the work done so far is saved."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the end of an error line about an unknown name: similar names, or all known ones.

    Args:
        name: name that the user wrote.
        known: names that would have been right.

    Returns:
        `; did you mean 'a' or 'b'?`, or `; known: a, b, c` if no name is similar.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "; known: " + ", ".join(known)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Prints one line if a library's thread cannot write; the main thread gets the error, too."""
    if isinstance(failure.exc_value, OSError):
        print(f"warning: {printable(failure.exc_value)}", file=sys.stderr)
    else:
        threading.__excepthook__(failure)


def exit_cleanly(
    body: Callable[[], None],
    resume: str = "",
    leave: Callable[[int, str], None] = lambda status, line: None,
) -> None:
    """Runs `body`; turns user errors and interruptions into one line and an exit status.

    Args:
        body: program without arguments.
        resume: advice how to go on, which ends the line about an interruption.
        leave: function `(exit status, error line)` that is called at the very end, with `(0, "")`
            after a success.

    Raises:
        SystemExit: status of a `UserError`, or 128 + signal after an interruption. A program that
            succeeded, but whose output was not written or not read, ends with 2 or 128 + SIGPIPE.
            Any other exception is a bug and passes with its traceback.
    """
    threading.excepthook = _thread_failed
    try:
        body()
    except UserError as error:
        status, line = error.status, f"error: {printable(error)}"
    except Interrupted as stop:
        status = 128 + stop.signum
        line = f"interrupted: everything done so far is saved. {resume}".strip()
    else:
        leave(0, "")
        return _check_output()
    print(line, file=sys.stderr, flush=True)
    leave(status, line)
    raise SystemExit(status)


def _check_output() -> None:
    """Ends the program with a status of its own if its output was not written or not read."""
    failure = terminal.failure()
    if failure is None:
        return
    if terminal.nobody_reads(failure):
        raise SystemExit(128 + signal.SIGPIPE)
    print(f"error: the output is incomplete: {failure.strerror}", file=sys.stderr, flush=True)
    raise SystemExit(2)
