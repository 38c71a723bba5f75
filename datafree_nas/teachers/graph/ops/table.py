"""The table of operations: functions by PyTorch's names.

A function takes tensors and plain values under PyTorch's argument names, except that the first
argument, which PyTorch calls `self` or `input`, is `x`. It returns a `Tensor`, a number, or a tuple
of them.
"""

from collections.abc import Callable
from typing import Any, TypeVar

TABLE: dict[str, Callable[..., Any]] = {}
_Function = TypeVar("_Function", bound=Callable[..., Any])


def op(*names: str) -> Callable[[_Function], _Function]:
    """Puts a function into the table.

    Args:
        *names: names in PyTorch without `aten.`. One with an overload, such as `max.dim`, is for
            that overload alone; one without is for all that have no entry of their own.
    """

    def put(function: _Function) -> _Function:
        for name in names:
            if name in TABLE:
                raise ValueError(f"{name} is in the table twice")
            TABLE[name] = function
        return function

    return put


def find(name: str) -> Callable[..., Any] | None:
    """Returns the function of an operation, e.g. `add.Tensor`; None if the table lacks it."""
    return TABLE.get(name) or TABLE.get(name.partition(".")[0])
