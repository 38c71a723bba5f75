"""Teachers by name: every file of `teachers/architectures/` is found by itself."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import ModuleType

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.plugins import Plugins
from datafree_nas.teachers.teacher import Teacher

# from the number of classes, 0 for the published one, to a teacher
Build = Callable[[int], Teacher]


def _of_module(module: ModuleType) -> dict[str, Build]:
    return {name: partial(module.build, name) for name in module.ARCHITECTURES}


_PLUGINS: Plugins[Build] = Plugins(
    "teacher architecture",
    "",
    "datafree_nas.teachers.architectures",
    "datafree_nas.teachers",
    _of_module,
    callable,
)


def names() -> list[str]:
    """Returns all architecture names, file by file."""
    return _PLUGINS.names()


def originals() -> list[str]:
    """Returns the architectures that are no variant of another one, see `Teacher.variant_of`."""
    return [name for name in names() if not create_teacher(name).variant_of]


def variants_of(arch: str) -> list[str]:
    """Returns the architectures with the same keys and shapes that compute something else."""
    return [name for name in names() if create_teacher(name).variant_of == arch]


def create_teacher(
    arch: str,
    num_classes: int = 0,
    *,
    image_size: tuple[int, int, int] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Teacher:
    """Builds a teacher's description and Linen module; no weights.

    Args:
        arch: name out of `names()`, or `package.module:function` for a model of your own, where
            `function(num_classes)` returns a `Teacher`.
        num_classes: number of classes of the head; 0 for the published number.
        image_size: `(h, w, c)` of the images, where it differs from the published one.
        mean: mean of each channel, of pixels in [0, 1], where it differs from the published one.
        std: standard deviation of each channel, where it differs from the published one.

    Raises:
        UserError: unknown name (near ones are suggested), a function that is not there or returns
            something else, fewer than two classes, or a mean or std that is not one number a
            channel.
    """
    teacher = _PLUGINS.find(arch)(num_classes)
    if not isinstance(teacher, Teacher):
        raise UserError(
            f"{arch} returned a {type(teacher).__name__}; it has to return a "
            "datafree_nas.teachers.Teacher"
        )
    teacher = replace(
        teacher,
        arch=arch,
        image_size=image_size or teacher.image_size,
        mean=mean or teacher.mean,
        std=std or teacher.std,
    )
    check(teacher)
    return teacher


def one_output(place: str) -> str:
    """Returns the error line about a network with a single output."""
    return (
        f"{place} has one output, as for a sigmoid; classes are compared by softmax here, which "
        "needs two: put a row of zeros before the head's weight and a zero before its bias, which "
        "gives the same probabilities, e.g. w = torch.cat([torch.zeros_like(w), w])"
    )


def check(teacher: Teacher) -> None:
    """Checks that a description fits together.

    Raises:
        UserError: fewer than two classes, or a mean or std that is not one number a channel.
    """
    _check_channels(teacher)
    _check_classes(teacher)


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
