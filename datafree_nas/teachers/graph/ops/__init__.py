"""The operations of PyTorch that graphs may use, a file for each family."""

from datafree_nas.teachers.graph.ops import (
    creation,
    elementwise,
    layers,
    reductions,
    resizing,
    shapes,
    windows,
    writes,
)
from datafree_nas.teachers.graph.ops.table import TABLE, find

__all__ = [
    "TABLE",
    "creation",
    "elementwise",
    "find",
    "layers",
    "reductions",
    "resizing",
    "shapes",
    "windows",
    "writes",
]
