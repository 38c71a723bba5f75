"""Teachers: Flax Linen classifiers, statistics at their BatchNorm layers, import from PyTorch."""

from datafree_nas.teachers.registry import create
from datafree_nas.teachers.store import describe, export, load, save
from datafree_nas.teachers.taps import apply_with_taps
from datafree_nas.teachers.teacher import Teacher, logits_fn

__all__ = [
    "Teacher",
    "apply_with_taps",
    "create",
    "describe",
    "export",
    "load",
    "logits_fn",
    "save",
]
