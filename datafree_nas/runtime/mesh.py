"""The one mesh of the project: a `data` axis over all devices, of size 1 on one device.

Inside `processes.alone()`, and inside `for_batches` with a batch that is not worth splitting, it
has only the devices of this process.
"""

import math
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

_SPLIT_PIXELS = 16 * 32 * 32  # pixels of a batch, see `worth_splitting`
_split: ContextVar[bool] = ContextVar("split", default=True)


@contextmanager
def for_batches(batch_size: int, image_size: Sequence[int]) -> Iterator[None]:
    """Sets for this block whether processes split each batch, or each computes all of it.

    `worth_splitting` decides. If batches are not split, all processes do the same work, so their
    states are equal without a message; `from_first` makes sure of it. The devices within a process
    split the batch in both cases.

    Args:
        batch_size: number of images in a batch.
        image_size: shape `(h, w, c)` of an image.
    """
    token = _split.set(worth_splitting(batch_size, image_size))
    try:
        yield
    finally:
        _split.reset(token)


def worth_splitting(batch_size: int, image_size: Sequence[int]) -> bool:
    """Tells whether processes should split each batch; otherwise each computes all of it.

    Processes that split a batch add up their gradients and BatchNorm statistics in every step. On
    CPUs each of these arrays is a message of its own, because XLA:CPU hands them to gloo one by
    one: a step of the digits teacher sends 46, each of which takes about a millisecond. A step on
    fewer pixels than 16 images of 32x32 have takes less time than its messages. Accelerators send
    all gradients of a step as one message, within microseconds.

    Args:
        batch_size: number of images in a batch.
        image_size: shape `(h, w, c)` of an image.
    """
    return not backend.on_cpu() or batch_size * math.prod(image_size[:2]) >= _SPLIT_PIXELS


def devices() -> Sequence[jax.Device]:
    """Returns the devices that a batch is split over."""
    here = processes.is_alone() or not _split.get()
    return jax.local_devices() if here else jax.devices()


def part() -> tuple[int, int]:
    """Returns which part of a batch this process takes, from 0, and the number of parts."""
    return (processes.index(), processes.count()) if _split.get() else (0, 1)


def data_mesh() -> jax.sharding.Mesh:
    """Builds the mesh of all devices along `data`; its axis is of type Auto, which Linen needs."""
    return jax.sharding.Mesh(np.array(devices()), ("data",), axis_types=(AxisType.Auto,))


def split_over_data() -> NamedSharding:
    """Returns the sharding that splits the leading axis over the devices."""
    return NamedSharding(data_mesh(), PartitionSpec("data"))


def replicated() -> NamedSharding:
    """Returns the sharding of arrays that are the same on every device."""
    return NamedSharding(data_mesh(), PartitionSpec())


def put(tree: Any, sharding: Any) -> Any:
    """Puts arrays on the devices as `jax.device_put` does, also on those of other processes.

    Args:
        tree: pytree of arrays that are the same in every process.
        sharding: sharding of all the arrays.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _spread(leaf, sharding), tree)


def is_key(leaf: Any) -> bool:
    """Tells whether a leaf is an array of random keys."""
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def on_host(tree: Any) -> Any:
    """Converts arrays to NumPy arrays; random keys become their data."""

    def leaf(value: Any) -> np.ndarray:
        return np.asarray(jax.random.key_data(value) if is_key(value) else value)

    return jax.tree.map(leaf, tree)


def placed_like(value: np.ndarray, leaf: jax.Array) -> jax.Array:
    """Puts an array of the host on the devices of another array; makes it a key if that is a key.

    Args:
        value: array as `on_host` returns it.
        leaf: array on the wanted devices, of the same shape and dtype.

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
    """Returns the first process's arrays, if every process has computed the whole of each batch.

    CPUs of different models round differently, and training makes large differences out of small
    ones. If processes split batches, or there is one process, the arrays are returned as they are.

    Args:
        tree: pytree of arrays, of the same shapes in every process.
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
    """Turns arrays that are the same on all devices into arrays of this process alone.

    No data is moved.
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
    """Splits every leaf `[b ...]` of a batch over the devices, inside a jitted step."""
    return jax.lax.with_sharding_constraint(batch, split_over_data())


def check_divisible(batch_size: int, what: str) -> None:
    """Raises a `UserError` that begins with `what`, unless the devices divide the batch size."""
    if batch_size % len(devices()):
        raise UserError(
            f"{what}={batch_size} does not divide over {len(devices())} devices; "
            f"use a multiple of {len(devices())}"
        )
