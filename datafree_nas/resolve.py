"""The teacher and the search space that a config names."""

import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from datafree_nas import spaces, teachers
from datafree_nas.data import sources
from datafree_nas.interop import torch_file
from datafree_nas.runtime import processes
from datafree_nas.runtime.errors import UserError
from datafree_nas.search import given
from datafree_nas.spaces import Space
from datafree_nas.teachers import Teacher, port
from datafree_nas.teachers import store as teacher_store

_PATHS = (
    "teacher.checkpoint",
    "synthesis.competitor",
    "search.latency_table",
    "data.data_dir",
    "data.classes",
)


def expanded(config: ConfigDict) -> ConfigDict:
    """Returns a copy of a config in which paths that begin with `~` are whole."""
    whole = config.copy_and_resolve_references()
    for field in _PATHS:
        block, name = field.split(".")
        whole[block][name] = os.path.expanduser(whole[block][name])
    return whole


def files(config: ConfigDict) -> dict[str, Path | None]:
    """Finds the files and folders that a config names and whose content matters.

    Returns:
        By the field's dotted path; None where a field names nothing. Of a ported folder its card
        stands for all, since it holds the checksum of the weights.
    """
    source = sources.place(config.data.source, config.data.data_dir)
    return {
        "teacher.checkpoint": _card_or_file(config.teacher.checkpoint),
        "synthesis.competitor": _card_or_file(config.synthesis.competitor),
        "search.architecture": given.file(config.search),
        "search.latency_table": _path(config.search.latency_table),
        "data.source": source,
        "data.data_dir": source,
        "data.classes": _path(config.data.classes),
    }


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _card_or_file(text: str) -> Path | None:
    card = Path(text) / teacher_store.FILE
    return card if text and card.exists() else _path(text)


def architecture(config: ConfigDict) -> str:
    """Returns the name of the teacher's architecture, or the user's own function.

    `auto` stands for the architecture that the checkpoint fits.
    """
    return config.teacher.factory or config.teacher.arch


def settings(config: ConfigDict) -> dict[str, Any]:
    """Returns what the config says of the teacher's images, where it says anything.

    Raises:
        UserError: one of mean and std is set and the other is not.
    """
    block = config.teacher
    if bool(block.mean) != bool(block.std):
        raise UserError("set both config.teacher.mean and config.teacher.std, or neither")
    found = {name: tuple(block[name]) for name in ("image_size", "mean", "std")}
    return {name: value for name, value in found.items() if value}


def described(config: ConfigDict) -> Teacher:
    """Builds the teacher that the config describes, without looking at a checkpoint.

    Raises:
        UserError: no such architecture or function, or the description does not fit together.
    """
    return teachers.create(architecture(config), config.teacher.num_classes, **settings(config))


def check_teacher(config: ConfigDict) -> None:
    """Checks the config's description of the teacher, without looking at a checkpoint.

    Raises:
        UserError: see `described`; or `auto` without a checkpoint.
    """
    if architecture(config) != "auto":
        described(config)
    elif not config.teacher.checkpoint:
        raise UserError("config.teacher.arch=auto needs config.teacher.checkpoint, to look at")


def teacher(config: ConfigDict, workdir: Path | None = None) -> Teacher:
    """Finds the teacher of a run, without its weights.

    Args:
        config: experiment, see `configs/common.py`.
        workdir: of the run, whose teacher counts if there is one already.

    Returns:
        The teacher of the workdir; else that of the ported folder, which names its network itself;
        else that of the PyTorch file; else the one that the config describes and that is trained.

    Raises:
        UserError: there is no such teacher, or a file that does not fit it.
    """
    place = Path(config.teacher.checkpoint)
    if workdir is not None and (workdir / "teacher" / "done.json").exists():
        return teacher_store.describe(workdir / "teacher", config.teacher.factory)
    if not config.teacher.checkpoint:
        return described(config)
    if place.is_dir():
        return teacher_store.describe(place, config.teacher.factory)
    check_teacher(config)
    block, tensors = config.teacher, torch_file.read(place)
    try:
        found = port.match(
            architecture(config), tensors, block.num_classes, block.prefix, **settings(config)
        )
    except UserError as error:
        raise UserError(
            f"config.teacher.checkpoint={place}: {error} (--arch, --prefix and --ignore are flags "
            "of python -m datafree_nas.port_torch, which makes a folder that names its network; "
            "config.teacher.arch=auto tries all networks)"
        ) from None
    return found.teacher


def class_names(config: ConfigDict, workdir: Path) -> list[str]:
    """Reads the names of the teacher's classes from its card; none where nobody has named them.

    Args:
        config: experiment, see `configs/common.py`.
        workdir: of the run, whose teacher counts if there is one already.
    """
    for folder in (workdir / "teacher", Path(config.teacher.checkpoint or workdir)):
        if (folder / teacher_store.FILE).exists():
            return teacher_store.read_card(folder).get("class_names") or []
    return []


def request(config: ConfigDict, teacher: Teacher, names: list[str]) -> sources.Request:
    """Puts together what the config and the teacher ask of the source of natural images.

    Args:
        config: experiment, see `configs/common.py`.
        teacher: whose images and classes they have to be.
        names: of its classes, from `class_names`.

    Raises:
        UserError: the file of class names does not fit the teacher.
    """
    return sources.request_of(config.data, teacher.image_size, teacher.num_classes, names)


def planned_teacher(config: ConfigDict) -> Teacher:
    """Finds the teacher of a run whose checkpoint need not be there yet.

    Raises:
        UserError: there is no such teacher, or no telling which it is without the checkpoint.
    """
    place = config.teacher.checkpoint
    if place and Path(place).exists():
        return teacher(config)
    if architecture(config) == "auto" and place:
        raise UserError(
            f"config.teacher.arch=auto needs to look at {place}, which does not exist; name the "
            "architecture in config.teacher.arch"
        )
    check_teacher(config)
    return described(config)


def space(config: ConfigDict, teacher: Teacher) -> Space:
    """Builds the space that a config searches, for the images and classes of a teacher.

    Raises:
        UserError: unknown space, or settings that do not fit it or the images.
    """
    chosen = dict(config.search.space)
    name = chosen.pop("name")
    return spaces.create(
        name, num_classes=teacher.num_classes, image_size=teacher.image_size, **chosen
    )


def say_what_is_not_used(config: ConfigDict, teacher: Teacher) -> None:
    """Prints a line for every field that says otherwise than the ported folder that is used.

    Args:
        config: experiment, whose checkpoint is a ported folder.
        teacher: that the folder holds.
    """
    said = {"arch": architecture(config), **settings(config)}
    if config.teacher.num_classes:
        said["num_classes"] = config.teacher.num_classes
    for name, value in said.items():
        if value not in ("auto", getattr(teacher, name)):
            processes.say(
                f"note: {config.teacher.checkpoint} holds a teacher with {name} "
                f"{getattr(teacher, name)}; config.teacher.{name}={value} is not used"
            )
