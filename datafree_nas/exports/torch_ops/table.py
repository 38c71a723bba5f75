"""The table of JAX's primitives in PyTorch, which the other files here fill.

A function of the table writes one equation of a program. It takes a function that writes constants,
the equation and its arguments, and returns the value of the equation, or its values. Arguments are
`torch_values.Tensor` or constants.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

Constant = Callable[[np.ndarray], Any]  # proxy of a constant, as a buffer of the module
Op = Callable[[Constant, Any, Sequence[Any]], Any]
TABLE: dict[str, Op] = {}
DTYPES = {
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


class Unsupported(Exception):
    """A primitive has parameters that its function here does not take."""


def op(*names: str) -> Callable[[Op], Op]:
    """Adds a function to the table.

    Args:
        *names: names of the primitives that it writes.
    """

    def add(function: Op) -> Op:
        TABLE.update(dict.fromkeys(names, function))
        return function

    return add
