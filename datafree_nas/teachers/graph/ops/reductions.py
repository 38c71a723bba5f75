"""Operations over dimensions: means, sums, extrema, softmax, norms."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from datafree_nas.teachers.graph.ops.elementwise import Number
from datafree_nas.teachers.graph.ops.shapes import order_without
from datafree_nas.teachers.graph.ops.table import op
from datafree_nas.teachers.graph.tensor import Tensor, plain

_Dims = int | Sequence[int] | None


def _reduced(x: Tensor, function: Callable[..., Any], dim: _Dims, keepdim: bool) -> Tensor:
    """Applies e.g. `jnp.sum` over dimensions; over all if none are given."""
    dims = (dim,) if isinstance(dim, int) else tuple(dim or range(x.ndim))
    array = function(x.array, axis=x.axes(dims), keepdims=keepdim)
    return Tensor(array, x.order if keepdim else order_without(x, dims))


@op("mean")
def mean(x: Tensor, dim: _Dims = None, keepdim: bool = False, dtype: str | None = None) -> Tensor:
    """Computes the mean."""
    return _reduced(x, jnp.mean, dim, keepdim)


@op("sum")
def sum_(x: Tensor, dim: _Dims = None, keepdim: bool = False, dtype: str | None = None) -> Tensor:
    """Adds up."""
    return _reduced(x, jnp.sum, dim, keepdim)


@op("prod")
def prod(x: Tensor, dim: _Dims = None, keepdim: bool = False, dtype: str | None = None) -> Tensor:
    """Multiplies up."""
    return _reduced(x, jnp.prod, dim, keepdim)


@op("amax")
def amax(x: Tensor, dim: _Dims = None, keepdim: bool = False) -> Tensor:
    """Takes the largest."""
    return _reduced(x, jnp.max, dim, keepdim)


@op("amin")
def amin(x: Tensor, dim: _Dims = None, keepdim: bool = False) -> Tensor:
    """Takes the smallest."""
    return _reduced(x, jnp.min, dim, keepdim)


@op("any")
def any_(x: Tensor, dim: _Dims = None, keepdim: bool = False) -> Tensor:
    """Tells whether an element is true, or not zero."""
    return _reduced(x, jnp.any, dim, keepdim)


@op("all")
def all_(x: Tensor, dim: _Dims = None, keepdim: bool = False) -> Tensor:
    """Tells whether all elements are true, or not zero."""
    return _reduced(x, jnp.all, dim, keepdim)


@op("max.default")
def max_(x: Tensor) -> Tensor:
    """Takes the largest of all."""
    return amax(x)


@op("min.default")
def min_(x: Tensor) -> Tensor:
    """Takes the smallest of all."""
    return amin(x)


@op("max.dim")
def max_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Takes the largest of a dimension, and its place."""
    return amax(x, dim, keepdim), argmax(x, dim, keepdim)


@op("min.dim")
def min_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Takes the smallest of a dimension, and its place."""
    return amin(x, dim, keepdim), argmax(x.with_array(-x.array), dim, keepdim)


@op("argmax")
def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Returns the place of the largest; among all elements if no dimension is given."""
    if dim is None:
        return plain(jnp.argmax(x.plain(), keepdims=keepdim))
    array = jnp.argmax(x.array, x.axis(dim), keepdims=keepdim)
    return Tensor(array, x.order if keepdim else order_without(x, (dim,)))


@op("var")
def var(
    x: Tensor,
    dim: _Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    correction: Number | None = None,
) -> Tensor:
    """Computes the variance, by default divided by the count less one."""
    taken = int(unbiased if correction is None else correction)

    def function(array: jax.Array, **how: Any) -> jax.Array:
        return jnp.var(array, ddof=taken, **how)

    return _reduced(x, function, dim, keepdim)


@op("std")
def std(
    x: Tensor,
    dim: _Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    correction: Number | None = None,
) -> Tensor:
    """Computes the standard deviation, by default divided by the count less one."""
    found = var(x, dim, unbiased, keepdim, correction)
    return found.with_array(jnp.sqrt(found.array))


@op("var_mean")
def var_mean(
    x: Tensor,
    dim: _Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    correction: Number | None = None,
) -> tuple[Tensor, Tensor]:
    """Computes variance and mean."""
    return var(x, dim, unbiased, keepdim, correction), mean(x, dim, keepdim)


@op("norm", "linalg_vector_norm")
def norm(
    x: Tensor,
    p: Number | None = None,
    dim: _Dims = None,
    keepdim: bool = False,
    ord: Number = 2,
    dtype: str | None = None,
) -> Tensor:
    """Computes a norm of vectors; `linalg_vector_norm` calls its power `ord`."""
    power = ord if p is None else p

    def function(array: jax.Array, **how: Any) -> jax.Array:
        if power == 1:
            return jnp.sum(jnp.abs(array), **how)
        if power == float("inf"):
            return jnp.max(jnp.abs(array), **how)
        return jnp.sum(jnp.abs(array) ** power, **how) ** (1 / power)

    return _reduced(x, function, dim, keepdim)


@op("softmax", "_softmax")
def softmax(x: Tensor, dim: int, dtype: str | None = None, half_to_float: bool = False) -> Tensor:
    """Computes the softmax over a dimension."""
    return x.with_array(jax.nn.softmax(x.array, x.axis(dim)))


@op("log_softmax", "_log_softmax")
def log_softmax(
    x: Tensor, dim: int, dtype: str | None = None, half_to_float: bool = False
) -> Tensor:
    """Computes the logarithm of the softmax over a dimension."""
    return x.with_array(jax.nn.log_softmax(x.array, x.axis(dim)))


@op("logsumexp")
def logsumexp(x: Tensor, dim: _Dims, keepdim: bool = False) -> Tensor:
    """Computes the logarithm of the sum of exponentials."""
    return _reduced(x, jax.nn.logsumexp, dim, keepdim)


@op("cumsum")
def cumsum(x: Tensor, dim: int, dtype: str | None = None) -> Tensor:
    """Adds up along a dimension."""
    return x.with_array(jnp.cumsum(x.array, x.axis(dim)))


@op("topk")
def topk(
    x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Tensor, Tensor]:
    """Takes the largest elements of a dimension, and their places."""
    order = (*(d for d in range(x.ndim) if d != dim % x.ndim), dim % x.ndim)
    values, places = jax.lax.top_k(x.arranged(order) * (1 if largest else -1), k)
    return Tensor(values * (1 if largest else -1), order), Tensor(places, order)
