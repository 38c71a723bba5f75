"""The programs that a run would compile, lowered for shapes; `--plan` reads their cost."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from datafree_nas.runtime import mesh
from datafree_nas.runtime.repeat import Repeated


class Program(NamedTuple):
    """One step, lowered.

    Attributes:
        name: name of the program in the table.
        batch: number of images of a step, over all devices.
        devices: number of devices that share the batch.
        held: bytes of state and data on one device, whether the step reads them or not.
        lowered: program for all devices.
    """

    name: str
    batch: int
    devices: int
    held: int
    lowered: jax.stages.Lowered


def lower(name: str, batch: int, repeated: Repeated, state: Any, data: Any) -> list[Program]:
    """Lowers the programs of a repeated step.

    Args:
        name: name of the step in the table.
        batch: number of images of a step, over all devices.
        repeated: step that is repeated.
        state: shapes of the state, with their shardings.
        data: shapes of the data, with their shardings.
    """
    held = sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves((state, data))
    )
    return [
        Program(", ".join(filter(None, (name, part))), batch, len(mesh.devices()), held, lowered)
        for part, lowered in repeated.lower(state, data).items()
    ]


def abstract(*shape: int, dtype: Any = jnp.float32, sharding: Any = None) -> Any:
    """Returns the shape of an array.

    Args:
        *shape: size of each axis.
        dtype: type of the numbers.
        sharding: division of the array among devices; None for a copy on every device.
    """
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding or mesh.replicated())


def on_all(tree: Any) -> Any:
    """Returns the shapes of a tree of arrays that every device has a copy of."""
    return jax.tree.map(lambda leaf: abstract(*leaf.shape, dtype=leaf.dtype), tree)
