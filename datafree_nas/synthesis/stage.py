"""The synthesize stage: images that the teacher knows, made from noise."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from datafree_nas import teachers
from datafree_nas.experiment import Experiment
from datafree_nas.runtime import mesh, processes, programs
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.programs import Program, abstract, on_all
from datafree_nas.runtime.repeat import repeat
from datafree_nas.runtime.workdir import SYNTHETIC
from datafree_nas.stage import Stage
from datafree_nas.synthesis import store, synthesize, synthesizer
from datafree_nas.teachers import Teacher


def _competes(block: Config) -> bool:
    return bool(block.competition and block.competitor)


def _check(experiment: Experiment, images: dict[str, Any] | None) -> None:
    teacher, block = experiment.teacher, experiment.config.synthesis
    if _competes(block):
        _check_competitor(experiment, teacher)
    mesh.check_divisible(block.batch_size, "config.synthesis.batch_size")
    synthesize.check(teacher, experiment.labeller_shapes.variables, block, _competes(block))


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
    config, competitor = experiment.config, _competitor(experiment)
    directory = experiment.workdir.synthetic
    synthesize.synthesize(
        directory, *experiment.load_teacher(), config.synthesis, config.seed, competitor
    )


def _competitor(experiment: Experiment) -> tuple[Teacher, Any] | None:
    config = experiment.config
    if not _competes(config.synthesis):
        return None
    return teachers.load(Path(config.synthesis.competitor), config.teacher.factory)


def _programs(experiment: Experiment) -> list[Program]:
    """Lowers the steps for the devices of one process, as each work unit is made by one."""
    teacher, block = experiment.teacher, experiment.config.synthesis
    competitor = _competitor(experiment)
    with processes.alone():
        state = _abstract_state(teacher, block)
        weights = competitor[1] if competitor else None
        frozen = on_all(synthesizer.Frozen(experiment.labeller_shapes.variables, weights))
        found = []
        for pool, iterations in block.resolutions:
            step = synthesizer.make_synthesis_step(
                teacher,
                block,
                batch=block.batch_size,
                pool=pool,
                iterations=iterations,
                student=competitor[0].model if competitor else None,
            )
            name = f"synthesis 1/{pool}"
            found += programs.lower(name, block.batch_size, repeat(step), state, frozen)
    return found


def _abstract_state(teacher: Teacher, block: Config) -> Any:
    """Returns the shapes of a state; arrays with a batch axis are split over the devices."""
    targets = jax.ShapeDtypeStruct((block.batch_size,), jnp.int32)
    state = jax.eval_shape(
        lambda targets: synthesizer.create_synthesis_state(
            jax.random.key(0), targets, teacher, block
        ),
        targets,
    )

    def placed(leaf: Any) -> Any:
        split = leaf.ndim and leaf.shape[0] == block.batch_size
        sharding = mesh.split_over_data() if split else mesh.replicated()
        return abstract(*leaf.shape, dtype=leaf.dtype, sharding=sharding)

    return jax.tree.map(placed, state)


def _repair(experiment: Experiment) -> list[str]:
    """Removes damaged shards; the stage makes them and missing ones again."""
    layout = synthesize.layout_of(experiment.workdir.synthetic, experiment.config.synthesis)
    return store.remove_damaged(layout, experiment.teacher)


STAGE = Stage(
    name="synthesize",
    directory=SYNTHETIC,
    blocks=("synthesis",),
    results=(store.CHECKSUMS,),
    run=_run,
    check=_check,
    lower_for_memory="config.synthesis.batch_size or config.synthesis.margin",
    programs=_programs,
    repair=_repair,
)
