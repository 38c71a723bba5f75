"""The names that our tensors have in PyTorch, and their memory layouts there.

Modules here have the same names as in PyTorch, including dots (`layer1.0`/`conv1`), so the name of
a tensor in PyTorch is its path here, joined by dots. If an original release uses other names, a
function renames the modules.
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
    """Returns the name unchanged."""
    return name


def key_table(variables: Any, rename: Rename = same) -> KeyTable:
    """Returns the path of each variable here by its key in PyTorch.

    Args:
        variables: pytree of dicts of arrays or shapes: collection, modules, leaf.
        rename: function from the name of a module here to its name in PyTorch.

    Returns:
        The paths. A leaf whose name begins with a dot has the rest of it as its name in PyTorch.
    """
    table = {}
    for entries, _ in jax.tree_util.tree_leaves_with_path(variables):
        path = tuple(entry.key for entry in entries)
        module, leaf = rename(".".join(path[1:-1])), path[-1]
        name = _LEAVES.get(leaf, leaf).lstrip(".")
        table[f"{module}.{name}".lstrip(".")] = path
    return table


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape that a tensor of this shape here has in PyTorch."""
    return tuple(shape[axis] for axis in _axes_to_torch(len(shape)))


def to_torch(value: np.ndarray) -> np.ndarray:
    """Reorders axes: HWIO -> OIHW for convolutions (also grouped), IO -> OI for dense layers."""
    return value.transpose(_axes_to_torch(value.ndim))


def from_torch(value: np.ndarray) -> np.ndarray:
    """Reverses `to_torch`."""
    return value.transpose(from_torch_axes(value.ndim))


def from_torch_axes(ndim: int) -> tuple[int, ...]:
    """Returns PyTorch's dimension of each axis here, for a tensor of so many dimensions."""
    return tuple(int(axis) for axis in np.argsort(_axes_to_torch(ndim)))


def _axes_to_torch(ndim: int) -> tuple[int, ...]:
    return {4: (3, 2, 0, 1), 2: (1, 0)}.get(ndim, tuple(range(ndim)))


def at(tree: Any, path: tuple[str, ...]) -> Any:
    """Returns the leaf of nested dicts at a path."""
    for name in path:
        tree = tree[name]
    return tree


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Sets the leaf of nested dicts at a path."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def state_dict(variables: Any, rename: Rename = same) -> dict[str, np.ndarray]:
    """Converts variables into the form that PyTorch's `load_state_dict` takes.

    Args:
        variables: pytree of dicts of arrays.
        rename: function from the name of a module here to its name in PyTorch.

    Returns:
        Contiguous arrays by PyTorch's names, without BatchNorm's `num_batches_tracked`, which
        PyTorch adds itself.
    """
    return {
        key: np.ascontiguousarray(to_torch(np.asarray(at(variables, path))))
        for key, path in key_table(variables, rename).items()
    }
