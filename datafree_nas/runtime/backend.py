"""The choices that depend on the backend, all in one place.

XLA:CPU runs a convolution inside `scan`, `while` or `switch` on a slow path (jax-ml/jax#12868,
here up to 50 times slower), and is quick with the same convolution at the top level of a program.
GPU and TPU want the opposite: long scanned loops, and any control flow.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import jax

_for_cpu: ContextVar[bool | None] = ContextVar("for_cpu", default=None)  # `convolutions_for`

Step = Callable[[Any, Any], tuple[Any, Any]]


def on_cpu() -> bool:
    """Whether computations run on XLA:CPU."""
    return jax.default_backend() == "cpu"


def repeat(step: Step) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    """Makes many iterations out of one.

    Args:
        step: pure `(state, data) -> (state, metrics)`, one iteration.

    Returns:
        `(state, data, n) -> (state, metrics of the last iteration)`. The state is donated. On an
        accelerator the n iterations are one scanned program; on a CPU they are n calls of one.
    """
    if on_cpu():
        once = jax.jit(step, donate_argnums=0)

        def call(state: Any, data: Any, n: int) -> tuple[Any, Any]:
            metrics = None
            for _ in range(n):
                state, metrics = once(state, data)
            return state, metrics

        return call

    @functools.partial(jax.jit, donate_argnums=0, static_argnums=2)
    def scan(state: Any, data: Any, n: int) -> tuple[Any, Any]:
        state, metrics = jax.lax.scan(lambda s, _: step(s, data), state, length=n)
        return state, jax.tree.map(lambda m: m[-1], metrics)

    return scan


def alternate(
    step: Step, other: Callable[[Any, Any], Any], every: int, counter: Callable[[Any], Any]
) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    """Like `repeat`, with something else now and then.

    Args:
        step: pure `(state, data) -> (state, metrics)`, one iteration.
        other: pure `(state, data) -> state`, done after every so many iterations of `step`.
        every: how many.
        counter: `state -> iterations so far`, which `step` counts.
    """
    if on_cpu():
        one, two = jax.jit(step, donate_argnums=0), jax.jit(other, donate_argnums=0)

        def call(state: Any, data: Any, n: int) -> tuple[Any, Any]:
            metrics = None
            for _ in range(n):
                state, metrics = one(state, data)
                if int(counter(state)) % every == 0:
                    state = two(state, data)
            return state, metrics

        return call

    def both(state: Any, data: Any) -> tuple[Any, Any]:
        state, metrics = step(state, data)
        due = counter(state) % every == 0
        return jax.lax.cond(due, lambda s: other(s, data), lambda s: s, state), metrics

    return repeat(both)


@contextmanager
def convolutions_for(cpu: bool) -> Iterator[None]:
    """Inside, convolutions are stated for a CPU or for an accelerator, whatever runs here."""
    token = _for_cpu.set(cpu)
    try:
        yield
    finally:
        _for_cpu.reset(token)


def plain_convolutions() -> AbstractContextManager[None]:
    """Inside, every convolution is stated as one, as accelerators have it; for counting them."""
    return convolutions_for(cpu=False)


def _stated_for_cpu() -> bool:
    chosen = _for_cpu.get()
    return on_cpu() if chosen is None else chosen


def matmul_convolutions_in_switch() -> bool:
    """Whether a convolution inside `lax.switch` should be stated as a matrix product."""
    return _stated_for_cpu()


def depthwise_as_shifts() -> bool:
    """Whether a depthwise convolution should be stated as a sum of shifted products.

    XLA:CPU takes 10 to 60 times longer for the convolution itself.
    """
    return _stated_for_cpu()
