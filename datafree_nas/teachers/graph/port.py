"""Makes a teacher of the network that `--model` names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datafree_nas.interop import torch_file
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import as_path
from datafree_nas.teachers.graph import sources
from datafree_nas.teachers.graph.teacher import from_exported, from_torch
from datafree_nas.teachers.teacher import Teacher

_SETTINGS = ("image_size", "mean", "std")  # of the images


class Ported(NamedTuple):
    """A teacher and where it is from.

    Attributes:
        teacher: description and module of the teacher.
        variables: weights and statistics.
        source: origin of the weights, for `store.save`.
        class_names: names of the classes; None if the source does not say.
    """

    teacher: Teacher
    variables: Any
    source: dict[str, str]
    class_names: Sequence[str] | None


def port(
    model: str,
    checkpoint: str = "",
    num_classes: int = 0,
    prefix: str = "",
    ignore: Sequence[str] = (),
    **changes: Any,
) -> Ported:
    """Makes a teacher of the network that a text names.

    Args:
        model: path of a file of `torch.export.save`, or a name as `sources.load` takes it.
        checkpoint: file of the weights; empty if the network has them already.
        num_classes: number of classes; 0 for the one that the network has.
        prefix: part of the checkpoint in which the network is; empty to find it.
        ignore: patterns of names of tensors of the checkpoint to ignore, see `beside.sort`.
        **changes: image size, mean or std of the images, where they differ from what the source
            says, or it does not say them.

    Raises:
        UserError: there is no such network, something is not said, or the network cannot be a
            teacher.
    """
    if is_file(model):
        return _of_file(as_path(model), checkpoint, num_classes, changes)
    if not sources.of_library(model):
        _ask(model, _SETTINGS, changes)
    found = sources.load(model, checkpoint, num_classes, prefix, ignore)
    said = {name: getattr(found, name) for name in _SETTINGS}
    settings = {name: value for name, value in said.items() if value} | changes
    _ask(model, _SETTINGS, settings)
    teacher, variables = from_torch(found.module, **settings, name=found.name)
    _check_classes(teacher, num_classes)
    source = {"model": model} | (_origin(as_path(checkpoint)) if checkpoint else {})
    return Ported(teacher, variables, source, found.class_names)


def is_file(model: str) -> bool:
    """Returns whether `--model` is the path of a file, not a name."""
    return Path(model).suffix == ".pt2" or as_path(model).is_file()


def _of_file(file: Path, checkpoint: str, num_classes: int, changes: dict[str, Any]) -> Ported:
    if checkpoint:
        raise UserError(f"{file} holds its weights itself; leave --checkpoint out")
    _ask(str(file), ("mean", "std"), changes)
    try:
        teacher, variables = from_exported(file, **changes)
    except UserError as error:
        if file.suffix == ".pt2":
            raise
        raise UserError(f"{error}; if it is a checkpoint, it is --checkpoint={file}") from None
    _check_classes(teacher, num_classes)
    source = {"model": file.name} | _origin(file)
    return Ported(teacher, variables, source, None)


def _ask(model: str, needed: Sequence[str], settings: dict[str, Any]) -> None:
    missing = [name for name in needed if name not in settings]
    if missing:
        flags = {
            "image_size": "--image_size=224,224,3",
            "mean": "--mean=0.485,0.456,0.406",
            "std": "--std=0.229,0.224,0.225",
        }
        examples = " ".join(flags[name] for name in missing)
        raise UserError(
            f"{model} does not say its {' and '.join(missing)}; give them as in {examples}, with "
            "the values that your training code uses (of pixels in [0, 1])"
        )


def _check_classes(teacher: Teacher, num_classes: int) -> None:
    if num_classes and teacher.num_classes != num_classes:
        raise UserError(
            f"--num_classes={num_classes}: the network {teacher.arch} has {teacher.num_classes}"
        )


def _origin(file: Path) -> dict[str, str]:
    return {"file": file.name, "sha256": torch_file.sha256(file)}
