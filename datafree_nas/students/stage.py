"""The train stage: the found architecture on its own, and what it is compared with."""

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from datafree_nas import spaces
from datafree_nas.experiment import Experiment
from datafree_nas.runtime import mesh
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.programs import Program
from datafree_nas.runtime.workdir import RESULT, STUDENTS
from datafree_nas.search import architecture_file
from datafree_nas.search.strategies import given
from datafree_nas.stage import Stage
from datafree_nas.students import rows
from datafree_nas.synthesis import store as synthetic_store
from datafree_nas.teachers import store as teacher_store
from datafree_nas.training import programs, recipe


def _reads(config: ConfigDict) -> list[str]:
    return ["train"] * ("real" in config.student.rows) + ["test"] * bool(config.data.source)


def _check_config(config: ConfigDict) -> None:
    block = config.student
    if "real" in block.rows and not config.data.source:
        raise UserError("the student row 'real' needs real images; set config.data.source")
    if {"real", "noise"} & set(block.rows):
        recipe.check_not_stored(block.train, "the student rows 'real' and 'noise'")
    spaces.find(config.search.space.name).check(block.train, "student.train")


def _check(experiment: Experiment, images: dict[str, Any] | None) -> None:
    size = experiment.teacher.image_size
    recipe.check(experiment.config.student.train, "student.train", size)


def _run(experiment: Experiment) -> None:
    config, workdir = experiment.config, experiment.workdir
    card = teacher_store.read_card(workdir.teacher)
    inputs = rows.Inputs(
        space=experiment.space,
        architecture=architecture_file.of_run(workdir.search, experiment.space),
        labeller=experiment.labeller(),
        synthetic=synthetic_store.load_up_to(workdir.synthetic, config.data.memory_gb),
        real=lambda: experiment.natural("train"),
        test=experiment.natural("test") if config.data.source else None,
    )
    teacher_costs = {"macs": card["macs"], "params": card["params"]}
    rows.train_rows(workdir.students, inputs, teacher_costs, config.student, config.seed)


def _programs(experiment: Experiment) -> list[Program]:
    """Lowers the training of the given architecture, or of a random one."""
    config, teacher, space = experiment.config, experiment.teacher, experiment.space
    block, size, labeller = config.student.train, teacher.image_size, experiment.labeller_shapes
    if config.search.strategy == "given":
        architecture = given.architecture(space, config.search)
    else:
        architecture = np.asarray(space.sample(jax.random.key(0)))
    model = space.regularized(block).network(architecture)
    count = config.synthesis.images * config.synthesis.rounds
    with mesh.for_batches(block.batch_size, size):
        images = programs.train_data(
            count, size, teacher.num_classes, labeller.variables, block, config.data.memory_gb
        )
        return programs.of_training("student", model, labeller, block, size, images)


STAGE = Stage(
    name="train",
    directory=STUDENTS,
    blocks=("student", "data"),
    results=(f"*/{RESULT}",),
    run=_run,
    check_config=_check_config,
    check=_check,
    reads=_reads,
    programs=_programs,
    lower_for_memory="config.student.train.batch_size, or config.data.memory_gb to stream the "
    "images",
)
