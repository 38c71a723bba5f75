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
        UserError: unknown name (near ones are suggested), or a mean or std that is not one number
            a channel.
    """
    for file in _FILES:
        if arch in file.ARCHITECTURES:
            teacher = file.create(arch, num_classes, **changes)
            _check_channels(teacher)
            return teacher
    raise UserError(f"no teacher architecture {arch!r}{did_you_mean(arch, names())}")


def _check_channels(teacher: Teacher) -> None:
    for name, values in (("mean", teacher.mean), ("std", teacher.std)):
        if len(values) != teacher.image_size[2]:
            raise UserError(
                f"{teacher.arch}: {name}={values} is not one number for each channel of images "
                f"{teacher.image_size}; give mean and std of the training data"
            )
