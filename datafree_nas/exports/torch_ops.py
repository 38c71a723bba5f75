"""JAX's primitives in PyTorch: each function writes one equation of a program.

A function takes a function that writes constants, the equation and its arguments, and returns the
value of the equation, or its values. Arguments are `torch_values.Tensor` or constants.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F

from datafree_nas.exports.torch_values import Axes, Layer, Sum, Tensor


class Unsupported(Exception):
    """A primitive has parameters that its function here does not take."""


Constant = Callable[[np.ndarray], Any]  # proxy of a constant, as a buffer of the module
Op = Callable[[Constant, Any, Sequence[Any]], Any]
OPS: dict[str, Op] = {}
_DTYPES = {
    np.dtype(name): getattr(torch, name)
    for name in (
        "float32",
        "float64",
        "float16",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "bool",
    )
}


def _op(*names: str) -> Callable[[Op], Op]:
    """Adds a function to the table, under the names of its primitives."""

    def add(function: Op) -> Op:
        OPS.update(dict.fromkeys(names, function))
        return function

    return add


def elementwise(
    function: Callable[..., Any], constant: Constant, arguments: Sequence[Tensor | np.ndarray]
) -> Tensor:
    """Writes a function of each element.

    Args:
        function: function of proxies and numbers.
        constant: function that returns the proxy of a constant.
        arguments: one tensor at least, and constants, of shapes that JAX can broadcast.
    """
    axes = max((a.axes for a in arguments if isinstance(a, Tensor)), key=len)

    def operand(value: Tensor | np.ndarray) -> Any:
        if isinstance(value, Tensor):
            return value.arranged(axes)
        if value.ndim == 0:
            return value.item()
        return constant(np.transpose(value, axes))

    return Tensor(function(*map(operand, arguments)), axes)


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "abs": torch.abs,
    "add": operator.add,
    "add_any": operator.add,
    "and": torch.logical_and,
    "cbrt": lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
    "ceil": torch.ceil,
    "cos": torch.cos,
    "div": operator.truediv,
    "eq": operator.eq,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "floor": torch.floor,
    "ge": operator.ge,
    "gt": operator.gt,
    "is_finite": torch.isfinite,
    "le": operator.le,
    "log": torch.log,
    "log1p": torch.log1p,
    "logistic": torch.sigmoid,
    "lt": operator.lt,
    "mul": operator.mul,
    "ne": operator.ne,
    "neg": operator.neg,
    "not": torch.logical_not,
    "or": torch.logical_or,
    "pow": operator.pow,
    "round": torch.round,
    "rsqrt": torch.rsqrt,
    "sign": torch.sign,
    "sin": torch.sin,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "sub": operator.sub,
    "tanh": torch.tanh,
}
# primitives that may become a part of the value before them, see `torch_values`
FOLDING = ("add", "sub", "mul", "div")


def _by_element(function: Callable[..., Any]) -> Op:
    def write(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
        return elementwise(function, constant, arguments)

    return write


OPS.update({name: _by_element(function) for name, function in _ELEMENTWISE.items()})


@_op("copy", "copy_p", "optimization_barrier", "stop_gradient", "reduce_precision")
def _identity(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Any:
    return list(arguments) if equation.primitive.multiple_results else arguments[0]


@_op("max")
def _maximum(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    (value, limit), is_number = _constant_last(arguments)
    if not is_number:
        return elementwise(torch.maximum, constant, arguments)
    if limit == 0:
        return elementwise(F.relu, constant, [value])
    return elementwise(lambda x: torch.clamp(x, min=limit), constant, [value])


@_op("min")
def _minimum(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    (value, limit), is_number = _constant_last(arguments)
    if not is_number:
        return elementwise(torch.minimum, constant, arguments)
    return elementwise(lambda x: torch.clamp(x, max=limit), constant, [value])


def _constant_last(arguments: Sequence[Any]) -> tuple[tuple[Any, Any], bool]:
    """Returns two arguments, the constant one last, and whether one is a constant number."""
    tensor, other = sorted(arguments, key=lambda a: isinstance(a, np.ndarray))
    if isinstance(other, np.ndarray) and other.size == 1:
        return (tensor, other.item()), True
    return (tensor, other), False


@_op("clamp")
def _clamp(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    low, value, high = arguments
    if not all(isinstance(limit, np.ndarray) and limit.size == 1 for limit in (low, high)):
        raise Unsupported("limits that are no constants")
    return elementwise(lambda x: torch.clamp(x, low.item(), high.item()), constant, [value])


@_op("integer_pow")
def _integer_power(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    return elementwise(lambda x: x ** equation.params["y"], constant, arguments)


@_op("select_n")
def _select(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    if len(arguments) != 3:
        raise Unsupported("more than two cases")
    which, if_false, if_true = arguments

    def choose(condition: Any, yes: Any, no: Any) -> Any:
        return torch.where(condition, yes, no)

    return elementwise(choose, constant, [which, if_true, if_false])


@_op("convert_element_type")
def _convert(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    dtype = _DTYPES[np.dtype(equation.params["new_dtype"])]
    return elementwise(lambda x: x.to(dtype), constant, arguments)


@_op("conv_general_dilated")
def _convolution(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Layer:
    x, kernel = arguments
    params = equation.params
    image, weight, output = params["dimension_numbers"]
    dims = len(image) - 2
    if isinstance(kernel, Tensor) or isinstance(x, np.ndarray):
        raise Unsupported("a kernel that depends on the images")
    if params["batch_group_count"] != 1 or set(params["lhs_dilation"]) != {1}:
        raise Unsupported("a transposed or grouped batch")
    before, pads = _padded(x.arranged(tuple(image)), params["padding"], 0.0)
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


def _padded(proxy: Any, padding: Sequence[Any], value: float) -> tuple[Any, Axes]:
    """Pads the last axes where both sides differ; returns the padding that is left to do."""
    if all(low == high and low >= 0 for low, high in padding):
        return proxy, tuple(int(low) for low, _ in padding)
    return F.pad(proxy, _flat(padding), value=value), (0,) * len(padding)


@_op("dot_general")
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


@_op("reduce_window_max")
def _max_pool(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    proxy, axes, window, strides, padding = _windows(equation, arguments[0])
    function = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(window)]
    if any(low > size // 2 for (low, _), size in zip(padding, window, strict=True)):
        proxy, pads = F.pad(proxy, _flat(padding), value=-np.inf), (0,) * len(window)
    else:
        proxy, pads = _padded(proxy, padding, -np.inf)
    return Tensor(function(proxy, window, strides, pads), axes)


@_op("reduce_window_sum")
def _sum_pool(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Sum:
    proxy, axes, window, strides, padding = _windows(equation, arguments[0])
    proxy, pads = _padded(proxy, padding, 0.0)
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


@_op("reduce_sum")
def _sum(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Sum:
    x, reduced = arguments[0], equation.params["axes"]
    shape = equation.invars[0].aval.shape
    dims = [x.axes.index(axis) for axis in reduced]

    def write(divisor: str) -> Any:
        return (torch.sum if divisor == "one" else torch.mean)(x.proxy, dims)

    count = 0 if any(not isinstance(shape[a], int) for a in reduced) else _product(shape, reduced)
    return Sum(write, count, np.zeros(0), _remaining(x, reduced))


def _product(shape: Sequence[Any], axes: Sequence[int]) -> int:
    return int(np.prod([shape[axis] for axis in axes]))


@_op("reduce_max", "reduce_min")
def _extreme(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, reduced = arguments[0], equation.params["axes"]
    function = torch.amax if equation.primitive.name == "reduce_max" else torch.amin
    dims = [x.axes.index(axis) for axis in reduced]
    return Tensor(function(x.proxy, dims), _remaining(x, reduced))


@_op("argmax")
def _argmax(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, (axis,) = arguments[0], equation.params["axes"]
    found = torch.argmax(x.proxy, x.axes.index(axis))
    return Tensor(
        found.to(_DTYPES[np.dtype(equation.params["index_dtype"])]), _remaining(x, [axis])
    )


def _remaining(x: Tensor, removed: Sequence[int]) -> Axes:
    """Returns the axes of a tensor after some of JAX's axes were removed."""
    kept = [axis for axis in x.axes if axis not in removed]
    return tuple(axis - sum(r < axis for r in removed) for axis in kept)


@_op("reshape")
def _reshape(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    sizes = equation.outvars[0].aval.shape
    return Tensor(arguments[0].plain().reshape(_sizes(sizes)), tuple(range(len(sizes))))


def _sizes(shape: Sequence[Any]) -> list[int]:
    """Returns a shape with -1 in place of the number of images."""
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    if sizes.count(-1) > 1:
        raise Unsupported("a shape with the number of images twice")
    return sizes


@_op("squeeze")
def _squeeze(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, removed = arguments[0], equation.params["dimensions"]
    proxy = x.proxy
    for place in sorted((x.axes.index(axis) for axis in removed), reverse=True):
        proxy = proxy.squeeze(place)
    return Tensor(proxy, _remaining(x, removed))


@_op("expand_dims", "broadcast_in_dim")
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


@_op("transpose")
def _transpose(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, permutation = arguments[0], list(equation.params["permutation"])
    return Tensor(x.proxy, tuple(permutation.index(axis) for axis in x.axes))


@_op("concatenate")
def _concatenate(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    axes = next(a.axes for a in arguments if isinstance(a, Tensor))
    if any(isinstance(a, np.ndarray) for a in arguments):
        raise Unsupported("constants among its arguments")
    parts = [a.arranged(axes) for a in arguments]
    return Tensor(torch.cat(parts, axes.index(equation.params["dimension"])), axes)


@_op("split")
def _split(constant: Constant, equation: Any, arguments: Sequence[Any]) -> list[Tensor]:
    x, axis = arguments[0], equation.params["axis"]
    sizes = [int(size) for size in equation.params["sizes"]]
    parts = torch.split(x.proxy, sizes, x.axes.index(axis))
    return [Tensor(parts[i], x.axes) for i in range(len(sizes))]


@_op("slice")
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


@_op("gather")
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


@_op("pad")
def _pad(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x, value = arguments
    config = equation.params["padding_config"]
    if isinstance(value, Tensor) or any(inner for _, _, inner in config):
        raise Unsupported("padding between elements, or by a value that is no constant")
    return Tensor(
        F.pad(x.proxy, _flat([config[axis][:2] for axis in x.axes]), value=value.item()), x.axes
    )


def _flat(padding: Sequence[Sequence[Any]]) -> list[int]:
    """Returns the padding of all axes as PyTorch wants it, the last axis first."""
    return [int(side) for pair in reversed(padding) for side in pair]


@_op("rev")
def _reverse(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    x = arguments[0]
    return Tensor(
        torch.flip(x.proxy, [x.axes.index(a) for a in equation.params["dimensions"]]), x.axes
    )
