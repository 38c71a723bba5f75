"""A choice between computations whose gradients need no more memory than its arguments."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Int


def switch(index: Int[Array, ""], branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """`lax.switch` that computes the chosen branch again for its gradients.

    `lax.switch` itself gives out whatever any of its branches keeps for gradients, as zeros from
    all others, and `jax.checkpoint` around the branches still has each of them copy its arguments.

    Args:
        index: of the branch.
        branches: `(*operands) -> outputs`, which all look the same; they close over no arrays.
        *operands: what there are gradients of.

    Returns:
        What the branch returns. There is no forward-mode derivative.
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
