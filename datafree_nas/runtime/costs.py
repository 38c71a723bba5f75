"""Costs of programs: multiply-accumulates of a model, collectives between devices."""

import math
import re
from typing import Any, NamedTuple

import jax
import numpy as np

from datafree_nas.runtime import lowering

_COLLECTIVE = re.compile(
    r" = (.+?) (all-gather|all-reduce|all-to-all|collective-broadcast|collective-permute|"
    r"ragged-all-to-all|reduce-scatter)(?:-done)?\("  # the second op of an asynchronous pair
)
_ARRAY = re.compile(r"([a-z]+\d*)\w*\[([\d,]*)\]")


class Traffic(NamedTuple):
    """Collectives of one kind in a program.

    Attributes:
        ops: number of collectives; one on several arrays counts once.
        bytes: size of all their results on one device, in bytes.
    """

    ops: int
    bytes: int


def collectives(hlo: str) -> dict[str, Traffic]:
    """Counts the collectives between the devices of a compiled program.

    Args:
        hlo: text of the program, `compiled.as_text()`. The body of a loop counts once, and all
            branches of a switch count.

    Returns:
        Traffic of each kind, e.g. `{"all-reduce": ...}`; empty on one device.
    """
    found: dict[str, Traffic] = {}
    for result, kind in _COLLECTIVE.findall(hlo):
        ops, size = found.get(kind, Traffic(0, 0))
        size += sum(_bytes(*array) for array in _ARRAY.findall(result))
        found[kind] = Traffic(ops + 1, size)
    return found


def _bytes(kind: str, shape: str) -> int:
    """Returns the size of an array such as `f32[3,4]`, in bytes."""
    bits = int(re.sub(r"\D", "", kind) or 8)  # `pred` takes a byte
    return math.prod(int(side) for side in shape.split(",") if side) * bits // 8


def macs(function: Any, *args: Any) -> int:
    """Counts multiply-accumulates of all convolutions and matrix products in `function(*args)`.

    Args:
        function: function that JAX can trace; it is not computed.
        *args: arrays or `jax.ShapeDtypeStruct`s for the function.
    """
    with lowering.plain():
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
