"""JAX's primitives in PyTorch, a file for each family."""

from datafree_nas.exports.torch_ops import elementwise, layers, reductions, shapes, windows
from datafree_nas.exports.torch_ops.table import TABLE, Unsupported

__all__ = ["TABLE", "Unsupported", "elementwise", "layers", "reductions", "shapes", "windows"]
