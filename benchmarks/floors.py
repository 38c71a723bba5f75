"""The shortest time that an iteration can take on a device, from its work and the device's speed.

This module is not a command.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from datafree_nas.runtime import backend

_CALLS, _REPEATS = 5, 4


class Rates(NamedTuple):
    """Speed of a device.

    Attributes:
        flops: floating-point operations per second, in a large matrix product.
        bytes: bytes read and written per second, in a pass over a large array.
    """

    flops: float
    bytes: float


class Work(NamedTuple):
    """Work of a program.

    Attributes:
        flops: floating-point operations of the program before it is compiled.
        bytes: bytes that the compiled program reads and writes, as XLA counts them; if convolutions
            are library calls, as on a GPU, theirs may be missing.
    """

    flops: float
    bytes: float


def rates(dtype: str) -> Rates:
    """Measures the device; matrix products have the given type and JAX's default precision."""
    side, floats = (1024, 2**24) if backend.on_cpu() else (4096, 2**26)
    one, two = jax.random.normal(jax.random.key(0), (2, side, side), dtype)
    two = (two / side**0.5).astype(dtype)  # so that values do not grow from product to product
    product = jax.jit(jnp.matmul)
    increment = jax.jit(lambda x: x + 1, donate_argnums=0)
    return Rates(
        flops=2 * side**3 / _seconds(lambda x: product(x, two), one),
        bytes=2 * 4 * floats / _seconds(increment, jnp.zeros(floats, jnp.float32)),
    )


def _seconds(function: Callable[[Any], Any], x: Any) -> float:
    """Measures the seconds of a call; the best of a few repeats counts.

    Each call takes the result of the one before.
    """
    x = jax.block_until_ready(function(x))
    took = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        for _ in range(_CALLS):
            x = function(x)
        jax.block_until_ready(x)
        took.append(time.perf_counter() - began)
    return min(took) / _CALLS


def work(function: Callable[..., Any], *arguments: Any) -> Work:
    """Counts the work of a pure function, compiled as a program of its own."""
    stated = _for_the_host(function, arguments).cost_analysis()
    compiled = jax.jit(function).lower(*arguments).compile().cost_analysis()
    assert stated
    assert compiled
    return Work(stated["flops"], compiled["bytes accessed"])


def _for_the_host(function: Callable[..., Any], arguments: Any) -> jax.stages.Lowered:
    """Lowers a function for the CPU, because only there XLA counts before it compiles.

    Layers keep the form that they have for the device.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return jax.jit(function).lower(*shapes)
