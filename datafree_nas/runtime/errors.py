"""Errors that a user can mend, and the way they are shown."""

import difflib
import signal
import sys
import threading
from collections.abc import Callable, Iterable

from datafree_nas.runtime import terminal
from datafree_nas.runtime.terminal import printable

LOST = 75  # exit status: nothing wrong here, run the same command again


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong, where, and what to do.

    Attributes:
        status: exit status of a program that ends with this error.
    """

    status = 2


class LostError(UserError):
    """Another process of the run was lost: there is nothing to mend, all have to start again."""

    status = LOST


class Interrupted(Exception):
    """A signal asked the run to stop; the work done so far is saved."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error line about an unknown name: near names, or all of them.

    Args:
        name: what the user wrote.
        known: what would have been right.

    Returns:
        `; did you mean 'a' or 'b'?`, or `; known: a, b, c` where nothing is near.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "; known: " + ", ".join(known)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """A library's thread that cannot write says so in a line; the main thread will hear of it."""
    if isinstance(failure.exc_value, OSError):
        print(f"warning: {printable(failure.exc_value)}", file=sys.stderr)
    else:
        threading.__excepthook__(failure)


def exit_cleanly(
    body: Callable[[], None],
    resume: str = "",
    leave: Callable[[int, str], None] = lambda status, line: None,
) -> None:
    """Runs `body` and turns what a user can mend or asked for into one line and an exit status.

    Args:
        body: the program.
        resume: how to go on after an interruption, said in its line.
        leave: `(status, line)`, called at the very end, whatever it was.

    Raises:
        SystemExit: the status of a `UserError`, 128 + signal after an interruption; the same where
            the program has ended well but what it printed has not arrived. Any other exception is
            a bug and passes with its traceback.
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
    print(f"error: what was printed is not whole: {failure.strerror}", file=sys.stderr, flush=True)
    raise SystemExit(2)
