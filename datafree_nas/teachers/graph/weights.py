"""Brings the tensors of an exported network into the variables of a `GraphNetwork`."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from datafree_nas.interop.exported import Stored
from datafree_nas.interop.torch_names import from_torch
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers.graph.graph import Graph, Parameter
from datafree_nas.teachers.graph.network import free, leaf, norm_values

_NORM_LEAVES = {"weight": "scale", "running_mean": "mean", "running_var": "var"}
_WHOLE = np.iinfo(np.int32)


def variables(graph: Graph, tensors: Mapping[str, Stored]) -> dict[str, Any]:
    """Returns the variables of the network of a graph.

    Args:
        graph: network without its weights.
        tensors: tensors by PyTorch's names; those that the graph does not name are left out.

    Raises:
        UserError: a tensor is missing, has another shape, or whole numbers that need 64 bits.
    """
    norms = set(norm_values(graph))
    found: dict[str, Any] = {"params": {}, "batch_stats": {}, "constants": {}}
    for parameter in graph.parameters:
        value = jnp.array(from_torch(_value(parameter, tensors)))
        module, _, name = parameter.key.rpartition(".")
        if parameter.kind == "buffer":
            found["constants"][free(parameter.key)] = value
        elif parameter.value in norms:
            collection = "batch_stats" if parameter.kind == "statistic" else "params"
            found[collection].setdefault(free(module), {})[_NORM_LEAVES.get(name, name)] = value
        elif module:
            found["params"].setdefault(free(module), {})[leaf(parameter)] = value
        else:
            found["params"][leaf(parameter)] = value
    return {name: collection for name, collection in found.items() if collection}


def _value(parameter: Parameter, tensors: Mapping[str, Stored]) -> np.ndarray:
    """Reads a tensor as float32, int32 or booleans."""
    if parameter.key not in tensors:
        raise UserError(f"the weights of {parameter.key} are missing")
    value = tensors[parameter.key].load()
    if value.shape != parameter.shape:
        raise UserError(f"{parameter.key} has shape {value.shape}, not {parameter.shape}")
    if value.dtype == bool:
        return value
    if value.dtype.kind not in "iu":
        return value.astype(np.float32)
    if value.size and not (_WHOLE.min <= value.min() and value.max() <= _WHOLE.max):
        raise UserError(f"{parameter.key} holds whole numbers beyond 32 bits")
    return value.astype(np.int32)
