"""Pooling of images."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from datafree_nas.teachers.graph.ops.reductions import mean
from datafree_nas.teachers.graph.ops.table import op
from datafree_nas.teachers.graph.tensor import Tensor, from_channels_last

_Sizes = int | Sequence[int]


def per_axis(value: _Sizes, count: int) -> tuple[int, ...]:
    """Returns a number for each axis of an image; a single one counts for all."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * count if len(values) == 1 else values


class _Windows:
    """The windows of a pooling over an image.

    Attributes:
        size: side of a window along each axis.
        stride: distance of windows.
        dilation: distance of the pixels of a window.
        padding: pixels before and after each axis, those beyond PyTorch's padding included, which
            `ceil_mode` asks for.
        given: PyTorch's padding on both sides.
    """

    def __init__(
        self,
        sides: Sequence[int],
        size: _Sizes,
        stride: _Sizes,
        padding: _Sizes,
        dilation: _Sizes = 1,
        ceil_mode: bool = False,
    ) -> None:
        count = len(sides)
        self.size = per_axis(size, count)
        self.stride = per_axis(stride, count) if stride else self.size
        self.dilation = per_axis(dilation, count)
        self.given = per_axis(padding, count)
        self.padding = [
            (pad, pad + _more(side, k, s, pad, d) * ceil_mode)
            for side, k, s, pad, d in zip(
                sides, self.size, self.stride, self.given, self.dilation, strict=True
            )
        ]

    def reduce(self, x: jax.Array, start: float, function: Any) -> jax.Array:
        """Combines the pixels of each window, without gaps, of images with channels last."""
        size, padding = list(self.size), list(self.padding)
        for axis, (before, after) in enumerate(self.padding):
            side = x.shape[1 + axis]
            # A single window may be far larger than the image: "global" pooling in some networks.
            if before + side + after - size[axis] < self.stride[axis]:
                size[axis], padding[axis] = min(side, size[axis] - before), (0, 0)
                x = lax.slice_in_dim(x, 0, size[axis], axis=1 + axis)
        return lax.reduce_window(
            x,
            np.asarray(start, x.dtype),  # no traced value: XLA has to recognize the function
            function,
            (1, *size, 1),
            (1, *self.stride, 1),
            [(0, 0), *padding, (0, 0)],
        )

    def spread_maximum(self, x: jax.Array) -> jax.Array:
        """Takes the maximum of each window whose pixels lie apart: XLA has no derivative of it."""
        x = jnp.pad(x, [(0, 0), *self.padding, (0, 0)], constant_values=-jnp.inf)
        along = []
        for side, k, s, d in zip(x.shape[1:-1], self.size, self.stride, self.dilation, strict=True):
            reach = (side - d * (k - 1) - 1) // s * s + 1
            along.append([slice(i * d, i * d + reach, s) for i in range(k)])
        pixels = [x[:, *places] for places in itertools.product(*along)]
        return jnp.max(jnp.stack(pixels), 0)


def _more(side: int, size: int, stride: int, pad: int, dilation: int) -> int:
    """Returns how many more pixels the last window needs if sizes are rounded up."""
    reach = dilation * (size - 1) + 1
    windows = -(-(side + 2 * pad - reach) // stride) + 1
    if (windows - 1) * stride >= side + pad:  # a window that begins beyond the image is left out
        windows -= 1
    return max(0, (windows - 1) * stride + reach - side - 2 * pad)


@op("max_pool1d", "max_pool2d")
def max_pool(
    x: Tensor,
    kernel_size: _Sizes,
    stride: _Sizes = (),
    padding: _Sizes = 0,
    dilation: _Sizes = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Takes the maximum of every window."""
    array = x.channels_last()
    windows = _Windows(array.shape[1:-1], kernel_size, stride, padding, dilation, ceil_mode)
    if max(windows.dilation) > 1:
        return from_channels_last(windows.spread_maximum(array))
    return from_channels_last(windows.reduce(array, -jnp.inf, lax.max))


@op("max_pool2d_with_indices")
def max_pool_with_indices(
    x: Tensor,
    kernel_size: _Sizes,
    stride: _Sizes = (),
    padding: _Sizes = 0,
    dilation: _Sizes = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, None]:
    """Takes the maximum of every window; the places, which a classifier leaves unused, are None."""
    return max_pool(x, kernel_size, stride, padding, dilation, ceil_mode), None


@op("avg_pool1d", "avg_pool2d")
def avg_pool(
    x: Tensor,
    kernel_size: _Sizes,
    stride: _Sizes = (),
    padding: _Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Averages every window; what `ceil_mode` adds at the end never counts."""
    array = x.channels_last()
    windows = _Windows(array.shape[1:-1], kernel_size, stride, padding, 1, ceil_mode)
    total = windows.reduce(array, 0, lax.add)
    if divisor_override:
        return from_channels_last(total / divisor_override)
    return from_channels_last(total / _counts(array.shape[1:-1], windows, count_include_pad))


def _counts(sides: Sequence[int], windows: _Windows, padding_counts: bool) -> np.ndarray:
    """Returns how many pixels the mean of each window is over, `[i, j, 1]`."""
    counts: np.ndarray = np.ones(())
    for side, size, stride, given, (before, after) in zip(
        sides, windows.size, windows.stride, windows.given, windows.padding, strict=True
    ):
        number = (side + before + after - size) // stride + 1
        starts = np.arange(number) * stride - before
        low, high = (-given, side + given) if padding_counts else (0, side)
        inside = np.minimum(starts + size, high) - np.maximum(starts, low)
        counts = counts[..., None] * inside
    return counts[..., None].astype(np.float32)


@op("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def adaptive_avg_pool(x: Tensor, output_size: _Sizes) -> Tensor:
    """Averages the windows that divide an image into so many."""
    count = x.ndim - 2
    targets = _targets(x, output_size)
    if targets == (1,) * count:
        return mean(x, range(2, x.ndim), keepdim=True)
    for dim, target in enumerate(targets, start=2):
        x = mixed(x, dim, _averages(x.shape[dim], target))
    return x


def _targets(x: Tensor, sizes: _Sizes) -> tuple[int, ...]:
    wanted = (sizes,) * (x.ndim - 2) if isinstance(sizes, int) or sizes is None else sizes
    return tuple(x.shape[dim] if side is None else side for dim, side in enumerate(wanted, start=2))


def _windows_of(side: int, target: int) -> list[tuple[int, int]]:
    return [(i * side // target, -(-(i + 1) * side // target)) for i in range(target)]


def _averages(side: int, target: int) -> np.ndarray:
    weights = np.zeros((target, side))
    for row, (start, end) in enumerate(_windows_of(side, target)):
        weights[row, start:end] = 1 / (end - start)
    return weights


def mixed(x: Tensor, dim: int, weights: np.ndarray) -> Tensor:
    """Multiplies a dimension by a matrix `[new, old]`."""
    if weights.shape[0] == weights.shape[1] and np.array_equal(weights, np.eye(len(weights))):
        return x
    axis = x.axis(dim)
    matrix = jnp.asarray(weights, x.array.dtype)
    product = jnp.tensordot(x.array, matrix, ((axis,), (1,)), precision="highest")
    return x.with_array(jnp.moveaxis(product, -1, axis))


@op("adaptive_max_pool1d", "adaptive_max_pool2d")
def adaptive_max_pool(x: Tensor, output_size: _Sizes) -> tuple[Tensor, None]:
    """Takes the maximum of the windows that divide an image; the places are None."""
    for dim, target in enumerate(_targets(x, output_size), start=2):
        axis = x.axis(dim)
        rows = [
            jnp.max(lax.slice_in_dim(x.array, start, end, axis=axis), axis, keepdims=True)
            for start, end in _windows_of(x.shape[dim], target)
        ]
        x = x.with_array(jnp.concatenate(rows, axis))
    return x, None
