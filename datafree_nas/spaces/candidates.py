"""Lists every op in the supernet of a space without running it."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from datafree_nas.spaces import ops

if TYPE_CHECKING:
    from datafree_nas.spaces.space import Space


class Candidate(NamedTuple):
    """One op at one place of a network.

    Attributes:
        position: index of the position in the space; where cells are repeated, one position has
            many places.
        op: index of the op in `Space.ops`.
        module: layer of the op in the supernet, called as `module(x, train)`; equal modules compute
            the same.
        alone: layer of the op in a network.
        shape: shape `(h, w, c)` of `x`.
    """

    position: int
    op: int
    module: nn.Module
    alone: nn.Module
    shape: tuple[int, ...]


def collect(space: "Space") -> list[Candidate]:
    """Collects all candidates at all places, at the size of `Space.network`."""
    key, places = jax.random.key(0), list[tuple[ops.Mixed, tuple[int, ...]]]()

    def remember(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        mixed = context.module
        if not isinstance(mixed, ops.Mixed):
            return call(*args, **kwargs)
        places.append((mixed, args[0].shape[1:]))
        # tracing only the first candidate saves time, and all candidates have one output shape
        first = mixed.build(mixed.ops[0], False, parent=None)
        return first.init_with_output(key, args[0], train=False)[0]

    image = jax.ShapeDtypeStruct((1, *space.image_size), jnp.float32)
    gates = jax.ShapeDtypeStruct((space.positions,), jnp.int32)
    with nn.intercept_methods(remember):
        jax.eval_shape(space.network_supernet().init, key, image, gates)
    return [
        Candidate(
            mixed.position,
            space.ops.index(op),
            mixed.build(op, False),
            partial(mixed.build, in_supernet=False)(op, False),
            shape,
        )
        for mixed, shape in places
        for op in mixed.ops
    ]
