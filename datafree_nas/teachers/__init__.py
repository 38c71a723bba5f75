"""Teachers: Flax Linen classifiers, statistics at their BatchNorm layers, import from PyTorch."""

from datafree_nas.teachers.graph.teacher import from_exported, from_torch
from datafree_nas.teachers.registry import create_teacher
from datafree_nas.teachers.store import describe, export, load, save
from datafree_nas.teachers.taps import apply_with_taps
from datafree_nas.teachers.teacher import Teacher, labeller, logits_fn

__all__ = [
    "Teacher",
    "apply_with_taps",
    "create_teacher",
    "describe",
    "export",
    "from_exported",
    "from_torch",
    "labeller",
    "load",
    "logits_fn",
    "save",
]
