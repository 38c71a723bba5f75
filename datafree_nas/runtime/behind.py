"""Work that is done behind the caller's back: files are written while devices go on."""

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Behind:
    """One piece of work at a time, in a thread, in the order it was given.

    Left as a context manager, nothing is under way any more; what failed is raised by the next
    call, or on leaving.

    Packages that the work needs are imported before, and so are those that the caller might import
    meanwhile: some (TFDS, by etils) exchange `builtins.__import__` for as long as they are being
    imported, and another thread's import then gets a lazy module instead of what it asked for.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._under_way: Future[Any] | None = None

    def do(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Waits for the piece before, then begins this one."""
        self.wait()
        here = contextvars.copy_context()
        self._under_way = self._thread.submit(here.run, work, *arguments)

    def wait(self) -> None:
        """Until nothing is under way.

        Raises:
            Exception: what the work has raised.
        """
        under_way, self._under_way = self._under_way, None
        if under_way:
            under_way.result()

    def close(self) -> None:
        """Waits until nothing is under way, and ends the thread; raises what `wait` raises."""
        with self._thread:
            self.wait()

    def __enter__(self) -> "Behind":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
