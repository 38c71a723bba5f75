"""The choices that depend on the backend, all in one place.

XLA:CPU computes the gradients of a convolution up to 50 times slower inside `scan`, `while` or
`switch` than at the top level of a program (jax-ml/jax#12868). GPU and TPU are fastest with long
loops inside the program, and slowed down by no control flow.
"""

import ctypes
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import jax

_for_cpu: ContextVar[bool | None] = ContextVar("for_cpu", default=None)  # see `stated_for`

# constants of glibc's malloc.h, see `keep_memory`
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4

_SMALL = 32 * 32  # pixels of an image, see `keep_memory`
_SPLIT_PIXELS = 16 * 32 * 32  # pixels of a batch, see `worth_splitting`
_DENSE_CHANNELS = 64  # up to this number, a dense convolution's products with 0 cost nothing
Depthwise = Literal["grouped", "dense", "shifts"]
Step = Callable[[Any, Any], tuple[Any, Any]]


def on_cpu() -> bool:
    """Tells whether computations run on XLA:CPU."""
    return jax.default_backend() == "cpu"


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


@dataclass(frozen=True)
class Repeated:
    """Many iterations of a step: `(state, data, n) -> (state, metrics of the last iteration)`.

    Attributes:
        advance: function that does the iterations; its state is donated.
        lower: function `(state, data) -> list of the lowered programs`; its arguments may be
            abstract.
    """

    advance: Callable[[Any, Any, int], tuple[Any, Any]]
    lower: Callable[[Any, Any], list[jax.stages.Lowered]]

    def __call__(self, state: Any, data: Any, n: int) -> tuple[Any, Any]:
        """Calls `advance`."""
        return self.advance(state, data, n)


def _cores() -> int:
    """Counts the CPU cores that XLA may use; all cores on macOS, which has no affinity."""
    affinity = getattr(os, "sched_getaffinity", None)
    seen = len(affinity(0)) if affinity else os.cpu_count() or 1
    return int(os.environ.get("NPROC") or seen)


def _jit_for_cpu(step: Callable[[Any, Any], Any]) -> Any:
    return jax.jit(step, donate_argnums=0, compiler_options=_compiler_options())


@functools.cache
def _compiler_options() -> dict[str, str]:
    """Returns compiler options that let a convolution use all cores, if they serve one device.

    XLA hands matrix products, reductions and convolutions to YNNPACK. YNNPACK's convolutions are
    faster than XLA's own but use one core, so these options leave YNNPACK only the other two.
    """
    if _cores() == 1 or jax.local_device_count() > 1:
        return {}
    kept = ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in ("INDIVIDUAL_DOT", "REDUCE"))
    options = {"xla_cpu_experimental_ynn_fusion_type": kept}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # an XLA of another version, without this option
        return {}
    return options


def worth_splitting(batch_size: int, image_size: Sequence[int]) -> bool:
    """Tells whether processes should split each batch; otherwise each computes all of it.

    Processes that split a batch add up their gradients and BatchNorm statistics in every step. On
    CPUs each of these arrays is a message of its own, because XLA:CPU hands them to gloo one by
    one: a step of the digits teacher sends 46, each of which takes about a millisecond. A step on
    fewer pixels than 16 images of 32x32 have takes less time than its messages. Accelerators send
    all gradients of a step as one message, within microseconds.

    Args:
        batch_size: number of images in a batch.
        image_size: shape `(h, w, c)` of an image.
    """
    return not on_cpu() or batch_size * math.prod(image_size[:2]) >= _SPLIT_PIXELS


def repeat(step: Step) -> Repeated:
    """Makes a loop of many iterations out of a step.

    Args:
        step: pure function `(state, data) -> (state, metrics)`, one iteration.

    Returns:
        On an accelerator one program, compiled once for every n; on a CPU n calls of one iteration.
    """
    if on_cpu():
        once = _jit_for_cpu(step)

        def call(state: Any, data: Any, n: int) -> tuple[Any, Any]:
            metrics = None
            for _ in range(n):
                state, metrics = once(state, data)
            return state, metrics

        return Repeated(call, lambda state, data: [once.lower(state, data)])

    @functools.partial(jax.jit, donate_argnums=0)
    def loop(state: Any, data: Any, n: jax.Array) -> tuple[Any, Any]:
        shapes = jax.eval_shape(step, state, data)[1]
        empty = jax.tree.map(lambda m: jax.numpy.zeros(m.shape, m.dtype), shapes)
        return jax.lax.fori_loop(0, n, lambda _, carry: step(carry[0], data), (state, empty))

    return Repeated(loop, lambda state, data: [loop.lower(state, data, 2)])


def alternate(
    step: Step, other: Callable[[Any, Any], Any], due: Callable[[Any], jax.Array]
) -> Repeated:
    """Makes a loop as `repeat` does, with another step after some of the iterations.

    Args:
        step: pure function `(state, data) -> (state, metrics)`, one iteration.
        other: pure function `(state, data) -> state`, the other step.
        due: pure function `state after an iteration -> whether the other step comes next`.
    """
    if on_cpu():
        one, two = _jit_for_cpu(step), _jit_for_cpu(other)
        asked = jax.jit(due)

        def call(state: Any, data: Any, n: int) -> tuple[Any, Any]:
            metrics = None
            for _ in range(n):
                state, metrics = one(state, data)
                if asked(state):
                    state = two(state, data)
            return state, metrics

        return Repeated(call, lambda state, data: [f.lower(state, data) for f in (one, two)])

    def both(state: Any, data: Any) -> tuple[Any, Any]:
        state, metrics = step(state, data)
        return jax.lax.cond(due(state), lambda s: other(s, data), lambda s: s, state), metrics

    return repeat(both)


@contextmanager
def stated_for(cpu: bool) -> Iterator[None]:
    """Builds the layers in this block for a CPU or for an accelerator, whatever runs here."""
    token = _for_cpu.set(cpu)
    try:
        yield
    finally:
        _for_cpu.reset(token)


def stated_plainly() -> AbstractContextManager[None]:
    """Builds every layer in this block as the one operation that it is, as for accelerators."""
    return stated_for(cpu=False)


def _stated_for_cpu() -> bool:
    chosen = _for_cpu.get()
    return on_cpu() if chosen is None else chosen


def canonical_in_switch() -> bool:
    """Tells whether gradients of convolutions in `lax.switch` should be in NHWC and HWIO layout.

    XLA:CPU brings them into that layout by itself only at the top level of a program.
    """
    return _stated_for_cpu()


def sums_by_rows() -> bool:
    """Tells whether statistics over pixels should be sums over a matrix with a row per pixel.

    XLA:CPU adds up the rows of a matrix two to three times faster than the pixels of an image.
    """
    return _stated_for_cpu()


def sums_by_shifts() -> bool:
    """Tells whether a sum over windows should be a sum of shifted images, axis by axis.

    XLA:CPU takes more than twice as long for the operation on windows.
    """
    return _stated_for_cpu()


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
    if not _stated_for_cpu():
        return "grouped"
    return "dense" if channels <= _DENSE_CHANNELS and not in_switch else "shifts"
