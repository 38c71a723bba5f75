"""The synthesize stage: images that the teacher knows, made from noise."""

import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from datafree_nas import teachers
from datafree_nas.experiment import Experiment
from datafree_nas.runtime import checkpoint, mesh, processes, programs, seeds
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
    (teacher, variables), competitor = experiment.load_teacher(), _competitor(experiment)
    for part in _parts(experiment):
        synthesize.synthesize(
            part.directory, teacher, variables, part.block, part.seed, competitor, part.label
        )
        processes.once(partial(checkpoint.discard, part.directory / "working"))


def _is_complete(experiment: Experiment) -> bool:
    """Returns whether all sets are there; those of older versions lack the held-out images."""
    return all((part.directory / store.CHECKSUMS).exists() for part in _parts(experiment))


class _Part(NamedTuple):
    """A set of images: folder, settings (`config.synthesis`), seed, start of progress lines."""

    directory: Path
    block: Config
    seed: int
    label: str


def _parts(experiment: Experiment) -> list[_Part]:
    """Lists the sets of the stage: the images to search and train on, and those held out."""
    config, workdir = experiment.config, experiment.workdir
    block = config.synthesis
    parts = [_Part(workdir.synthetic, block, config.seed, "synthesize")]
    if block.held_out:
        smaller = block.copy_and_resolve_references()
        smaller.images = math.ceil(block.held_out / block.batch_size) * block.batch_size
        seed = seeds.seed_for(config.seed, "held-out images")
        parts.append(_Part(workdir.held_out, smaller, seed, "synthesize held-out images,"))
    return parts


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
    root, removed = experiment.workdir.synthetic, list[str]()
    for part in _parts(experiment):
        if part.directory.exists():
            layout = synthesize.layout_of(part.directory, part.block)
            names = store.remove_damaged(layout, experiment.teacher)
            removed += [(layout.directory / name).relative_to(root).as_posix() for name in names]
    return removed


STAGE = Stage(
    name="synthesize",
    directory=SYNTHETIC,
    blocks=("synthesis",),
    results=(store.CHECKSUMS,),
    run=_run,
    check=_check,
    is_complete=_is_complete,
    lower_for_memory="config.synthesis.batch_size or config.synthesis.margin",
    programs=_programs,
    repair=_repair,
)
