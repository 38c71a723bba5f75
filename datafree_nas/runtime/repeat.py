"""Loops over a step: one compiled loop on an accelerator, one call after another on a CPU.

XLA:CPU computes the gradients of a convolution up to 50 times slower inside `scan`, `while` or
`switch` than at the top level of a program (jax-ml/jax#12868). GPU and TPU need the opposite, long
loops inside the program.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from datafree_nas.runtime import backend

Step = Callable[[Any, Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Repeated:
    """Many iterations of a step: `(state, data, n) -> (state, metrics of the last iteration)`.

    Attributes:
        advance: function that does the iterations; its state is donated.
        lower: function `(state, data) -> lowered programs`, by the name of the step that they
            are of, empty for the only or the first one; its arguments may be shapes.
    """

    advance: Callable[[Any, Any, int], tuple[Any, Any]]
    lower: Callable[[Any, Any], dict[str, jax.stages.Lowered]]

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


def repeat(step: Step) -> Repeated:
    """Makes a loop of many iterations out of a step.

    Args:
        step: pure function `(state, data) -> (state, metrics)`, one iteration.

    Returns:
        On an accelerator one program, compiled once for every n; on a CPU n calls of one iteration.
    """
    if backend.on_cpu():
        once = _jit_for_cpu(step)

        def call(state: Any, data: Any, n: int) -> tuple[Any, Any]:
            metrics = None
            for _ in range(n):
                state, metrics = once(state, data)
            return state, metrics

        return Repeated(call, lambda state, data: {"": once.lower(state, data)})

    @functools.partial(jax.jit, donate_argnums=0)
    def loop(state: Any, data: Any, n: jax.Array) -> tuple[Any, Any]:
        shapes = jax.eval_shape(step, state, data)[1]
        empty = jax.tree.map(lambda m: jax.numpy.zeros(m.shape, m.dtype), shapes)
        return jax.lax.fori_loop(0, n, lambda _, carry: step(carry[0], data), (state, empty))

    return Repeated(loop, lambda state, data: {"": loop.lower(state, data, 2)})


def alternate(
    step: Step, other: Callable[[Any, Any], Any], due: Callable[[Any], jax.Array], name: str
) -> Repeated:
    """Makes a loop as `repeat` does, with another step after some of the iterations.

    Args:
        step: pure function `(state, data) -> (state, metrics)`, one iteration.
        other: pure function `(state, data) -> state`, the other step.
        due: pure function `state after an iteration -> whether the other step comes next`.
        name: name of the other step.
    """
    if backend.on_cpu():
        one, two = _jit_for_cpu(step), _jit_for_cpu(other)
        asked = jax.jit(due)

        def call(state: Any, data: Any, n: int) -> tuple[Any, Any]:
            metrics = None
            for _ in range(n):
                state, metrics = one(state, data)
                if asked(state):
                    state = two(state, data)
            return state, metrics

        def lower(state: Any, data: Any) -> dict[str, jax.stages.Lowered]:
            return {"": one.lower(state, data), name: two.lower(state, data)}

        return Repeated(call, lower)

    def both(state: Any, data: Any) -> tuple[Any, Any]:
        state, metrics = step(state, data)
        return jax.lax.cond(due(state), lambda s: other(s, data), lambda s: s, state), metrics

    return repeat(both)
