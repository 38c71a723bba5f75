"""Shapes, parts and orders of axes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from datafree_nas.exports.torch_ops.table import Constant, Unsupported, op
from datafree_nas.exports.torch_ops.windows import flat
from datafree_nas.exports.torch_values import Tensor, remaining


@op("reshape")
def _reshape(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    sizes = equation.outvars[0].aval.shape
    return Tensor(arguments[0].plain().reshape(_sizes(sizes)), tuple(range(len(sizes))))


def _sizes(shape: Sequence[Any]) -> list[int]:
    """Returns a shape with -1 in place of the number of images."""
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    if sizes.count(-1) > 1:
        raise Unsupported("a shape with the number of images twice")
    return sizes


@op("squeeze")
def _squeeze(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, removed = arguments[0], equation.params["dimensions"]
    proxy = x.proxy
    for place in sorted((x.axes.index(axis) for axis in removed), reverse=True):
        proxy = proxy.squeeze(place)
    return Tensor(proxy, remaining(x, removed))


@op("expand_dims", "broadcast_in_dim")
def _broadcast(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, params = arguments[0], equation.params
    shape, places = params["shape"], params["broadcast_dimensions"]
    proxy, added = x.proxy, [axis for axis in range(len(shape)) if axis not in places]
    for _ in added:
        proxy = proxy.unsqueeze(-1)
    axes = (*(places[axis] for axis in x.axes), *added)
    before = {place: equation.invars[0].aval.shape[i] for i, place in enumerate(places)}
    if any(shape[axis] != before.get(axis, 1) for axis in axes):
        proxy = proxy.expand([-1 if shape[a] == before.get(a, 1) else shape[a] for a in axes])
    return Tensor(proxy, axes)


@op("transpose")
def _transpose(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, permutation = arguments[0], list(equation.params["permutation"])
    return Tensor(x.proxy, tuple(permutation.index(axis) for axis in x.axes))


@op("concatenate")
def _concatenate(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    axes = next(a.axes for a in arguments if isinstance(a, Tensor))
    if any(isinstance(a, np.ndarray) for a in arguments):
        raise Unsupported("constants among its arguments")
    parts = [a.arranged(axes) for a in arguments]
    return Tensor(torch.cat(parts, axes.index(equation.params["dimension"])), axes)


@op("split")
def _split(constant: Constant, equation: Any, arguments: Sequence[Any]) -> list[Tensor]:
    x, axis = arguments[0], equation.params["axis"]
    sizes = [int(size) for size in equation.params["sizes"]]
    parts = torch.split(x.proxy, sizes, x.axes.index(axis))
    return [Tensor(parts[i], x.axes) for i in range(len(sizes))]


@op("slice")
def _slice(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, params = arguments[0], equation.params
    shape = equation.invars[0].aval.shape
    strides = params["strides"] or (1,) * len(shape)
    proxy = x.proxy
    for axis, (start, limit) in enumerate(
        zip(params["start_indices"], params["limit_indices"], strict=True)
    ):
        if (start, limit, strides[axis]) != (0, shape[axis], 1):
            proxy = _cut(proxy, x.axes.index(axis), slice(start, limit, strides[axis]))
    return Tensor(proxy, x.axes)


def _cut(proxy: Any, place: int, part: slice) -> Any:
    return proxy[(*[slice(None)] * place, part)]


@op("gather")
def _gather(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, indices = arguments
    if isinstance(indices, Tensor):
        raise Unsupported("indices that depend on the images")
    proxy = x.proxy
    for axis, taken in _taken(equation, indices).items():
        proxy = _take(constant, proxy, x.axes.index(axis), taken)
    return Tensor(proxy, x.axes)


def _taken(equation: Any, indices: np.ndarray) -> dict[int, np.ndarray]:
    """Returns which elements of which axes a gather takes, if it does so axis by axis."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    axes, shape = numbers.start_index_map, equation.invars[0].aval.shape
    whole = all(sizes[a] == shape[a] for a in range(len(shape)) if a not in axes)
    if whole and not numbers.collapsed_slice_dims and indices.ndim == 1:
        return {a: i + np.arange(sizes[a]) for a, i in zip(axes, indices, strict=True)}
    ndim = len(equation.outvars[0].aval.shape)
    places = tuple(place for place in range(ndim) if place not in numbers.offset_dims)
    if not whole or not places == tuple(sorted(axes)) == tuple(numbers.collapsed_slice_dims):
        raise Unsupported("indices of another kind than those of slices")
    found = {}
    for k, axis in enumerate(axes):
        every = np.moveaxis(indices[..., k], places.index(axis), 0)
        every = every.reshape(len(every), -1)
        if np.any(every != every[:, :1]):
            raise Unsupported("indices that differ between rows")
        found[axis] = every[:, 0]
    return found


def _take(constant: Constant, proxy: Any, place: int, taken: np.ndarray) -> Any:
    """Takes elements of an axis, as a slice where they are evenly spaced."""
    steps = set(np.diff(taken).tolist())
    if len(steps) == 1 and (step := steps.pop()) > 0:
        return _cut(proxy, place, slice(int(taken[0]), int(taken[-1]) + 1, step))
    return torch.index_select(proxy, place, constant(taken.astype(np.int64)))


@op("pad")
def _pad(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, value = arguments
    config = equation.params["padding_config"]
    if isinstance(value, Tensor) or any(inner for _, _, inner in config):
        raise Unsupported("padding between elements, or by a value that is no constant")
    return Tensor(
        F.pad(x.proxy, flat([config[axis][:2] for axis in x.axes]), value=value.item()), x.axes
    )


@op("rev")
def _reverse(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x = arguments[0]
    return Tensor(
        torch.flip(x.proxy, [x.axes.index(a) for a in equation.params["dimensions"]]), x.axes
    )
