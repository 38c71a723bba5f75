"""Streams training sets too large for the devices; Grain decodes batches ahead of the steps.

Every epoch has every image once, in an order of its own that depends on the seed alone. The batch
of a step is the same for any number of processes; each process decodes its share. A batch is found
by its number, so a resumed run needs to know only its step.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from datafree_nas.data.images import Records
from datafree_nas.runtime import mesh, seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.feed import Feed
from datafree_nas.training.trainer import TrainData, check_labels

_PART_BYTES = 1 << 28  # of images that a process has on its devices at once


def feed(records: Records, teacher: Any, recipe: Config, key: jax.Array) -> Feed:
    """Streams a set to the devices.

    Args:
        records: set of training images.
        teacher: variables of the labelling network, used if `recipe.labels` is `teacher`.
        recipe: a training block of the config.
        key: random key of the order.

    Raises:
        UserError: the recipe uses stored logits and the set has none, or the batch does not divide
            over the devices.
    """
    check_labels(records.read(0).logits, recipe)
    mesh.check_divisible(recipe.batch_size, "batch_size of a training recipe")
    view, length = View(records, recipe, key), part_length(records.image_size, recipe)
    everywhere = mesh.replicated()
    teacher = mesh.put(teacher, everywhere) if recipe.labels == "teacher" else None
    place = partial(jax.make_array_from_process_local_data, sharding())

    def parts(first: int) -> Iterator[TrainData]:
        for number, found in enumerate(view.parts(first, length), start=first):
            step = mesh.put(np.int32(number * length), everywhere)
            yield TrainData(**jax.tree.map(place, found), teacher=teacher, first=step)

    return Feed(parts, length)


def part_length(image_size: tuple[int, int, int], recipe: Config) -> int:
    """Returns for how many steps the batches are on the devices at once."""
    share = recipe.batch_size // mesh.part()[1]
    return int(np.clip(_PART_BYTES // (share * math.prod(image_size)), 1, recipe.log_every))


def sharding() -> NamedSharding:
    """Returns the sharding of arrays `[n b ...]`: every batch is split over the devices."""
    return NamedSharding(mesh.data_mesh(), PartitionSpec(None, "data"))


class View:
    """This process's share of an endless sequence of batches, in the form that Grain reads.

    Args:
        records: set that the images come from.
        recipe: a training block of the config.
        key: random key of the order.
    """

    def __init__(self, records: Records, recipe: Config, key: jax.Array):
        import grain  # imported here, as it takes time that only streaming needs

        seed = int(seeds.numpy_generator(key).integers(1 << 31))
        self._order = grain.MapDataset.range(records.size).shuffle(seed=seed).repeat()
        self._records, self._stored = records, recipe.labels == "stored"
        number, parts = mesh.part()
        self._batch, self.share = recipe.batch_size, recipe.batch_size // parts
        self._before = number * self.share

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> dict[str, Any]:
        step, place = divmod(index, self.share)
        found = self._records.read(self._order[step * self._batch + self._before + place])
        example = {"images": found.image, "labels": np.int32(found.label)}
        return {**example, "logits": found.logits} if self._stored else example

    def parts(self, first: int, length: int) -> Iterator[dict[str, np.ndarray]]:
        """Decodes arrays `[length share ...]` in threads, ahead of use, from number `first` on."""
        import grain

        decoded = grain.MapDataset.source(self).slice(slice(first * length * self.share, None))
        return iter(decoded.to_iter_dataset().batch(self.share).batch(length))
