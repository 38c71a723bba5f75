"""Data for the steps of a loop: a stream, of which each part is for some iterations, or one set."""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Feed:
    """A stream of parts, each for a number of iterations; the next one is fetched meanwhile.

    The place in the stream depends on the iteration alone, so a loop can resume at any iteration.

    Args:
        parts: function `first -> iterator` over the parts, on the devices, from number `first` on.
        length: number of iterations that each part is for.
    """

    def __init__(self, parts: Callable[[int], Iterator[Any]], length: int):
        self._parts, self.length = parts, length
        self._iterator: Iterator[Any] | None = None
        self._number, self._part = -1, None
        self._next: Future[Any] | None = None
        self._pool = ThreadPoolExecutor(1, "feed")

    def at(self, iteration: int) -> tuple[Any, float]:
        """Returns the part for an iteration, and the seconds that were spent waiting for it."""
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
        """Counts the iterations that the part has left, this one included."""
        return self.length - iteration % self.length

    def close(self) -> None:
        """Stops fetching parts."""
        self._pool.shutdown(cancel_futures=True)


class Fixed:
    """Data that is the same in all iterations, with the methods of a `Feed`.

    Args:
        data: arrays that the steps read.
    """

    def __init__(self, data: Any):
        self._data = data

    def at(self, iteration: int) -> tuple[Any, None]:
        """Returns the data, for which nothing is waited."""
        return self._data, None

    def left(self, iteration: int) -> int:
        """Returns a number of iterations that no loop has."""
        return sys.maxsize

    def close(self) -> None:
        """Ends without work, as nothing is fetched."""
