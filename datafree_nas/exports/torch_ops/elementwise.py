"""Functions of each element."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F

from datafree_nas.exports.torch_ops.table import DTYPES, TABLE, Constant, Op, Unsupported, op
from datafree_nas.exports.torch_values import Tensor


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
    "and": operator.and_,
    "cbrt": lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
    "ceil": torch.ceil,
    "cos": torch.cos,
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
    "not": operator.invert,
    "or": operator.or_,
    "pow": operator.pow,
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


TABLE.update({name: _by_element(function) for name, function in _ELEMENTWISE.items()})


@op("copy", "copy_p", "optimization_barrier", "stop_gradient")
def _identity(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Any:
    return list(arguments) if equation.primitive.multiple_results else arguments[0]


@op("div")
def _divide(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    if not np.issubdtype(equation.outvars[0].aval.dtype, np.floating):
        raise Unsupported("whole numbers")
    return elementwise(operator.truediv, constant, arguments)


@op("round")
def _round(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    if equation.params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise Unsupported("halves that are rounded away from zero")
    return elementwise(torch.round, constant, arguments)


@op("max")
def _maximum(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    (value, limit), is_number = _constant_last(arguments)
    if not is_number:
        return elementwise(torch.maximum, constant, arguments)
    if limit == 0:
        return elementwise(F.relu, constant, [value])
    return elementwise(lambda x: torch.clamp(x, min=limit), constant, [value])


@op("min")
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


@op("clamp")
def _clamp(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    low, value, high = arguments
    if not all(isinstance(limit, np.ndarray) and limit.size == 1 for limit in (low, high)):
        raise Unsupported("limits that are no constants")
    return elementwise(lambda x: torch.clamp(x, low.item(), high.item()), constant, [value])


@op("integer_pow")
def _integer_power(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    return elementwise(lambda x: x ** equation.params["y"], constant, arguments)


@op("select_n")
def _select(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    if len(arguments) != 3:
        raise Unsupported("more than two cases")
    which, if_false, if_true = arguments

    def choose(condition: Any, yes: Any, no: Any) -> Any:
        return torch.where(condition, yes, no)

    return elementwise(choose, constant, [which, if_true, if_false])


@op("convert_element_type")
def _convert(constant: Constant, equation: Any, arguments: Sequence[Any]) -> Tensor:
    dtype = DTYPES[np.dtype(equation.params["new_dtype"])]
    return elementwise(lambda x: x.to(dtype), constant, arguments)
