"""Pooling over windows, and padding."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import torch.nn.functional as F

from datafree_nas.exports.torch_ops.table import Constant, Unsupported, op
from datafree_nas.exports.torch_values import Axes, Sum, Tensor


def padded(proxy: Any, padding: Sequence[Any], value: float) -> tuple[Any, Axes]:
    """Pads the last axes where both sides differ; returns the padding that is left to do."""
    if all(low == high and low >= 0 for low, high in padding):
        return proxy, tuple(int(low) for low, _ in padding)
    return F.pad(proxy, flat(padding), value=value), (0,) * len(padding)


@op("reduce_window_max")
def _max_pool(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    proxy, axes, window, strides, padding = _windows(equation, arguments[0])
    function = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(window)]
    if any(low > size // 2 for (low, _), size in zip(padding, window, strict=True)):
        proxy, pads = F.pad(proxy, flat(padding), value=-np.inf), (0,) * len(window)
    else:
        proxy, pads = padded(proxy, padding, -np.inf)
    return Tensor(function(proxy, window, strides, pads), axes)


@op("reduce_window_sum")
def _sum_pool(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Sum:
    proxy, axes, window, strides, padding = _windows(equation, arguments[0])
    proxy, pads = padded(proxy, padding, 0.0)
    function = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(window)]
    area = int(np.prod(window))

    def write(divisor: str) -> Any:
        mean = function(proxy, window, strides, pads, count_include_pad=divisor != "inside")
        return mean * float(area) if divisor == "one" else mean

    even = all(low == high for low, high in padding)  # else PyTorch has no such mean
    return Sum(write, area, _inside(equation) if even else np.zeros(0), axes)


def _windows(equation: Any, x: Tensor) -> tuple[Any, Axes, Axes, Axes, list[Any]]:
    """Returns the tensor with the pooled axes last, its axes, and what describes the windows."""
    params = equation.params
    if {*params["base_dilation"], *params["window_dilation"]} != {1}:
        raise Unsupported("dilated windows")
    sizes = params["window_dimensions"]
    pooled = [axis for axis, size in enumerate(sizes) if size != 1] or [1, 2]
    others = [axis for axis in range(len(sizes)) if axis not in pooled]
    if len(others) != 2:
        raise Unsupported("windows over other axes than those of an image")
    axes = (*others, *pooled)

    def of(name: str) -> Axes:
        return tuple(int(params[name][axis]) for axis in pooled)

    padding = [tuple(params["padding"][axis]) for axis in pooled]
    return x.arranged(axes), axes, of("window_dimensions"), of("window_strides"), padding


def _inside(equation: Any) -> np.ndarray:
    """Counts the elements of each window without padding."""
    params, shape = equation.params, equation.invars[0].aval.shape
    sizes = [s if w > 1 else 1 for s, w in zip(shape, params["window_dimensions"], strict=True)]
    strides = [s if w > 1 else 1 for s, w in zip(params["window_strides"], sizes, strict=True)]
    counted = jax.lax.reduce_window(
        np.ones(sizes, np.float32),
        np.float32(0),
        jax.lax.add,
        params["window_dimensions"],
        strides,
        params["padding"],
    )
    return np.asarray(counted)


def flat(padding: Sequence[Sequence[Any]]) -> list[int]:
    """Returns the padding of all axes as PyTorch wants it, the last axis first."""
    return [int(side) for pair in reversed(padding) for side in pair]
