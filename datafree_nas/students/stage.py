"""The train stage: the found architecture on its own, and what it is compared with."""

from typing import Any

from ml_collections import ConfigDict

from datafree_nas import spaces
from datafree_nas.experiment import Experiment
from datafree_nas.runtime.errors import UserError
from datafree_nas.search import architecture_file
from datafree_nas.stage import Stage
from datafree_nas.students import rows
from datafree_nas.synthesis import store as synthetic_store
from datafree_nas.teachers import store as teacher_store
from datafree_nas.training import recipe


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


STAGE = Stage(
    name="train",
    directory="student",
    blocks=("student", "data"),
    results=(f"*/{rows.RESULT}",),
    run=_run,
    check_config=_check_config,
    check=_check,
    reads=_reads,
    lower_for_memory="config.student.train.batch_size, or config.data.memory_gb to stream the "
    "images",
)
