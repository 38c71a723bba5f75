"""Multiply-accumulates of any Linen model, from its traced program."""

from typing import Any

import jax
import numpy as np

from datafree_nas.runtime import backend


def macs(function: Any, *args: Any) -> int:
    """Multiply-accumulates of all convolutions and matrix products in `function(*args)`.

    Args:
        function: traceable by JAX; nothing is computed.
        *args: arrays or `jax.ShapeDtypeStruct`s.
    """
    with backend.plain_convolutions():
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
