"""The one mesh of the project: a `data` axis over all devices, of size 1 on one device."""

from typing import TypeVar

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from datafree_nas.runtime.errors import UserError

T = TypeVar("T")


def data_mesh() -> jax.sharding.Mesh:
    """All devices of all processes along `data`; Auto axes, which Linen needs."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def split_over_data() -> NamedSharding:
    """Leading axis split over the devices."""
    return NamedSharding(data_mesh(), PartitionSpec("data"))


def replicated() -> NamedSharding:
    """The same on every device."""
    return NamedSharding(data_mesh(), PartitionSpec())


def constrain_batch(batch: T) -> T:
    """Inside a jitted step: every leaf `[b ...]` is split over the devices."""
    return jax.lax.with_sharding_constraint(batch, split_over_data())


def check_divisible(batch_size: int, what: str) -> None:
    """Raises `UserError`, which begins with `what`, unless the batch divides over the devices."""
    if batch_size % jax.device_count():
        raise UserError(
            f"{what}={batch_size} does not divide over {jax.device_count()} devices; "
            f"use a multiple of {jax.device_count()}"
        )
