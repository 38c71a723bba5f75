"""Arrays whose axes may lie in another order than PyTorch counts its dimensions.

PyTorch's images are `[b c h w]`; XLA is fast on `[b h w c]`. A `Tensor` keeps the array as it lies
and remembers which dimension of PyTorch's each axis is. So a permutation costs nothing, layers that
work on channels find them last, and a graph needs no transposition between its layers.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Order = tuple[int, ...]


class Tensor(NamedTuple):
    """An array and the order of its axes.

    Attributes:
        array: values of the tensor, as they lie in memory.
        order: PyTorch's dimension of each axis of the array.
    """

    array: jax.Array
    order: Order

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.order)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions, in PyTorch's order."""
        return tuple(self.array.shape[self.order.index(dim)] for dim in range(self.ndim))

    def axis(self, dim: int) -> int:
        """Returns the axis that holds a dimension; negative ones count from the end."""
        return self.order.index(dim % self.ndim)

    def axes(self, dims: int | Sequence[int]) -> tuple[int, ...]:
        """Returns the axes of the array that hold the given dimensions."""
        return tuple(self.axis(dim) for dim in ((dims,) if isinstance(dims, int) else dims))

    def arranged(self, order: Order) -> jax.Array:
        """Returns the array with its axes in the given order of PyTorch's dimensions."""
        return jnp.transpose(self.array, [self.order.index(dim) for dim in order])

    def plain(self) -> jax.Array:
        """Returns the array in PyTorch's own order."""
        return self.arranged(tuple(range(self.ndim)))

    def channels_last(self) -> jax.Array:
        """Returns the array with dimension 1 as its last axis."""
        return self.arranged(channels_last(self.ndim))

    def with_array(self, array: jax.Array) -> "Tensor":
        """Returns a tensor of another array, with axes in the same order."""
        return Tensor(array, self.order)


def channels_last(ndim: int) -> Order:
    """Returns the order in which dimension 1 is the last axis."""
    return (0, *range(2, ndim), 1)


def plain(array: Any) -> Tensor:
    """Returns the tensor of an array in PyTorch's order."""
    array = jnp.asarray(array)
    return Tensor(array, tuple(range(array.ndim)))


def from_channels_last(array: jax.Array) -> Tensor:
    """Returns the tensor of an array whose last axis is dimension 1."""
    return Tensor(array, channels_last(array.ndim))


def aligned(*values: Any) -> tuple[list[Any], Order]:
    """Brings tensors into one order of axes, so that they broadcast as in PyTorch.

    Args:
        *values: tensors and numbers.

    Returns:
        An array for each tensor, with axes of length 1 for the dimensions that it lacks, each
        number as it is, and the order of the axes: that of the largest tensor.
    """
    tensors = [value for value in values if isinstance(value, Tensor)]
    ndim = max(value.ndim for value in tensors)
    expanded = [with_ndim(v, ndim) if isinstance(v, Tensor) else v for v in values]
    order = max((v for v in expanded if isinstance(v, Tensor)), key=lambda v: v.array.size).order
    return [v.arranged(order) if isinstance(v, Tensor) else v for v in expanded], order


def with_ndim(x: Tensor, ndim: int) -> Tensor:
    """Returns the tensor with dimensions of length 1 before its own ones, `ndim` in all."""
    more = ndim - x.ndim
    array = x.array.reshape((1,) * more + x.array.shape)
    return Tensor(array, (*range(more), *(dim + more for dim in x.order)))


def reshaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshapes as PyTorch does, moving as few axes as possible.

    Dimensions that stay, are split or are merged keep their place in the array: the dimensions fall
    into groups of equal size before and after, and only the axes of a group have to lie side by
    side. So pixels become tokens, or channels groups, without moving them.

    Args:
        x: tensor to reshape.
        shape: sizes of the new dimensions; -1 stands for the one that follows from the others.

    Raises:
        ValueError: the shape has another number of elements.
    """
    given, wanted = x.shape, tuple(shape)
    shape = _complete(wanted, math.prod(given))
    if math.prod(shape) != math.prod(given):
        raise ValueError(f"{given} cannot be reshaped to {wanted}")
    if not x.array.size:
        return plain(x.plain().reshape(shape))
    groups = _groups(given, shape)
    places = {index: min(x.axes(old)) for index, (old, _) in enumerate(groups) if old}
    sequence = sorted(range(len(groups)), key=lambda index: places.get(index, -1))
    array = x.arranged(tuple(dim for index in sequence for dim in groups[index][0]))
    order = tuple(dim for index in sequence for dim in groups[index][1])
    return Tensor(array.reshape([shape[dim] for dim in order]), order)


def _complete(shape: Sequence[int], size: int) -> tuple[int, ...]:
    known = math.prod(side for side in shape if side != -1)
    return tuple(size // max(known, 1) if side == -1 else int(side) for side in shape)


def _groups(
    old: Sequence[int], new: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs the shortest runs of dimensions whose sizes have the same product."""
    groups = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [], []
        if i < len(old):
            left.append(i)
            i += 1
        if j < len(new):
            right.append(j)
            j += 1
        while (before := math.prod(old[d] for d in left)) != (
            after := math.prod(new[d] for d in right)
        ):
            if before < after:
                left.append(i)
                i += 1
            else:
                right.append(j)
                j += 1
        groups.append((tuple(left), tuple(right)))
    return groups
