"""The one mesh of the project: a `data` axis over all devices, of size 1 on one device.

It has only the devices of this process inside `processes.alone()`, and inside `for_batches` of a
size that is not worth splitting.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from datafree_nas.runtime import backend, processes
from datafree_nas.runtime.errors import UserError

T = TypeVar("T")

_split: ContextVar[bool] = ContextVar("split", default=True)


@contextmanager
def for_batches(batch_size: int, image_size: Sequence[int]) -> Iterator[None]:
    """Inside, processes split batches of this size, or each computes all of every batch.

    `backend.worth_splitting` decides. In the second case all processes do the same work, so that
    their states are equal without a message; `from_first` makes sure of it. Of a batch that is not
    split over the processes, the devices of each process still take a part each.

    Args:
        batch_size: in images.
        image_size: `(h, w, c)`.
    """
    token = _split.set(backend.worth_splitting(batch_size, image_size))
    try:
        yield
    finally:
        _split.reset(token)


def devices() -> Sequence[jax.Device]:
    """Those that a batch is split over."""
    here = processes.is_alone() or not _split.get()
    return jax.local_devices() if here else jax.devices()


def part() -> tuple[int, int]:
    """Which part of a batch this process takes, counted from 0, and how many parts there are."""
    return (processes.index(), processes.count()) if _split.get() else (0, 1)


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


def on_host(tree: Any) -> Any:
    """NumPy arrays; of random keys, their data."""

    def leaf(value: Any) -> np.ndarray:
        return np.asarray(jax.random.key_data(value) if is_key(value) else value)

    return jax.tree.map(leaf, tree)


def placed_like(value: np.ndarray, leaf: jax.Array) -> jax.Array:
    """An array of the host, on the devices that another array is on; for a random key, a key.

    Args:
        value: as `on_host` gives it.
        leaf: of the same shape and dtype.

    Raises:
        ValueError: the shapes or dtypes differ.
    """
    found: Any = value
    if is_key(leaf):
        found = jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(leaf))
    if found.shape != leaf.shape or found.dtype != leaf.dtype:
        was, wanted = f"{found.dtype}{found.shape}", f"{leaf.dtype}{leaf.shape}"
        raise ValueError(f"{was} cannot take the place of {wanted}")
    return put(found, leaf.sharding)


def _spread(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
        return leaf
    if is_key(leaf):
        data, implementation = jax.random.key_data(leaf), jax.random.key_impl(leaf)
        return jax.random.wrap_key_data(_spread(data, sharding), impl=implementation)
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def from_first(tree: T) -> T:
    """The first process's arrays, where every process has computed the whole of each batch.

    CPUs of different models round differently, and training makes large differences out of small
    ones. Where processes split batches, or there is one process, the arrays are returned as they
    are.

    Args:
        tree: arrays of the same shapes in every process.
    """
    if _split.get() or processes.count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    arrays = on_host(leaves)
    mine = np.frombuffer(b"".join(array.tobytes() for array in arrays), np.uint8)
    first = multihost_utils.broadcast_one_to_all(mine)  # one message for all arrays
    parts = np.split(first, np.cumsum([array.nbytes for array in arrays])[:-1])
    values = [p.view(a.dtype).reshape(a.shape) for p, a in zip(parts, arrays, strict=True)]
    return jax.tree.unflatten(structure, map(placed_like, values, leaves))


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
