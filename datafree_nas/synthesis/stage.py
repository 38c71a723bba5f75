"""The synthesize stage: images that the teacher knows, made from noise."""

from pathlib import Path
from typing import Any

from datafree_nas import teachers
from datafree_nas.experiment import Experiment
from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.stage import Stage
from datafree_nas.synthesis import store, synthesize
from datafree_nas.teachers import Teacher, port


def _competes(block: Config) -> bool:
    return bool(block.competition and block.competitor)


def _check(experiment: Experiment, images: dict[str, Any] | None) -> None:
    teacher, block = experiment.teacher, experiment.config.synthesis
    if _competes(block):
        _check_competitor(experiment, teacher)
    mesh.check_divisible(block.batch_size, "config.synthesis.batch_size")
    synthesize.check(teacher, port.shapes(teacher), block, _competes(block))


def _check_competitor(experiment: Experiment, teacher: Teacher) -> None:
    place = experiment.config.synthesis.competitor
    competitor = teachers.describe(Path(place), experiment.config.teacher.factory)
    found = competitor.num_classes, competitor.image_size
    wanted = teacher.num_classes, teacher.image_size
    if found != wanted:
        raise UserError(
            f"config.synthesis.competitor={place} is for {found[0]} classes and images of "
            f"{found[1]}, the teacher for {wanted[0]} and {wanted[1]}; they have to be the same"
        )


def _run(experiment: Experiment) -> None:
    config = experiment.config
    competitor = None
    if _competes(config.synthesis):
        competitor = teachers.load(Path(config.synthesis.competitor), config.teacher.factory)
    directory = experiment.workdir.synthetic
    synthesize.synthesize(
        directory, *experiment.load_teacher(), config.synthesis, config.seed, competitor
    )


def _repair(experiment: Experiment) -> list[str]:
    """Removes damaged shards; the stage makes them and missing ones again."""
    layout = synthesize.layout_of(experiment.workdir.synthetic, experiment.config.synthesis)
    return store.remove_damaged(layout, experiment.teacher)


STAGE = Stage(
    name="synthesize",
    directory="synthetic",
    blocks=("synthesis",),
    results=(store.CHECKSUMS,),
    run=_run,
    check=_check,
    lower_for_memory="config.synthesis.batch_size or config.synthesis.margin",
    repair=_repair,
)
