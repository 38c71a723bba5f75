"""Programs whose time is measured, and how JAX calls them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Call = Callable[[], object]  # computes a program once, and waits for the result


class Program(NamedTuple):
    """A function and the shapes of its arguments.

    Attributes:
        function: function to be compiled.
        arguments: pytrees of `jax.ShapeDtypeStruct`, one for each argument; the last one is the
            input, those before it are weights.
        whole: whether this is a network, whose input is images, and no op of a network.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    whole: bool = False

    def numbers(self) -> tuple[Any, ...]:
        """Returns random arguments that keep the size of activations, as trained weights do."""
        generator = np.random.default_rng(0)

        def leaf(abstract: jax.ShapeDtypeStruct) -> jax.Array:
            shape = abstract.shape
            if len(shape) < 2:  # of BatchNorm, whose variances are positive
                values = generator.uniform(0.5, 1.5, shape)
            else:
                values = generator.normal(0, np.sqrt(2 / max(1, np.prod(shape[:-1]))), shape)
            return jnp.asarray(values, abstract.dtype)

        return jax.tree.map(leaf, self.arguments)


def with_jax(program: Program) -> Call:
    """Compiles a program with JAX, and returns a call of it that has already been run once."""
    function, arguments = jax.jit(program.function), program.numbers()
    jax.block_until_ready(function(*arguments))
    return lambda: jax.block_until_ready(function(*arguments))
