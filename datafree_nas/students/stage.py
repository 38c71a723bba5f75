"""The train stage: the found architecture on its own, and what it is compared with."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from datafree_nas import spaces
from datafree_nas.data.images import ImageSet
from datafree_nas.experiment import Experiment
from datafree_nas.runtime import checkpoint, mesh, mirror, processes
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.programs import Program
from datafree_nas.runtime.workdir import RESULT, STUDENTS
from datafree_nas.search import architecture_file, costs, front, limits
from datafree_nas.search import stage as search
from datafree_nas.search.strategies import given
from datafree_nas.spaces.space import Architecture, Space
from datafree_nas.stage import Stage
from datafree_nas.students import train
from datafree_nas.students.rows import ADDED, FAMILY, ROWS, chosen, folders
from datafree_nas.synthesis import store as synthetic_store
from datafree_nas.teachers import store as teacher_store
from datafree_nas.training import programs, recipe


def _on_real(config: ConfigDict) -> list[str]:
    """Lists the chosen rows that need real images."""
    return [name for name in chosen(config) if ROWS[name].data == "real"]


def _recipes(config: ConfigDict) -> list[str]:
    """Lists the training blocks of `config.student` that the chosen rows use."""
    return sorted({ROWS[name].recipe for name in chosen(config)}, reverse=True)


def _reads(config: ConfigDict) -> list[str]:
    return ["train"] * bool(_on_real(config)) + ["test"] * bool(config.data.source)


def _check_config(config: ConfigDict) -> None:
    for name in _on_real(config):
        if not config.data.source:
            raise UserError(f"the student row {name!r} needs real images; set config.data.source")
    for name in chosen(config):
        if ROWS[name].data != "synthetic":
            recipe.check_not_stored(config.student[ROWS[name].recipe], f"the student row {name!r}")
    if "real_search" in chosen(config):
        search.check_real(config, "the student row 'real_search'")
    _check_family(config)
    for block in _recipes(config):
        place = f"student.{block}"
        spaces.find(config.search.space.name).check(config.student[block], place)


def _check_family(config: ConfigDict) -> None:
    """Checks that there will be a family of the size wanted, as far as the fields can tell."""
    count, strategy = config.student.count, config.search.strategy
    if count == 1:
        return
    if strategy == "given":
        raise UserError(
            f"config.student.count={count} needs a search, but config.search.strategy='given' "
            "names one architecture; set one of the two"
        )
    if "synthetic" not in chosen(config):
        raise UserError(
            f"config.student.count={count} trains students of several sizes, and 'synthetic' is "
            "the first of them; add it to config.student.rows"
        )


def _check(experiment: Experiment, images: dict[str, Any] | None) -> None:
    config, size = experiment.config, experiment.teacher.image_size
    for block in _recipes(config):
        recipe.check(config.student[block], f"student.{block}", size)
    _check_enough(experiment.space, config)


def _check_enough(space: Space, config: ConfigDict) -> None:
    """Checks that the space has as many architectures, besides the one found, as wanted."""
    wanted, others = config.student.random_networks, math.prod(space.choices) - 1
    if config.student.count - 1 > others:
        raise UserError(
            f"config.student.count={config.student.count}, but {space.name} has only {others + 1} "
            "architectures; lower it"
        )
    if config.student.count > 1:
        limits.check_sizes(space, config.search, config.student.count)
    names = [name for name in chosen(config) if ROWS[name].network == "random"]
    if names and others < wanted:
        raise UserError(
            f"config.student.random_networks={wanted}, but {space.name} has only {others} other "
            f"architectures; lower it, or leave out the row {names[0]!r}"
        )


def _run(experiment: Experiment) -> None:
    config, workdir = experiment.config, experiment.workdir
    card = teacher_store.read_card(workdir.teacher)
    inputs = train.Inputs(
        space=experiment.space,
        found=architecture_file.of_run(workdir.search, experiment.space),
        family=_family(experiment),
        found_on_real=_search_on_real(experiment),
        costs=_front_cost(experiment),
        allowed=limits.make_test(experiment.space, config.search),
        labeller=experiment.labeller(),
        synthetic=synthetic_store.load_up_to(workdir.synthetic, config.data.memory_gb),
        real=lambda: experiment.natural("train"),
        held_out=_held_out(workdir.held_out),
        test=experiment.natural("test") if config.data.source else None,
    )
    teacher_costs = {"macs": card["macs"], "params": card["params"]}
    train.train_all(workdir.students, inputs, teacher_costs, config)


def _family(experiment: Experiment) -> dict[str, Architecture]:
    """Chooses the architectures that are trained besides the one found, by folder.

    The number of a folder is the place on the search's Pareto front, by rising cost, so that a
    larger count leaves folders as they are.
    """
    count, space = experiment.config.student.count, experiment.space
    if count == 1:
        return {}
    members = architecture_file.front_of_run(experiment.workdir.search, space)
    if count > len(members):
        raise UserError(
            f"config.student.count={count}, but the search found a front of {len(members)} "
            f"architecture{'s' * (len(members) > 1)}, each the best of its cost; lower it, or "
            "search again in another --workdir with more generations "
            "(config.search.evolution.generations)"
        )
    cost = costs.function(space, experiment.config.search)
    spent = np.array([cost(each) for each in members], float)
    found = architecture_file.of_run(experiment.workdir.search, space)
    pick = next(i for i, each in enumerate(members) if np.array_equal(each, found))
    places = front.spread(spent, count, first=pick)
    return {f"{FAMILY}_{place + 1}": members[place] for place in places if place != pick}


def _front_cost(experiment: Experiment) -> Callable[[Architecture], dict[str, Any]]:
    """Builds the function that computes the cost of the Pareto front, for a network's result."""
    block = experiment.config.search
    name, cost = costs.column(block), costs.function(experiment.space, block)
    return lambda architecture: {name: cost(architecture)}


def _held_out(directory: Path) -> ImageSet | None:
    """Loads the synthetic images that nothing is trained on; older versions made none."""
    return synthetic_store.load(directory) if directory.exists() else None


def _search_on_real(experiment: Experiment) -> Callable[[Path], Architecture]:
    """Builds the function that repeats the search on real images in a folder."""

    def run(directory: Path) -> Architecture:
        if not processes.from_first((directory / architecture_file.FILE).exists()):
            search.run_on(experiment, "real", directory)
            mirror.exchange(directory)
        processes.once(partial(checkpoint.discard, directory / "working"))
        return architecture_file.of_run(directory, experiment.space)

    return run


def _is_complete(experiment: Experiment) -> bool:
    """Returns whether all networks of the chosen rows are trained."""
    root, wanted = experiment.workdir.students, folders(experiment.config, _family(experiment))
    return all((root / folder / RESULT).exists() for folder in wanted)


def _programs(experiment: Experiment) -> list[Program]:
    """Lowers the training of the given architecture, or of a random one, by each recipe."""
    config, space = experiment.config, experiment.space
    if config.search.strategy == "given":
        architecture = given.architecture(space, config.search)
    else:
        architecture = np.asarray(space.sample(jax.random.key(0)))
    synthetic = config.synthesis.images * config.synthesis.rounds
    names = {"train": ("student", synthetic), "real_train": ("student on real images", 1)}
    return [
        program
        for recipe_name in _recipes(config)
        for program in _lowered(
            experiment, config.student[recipe_name], architecture, *names[recipe_name]
        )
    ]


def _lowered(
    experiment: Experiment, block: Config, architecture: Architecture, name: str, count: int
) -> list[Program]:
    """Lowers a training; `count` is the number of images, as far as it is known."""
    config, teacher, labeller = experiment.config, experiment.teacher, experiment.labeller_shapes
    size = teacher.image_size
    model = experiment.space.regularized(block).network(architecture)
    with mesh.for_batches(block.batch_size, size):
        images = programs.train_data(
            count, size, teacher.num_classes, labeller.variables, block, config.data.memory_gb
        )
        return programs.of_training(name, model, labeller, block, size, images)


STAGE = Stage(
    name="train",
    directory=STUDENTS,
    blocks=("student", "data"),
    results=(f"*/{RESULT}",),
    run=_run,
    check_config=_check_config,
    check=_check,
    reads=_reads,
    added=ADDED,
    is_complete=_is_complete,
    programs=_programs,
    lower_for_memory="config.student.train.batch_size, or config.data.memory_gb to stream the "
    "images",
)
