"""Work in the background: files are written while the devices go on computing."""

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Behind:
    """Runs work in a thread, one piece at a time, in the order in which the pieces were given.

    At the end of a `with` block no work is running any more. If the work fails, its exception is
    raised by the next call, or at the end of the block.

    Import the packages that the work needs before it begins, and also those that the caller might
    import meanwhile: some (TFDS, through etils) replace `builtins.__import__` while they are being
    imported, and an import in another thread then gets a lazy module instead of the real one.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._under_way: Future[Any] | None = None

    def do(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Waits for the previous piece of work, then begins this one."""
        self.wait()
        here = contextvars.copy_context()
        self._under_way = self._thread.submit(here.run, work, *arguments)

    def wait(self) -> None:
        """Waits until no work is running.

        Raises:
            Exception: the exception that the work has raised.
        """
        under_way, self._under_way = self._under_way, None
        if under_way:
            under_way.result()

    def close(self) -> None:
        """Waits until no work is running, and ends the thread; raises what `wait` raises."""
        with self._thread:
            self.wait()

    def __enter__(self) -> "Behind":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
