"""The search stage: an architecture, found on synthetic images (or, for comparison, real ones)."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from datafree_nas import spaces
from datafree_nas.data.images import Images, ImageSet, fitting
from datafree_nas.experiment import Experiment
from datafree_nas.runtime import mesh, processes, seeds
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import make_directory
from datafree_nas.runtime.programs import Program, abstract, lower, on_all
from datafree_nas.runtime.repeat import Repeated
from datafree_nas.runtime.workdir import SEARCH
from datafree_nas.search import architecture_file, costs, hardware, registry
from datafree_nas.search.run import check_images, search
from datafree_nas.search.strategies import given
from datafree_nas.search.strategy import SearchData, Strategy
from datafree_nas.stage import Stage
from datafree_nas.synthesis import store as synthetic_store
from datafree_nas.training import programs, recipe
from datafree_nas.training.trainer import TrainData

# fields of a training recipe that a supernet has no use for
_FOR_STUDENTS = ("auxiliary", "drop_path", "ema", "calibration_batches")


def _reads(config: ConfigDict) -> list[str]:
    return ["train"] if config.search.data == "real" else []


def _check_config(config: ConfigDict) -> None:
    block = config.search
    if block.data == "real":
        check_real(config, "config.search.data='real'")
    hardware.check_table(block)
    spaces.find(block.space.name).check(block.train, "search.train")
    recipe.check_unused(block.train, "search.train", _FOR_STUDENTS)


def check_real(config: ConfigDict, what: str) -> None:
    """Checks that a search on real images is possible.

    Args:
        config: experiment, whose blocks `search` and `data` are read.
        what: field or row that asks for it, for the message.

    Raises:
        UserError: there are no real images, or they would need the teacher's stored logits.
    """
    if not config.data.source:
        raise UserError(f"{what} needs real images; set config.data.source")
    recipe.check_not_stored(config.search.train, what)


def _check(experiment: Experiment, images: dict[str, Any] | None) -> None:
    block, space, teacher = experiment.config.search, experiment.space, experiment.teacher
    recipe.check(block.train, "search.train", teacher.image_size)
    hardware.of(space, block)
    costs.check(space, block)
    given.check(space, block)
    with mesh.for_batches(block.train.batch_size, teacher.image_size):
        searches = bool(_strategy(experiment).phases)
    if searches:
        check_images(_images_at_hand(experiment, images), teacher.image_size, block)


def _images_at_hand(experiment: Experiment, images: dict[str, Any] | None) -> int:
    """Counts the images that a search would keep on the devices."""
    config, size = experiment.config, experiment.teacher.image_size
    count = config.synthesis.images * config.synthesis.rounds
    if config.search.data == "real" and images and "train" in images["splits"]:
        count = images["splits"]["train"]["images"]
    at_hand = int(min(count, fitting(size, config.data.memory_gb)))
    if not at_hand:
        raise UserError(
            f"config.data.memory_gb={config.data.memory_gb:g} has room for no image, but a search "
            "keeps its images on the devices; raise it"
        )
    return at_hand


def _strategy(experiment: Experiment) -> Strategy:
    """Builds the strategy for shapes."""
    block = experiment.config.search
    space = experiment.space.regularized(block.train)
    return registry.find(block.strategy).build(space, experiment.labeller_shapes, block)


def _run(experiment: Experiment) -> None:
    config, workdir = experiment.config, experiment.workdir
    found = run_on(experiment, config.search.data, workdir.search)
    if config.search.strategy == "given":
        processes.say(f"given {found['architecture']}")
    else:
        processes.say(f"found {found['architecture']}  ({found['evaluated']} scored)")


def run_on(experiment: Experiment, data: str, directory: Path) -> dict[str, Any]:
    """Searches on one kind of images.

    Args:
        experiment: run whose teacher, space and settings are used.
        data: `synthetic` or `real`.
        directory: folder for the results, see `run.search`.

    Returns:
        The content of `architecture.json`.
    """
    config = experiment.config
    if data == "real":
        images = experiment.natural("train")
    else:
        place = experiment.workdir.synthetic
        images = synthetic_store.load_up_to(place, config.data.memory_gb)
    block = config.search.copy_and_resolve_references()
    block.data = data
    labeller, here = experiment.labeller(), make_directory(directory)
    return search(here, experiment.space, labeller, _at_hand(images, config), block, config.seed)


def _at_hand(images: Images, config: ConfigDict) -> ImageSet:
    """Chooses the images that stay on the devices, as a search looks at them again and again."""
    if isinstance(images, ImageSet):
        return images
    count = int(fitting(images.image_size, config.data.memory_gb))
    processes.say(f"searching on {count} random ones of {images.size} images (data.memory_gb)")
    generator = seeds.numpy_generator(seeds.key_for(config.seed, "search images"))
    return images.take(np.sort(generator.choice(images.size, count, replace=False)))


def _programs(experiment: Experiment) -> list[Program]:
    config, teacher = experiment.config, experiment.teacher
    block, labeller, size = config.search, experiment.labeller_shapes, teacher.image_size
    synthetic = config.synthesis.images * config.synthesis.rounds
    total = int(min(synthetic, fitting(size, config.data.memory_gb)))
    held_out = round(total * block.held_out)
    pooled = (size[0] // block.pool, size[1] // block.pool, size[2])

    def images(count: int) -> TrainData:
        known = 1 if block.data == "real" else count
        return programs.train_data(
            known, pooled, teacher.num_classes, labeller.variables, block.train, np.inf
        )

    with mesh.for_batches(block.train.batch_size, size):
        strategy = _strategy(experiment)
        logits = abstract(held_out, teacher.num_classes)
        data = SearchData(images(total - held_out), images(held_out), logits)
        state = on_all(strategy.init(jax.random.key(0)))
        return [
            program
            for phase in strategy.phases
            if isinstance(phase.advance, Repeated)
            for program in lower("search", block.train.batch_size, phase.advance, state, data)
        ]


STAGE = Stage(
    name="search",
    directory=SEARCH,
    blocks=("search",),
    results=(architecture_file.FILE,),
    run=_run,
    check_config=_check_config,
    check=_check,
    reads=_reads,
    lower_for_memory="config.search.train.batch_size or the channels of config.search.space",
    programs=_programs,
)
