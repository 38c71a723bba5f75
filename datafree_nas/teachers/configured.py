"""Finds the teacher that the block `config.teacher` describes."""

from pathlib import Path
from typing import Any

from datafree_nas.interop import torch_file
from datafree_nas.runtime import processes
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values, integer, list_of, number, text, zero_or_integer
from datafree_nas.teachers import port, registry, store
from datafree_nas.teachers.teacher import Teacher

# values of the fields of `config.teacher`, without its training block
FIELDS: dict[str, Values] = {
    "arch": text(),
    "factory": text(),
    "checkpoint": text(),
    "prefix": text(),
    "num_classes": zero_or_integer(2, 10**6),
    "image_size": list_of(integer(1, 4096), (3,), "(height, width, channels)").or_empty(
        "as published"
    ),
    "mean": list_of(number(-1e3, 1e3), range(1, 65), "one number a channel").or_empty(
        "as published"
    ),
    "std": list_of(number(0, 1e3, above=True), range(1, 65), "one number a channel").or_empty(
        "as published"
    ),
}


def architecture(block: Config) -> str:
    """Returns the name of the teacher's architecture, or the user's own function.

    Args:
        block: block `config.teacher`. Its architecture `auto` stands for the one that the
            checkpoint fits.
    """
    return str(block.factory or block.arch)


def settings(block: Config) -> dict[str, Any]:
    """Returns what the config says of the teacher's images, where it says anything.

    Args:
        block: block `config.teacher`.

    Raises:
        UserError: one of mean and std is set and the other is not.
    """
    if bool(block.mean) != bool(block.std):
        raise UserError("set both config.teacher.mean and config.teacher.std, or neither")
    found = {name: tuple(block[name]) for name in ("image_size", "mean", "std")}
    return {name: value for name, value in found.items() if value}


def described(block: Config) -> Teacher:
    """Builds the teacher that the config describes, without looking at a checkpoint.

    Args:
        block: block `config.teacher`.

    Raises:
        UserError: no such architecture or function, or the description does not fit together.
    """
    return registry.create_teacher(architecture(block), block.num_classes, **settings(block))


def check(block: Config) -> None:
    """Checks the description of the teacher, without looking at a checkpoint.

    Args:
        block: block `config.teacher`.

    Raises:
        UserError: no such architecture or function, the description does not fit together, or
            `auto` has no checkpoint to look at.
    """
    if block.checkpoint and Path(block.checkpoint).is_dir():
        return  # which names its network itself
    if architecture(block) != "auto":
        described(block)
    elif not block.checkpoint:
        raise UserError("config.teacher.arch=auto needs config.teacher.checkpoint, to look at")


def find(block: Config) -> Teacher:
    """Finds the teacher of a config, without its weights.

    Args:
        block: block `config.teacher`.

    Returns:
        The teacher of the ported folder, which names its network itself; else that of the PyTorch
        file; else the one that the config describes and that is trained.

    Raises:
        UserError: there is no such teacher, or a file that does not fit it.
    """
    place = Path(block.checkpoint)
    if not block.checkpoint:
        return described(block)
    if place.is_dir():
        return store.describe(place, block.factory)
    check(block)
    tensors = torch_file.read(place)
    try:
        found = port.match(
            architecture(block), tensors, block.num_classes, block.prefix, **settings(block)
        )
    except UserError as error:
        raise UserError(
            f"config.teacher.checkpoint={place}: {error} (--arch, --prefix and --ignore are flags "
            "of python -m datafree_nas.port_torch, which makes a folder that names its network; "
            "config.teacher.arch=auto tries all networks)"
        ) from None
    return found.teacher


def find_planned(block: Config) -> Teacher:
    """Finds the teacher of a config whose checkpoint need not be there yet.

    Args:
        block: block `config.teacher`.

    Raises:
        UserError: there is no such teacher, or no telling which it is without the checkpoint.
    """
    place = block.checkpoint
    if place and Path(place).exists():
        return find(block)
    if architecture(block) == "auto" and place:
        raise UserError(
            f"config.teacher.arch=auto needs to look at {place}, which does not exist; name the "
            "architecture in config.teacher.arch"
        )
    check(block)
    return described(block)


def read(block: Config) -> tuple[Teacher, Any, dict[str, str]]:
    """Reads the teacher that the config's checkpoint holds.

    Args:
        block: block `config.teacher`, with a checkpoint.

    Returns:
        The teacher, its variables, and where the weights are from.

    Raises:
        UserError: the checkpoint is missing or damaged, or does not fit the teacher.
    """
    place = Path(block.checkpoint)
    if not place.is_dir():
        arch = architecture(block)
        return port.port(arch, place, block.num_classes, block.prefix, **settings(block))
    teacher, variables = store.load(place, block.factory)
    _say_what_is_not_used(block, teacher)
    return teacher, variables, store.read_card(place).get("source", {})


def _say_what_is_not_used(block: Config, teacher: Teacher) -> None:
    """Prints a line for every field that differs from the ported folder, which is used."""
    said = {"arch": architecture(block), **settings(block)}
    if block.num_classes:
        said["num_classes"] = block.num_classes
    for name, value in said.items():
        if value not in ("auto", getattr(teacher, name)):
            processes.say(
                f"note: {block.checkpoint} holds a teacher with {name} {getattr(teacher, name)}; "
                f"config.teacher.{name}={value} is not used"
            )
