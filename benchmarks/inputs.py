"""Inputs of rankings and searches on tabular spaces: images, teacher and space."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from datafree_nas import schema, spaces, teachers
from datafree_nas.data import sources
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import read_json, write_json
from datafree_nas.spaces.space import Space
from datafree_nas.students import train
from datafree_nas.synthesis import store
from datafree_nas.training import fit

KINDS = ("synthetic", "real", "noise")
_NOISE = 5000  # images, if the number is not given


class Inputs(NamedTuple):
    """Images, and the teacher that labels them.

    Attributes:
        images: images to search on; all with the teacher's logits if the recipe uses stored ones.
        labeller: teacher with its weights.
    """

    images: ImageSet
    labeller: Labeller


def load(data: str, directory: str, count: int, config: ConfigDict) -> Inputs:
    """Loads what a `--data` flag names.

    Args:
        data: value of the flag: `synthetic:WORKDIR`, `real` (from `config.data`) or `noise`.
        directory: directory of the teacher; empty: WORKDIR/teacher.
        count: number of images, taken from the first on; 0: all.
        config: config of an experiment.

    Raises:
        UserError: something is missing, or there are fewer images than `count`.
    """
    kind, _, place = data.partition(":")
    if not directory and not place:
        raise UserError(f"--data={data} needs --teacher=DIR, who labels the images")
    teacher, variables = teachers.load(Path(directory or f"{place}/teacher"))
    labeller = teachers.labeller(teacher, variables)
    if kind == "synthetic":
        images = store.load(Path(place) / "synthetic")
    elif kind == "real":
        block: Any = config.data
        request = sources.request_of(block, teacher.image_size, teacher.num_classes)
        images = sources.load(request, "train")
    else:
        shape = (count or _NOISE, *teacher.image_size)
        images = train.noise(shape, labeller, config.seed)
    if images.size < count:
        raise UserError(f"--images={count}: there are {images.size}")
    images = images.take(np.arange(count or images.size))
    if images.logits is None and config.search.train.labels == "stored":
        logits = fit.logits_of(labeller, np.asarray(images.images))
        images = images._replace(logits=logits)
    return Inputs(images, labeller)


def space(config: ConfigDict) -> Space:
    """Builds the space that a config searches, for the images of the table, CIFAR-10's."""
    return spaces.create_space(**config.search.space, num_classes=10, image_size=(32, 32, 3))


def check_settings(directory: Path, config: ConfigDict, chosen: list[flags.FlagHolder]) -> None:
    """Writes the settings of a directory's results, or checks that they are still the same.

    Args:
        directory: directory of the results.
        config: config of the experiment, whose seed, data and search matter.
        chosen: flags that matter.

    Raises:
        UserError: the directory has results of other settings; the message names the fields.
    """
    blocks = {"seed": config.seed, "data": config.data, "search": config.search}
    settings = {flag.name: flag.value for flag in chosen} | schema.flatten(blocks, "config")
    file = directory / "settings.json"
    before = read_json(file) if file.exists() else settings
    other = sorted(n for n in before.keys() | settings if before.get(n) != settings.get(n))
    if other:
        raise UserError(f"{directory} has results of other settings ({', '.join(other)})")
    write_json(file, settings)
