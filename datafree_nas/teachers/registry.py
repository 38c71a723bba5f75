"""Teachers by name. A new file of teachers is one more entry of `_FILES`."""

from typing import Any

from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.teachers import cifar_resnet
from datafree_nas.teachers.teacher import Teacher

_FILES = (cifar_resnet,)


def names() -> list[str]:
    """All architecture names."""
    return sorted(name for file in _FILES for name in file.ARCHITECTURES)


def create(arch: str, num_classes: int = 0, **changes: Any) -> Teacher:
    """Builds a teacher's description and Linen module; no weights.

    Args:
        arch: a name from `names()`.
        num_classes: classes of the head; 0 for the published number.
        **changes: `image_size`, `mean`, `std`, where they differ from the published ones.

    Raises:
        UserError: unknown name (near ones are suggested).
    """
    for file in _FILES:
        if arch in file.ARCHITECTURES:
            return file.create(arch, num_classes, **changes)
    raise UserError(f"no teacher architecture {arch!r}{did_you_mean(arch, names())}")
