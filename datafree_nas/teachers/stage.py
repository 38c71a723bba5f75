"""The teacher stage: a ported or trained classifier, and what is known of it."""

from typing import Any

from ml_collections import ConfigDict

from datafree_nas.data import sources
from datafree_nas.data.labeller import without_labels
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.experiment import Experiment
from datafree_nas.runtime import mesh, processes, records, seeds
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.programs import Program
from datafree_nas.runtime.workdir import TEACHER
from datafree_nas.spaces.space import REGULARIZERS
from datafree_nas.stage import Stage
from datafree_nas.teachers import configured, store
from datafree_nas.teachers.teacher import Teacher
from datafree_nas.training import fit, programs, recipe


def _is_trained(config: ConfigDict) -> bool:
    return not config.teacher.checkpoint


def _reads(config: ConfigDict) -> list[str]:
    return ["train"] if _is_trained(config) else []


def _check_config(config: ConfigDict) -> None:
    if _is_trained(config) and not config.data.source:
        raise UserError(
            "training a teacher (config.teacher.checkpoint is empty) needs real images; set "
            "config.data.source"
        )
    configured.check(config.teacher)
    if _is_trained(config) and config.teacher.train.labels != "hard":
        raise UserError(
            f"config.teacher.train.labels={config.teacher.train.labels!r}: a teacher is trained on "
            "the labels of its data; set it to 'hard'"
        )
    recipe.check_unused(config.teacher.train, "teacher.train", REGULARIZERS)


def _check(experiment: Experiment, images: dict[str, Any] | None) -> None:
    if _is_trained(experiment.config):
        size = experiment.teacher.image_size
        recipe.check(experiment.config.teacher.train, "teacher.train", size)


def _run(experiment: Experiment) -> None:
    if _is_trained(experiment.config):
        teacher = configured.described(experiment.config.teacher)
        variables = _train(teacher, experiment)
        source = {"trained_on": experiment.config.data.source}
    else:
        teacher, variables, source = configured.read(experiment.config.teacher)
    names = _class_names(teacher, experiment)
    processes.once(lambda: _save(experiment, teacher, variables, source, names))


def _train(teacher: Teacher, experiment: Experiment) -> Any:
    config = experiment.config
    return fit.fit(
        teacher.model,
        experiment.natural("train", names=[]),
        without_labels(Preprocessing(teacher.mean, teacher.std)),
        config.teacher.train,
        seeds.key_for(config.seed, "teacher"),
        label="train teacher",
        directory=experiment.workdir.teacher,
    )


def _class_names(teacher: Teacher, experiment: Experiment) -> list[str]:
    """Returns those of the ported folder, or of the images that the teacher was trained on."""
    images = experiment.workdir.images
    if not _is_trained(experiment.config) or not images.exists():
        return experiment.class_names()
    inspected = records.read(images, records.IMAGES, f"remove {images}")
    return sources.names_in_order(inspected, teacher.num_classes)


def _save(
    experiment: Experiment,
    teacher: Teacher,
    variables: Any,
    source: dict[str, str],
    names: list[str],
) -> None:
    directory = experiment.workdir.teacher
    with processes.alone():
        here = mesh.replicated_here(variables)
        card = store.save(directory, teacher, here, source, names or None)
    processes.say(
        f"teacher: {teacher.arch}, {teacher.num_classes} classes, images of {teacher.image_size}, "
        f"mean {teacher.mean}, std {teacher.std}"
    )
    for name in ("head", "ignored"):
        if name in source:
            processes.say(f"teacher's {name}: {source[name]}")
    for check in card["checks"]:
        if not check["passed"]:
            processes.say(f"warning: {check['name']}: {check['message']}")


def _programs(experiment: Experiment) -> list[Program]:
    config, teacher = experiment.config, experiment.teacher
    if not _is_trained(config):
        return []
    block, size = config.teacher.train, teacher.image_size
    with mesh.for_batches(block.batch_size, size):
        images = programs.train_data(
            1, size, teacher.num_classes, None, block, config.data.memory_gb
        )
        labeller = experiment.labeller_shapes
        return programs.of_training("teacher", teacher.model, labeller, block, size, images)


STAGE = Stage(
    name="teacher",
    directory=TEACHER,
    blocks=("name", "seed", "teacher"),
    results=(store.FILE,),
    run=_run,
    check_config=_check_config,
    check=_check,
    reads=_reads,
    lower_for_memory="config.teacher.train.batch_size",
    programs=_programs,
)
