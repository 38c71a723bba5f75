"""Times functions on this device in turns, so that its changes of speed affect all alike."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_SAMPLE = 2e-3  # seconds that one measurement takes at least


class Program(NamedTuple):
    """A function and the shapes of its arguments.

    Attributes:
        function: function to be compiled.
        arguments: pytrees of `jax.ShapeDtypeStruct`, one for each argument.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def milliseconds(programs: Sequence[Program], repeats: int) -> list[float]:
    """Measures the time of one call until its result is there: the median over rounds.

    In each round every program has its turn, so that all of them run while the machine is warm,
    slow or busy alike.

    Args:
        programs: programs to time; each is compiled once.
        repeats: number of rounds.
    """
    calls = [_compiled(program) for program in programs]
    counts = [1 + int(_SAMPLE / min(_seconds(call, 1) for _ in range(5))) for call in calls]
    turns = list(zip(calls, counts, strict=True))
    rounds = [[_seconds(call, count) for call, count in turns] for _ in range(repeats)]
    return (1e3 * np.median(rounds, axis=0)).tolist()


def _compiled(program: Program) -> Callable[[], Any]:
    """Compiles a program, and returns a call of it that has already been run once.

    Its numbers stay finite through the layers of a network.
    """
    generator = np.random.default_rng(0)

    def numbers(abstract: jax.ShapeDtypeStruct) -> jax.Array:
        values = generator.uniform(0.5, 1.5, abstract.shape)
        return jnp.asarray(values / max(1, np.prod(abstract.shape[:-1])), abstract.dtype)

    function, arguments = jax.jit(program.function), jax.tree.map(numbers, program.arguments)
    jax.block_until_ready(function(*arguments))
    return lambda: jax.block_until_ready(function(*arguments))


def _seconds(call: Callable[[], Any], count: int) -> float:
    """Measures the seconds of one call, as a mean over `count` calls."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count
