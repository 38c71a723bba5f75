"""Everything that can be known before the first stage starts: mistakes that would show after hours.

What is built here is what the stages build, for shapes instead of arrays; nothing is computed.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from datafree_nas import resolve, schema, spaces, teachers
from datafree_nas.data import augment, sources
from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.search import given, hardware
from datafree_nas.search import run as search
from datafree_nas.spaces import Space
from datafree_nas.spaces.space import REGULARIZERS
from datafree_nas.synthesis import synthesize
from datafree_nas.teachers import Teacher, port
from datafree_nas.training import recipe
from datafree_nas.training.trainer import Preprocessing

# what a recipe has and only students make use of
_FOR_STUDENTS = {
    "teacher": REGULARIZERS,
    "search": ("auxiliary", "drop_path", "ema", "calibration_batches"),
}


def check(config: ConfigDict, workdir: Path, pending: Collection[str]) -> dict[str, Any] | None:
    """Checks a config as a whole, and opens the natural images that will be read.

    Args:
        config: experiment, see `configs/common.py`.
        workdir: of the run; need not exist.
        pending: names of the stages that are going to be run.

    Returns:
        What `sources.inspect` says of the images; None if no stage reads any.

    Raises:
        UserError: the first mistake that is found.
    """
    check_fields(config)
    if not pending:
        return None
    teacher = resolve.teacher(config, workdir)
    for block in _trained(config):
        _check_recipe(config[block].train, f"{block}.train", teacher)
    _check_synthesis(config, teacher)
    _check_search(config, teacher, resolve.space(config, teacher))
    needed = [split for split in ("train", "test") if _is_read(split, config, pending)]
    if not needed:
        return None
    names = resolve.class_names(config, workdir)
    inspected = sources.inspect(resolve.request(config, teacher, names), needed)
    if "search" in pending and config.search.data == "real":
        count = inspected["splits"]["train"]["images"]
        search.check(count, teacher.image_size, config.search)
    return inspected


def _check_recipe(chosen: Config, place: str, teacher: Teacher) -> None:
    recipe.check(chosen, place)
    augment.check(chosen, len(teacher.mean), place)
    with mesh.for_batches(chosen.batch_size, teacher.image_size):
        mesh.check_divisible(chosen.batch_size, f"config.{place}.batch_size")


def _is_read(split: str, config: ConfigDict, pending: Collection[str]) -> bool:
    """Whether a stage that is going to be run reads a split of the natural images."""
    if split == "test":
        return bool(config.data.source) and "train" in pending
    return (
        ("teacher" in pending and not config.teacher.checkpoint)
        or ("search" in pending and config.search.data == "real")
        or ("train" in pending and "real" in config.student.rows)
    )


def check_fields(config: ConfigDict) -> None:
    """Checks what needs no look at the teacher: every field, and fields that belong together.

    Raises:
        UserError: the first mistake that is found.
    """
    schema.check(config)
    _check_data_is_there(config)
    if not (config.teacher.checkpoint and Path(config.teacher.checkpoint).is_dir()):
        resolve.check_teacher(config)
    hardware.check_table(config.search)
    if not config.teacher.checkpoint and config.teacher.train.labels != "hard":
        raise UserError(
            f"config.teacher.train.labels={config.teacher.train.labels!r}: a teacher is trained on "
            "the labels of its data; set it to 'hard'"
        )
    for block in ("search", "student"):
        space = config.search.space.name
        spaces.find(space).check(config[block].train, f"{block}.train")
    for block, names in _FOR_STUDENTS.items():
        for name in names:
            if config[block].train[name]:
                raise UserError(f"config.{block}.train.{name} is for students alone; set it to 0")


def _check_data_is_there(config: ConfigDict) -> None:
    needs_data = {
        "the student row 'real'": "real" in config.student.rows,
        "config.search.data='real'": config.search.data == "real",
        "training a teacher (config.teacher.checkpoint is empty)": not config.teacher.checkpoint,
    }
    for what, needed in needs_data.items():
        if needed and not config.data.source:
            raise UserError(f"{what} needs real images; set config.data.source")
    unlabelled = {
        "config.search.data='real'": (config.search.data == "real", config.search),
        "the student rows 'real' and 'noise'": (
            {"real", "noise"} & set(config.student.rows),
            config.student,
        ),
    }
    for what, (asked, block) in unlabelled.items():
        if asked and block.train.labels == "stored":
            raise UserError(
                f"{what} cannot have labels='stored': only synthetic images carry the teacher's "
                "logits; choose labels='teacher' or 'hard'"
            )


def _trained(config: ConfigDict) -> list[str]:
    """The blocks whose recipes are used."""
    return ["search", "student"] if config.teacher.checkpoint else ["teacher", "search", "student"]


def _check_synthesis(config: ConfigDict, teacher: Teacher) -> None:
    block, competitor = config.synthesis, None
    if block.competition and block.competitor:
        competitor = teachers.describe(Path(block.competitor), config.teacher.factory)
        if (competitor.num_classes, competitor.image_size) != (
            teacher.num_classes,
            teacher.image_size,
        ):
            raise UserError(
                f"config.synthesis.competitor={block.competitor} is for {competitor.num_classes} "
                f"classes and images of {competitor.image_size}, the teacher for "
                f"{teacher.num_classes} and {teacher.image_size}; they have to be the same"
            )
    mesh.check_divisible(block.batch_size, "config.synthesis.batch_size")
    synthesize.check(teacher, port.shapes(teacher), block, competitor is not None)


def _check_search(config: ConfigDict, teacher: Teacher, space: Space) -> None:
    block: Config = config.search
    hardware.of(space, block)
    given.check(space, block)
    if block.data == "synthetic":
        count = config.synthesis.images * config.synthesis.rounds
        search.check(count, teacher.image_size, block)
    preprocess = Preprocessing(teacher.mean, teacher.std)
    with mesh.for_batches(block.train.batch_size, teacher.image_size):
        space = space.regularized(block.train)
        search.create(space, teachers.logits_fn(teacher), preprocess, block)
