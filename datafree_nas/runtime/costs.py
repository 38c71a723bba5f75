"""What programs cost: multiply-accumulates of a model, collectives between devices."""

import math
import re
from typing import Any, NamedTuple

import jax
import numpy as np

from datafree_nas.runtime import backend

_COLLECTIVE = re.compile(
    r" = (.+?) (all-gather|all-reduce|all-to-all|collective-broadcast|collective-permute|"
    r"ragged-all-to-all|reduce-scatter)(?:-done)?\("  # of an asynchronous pair, the second
)
_ARRAY = re.compile(r"([a-z]+\d*)\w*\[([\d,]*)\]")


class Traffic(NamedTuple):
    """Collectives of one kind in a program.

    Attributes:
        ops: how many; one on several arrays is one.
        bytes: of their results on one device, all together.
    """

    ops: int
    bytes: int


def collectives(hlo: str) -> dict[str, Traffic]:
    """What the devices of a compiled program tell each other.

    Args:
        hlo: the program's text, `compiled.as_text()`. What is in a loop counts once, and of a
            switch all branches count.

    Returns:
        By kind, e.g. `{"all-reduce": ...}`; empty on one device.
    """
    found: dict[str, Traffic] = {}
    for result, kind in _COLLECTIVE.findall(hlo):
        ops, size = found.get(kind, Traffic(0, 0))
        size += sum(_bytes(*array) for array in _ARRAY.findall(result))
        found[kind] = Traffic(ops + 1, size)
    return found


def _bytes(kind: str, shape: str) -> int:
    """Of an array such as `f32[3,4]`."""
    bits = int(re.sub(r"\D", "", kind) or 8)  # `pred` takes a byte
    return math.prod(int(side) for side in shape.split(",") if side) * bits // 8


def macs(function: Any, *args: Any) -> int:
    """Multiply-accumulates of all convolutions and matrix products in `function(*args)`.

    Args:
        function: traceable by JAX; nothing is computed.
        *args: arrays or `jax.ShapeDtypeStruct`s.
    """
    with backend.stated_plainly():
        return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        out = equation.outvars[0].aval
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            out_features = equation.params["dimension_numbers"].rhs_spec[0]
            total += int(np.prod(out.shape)) * int(np.prod(kernel)) // kernel[out_features]
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += int(np.prod(out.shape)) * int(np.prod([shape[i] for i in contracted]))
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                total += _count(inner)
    return total
