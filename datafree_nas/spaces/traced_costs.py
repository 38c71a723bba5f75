"""Costs of a space's networks, read from its traced modules: the default of a new space.

For the spaces of this package it counts exactly what their closed forms say, but takes seconds at
published sizes, so they keep these.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from datafree_nas.runtime import costs
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces.candidates import collect
from datafree_nas.spaces.cost import Cost

if TYPE_CHECKING:
    from datafree_nas.spaces.space import Space

_CHECKED = 2  # random networks whose costs have to be sums over their positions


@lru_cache(maxsize=16)
def traced_costs(space: "Space") -> tuple[Cost, Cost]:
    """Counts MACs and trainable weights of every op at every position of a space.

    Args:
        space: search space.

    Returns:
        Cost in multiply-accumulates of one image, and cost in trainable weights.

    Raises:
        UserError: the costs of random networks are not sums over their positions.
    """
    table = np.zeros((2, *space.has.shape), np.int64)
    known: dict[Any, tuple[int, int]] = {}
    for candidate in collect(space):
        key = (candidate.alone, candidate.shape)
        if key not in known:
            known[key] = _count(candidate.alone, candidate.shape, train=False)
        table[:, candidate.position, candidate.op] += known[key]
    fixed = {_fixed(space, table, seed) for seed in range(_CHECKED)}
    if len(fixed) > 1:
        raise UserError(
            f"{space.name}: the costs of its networks are not sums over positions; define "
            "macs_cost and params_cost, see docs/extending.md"
        )
    (macs, params), (macs_table, params_table) = fixed.pop(), table
    return Cost(macs, macs_table), Cost(params, params_table)


def _fixed(space: "Space", table: np.ndarray, seed: int) -> tuple[int, int]:
    """Returns what a random network costs besides the ops of its positions."""
    architecture = np.asarray(space.sample(jax.random.key(seed)))
    whole = _count(space.network(architecture), space.image_size)
    gates = np.asarray(space.gates(architecture))
    macs, params = table[:, np.arange(len(gates)), gates].sum(axis=1).tolist()
    return whole[0] - macs, whole[1] - params


def _count(module: nn.Module, shape: tuple[int, ...], **settings: bool) -> tuple[int, int]:
    """Counts MACs and trainable weights of a module that is called on an image of a shape."""
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    def run(variables: Any, x: jax.Array) -> Any:
        return module.apply(variables, x, **settings)

    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, **settings), image)
    params = sum(leaf.size for leaf in jax.tree.leaves(variables.get("params", {})))
    return costs.macs(run, variables, image), params
