"""Teachers by name: every file of `teachers/architectures/` is found by itself."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace

from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.teachers import architectures
from datafree_nas.teachers.teacher import Teacher

_FILES = [
    importlib.import_module(f"{architectures.__name__}.{file.name}")
    for file in pkgutil.iter_modules(architectures.__path__)
]


def names() -> list[str]:
    """All architecture names, file by file."""
    return [name for file in _FILES for name in file.ARCHITECTURES]


def originals() -> list[str]:
    """The architectures that are no variant of another one, see `Teacher.variant_of`."""
    return [name for name in names() if not create(name).variant_of]


def variants_of(arch: str) -> list[str]:
    """Architectures with the same keys and shapes, which compute something else."""
    return [name for name in names() if create(name).variant_of == arch]


def create(
    arch: str,
    num_classes: int = 0,
    *,
    image_size: tuple[int, int, int] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Teacher:
    """Builds a teacher's description and Linen module; no weights.

    Args:
        arch: a name from `names()`, or `package.module:function` for a model of your own, where
            `function(num_classes)` returns a `Teacher`.
        num_classes: classes of the head; 0 for the published number.
        image_size: `(h, w, c)`, where it differs from the published one; likewise `mean` and
            `std`, of pixels in [0, 1].

    Raises:
        UserError: unknown name (near ones are suggested), a function that is not there or returns
            something else, fewer than two classes, or a mean or std that is not one number a
            channel.
    """
    teacher = (_own(arch) if ":" in arch else _published(arch))(num_classes)
    teacher = replace(
        teacher,
        arch=arch,
        image_size=image_size or teacher.image_size,
        mean=mean or teacher.mean,
        std=std or teacher.std,
    )
    _check_channels(teacher)
    _check_classes(teacher)
    return teacher


def one_output(place: str) -> str:
    """The error line about a network with a single output."""
    return (
        f"{place} has one output, as for a sigmoid; classes are compared by softmax here, which "
        "needs two: put a row of zeros before the head's weight and a zero before its bias, which "
        "gives the same probabilities, e.g. w = torch.cat([torch.zeros_like(w), w])"
    )


def _published(arch: str) -> Callable[[int], Teacher]:
    for file in _FILES:
        if arch in file.ARCHITECTURES:
            return lambda num_classes: file.create(arch, num_classes)
    raise UserError(f"no teacher architecture {arch!r}{did_you_mean(arch, names())}")


def _own(place: str) -> Callable[[int], Teacher]:
    module, _, name = place.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"no teacher at {place!r} ({error}); name a function as package.module:function, and "
            "see that the package can be imported from here"
        ) from None

    def checked(num_classes: int) -> Teacher:
        teacher = function(num_classes)
        if not isinstance(teacher, Teacher):
            raise UserError(
                f"{place} returned a {type(teacher).__name__}; it has to return a "
                "datafree_nas.teachers.Teacher"
            )
        return teacher

    return checked


def _check_classes(teacher: Teacher) -> None:
    if teacher.num_classes == 1:
        raise UserError(one_output(teacher.arch))
    if teacher.num_classes < 1:
        raise UserError(f"{teacher.arch}: {teacher.num_classes} classes; say two or more")


def _check_channels(teacher: Teacher) -> None:
    for name, values in (("mean", teacher.mean), ("std", teacher.std)):
        if len(values) != teacher.image_size[2]:
            raise UserError(
                f"{teacher.arch}: {name}={values} is not one number for each channel of images "
                f"{teacher.image_size}; give mean and std of the training data"
            )
