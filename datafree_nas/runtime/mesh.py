"""The one mesh of the project: a `data` axis over all devices, of size 1 on one device.

Inside `processes.alone()` these are the devices of this process.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from datafree_nas.runtime import processes
from datafree_nas.runtime.errors import UserError

T = TypeVar("T")


def devices() -> Sequence[jax.Device]:
    """Those that work together here."""
    return jax.local_devices() if processes.is_alone() else jax.devices()


def data_mesh() -> jax.sharding.Mesh:
    """All devices along `data`; Auto axes, which Linen needs."""
    return jax.sharding.Mesh(np.array(devices()), ("data",), axis_types=(AxisType.Auto,))


def split_over_data() -> NamedSharding:
    """Leading axis split over the devices."""
    return NamedSharding(data_mesh(), PartitionSpec("data"))


def replicated() -> NamedSharding:
    """The same on every device."""
    return NamedSharding(data_mesh(), PartitionSpec())


def put(tree: Any, sharding: Any) -> Any:
    """Arrays on the devices, as `jax.device_put` has it, and on those of other processes too.

    Args:
        tree: arrays that are the same in every process.
        sharding: of all of them.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _spread(leaf, sharding), tree)


def is_key(leaf: Any) -> bool:
    """Whether this is an array of random keys."""
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _spread(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
        return leaf
    if is_key(leaf):
        data, implementation = jax.random.key_data(leaf), jax.random.key_impl(leaf)
        return jax.random.wrap_key_data(_spread(data, sharding), impl=implementation)
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def replicated_here(tree: T) -> T:
    """Arrays that are the same on all devices of all processes, as arrays of this process alone.

    No byte is moved.
    """
    here = NamedSharding(
        jax.sharding.Mesh(np.array(jax.local_devices()), ("data",), axis_types=(AxisType.Auto,)),
        PartitionSpec(),
    )

    def view(leaf: jax.Array) -> jax.Array:
        if leaf.is_fully_addressable:
            return leaf
        parts = [shard.data for shard in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, here, parts)

    return jax.tree.map(view, tree)


def constrain_batch(batch: T) -> T:
    """Inside a jitted step: every leaf `[b ...]` is split over the devices."""
    return jax.lax.with_sharding_constraint(batch, split_over_data())


def check_divisible(batch_size: int, what: str) -> None:
    """Raises `UserError`, which begins with `what`, unless the batch divides over the devices."""
    if batch_size % len(devices()):
        raise UserError(
            f"{what}={batch_size} does not divide over {len(devices())} devices; "
            f"use a multiple of {len(devices())}"
        )
