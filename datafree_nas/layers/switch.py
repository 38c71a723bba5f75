"""A choice between computations that, for its gradients, keeps only its arguments in memory."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Int


def switch(index: Int[Array, ""], branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """Runs the chosen branch like `lax.switch`, and runs it again for the gradients.

    `lax.switch` itself keeps memory for the gradients of all branches: those that were not chosen
    fill theirs with zeros. With `jax.checkpoint` around the branches, each of them still copies its
    arguments.

    Args:
        index: index of the branch.
        branches: functions `(*operands) -> outputs`, with outputs of the same shapes and types;
            they must not close over arrays.
        *operands: arguments of the branches, which get gradients.

    Returns:
        The outputs of the branch. They have no forward-mode derivative.
    """

    @jax.custom_vjp
    def chosen(index: Array, operands: Any) -> Any:
        return lax.switch(index, branches, *operands)

    def forward(index: Array, operands: Any) -> Any:
        return chosen(index, operands), (index, operands)

    def backward(kept: Any, cotangents: Any) -> Any:
        index, operands = kept
        return None, lax.switch(index, [_pull(b) for b in branches], operands, cotangents)

    chosen.defvjp(forward, backward)
    return chosen(index, operands)


def _pull(branch: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda operands, cotangents: jax.vjp(branch, *operands)[1](cotangents)
