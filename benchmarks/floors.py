"""The least time that an iteration can take here: what it computes and moves, and how fast that is.

No command of its own.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from datafree_nas.runtime import backend

_CALLS, _REPEATS = 5, 4


class Rates(NamedTuple):
    """Of a device.

    Attributes:
        flops: floating-point operations a second, in a large matrix product.
        bytes: read and written a second, in a pass over a large array.
    """

    flops: float
    bytes: float


class Work(NamedTuple):
    """Of a program.

    Attributes:
        flops: floating-point operations as the program states them.
        bytes: read and written by the compiled program, as XLA counts them: where convolutions are
            library calls, as on a GPU, theirs may be missing.
    """

    flops: float
    bytes: float


def rates(dtype: str) -> Rates:
    """Measures the device; matrix products are of that type, and as precise as JAX's default."""
    side, floats = (1024, 2**24) if backend.on_cpu() else (4096, 2**26)
    one, two = jax.random.normal(jax.random.key(0), (2, side, side), dtype)
    two = (two / side**0.5).astype(dtype)  # so products of products stay as large as they are
    product = jax.jit(jnp.matmul)
    increment = jax.jit(lambda x: x + 1, donate_argnums=0)
    return Rates(
        flops=2 * side**3 / _seconds(lambda x: product(x, two), one),
        bytes=2 * 4 * floats / _seconds(increment, jnp.zeros(floats, jnp.float32)),
    )


def _seconds(function: Callable[[Any], Any], x: Any) -> float:
    """Of a call, each on the result of the one before; the best of a few."""
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
    """Counts what a pure function does, compiled as a program of its own."""
    stated = _for_the_host(function, arguments).cost_analysis()
    compiled = jax.jit(function).lower(*arguments).compile().cost_analysis()
    assert stated
    assert compiled
    return Work(stated["flops"], compiled["bytes accessed"])


def _for_the_host(function: Callable[..., Any], arguments: Any) -> jax.stages.Lowered:
    """Stated as for the device, but for the CPU: only there XLA counts before it compiles."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return jax.jit(function).lower(*shapes)
