"""Writes a JAX program as a PyTorch module, from which converters make files for other runtimes.

The module has no trace of JAX: it is a `torch.fx.GraphModule` with convolutions, dense layers and
pooling in PyTorch's order of axes. What does not depend on the images is computed here, and
BatchNorm is folded into the layer before it.
"""

import copy
import itertools
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.extend
import numpy as np
import torch
import torch.fx

from datafree_nas.exports import torch_ops
from datafree_nas.exports.torch_ops.elementwise import FOLDING, elementwise
from datafree_nas.exports.torch_values import Affine, Tensor, Unwritten, Value
from datafree_nas.runtime import lowering
from datafree_nas.runtime.errors import UserError

_INLINED = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # parameters that hold the program of a call


def module(
    function: Callable[[jax.Array], jax.Array], images: jax.ShapeDtypeStruct
) -> torch.fx.GraphModule:
    """Writes a function as a PyTorch module.

    Args:
        function: JAX function of a batch of images, with its weights inside.
        images: shape and type of the batch; the number of images may be symbolic.

    Returns:
        A module with one argument, a tensor of the same shape and type.

    Raises:
        UserError: the function uses a primitive that is not among `torch_ops.TABLE`; all are named.
    """
    with lowering.plain():
        closed = jax.make_jaxpr(function)(images)
    equations, consts, outputs = _flattened(closed)
    inputs = closed.jaxpr.invars
    _check(equations, inputs)
    writer = _Writer(equations, outputs)
    with torch.no_grad():
        placeholder = writer.argument("images")
        values = dict(
            zip(inputs, [Tensor(placeholder, tuple(range(len(images.shape))))], strict=True)
        )
        values |= {var: np.asarray(value) for var, value in consts.items()}
        for equation in equations:
            values |= zip(equation.outvars, writer.write(equation, values), strict=True)
    return writer.finished(_read(outputs[0], values))


def _flattened(closed: Any) -> tuple[list[Any], dict[Any, Any], list[Any]]:
    """Returns equations without calls, the constants, and the variables of the outputs."""
    equations: list[Any] = []
    consts = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))

    def inline(jaxpr: Any, renamed: dict[Any, Any]) -> list[Any]:
        def name(var: Any) -> Any:
            return renamed.get(var, var) if not _is_literal(var) else var

        for equation in jaxpr.eqns:
            invars = [name(var) for var in equation.invars]
            inner = next((equation.params[n] for n in _INLINED if n in equation.params), None)
            if inner is None:
                # a program that is called twice is there once, with the same variables
                fresh = [copy.copy(var) for var in equation.outvars]
                renamed |= zip(equation.outvars, fresh, strict=True)
                equations.append(equation.replace(invars=invars, outvars=fresh))
                continue
            body = getattr(inner, "jaxpr", inner)
            consts.update(zip(body.constvars, getattr(inner, "consts", ()), strict=True))
            results = inline(body, dict(zip(body.invars, invars, strict=True)))
            renamed |= zip(equation.outvars, results, strict=True)
        return [name(var) for var in jaxpr.outvars]

    return equations, consts, inline(closed.jaxpr, {})


def _is_literal(var: Any) -> bool:
    return isinstance(var, jax.extend.core.Literal)


def _check(equations: Sequence[Any], inputs: Sequence[Any]) -> None:
    """Raises `UserError` that names all primitives that the table lacks."""
    depends, missing = set(inputs), set()
    for equation in equations:
        if any(not _is_literal(var) and var in depends for var in equation.invars):
            depends |= set(equation.outvars)
            if equation.primitive.name not in torch_ops.TABLE:
                missing.add(equation.primitive.name)
    if missing:
        raise UserError(
            f"JAX's primitives {', '.join(sorted(missing))} cannot be exported yet; add them to "
            "datafree_nas/exports/torch_ops, or use --format=stablehlo"
        )


def _is_float(var: Any) -> bool:
    return bool(np.issubdtype(var.aval.dtype, np.floating))


def _read(var: Any, values: dict[Any, Value]) -> Value:
    return np.asarray(var.val) if _is_literal(var) else values[var]


class _Writer:
    """Writes equations into a graph of PyTorch."""

    def __init__(self, equations: Sequence[Any], outputs: Sequence[Any]):
        self._graph = torch.fx.Graph()
        self._tracer = torch.fx.proxy.GraphAppendingTracer(self._graph)
        self._root, self._numbers = torch.nn.Module(), itertools.count()
        read = [*outputs, *(var for equation in equations for var in equation.invars)]
        self._readers = Counter(var for var in read if not _is_literal(var))

    def argument(self, name: str) -> Any:
        return torch.fx.Proxy(self._graph.placeholder(name), self._tracer)

    def _constant(self, value: np.ndarray) -> Any:
        name = f"constant_{next(self._numbers)}"
        self._root.register_buffer(name, torch.from_numpy(np.array(value, order="C")))
        return torch.fx.Proxy(self._graph.get_attr(name), self._tracer)

    def write(self, equation: Any, values: dict[Any, Value]) -> Iterator[Value]:
        """Writes an equation and returns its values."""
        arguments = [_read(var, values) for var in equation.invars]
        name = equation.primitive.name
        if all(isinstance(value, np.ndarray) for value in arguments):
            return iter(_computed(equation, arguments))
        foldable = name in FOLDING and _is_float(equation.outvars[0])
        folded = self._folded(equation, arguments, values) if foldable else None
        if folded is not None:
            return iter([folded])
        for var, value in zip(equation.invars, arguments, strict=True):
            if isinstance(value, Unwritten):
                values[var] = value.written()
        written = [_read(var, values) for var in equation.invars]
        try:
            found = torch_ops.TABLE[name](self._constant, equation, written)
        except torch_ops.Unsupported as error:
            raise UserError(
                f"JAX's primitive {name} cannot be exported with {error}; use --format=stablehlo"
            ) from None
        return iter(found if equation.primitive.multiple_results else [found])

    def _folded(
        self, equation: Any, arguments: Sequence[Value], values: dict[Any, Value]
    ) -> Value | None:
        """Returns what an op with a constant makes of the value before it, if that is known."""
        first = isinstance(arguments[1], np.ndarray)
        var, value, other = equation.invars[not first], arguments[not first], arguments[first]
        if not isinstance(other, np.ndarray) or not isinstance(value, Unwritten | Tensor):
            return None
        name, found = equation.primitive.name, None
        if isinstance(value, Unwritten) and self._readers[var] == 1:
            found = value.folded(name, other, first)
        if found is None:
            written = value.written()
            values[var] = written  # once for all readers
            found = self._affine(written).folded(name, other, first)
        return found

    def _affine(self, x: Tensor) -> Affine:
        """Returns a tensor as an affine map of itself."""

        def write(scale: np.ndarray, shift: np.ndarray) -> Any:
            y = x if np.all(scale == 1) else elementwise(operator.mul, self._constant, [x, scale])
            y = y if np.all(shift == 0) else elementwise(operator.add, self._constant, [y, shift])
            return y.proxy

        return Affine(write, np.ones((), np.float32), np.zeros((), np.float32), x.axes)

    def finished(self, output: Value) -> torch.fx.GraphModule:
        assert not isinstance(output, np.ndarray), "the output does not depend on the images"
        self._graph.output(output.written().plain().node)
        self._graph.lint()
        return torch.fx.GraphModule(self._root, self._graph).eval()


def _computed(equation: Any, arguments: Sequence[Any]) -> list[np.ndarray]:
    """Computes an equation that does not depend on the images.

    A constant that is copied for every image is kept once.
    """
    wanted = equation.outvars[0].aval.shape
    if equation.primitive.name == "broadcast_in_dim" and not all(
        isinstance(n, int) for n in wanted
    ):
        places = equation.params["broadcast_dimensions"]
        shape = [1] * len(wanted)
        for place, size in zip(places, arguments[0].shape, strict=True):
            shape[place] = size
        return [arguments[0].reshape(shape)]
    found = equation.primitive.bind(*arguments, **equation.params)
    return [np.asarray(v) for v in (found if equation.primitive.multiple_results else [found])]
