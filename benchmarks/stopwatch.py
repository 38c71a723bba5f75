"""How long functions take on the device at hand, all under the same drift of it."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_SAMPLE = 2e-3  # seconds of one measurement, or more


class Program(NamedTuple):
    """A function with what it is called on.

    Attributes:
        function: to be compiled.
        arguments: pytrees of `jax.ShapeDtypeStruct`.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def milliseconds(programs: Sequence[Program], repeats: int) -> list[float]:
    """The time of one call, until its result is there: the median over rounds.

    In a round every program has its turn, so that all of them see the machine warm, slow or busy
    alike.

    Args:
        programs: each is compiled once.
        repeats: rounds.
    """
    calls = [_compiled(program) for program in programs]
    counts = [1 + int(_SAMPLE / min(_seconds(call, 1) for _ in range(5))) for call in calls]
    turns = list(zip(calls, counts, strict=True))
    rounds = [[_seconds(call, count) for call, count in turns] for _ in range(repeats)]
    return (1e3 * np.median(rounds, axis=0)).tolist()


def _compiled(program: Program) -> Callable[[], Any]:
    """A call of it on numbers that stay finite through the layers of a network, and warm."""
    generator = np.random.default_rng(0)

    def numbers(abstract: jax.ShapeDtypeStruct) -> jax.Array:
        values = generator.uniform(0.5, 1.5, abstract.shape)
        return jnp.asarray(values / max(1, np.prod(abstract.shape[:-1])), abstract.dtype)

    function, arguments = jax.jit(program.function), jax.tree.map(numbers, program.arguments)
    jax.block_until_ready(function(*arguments))
    return lambda: jax.block_until_ready(function(*arguments))


def _seconds(call: Callable[[], Any], count: int) -> float:
    """Of one call, over `count` of them."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count
