"""The search stage's step on random images with stored labels, for benchmarks that time it.

No command of its own.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs import digits_spos, nasbench201_darts, nasbench201_spos
from datafree_nas.data.images import ImageSet
from datafree_nas.runtime.config import Config
from datafree_nas.search import run as search
from datafree_nas.search import sampling
from datafree_nas.search.strategy import SearchData
from datafree_nas.spaces.space import Space
from datafree_nas.training import trainer
from datafree_nas.training.trainer import Preprocessing

EXPERIMENTS: dict[str, Callable[[], ConfigDict]] = {
    "nasbench201_spos": nasbench201_spos.get_config,
    "digits_spos": digits_spos.get_config,
    "nasbench201_darts": nasbench201_darts.get_config,
}
CALIBRATION = 4  # batches, before a score
IMAGES = 1024  # random ones


def experiment(name: str, cells: int, batch: int) -> ConfigDict:
    """An experiment's config, with stored labels.

    Args:
        name: one of `EXPERIMENTS`.
        cells: of a stage.
        batch: images.
    """
    config = EXPERIMENTS[name]()
    config.search.space.cells, config.search.calibration_batches = cells, CALIBRATION
    config.search.spos.sampling = "uniform"  # of any number of cells
    config.search.train.update(labels="stored", batch_size=batch, decay_all=True)
    return config


def random_images(space: Space) -> ImageSet:
    """Noise of the space's size, with random logits."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (IMAGES, *space.image_size)).astype(np.uint8)
    logits = generator.normal(size=(IMAGES, space.num_classes)).astype(np.float32)
    return ImageSet(pixels, logits.argmax(-1).astype(np.int32), logits)


def halves(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """To train on, and held out."""
    first = np.arange(images.size) < images.size // 2
    return images.take(first), images.take(~first)


def preprocessing(space: Space) -> Preprocessing:
    """The same for every channel."""
    channels = space.image_size[2]
    return Preprocessing((0.5,) * channels, (0.25,) * channels)


class Search:
    """A search at its beginning.

    Args:
        config: `config.search`, with stored labels.
        space: to search.
        images: with logits; one half is held out.

    Attributes:
        data: what its steps read.
        state: of the strategy, after the steps done so far.
    """

    def __init__(self, config: Config, space: Space, images: ImageSet):
        strategy = search.create(space, _no_teacher, preprocessing(space), config)
        train, held_out = halves(images)
        self.data = SearchData(
            trainer.data_of(train, None, config.train),
            trainer.data_of(held_out, None, config.train),
            jnp.asarray(held_out.logits),
        )
        self.state = strategy.init(jax.random.key(0))
        self._config, self._space = config, space
        self._run: Any = next(p for p in strategy.phases if p.name == "supernet").advance

    def advance(self, n: int) -> dict[str, jax.Array]:
        """Does so many steps, and waits until they are done; metrics of the last."""
        self.state, metrics = jax.block_until_ready(self._run(self.state, self.data, n))
        return metrics

    def paths(self, count: int) -> list[list[int]]:
        """The ops at every position in so many steps of SPOS, from the first on."""
        draw, key = sampling.make(self._space, self._config.spos), self.state.train.key
        path = jax.vmap(lambda step: self._space.gates(draw(key, step)))
        return path(jnp.arange(count)).tolist()

    def temporaries(self) -> int:
        """Bytes of temporaries of the larger of its programs, by XLA's account."""
        programs = self._run.lower(self.state, self.data)
        memory = [program.compile().memory_analysis() for program in programs]
        return max(m.temp_size_in_bytes for m in memory if m)


def _no_teacher(variables: Any, x: jax.Array) -> jax.Array:
    raise AssertionError("labels are stored")
