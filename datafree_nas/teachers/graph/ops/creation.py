"""Operations that make tensors: of one value, of counted numbers, of the places of a grid."""

from collections.abc import Sequence

import jax.numpy as jnp

from datafree_nas.teachers.graph.ops.elementwise import Number, jnp_dtype
from datafree_nas.teachers.graph.ops.table import op
from datafree_nas.teachers.graph.tensor import Tensor, plain


@op("zeros", "empty")
def zeros(size: Sequence[int], dtype: str | None = None) -> Tensor:
    """Makes a tensor of zeros."""
    return full(size, 0, dtype or "float32")


@op("ones")
def ones(size: Sequence[int], dtype: str | None = None) -> Tensor:
    """Makes a tensor of ones."""
    return full(size, 1, dtype or "float32")


@op("full")
def full(size: Sequence[int], fill_value: Number, dtype: str | None = None) -> Tensor:
    """Makes a tensor of one value."""
    return plain(jnp.full(tuple(size), fill_value, jnp_dtype(dtype) if dtype else None))


@op("scalar_tensor")
def scalar_tensor(s: Number, dtype: str | None = None) -> Tensor:
    """Makes a tensor without dimensions."""
    return full((), s, dtype)


@op("zeros_like", "empty_like")
def zeros_like(x: Tensor, dtype: str | None = None) -> Tensor:
    """Makes zeros of a tensor's shape."""
    return full_like(x, 0, dtype)


@op("ones_like")
def ones_like(x: Tensor, dtype: str | None = None) -> Tensor:
    """Makes ones of a tensor's shape."""
    return full_like(x, 1, dtype)


@op("full_like")
def full_like(x: Tensor, fill_value: Number, dtype: str | None = None) -> Tensor:
    """Makes one value in a tensor's shape."""
    return x.with_array(jnp.full_like(x.array, fill_value, jnp_dtype(dtype) if dtype else None))


@op("new_zeros", "new_empty")
def new_zeros(x: Tensor, size: Sequence[int], dtype: str | None = None) -> Tensor:
    """Makes zeros of a tensor's type."""
    return new_full(x, size, 0, dtype)


@op("new_ones")
def new_ones(x: Tensor, size: Sequence[int], dtype: str | None = None) -> Tensor:
    """Makes ones of a tensor's type."""
    return new_full(x, size, 1, dtype)


@op("new_full")
def new_full(
    x: Tensor, size: Sequence[int], fill_value: Number, dtype: str | None = None
) -> Tensor:
    """Makes one value in a tensor's type."""
    return plain(jnp.full(tuple(size), fill_value, jnp_dtype(dtype) if dtype else x.array.dtype))


@op("arange")
def arange(end: Number, start: Number = 0, step: Number = 1, dtype: str | None = None) -> Tensor:
    """Counts from a start to an end."""
    return plain(jnp.arange(start, end, step, jnp_dtype(dtype) if dtype else None))


@op("linspace")
def linspace(start: Number, end: Number, steps: int, dtype: str | None = None) -> Tensor:
    """Lists evenly spaced numbers."""
    return plain(jnp.linspace(start, end, steps))


@op("meshgrid")
def meshgrid(tensors: Sequence[Tensor], indexing: str = "ij") -> tuple[Tensor, ...]:
    """Makes the coordinates of a grid."""
    grids = jnp.meshgrid(*(each.plain() for each in tensors), indexing=indexing)
    return tuple(plain(grid) for grid in grids)
