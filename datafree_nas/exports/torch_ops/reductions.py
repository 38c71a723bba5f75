"""Sums, means and extremes over axes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from datafree_nas.exports.torch_ops.table import DTYPES, Constant, op
from datafree_nas.exports.torch_values import Sum, Tensor, remaining


@op("reduce_sum")
def _sum(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Sum:
    x, reduced = arguments[0], equation.params["axes"]
    shape = equation.invars[0].aval.shape
    dims = [x.axes.index(axis) for axis in reduced]

    def write(divisor: str) -> Any:
        return (torch.sum if divisor == "one" else torch.mean)(x.proxy, dims)

    count = 0 if any(not isinstance(shape[a], int) for a in reduced) else _product(shape, reduced)
    return Sum(write, count, np.zeros(0), remaining(x, reduced))


def _product(shape: Sequence[Any], axes: Sequence[int]) -> int:
    return int(np.prod([shape[axis] for axis in axes]))


@op("reduce_max", "reduce_min")
def _extreme(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, reduced = arguments[0], equation.params["axes"]
    function = torch.amax if equation.primitive.name == "reduce_max" else torch.amin
    dims = [x.axes.index(axis) for axis in reduced]
    return Tensor(function(x.proxy, dims), remaining(x, reduced))


@op("argmax")
def _argmax(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, (axis,) = arguments[0], equation.params["axes"]
    found = torch.argmax(x.proxy, x.axes.index(axis))
    return Tensor(found.to(DTYPES[np.dtype(equation.params["index_dtype"])]), remaining(x, [axis]))
