"""What a loop's steps read: the same all the time, or a new part of a stream every so often."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Feed:
    """A stream of parts, each for a number of iterations; the next one is fetched meanwhile.

    Where the stream is depends on the iteration alone, so that a loop goes on with it from any.

    Args:
        parts: `first -> iterator` over the parts, on the devices, from number `first` on.
        length: iterations that a part is for.
    """

    def __init__(self, parts: Callable[[int], Iterator[Any]], length: int):
        self._parts, self.length = parts, length
        self._iterator: Iterator[Any] | None = None
        self._number, self._part = -1, None
        self._next: Future[Any] | None = None
        self._pool = ThreadPoolExecutor(1, "feed")

    def at(self, iteration: int) -> tuple[Any, float]:
        """The part for an iteration, and for how many seconds it had to be waited for."""
        number = iteration // self.length
        began = time.monotonic()
        if number != self._number:
            if self._iterator is None or self._next is None or number != self._number + 1:
                self._iterator = self._parts(number)
                self._next = self._pool.submit(next, self._iterator)
            self._part, self._number = self._next.result(), number
            self._next = self._pool.submit(next, self._iterator)
        return self._part, time.monotonic() - began

    def left(self, iteration: int) -> int:
        """Iterations that the part has left, this one included."""
        return self.length - iteration % self.length

    def close(self) -> None:
        """Fetches no more."""
        self._pool.shutdown(cancel_futures=True)
