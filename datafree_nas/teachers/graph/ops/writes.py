"""Operations that put values into a part of a tensor, as PyTorch writes assignments to slices."""

from typing import Any

import jax.numpy as jnp

from datafree_nas.teachers.graph.ops.shapes import expand, unsqueeze
from datafree_nas.teachers.graph.ops.table import op
from datafree_nas.teachers.graph.tensor import Tensor


@op("slice_scatter")
def slice_scatter(
    x: Tensor,
    src: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """Puts values into a range of a dimension."""
    places: list[Any] = [slice(None)] * x.ndim
    places[x.axis(dim)] = slice(*slice(start, end, step).indices(x.shape[dim]))
    return x.with_array(x.array.at[tuple(places)].set(src.arranged(x.order)))


@op("select_scatter")
def select_scatter(x: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """Puts values into one place of a dimension."""
    start = index % x.shape[dim]
    return slice_scatter(x, unsqueeze(src, dim % x.ndim), dim, start, start + 1)


@op("copy")
def copy(x: Tensor, src: Tensor) -> Tensor:
    """Takes the values of another tensor, in the shape and the type of this one."""
    values = expand(src, x.shape)
    return values.with_array(values.array.astype(x.array.dtype))


@op("fill")
def fill(x: Tensor, value: Any) -> Tensor:
    """Puts one value everywhere."""
    number = value.plain().reshape(()) if isinstance(value, Tensor) else value
    return x.with_array(jnp.full_like(x.array, number))
