"""Lowerings: the form in which a layer is computed on a CPU, and that on accelerators.

All forms of a layer have the same weights and, up to rounding, the same results. Accelerators get
the one operation that a layer is; XLA:CPU is slow with some of these, mostly in control flow.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Literal

from datafree_nas.runtime import backend

_for_cpu: ContextVar[bool | None] = ContextVar("for_cpu", default=None)  # see `target`
_DENSE_CHANNELS = 64  # up to this number, a dense convolution's products with 0 cost nothing
Depthwise = Literal["grouped", "dense", "shifts"]


@contextmanager
def target(cpu: bool) -> Iterator[None]:
    """Builds the layers in this block for a CPU or for an accelerator, whatever runs here."""
    token = _for_cpu.set(cpu)
    try:
        yield
    finally:
        _for_cpu.reset(token)


def plain() -> AbstractContextManager[None]:
    """Builds every layer in this block as the one operation that it is, as for accelerators."""
    return target(cpu=False)


def _targets_cpu() -> bool:
    chosen = _for_cpu.get()
    return backend.on_cpu() if chosen is None else chosen


def canonical_in_switch() -> bool:
    """Tells whether gradients of convolutions in `lax.switch` should be in NHWC and HWIO layout.

    XLA:CPU brings them into that layout by itself only at the top level of a program.
    """
    return _targets_cpu()


def sums_by_rows() -> bool:
    """Tells whether statistics over pixels should be sums over a matrix with a row per pixel.

    XLA:CPU adds up the rows of a matrix two to three times faster than the pixels of an image.
    """
    return _targets_cpu()


def sums_by_shifts() -> bool:
    """Tells whether a sum over windows should be a sum of shifted images, axis by axis.

    XLA:CPU takes more than twice as long for the operation on windows.
    """
    return _targets_cpu()


def depthwise(channels: int, in_switch: bool) -> Depthwise:
    """Chooses the form of a depthwise convolution.

    XLA:CPU takes 10 to 60 times longer for the grouped convolution itself than for a sum of shifted
    products. For few channels a dense convolution, whose kernel is 0 between different channels, is
    as fast as that sum or up to three times faster. It is also one operation, where the sum is
    dozens: with sums for the hundreds of depthwise convolutions in a search network of DARTS, XLA
    would compile for ten minutes and take ten GB.

    Args:
        channels: number of channels of the image.
        in_switch: whether the convolution is in control flow, where convolutions are slow.
    """
    if not _targets_cpu():
        return "grouped"
    return "dense" if channels <= _DENSE_CHANNELS and not in_switch else "shifts"
