"""Layers with weights: convolutions and products of matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from datafree_nas.exports.torch_ops.table import Constant, Unsupported, op
from datafree_nas.exports.torch_ops.windows import padded
from datafree_nas.exports.torch_values import Layer, Tensor


@op("conv_general_dilated")
def _convolution(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Layer:
    x, kernel = arguments
    params = equation.params
    image, weight, output = params["dimension_numbers"]
    dims = len(image) - 2
    if isinstance(kernel, Tensor) or isinstance(x, np.ndarray):
        raise Unsupported("a kernel that depends on the images")
    if params["batch_group_count"] != 1 or set(params["lhs_dilation"]) != {1}:
        raise Unsupported("a transposed or grouped batch")
    before, pads = padded(x.arranged(tuple(image)), params["padding"], 0.0)
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]

    def write(weight: np.ndarray, bias: np.ndarray) -> Any:
        return function(
            before,
            constant(weight),
            constant(bias),
            tuple(params["window_strides"]),
            pads,
            tuple(params["rhs_dilation"]),
            params["feature_group_count"],
        )

    weights = np.transpose(kernel, weight)
    return Layer(write, weights, np.zeros(len(weights), weights.dtype), tuple(output), output[1])


@op("dot_general")
def _dot(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Layer | Tensor:
    x, weight = arguments
    (contracted, summed), (left, _) = equation.params["dimension_numbers"]
    if isinstance(x, Tensor) and isinstance(weight, np.ndarray) and weight.ndim == 2 and not left:
        last = len(x.axes) - 1
        if tuple(contracted) == (last,):
            before = x.plain()
            matrix = weight.T if tuple(summed) == (0,) else weight

            def write(weight: np.ndarray, bias: np.ndarray) -> Any:
                return F.linear(before, constant(weight), constant(bias))

            bias = np.zeros(len(matrix), matrix.dtype)
            return Layer(write, matrix, bias, tuple(range(last + 1)), last)
    a, b = (v.plain() if isinstance(v, Tensor) else constant(v) for v in arguments)
    text = _einsum(equation)
    return Tensor(torch.einsum(text, a, b), tuple(range(len(equation.outvars[0].aval.shape))))


def _einsum(equation: Any) -> str:
    """Returns the text of `torch.einsum` for a `dot_general`."""
    ndim, other_ndim = (len(var.aval.shape) for var in equation.invars)
    (contracted, summed), (left, right) = equation.params["dimension_numbers"]
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    first = [next(letters) for _ in range(ndim)]
    shared = dict(zip(right, left, strict=True)) | dict(zip(summed, contracted, strict=True))
    second = [first[shared[i]] if i in shared else next(letters) for i in range(other_ndim)]
    batch = [first[i] for i in left]
    rows = [first[i] for i in range(ndim) if i not in (*left, *contracted)]
    columns = [second[i] for i in range(other_ndim) if i not in (*right, *summed)]
    return f"{''.join(first)},{''.join(second)}->{''.join(batch + rows + columns)}"
