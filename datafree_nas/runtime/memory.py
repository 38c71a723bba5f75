"""Memory: what one program on the CPU frees is kept for the next one, and running out of it."""

import ctypes
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import jax

from datafree_nas.runtime.errors import UserError

# constants of glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4

_SMALL = 32 * 32  # pixels of an image


def keep_memory(image_size: Sequence[int] = ()) -> None:
    """Makes glibc keep the memory that XLA:CPU frees, for the next program; on Linux only.

    Otherwise the temporary arrays of every step are new pages, which Linux clears one by one. That
    takes a fifth of the time of a small supernet's step. glibc keeps large blocks for the main
    thread only, so programs have to run in that thread, and a call no longer returns before its
    program has ended (no asynchronous dispatch). Call this function before the first program runs.

    Args:
        image_size: shape `(h, w, c)` of the images. Nothing is done below 32x32 pixels, where steps
            take milliseconds and gain more from asynchronous dispatch than from kept pages. Empty
            if the size is unknown; it then counts as large.
    """
    if image_size and math.prod(image_size[:2]) < _SMALL:
        return
    # other C libraries on Linux have no such function
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def enough(what: str, lower: str) -> Iterator[None]:
    """Turns running out of memory inside into an error of one line that says what to lower.

    Args:
        what: name of what is run.
        lower: fields of the config to lower.

    Raises:
        UserError: the memory of a device or of the host does not suffice.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "MemoryError"
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in reason:
            raise
        raise UserError(f"out of memory in {what} ({reason[:200]}); lower {lower}") from error
