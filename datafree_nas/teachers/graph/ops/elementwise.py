"""Operations on each element: activations, arithmetic, comparisons, types."""

import math
import operator
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from datafree_nas.teachers.graph.ops.table import TABLE, op
from datafree_nas.teachers.graph.tensor import Tensor, aligned, plain

Number = int | float | bool
Value = Tensor | Number


def _of_one(function: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
    return lambda x: x.with_array(function(x.array))


def _of_two(function: Callable[[Any, Any], Any]) -> Callable[[Value, Value], Value]:
    def apply(x: Value, other: Value) -> Value:
        if not isinstance(x, Tensor) and not isinstance(other, Tensor):
            return plain(function(x, other))
        (left, right), order = aligned(x, other)
        return Tensor(function(left, right), order)

    return apply


_ONE: dict[str, Callable[[Any], Any]] = {
    "relu": nn.relu,
    "relu6": nn.relu6,
    "silu": nn.silu,
    "sigmoid": nn.sigmoid,
    "hardswish": nn.hard_swish,
    "hardsigmoid": nn.hard_sigmoid,
    "tanh": jnp.tanh,
    "mish": lambda x: x * jnp.tanh(nn.softplus(x)),
    "log_sigmoid": nn.log_sigmoid,
    "selu": nn.selu,
    "exp": jnp.exp,
    "expm1": jnp.expm1,
    "log": jnp.log,
    "log1p": jnp.log1p,
    "log2": jnp.log2,
    "sqrt": jnp.sqrt,
    "rsqrt": lax.rsqrt,
    "reciprocal": lambda x: 1 / x,
    "square": jnp.square,
    "abs": jnp.abs,
    "neg": jnp.negative,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "tan": jnp.tan,
    "atan": jnp.arctan,
    "erf": lax.erf,
    "sign": jnp.sign,
    "floor": jnp.floor,
    "ceil": jnp.ceil,
    "round": jnp.round,
    "trunc": jnp.trunc,
    "logical_not": jnp.logical_not,
    "bitwise_not": jnp.invert,
    "isnan": jnp.isnan,
    "isinf": jnp.isinf,
}
for _name, _one in _ONE.items():
    TABLE[_name] = _of_one(_one)

_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "max.other": jnp.maximum,
    "min.other": jnp.minimum,
    "eq": jnp.equal,
    "ne": jnp.not_equal,
    "lt": jnp.less,
    "le": jnp.less_equal,
    "gt": jnp.greater,
    "ge": jnp.greater_equal,
    "logical_and": jnp.logical_and,
    "logical_or": jnp.logical_or,
    "logical_xor": jnp.logical_xor,
    "bitwise_and": jnp.bitwise_and,
    "bitwise_or": jnp.bitwise_or,
    "remainder": jnp.remainder,
    "floor_divide": jnp.floor_divide,
    "atan2": jnp.arctan2,
}
for _name, _two in _TWO.items():
    TABLE[_name] = _of_two(_two)

# arithmetic on sizes, which are Python's numbers; `a` and `b` are the names that the file gives
_SIZES: dict[str, Callable[..., Any]] = {
    "_operator.add": operator.add,
    "_operator.sub": operator.sub,
    "_operator.mul": operator.mul,
    "_operator.floordiv": operator.floordiv,
    "_operator.truediv": operator.truediv,
    "_operator.mod": operator.mod,
    "_operator.pow": operator.pow,
    "_operator.neg": operator.neg,
    "_operator.eq": operator.eq,
    "_operator.ne": operator.ne,
    "_operator.lt": operator.lt,
    "_operator.le": operator.le,
    "_operator.gt": operator.gt,
    "_operator.ge": operator.ge,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.trunc": math.trunc,
    "builtins.round": round,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_float": float,
    "torch.sym_int": int,
    "torch.sym_not": operator.not_,
}
TABLE.update(_SIZES)


@op("add")
def add(x: Value, other: Value, alpha: Number = 1) -> Value:
    """Adds `alpha` times the other."""
    return _of_two(lambda a, b: a + (b if alpha == 1 else alpha * b))(x, other)


@op("sub", "subtract")
def sub(x: Value, other: Value, alpha: Number = 1) -> Value:
    """Subtracts `alpha` times the other."""
    return _of_two(lambda a, b: a - (b if alpha == 1 else alpha * b))(x, other)


@op("rsub")
def rsub(x: Value, other: Value, alpha: Number = 1) -> Value:
    """Subtracts `alpha` times x from the other."""
    return sub(other, x, alpha)


@op("mul", "multiply")
def mul(x: Value, other: Value) -> Value:
    """Computes the product."""
    return _of_two(operator.mul)(x, other)


@op("div", "divide", "true_divide")
def div(x: Value, other: Value, rounding_mode: str | None = None) -> Value:
    """Computes the quotient; rounds it to `floor` or towards zero (`trunc`) if asked to."""
    functions = {"floor": jnp.floor_divide, "trunc": _divided_to_zero, None: operator.truediv}
    return _of_two(functions[rounding_mode])(x, other)


def _divided_to_zero(x: Any, other: Any) -> jax.Array:
    """Computes the quotient, rounded towards zero; whole numbers stay what they are."""
    return jnp.trunc(jnp.divide(x, other)).astype(jnp.result_type(x, other))


@op("pow")
def power(x: Value, exponent: Value) -> Value:
    """Raises to a power."""
    return _of_two(jnp.power)(x, exponent)


@op("addcmul")
def addcmul(x: Tensor, tensor1: Tensor, tensor2: Tensor, value: Number = 1) -> Value:
    """Adds `value` times a product."""
    return add(x, mul(tensor1, tensor2), value)


@op("lerp")
def lerp(x: Tensor, end: Tensor, weight: Value) -> Value:
    """Goes from x towards `end` by the weight."""
    return add(x, mul(weight, sub(end, x)))


@op("where")
def where(condition: Tensor, x: Value, other: Value) -> Tensor:
    """Takes x where the condition holds, else the other."""
    (chosen, left, right), order = aligned(condition, x, other)
    return Tensor(jnp.where(chosen, left, right), order)


@op("masked_fill")
def masked_fill(x: Tensor, mask: Tensor, value: Value) -> Tensor:
    """Puts a value where the mask holds."""
    return where(mask, value, x)


@op("clamp", "clip", "hardtanh")
def clamp(
    x: Tensor,
    min: Value | None = None,
    max: Value | None = None,
    min_val: Number = -1,
    max_val: Number = 1,
) -> Tensor:
    """Limits values to an interval; `hardtanh` names it `min_val` and `max_val`."""
    if min is None and max is None:
        min, max = min_val, max_val
    (value, low, high), order = aligned(x, min, max)
    return Tensor(jnp.clip(value, low, high), order)


@op("clamp_min")
def clamp_min(x: Tensor, min: Value) -> Tensor:
    """Limits values from below."""
    return clamp(x, min)


@op("clamp_max")
def clamp_max(x: Tensor, max: Value) -> Tensor:
    """Limits values from above."""
    return clamp(x, None, max)


@op("gelu")
def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Computes GELU, exactly or by `tanh`."""
    return x.with_array(nn.gelu(x.array, approximate=approximate == "tanh"))


@op("leaky_relu")
def leaky_relu(x: Tensor, negative_slope: Number = 0.01) -> Tensor:
    """Multiplies negative values by a slope."""
    return x.with_array(nn.leaky_relu(x.array, negative_slope))


@op("elu")
def elu(x: Tensor, alpha: Number = 1, scale: Number = 1, input_scale: Number = 1) -> Tensor:
    """Computes `scale · (max(0, x) + alpha · (exp(input_scale · min(0, x)) − 1))`."""
    below = alpha * jnp.expm1(input_scale * jnp.minimum(x.array, 0))
    return x.with_array(scale * (jnp.maximum(x.array, 0) + below))


@op("celu")
def celu(x: Tensor, alpha: Number = 1) -> Tensor:
    """Computes CELU."""
    return x.with_array(nn.celu(x.array, alpha))


@op("softplus")
def softplus(x: Tensor, beta: Number = 1, threshold: Number = 20) -> Tensor:
    """Computes `log(1 + exp(beta · x)) / beta`; x itself above the threshold."""
    smooth = nn.softplus(beta * x.array) / beta
    return x.with_array(jnp.where(beta * x.array > threshold, x.array, smooth))


@op("prelu", "_prelu_kernel")
def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """Multiplies negative values by a slope for each channel, or by one for all."""
    slope = weight.plain()
    if weight.ndim == 1:
        slope = slope.reshape((1, -1) + (1,) * (x.ndim - 2))
    (value, slope), order = aligned(x, plain(slope))
    return Tensor(jnp.where(value > 0, value, slope * value), order)


@op("threshold")
def threshold(x: Tensor, threshold: Number, value: Number) -> Tensor:
    """Replaces what is not above the threshold by a value."""
    return x.with_array(jnp.where(x.array > threshold, x.array, value))


@op("glu")
def glu(x: Tensor, dim: int = -1) -> Tensor:
    """Multiplies the first half by the sigmoid of the second."""
    left, right = jnp.split(x.array, 2, x.axis(dim))
    return x.with_array(left * nn.sigmoid(right))


@op(
    *("contiguous", "clone", "detach", "alias", "lift_fresh_copy", "lift_fresh", "lift"),
    *("dropout", "feature_dropout", "alpha_dropout", "native_dropout"),
)
def same(x: Tensor, p: Number = 0, train: bool = False) -> Tensor:
    """Returns x itself; drop-outs do nothing in evaluation.

    Raises:
        ValueError: the graph is one of training.
    """
    if train and p:
        raise ValueError("the graph drops values at random")
    return x


@op("to", "_to_copy", "type_as")
def cast(
    x: Tensor, dtype: str | None = None, other: Tensor | None = None, copy: bool = False
) -> Tensor:
    """Changes between whole numbers, booleans and floating-point numbers.

    A floating-point type stays what it is, since layers compute in the type of the images.
    """
    wanted = other.array.dtype if other is not None else dtype and jnp_dtype(dtype)
    if wanted is None or (_is_float(x.array.dtype) and _is_float(wanted)):
        return x
    return x.with_array(x.array.astype(wanted))


def jnp_dtype(name: str) -> Any:
    """Returns the type that stands for one of PyTorch's: the widest of its kind here."""
    if name == "bool":
        return jnp.bool_
    return jnp.float32 if "float" in name or name in ("half", "double") else jnp.int32


def _is_float(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


@op("bernoulli", "rand", "randn", "rand_like", "randn_like", "normal")
def random(*_: Any, **__: Any) -> jax.Array:
    """Refuses random numbers, which no evaluation of a classifier needs."""
    raise ValueError("the graph draws random numbers; export it in evaluation: model.eval()")
