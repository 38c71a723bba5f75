"""Every op that a space's supernet is made of, without running any."""

from collections.abc import Callable
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
        position: of the space; it has many places where cells are repeated.
        op: index in `Space.ops`.
        module: called as `module(x, train)`; equal ones do the same.
        shape: `(h, w, c)` of x.
    """

    position: int
    op: int
    module: nn.Module
    shape: tuple[int, ...]


def collect(space: "Space") -> list[Candidate]:
    """All candidates at all places, at the size of `Space.network`."""
    key, places = jax.random.key(0), list[tuple[ops.Mixed, tuple[int, ...]]]()

    def remember(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        mixed = context.module
        if not isinstance(mixed, ops.Mixed):
            return call(*args, **kwargs)
        places.append((mixed, args[0].shape[1:]))
        # one stands for all, which takes a fraction of the time: their outputs have one shape
        first = mixed.build(mixed.ops[0], False, parent=None)
        return first.init_with_output(key, args[0], train=False)[0]

    image = jax.ShapeDtypeStruct((1, *space.image_size), jnp.float32)
    gates = jax.ShapeDtypeStruct((space.positions,), jnp.int32)
    with nn.intercept_methods(remember):
        jax.eval_shape(space.network_supernet().init, key, image, gates)
    return [
        Candidate(mixed.position, space.ops.index(op), mixed.build(op, False), shape)
        for mixed, shape in places
        for op in mixed.ops
    ]
