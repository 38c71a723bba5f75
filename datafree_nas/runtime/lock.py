"""One run at a time in a directory."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from datafree_nas.runtime import processes
from datafree_nas.runtime.errors import UserError


@contextlib.contextmanager
def one_run(directory: Path) -> Iterator[None]:
    """Keeps other runs out of a directory in this block.

    The system releases the lock of a process that dies.

    Args:
        directory: directory that already exists.

    Raises:
        UserError: another run is at work there.
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
