"""One run at a time in a directory."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from datafree_nas.runtime import processes
from datafree_nas.runtime.errors import UserError


@contextlib.contextmanager
def one_run(directory: Path) -> Iterator[None]:
    """Inside, no other run works there; the system takes the lock from a process that dies.

    Args:
        directory: which exists.

    Raises:
        UserError: another run is at work.
    """
    lock = filelock.FileLock(directory / ".lock")

    def acquire() -> None:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise UserError(
                f"another run is at work in {directory}; wait for it, or choose another directory"
            ) from None

    processes.once(acquire)
    try:
        yield
    finally:
        lock.release()
