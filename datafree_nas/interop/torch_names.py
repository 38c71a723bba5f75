"""What a tensor of ours is called in PyTorch, and how it lies in memory there.

Modules here bear the names that they have in PyTorch, dots and all (`layer1.0`/`conv1`), so a name
there is the path here. Where a release has other names, a function renames modules.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

Rename = Callable[[str], str]  # a module's path here, joined by dots -> its name in PyTorch
KeyTable = Mapping[str, tuple[str, ...]]  # PyTorch's key -> (collection, modules..., leaf)

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


def same(name: str) -> str:
    """The renaming that changes nothing."""
    return name


def key_table(variables: Any, rename: Rename = same) -> KeyTable:
    """PyTorch's keys of all variables.

    Args:
        variables: a pytree of dicts of arrays or shapes: collection, modules, leaf.
        rename: from a module here to PyTorch's.
    """
    table = {}
    for entries, _ in jax.tree_util.tree_leaves_with_path(variables):
        path = tuple(entry.key for entry in entries)
        module, leaf = rename(".".join(path[1:-1])), path[-1]
        table[f"{module}.{_LEAVES.get(leaf, leaf)}"] = path
    return table


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a tensor of ours has in PyTorch."""
    return tuple(shape[axis] for axis in _axes_to_torch(len(shape)))


def to_torch(value: np.ndarray) -> np.ndarray:
    """HWIO -> OIHW for convolutions, grouped ones too; IO -> OI for dense layers."""
    return value.transpose(_axes_to_torch(value.ndim))


def from_torch(value: np.ndarray) -> np.ndarray:
    """The inverse of `to_torch`."""
    return value.transpose(np.argsort(_axes_to_torch(value.ndim)))


def _axes_to_torch(ndim: int) -> tuple[int, ...]:
    return {4: (3, 2, 0, 1), 2: (1, 0)}.get(ndim, tuple(range(ndim)))


def at(tree: Any, path: tuple[str, ...]) -> Any:
    """The leaf of nested dicts at a path."""
    for name in path:
        tree = tree[name]
    return tree


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Sets the leaf of nested dicts at a path."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def state_dict(variables: Any, rename: Rename = same) -> dict[str, np.ndarray]:
    """Variables as PyTorch's `load_state_dict` takes them.

    Args:
        variables: a pytree of dicts of arrays.
        rename: from a module here to PyTorch's.

    Returns:
        Contiguous arrays by PyTorch's names. BatchNorm's `num_batches_tracked` is left out, which
        PyTorch puts in itself.
    """
    return {
        key: np.ascontiguousarray(to_torch(np.asarray(at(variables, path))))
        for key, path in key_table(variables, rename).items()
    }
