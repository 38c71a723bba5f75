"""Errors that a user can mend, and the way they are shown."""

import difflib
import os
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong, where, and what to do."""


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


def exit_cleanly(body: Callable[[], None], resume: str = "") -> None:
    """Runs `body` and turns what a user can mend or asked for into one line and an exit status.

    Args:
        body: the program.
        resume: how to go on after an interruption, said in its line.

    Raises:
        SystemExit: 2 after a `UserError`, 128 + signal after an interruption. Any other exception
            is a bug and passes with its traceback.
    """
    try:
        body()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except Interrupted as stop:
        print(f"interrupted: everything done so far is saved. {resume}".strip(), file=sys.stderr)
        raise SystemExit(128 + stop.signum) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
