"""The choices that depend on the backend, all in one place.

XLA:CPU runs the gradients of a convolution inside `scan`, `while` or `switch` on a slow path
(jax-ml/jax#12868, here up to 50 times slower), and is quick with the same at the top level of a
program. GPU and TPU want the opposite: long loops inside of it, and any control flow.
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

_for_cpu: ContextVar[bool | None] = ContextVar("for_cpu", default=None)  # `stated_for`

# of glibc's malloc.h, see `keep_memory`
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4

_SMALL = 32 * 32  # pixels, see `keep_memory`
_SPLIT_PIXELS = 16 * 32 * 32  # of a batch, see `worth_splitting`
_DENSE_CHANNELS = 64  # up to here its useless products cost nothing
Depthwise = Literal["grouped", "dense", "shifts"]
Step = Callable[[Any, Any], tuple[Any, Any]]


def on_cpu() -> bool:
    """Whether computations run on XLA:CPU."""
    return jax.default_backend() == "cpu"


def keep_memory(image_size: Sequence[int] = ()) -> None:
    """Has the C library keep the memory that XLA:CPU frees for its next program, on Linux.

    Else the temporaries of every step are fresh pages, which Linux clears one by one: a fifth of
    the time of a small supernet's step. glibc keeps large blocks for the main thread only, so it is
    the one that has to run programs, and calls of steps no longer overlap with them. To be called
    before the first of them.

    Args:
        image_size: `(h, w, c)`. Nothing is done for less than 32x32, where steps take milliseconds
            and need the overlap more than the pages. Empty: not known, so not small.
    """
    if image_size and math.prod(image_size[:2]) < _SMALL:
        return
    # other C libraries of Linux have no such function
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


@dataclass(frozen=True)
class Repeated:
    """Many iterations of a step: `(state, data, n) -> (state, metrics of the last iteration)`.

    Attributes:
        advance: that function. The state is donated.
        lower: `(state, data) -> ` its programs, lowered; the arguments may be abstract.
    """

    advance: Callable[[Any, Any, int], tuple[Any, Any]]
    lower: Callable[[Any, Any], list[jax.stages.Lowered]]

    def __call__(self, state: Any, data: Any, n: int) -> tuple[Any, Any]:
        """See the class."""
        return self.advance(state, data, n)


def _cores() -> int:
    """Of the CPU, that XLA may use; macOS has no affinity."""
    affinity = getattr(os, "sched_getaffinity", None)
    seen = len(affinity(0)) if affinity else os.cpu_count() or 1
    return int(os.environ.get("NPROC") or seen)


def _jit_for_cpu(step: Callable[[Any, Any], Any]) -> Any:
    return jax.jit(step, donate_argnums=0, compiler_options=_compiler_options())


@functools.cache
def _compiler_options() -> dict[str, str]:
    """Of programs that have several cores for one device: convolutions on all of them.

    XLA leaves products, reductions and convolutions to YNNPACK. Its convolutions, quicker than
    XLA's own, stay on one core; it keeps the others.
    """
    if _cores() == 1 or jax.local_device_count() > 1:
        return {}
    kept = ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in ("INDIVIDUAL_DOT", "REDUCE"))
    options = {"xla_cpu_experimental_ynn_fusion_type": kept}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # another version's XLA, which does not know the option
        return {}
    return options


def worth_splitting(batch_size: int, image_size: Sequence[int]) -> bool:
    """Whether processes should split each batch, or each compute all of it.

    Processes that split a batch add up their gradients and BatchNorm statistics in every step. On
    CPUs each of these arrays is a message of its own, as XLA:CPU hands them to gloo one by one: 46
    in a step of the digits teacher, about a millisecond each. A step on fewer pixels than 16
    images of 32x32 have takes less time than its messages. Accelerators send all gradients of a
    step as one message, within microseconds.

    Args:
        batch_size: in images.
        image_size: `(h, w, c)`.
    """
    return not on_cpu() or batch_size * math.prod(image_size[:2]) >= _SPLIT_PIXELS


def repeat(step: Step) -> Repeated:
    """Makes many iterations out of one.

    Args:
        step: pure `(state, data) -> (state, metrics)`, one iteration.

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
    """Like `repeat`, with something else now and then.

    Args:
        step: pure `(state, data) -> (state, metrics)`, one iteration.
        other: pure `(state, data) -> state`.
        due: pure, `state after an iteration -> whether other comes next`.
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
    """Inside, layers are stated for a CPU or for an accelerator, whatever runs here."""
    token = _for_cpu.set(cpu)
    try:
        yield
    finally:
        _for_cpu.reset(token)


def stated_plainly() -> AbstractContextManager[None]:
    """Inside, every layer is stated as the one operation that it is, as accelerators have it."""
    return stated_for(cpu=False)


def _stated_for_cpu() -> bool:
    chosen = _for_cpu.get()
    return on_cpu() if chosen is None else chosen


def canonical_in_switch() -> bool:
    """Whether gradients of a convolution inside `lax.switch` should be stated as convolutions of
    the one form, NHWC and HWIO, that XLA:CPU brings them into at the top level of a program only.
    """
    return _stated_for_cpu()


def sums_by_rows() -> bool:
    """Whether statistics over pixels should be taken of a matrix, a row a pixel.

    XLA:CPU adds up the rows of a matrix two to three times quicker than the places of an image.
    """
    return _stated_for_cpu()


def sums_by_shifts() -> bool:
    """Whether a sum over windows should be stated as a sum of shifted images, axis by axis.

    XLA:CPU takes more than twice as long for the window's own operation.
    """
    return _stated_for_cpu()


def depthwise(channels: int, in_switch: bool) -> Depthwise:
    """How a depthwise convolution should be stated.

    XLA:CPU takes 10 to 60 times longer for the grouped convolution itself than for a sum of shifted
    products. For few channels a dense convolution, whose kernel is 0 between channels, is as quick
    as that sum or up to three times quicker, and one operation where the sum is dozens: of the
    hundreds in a search network of DARTS, XLA would compile for ten minutes and take as many GB.

    Args:
        channels: of the image.
        in_switch: whether it is in control flow, where convolutions are slow.
    """
    if not _stated_for_cpu():
        return "grouped"
    return "dense" if channels <= _DENSE_CHANNELS and not in_switch else "shifts"
