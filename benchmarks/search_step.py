"""The search stage's step on random images with stored labels, for benchmarks that time it.

This module is not a command.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs import digits_spos, nasbench201_darts, nasbench201_spos
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import without_labels
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.repeat import Repeated
from datafree_nas.search import registry, sampling
from datafree_nas.search.strategy import SearchData
from datafree_nas.spaces.space import Space
from datafree_nas.training import trainer

EXPERIMENTS: dict[str, Callable[[], ConfigDict]] = {
    "nasbench201_spos": nasbench201_spos.get_config,
    "digits_spos": digits_spos.get_config,
    "nasbench201_darts": nasbench201_darts.get_config,
}
CALIBRATION = 4  # batches of calibration before a score
IMAGES = 1024  # number of random images


def experiment(name: str, cells: int, batch: int) -> ConfigDict:
    """Builds an experiment's config, with stored labels; DARTS is the plain one, of first order.

    Args:
        name: one of `EXPERIMENTS`.
        cells: number of cells of a stage.
        batch: number of images of a batch.
    """
    config = EXPERIMENTS[name]()
    config.search.space.cells, config.search.calibration_batches = cells, CALIBRATION
    config.search.darts.beta_darts = 0.0
    config.search.spos.sampling = "uniform"  # this sampling works with any number of cells
    config.search.train.update(labels="stored", batch_size=batch, decay_all=True)
    return config


def random_images(space: Space) -> ImageSet:
    """Draws noise of the space's image size, with random logits."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (IMAGES, *space.image_size)).astype(np.uint8)
    logits = generator.normal(size=(IMAGES, space.num_classes)).astype(np.float32)
    return ImageSet(pixels, logits.argmax(-1).astype(np.int32), logits)


def halves(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Splits images into those to train on and those held out."""
    first = np.arange(images.size) < images.size // 2
    return images.take(first), images.take(~first)


def preprocessing(space: Space) -> Preprocessing:
    """Builds a normalization that is the same for every channel."""
    channels = space.image_size[2]
    return Preprocessing((0.5,) * channels, (0.25,) * channels)


class Search:
    """A search before its first step.

    Args:
        config: block `config.search` of an experiment, with stored labels.
        space: space to search in.
        images: images with logits; one half is held out.

    Attributes:
        data: data that the steps read.
        state: state of the strategy, after the steps done so far.
    """

    def __init__(self, config: Config, space: Space, images: ImageSet):
        strategy = registry.find(config.strategy).build(
            space, without_labels(preprocessing(space)), config
        )
        train, held_out = halves(images)
        self.data = SearchData(
            trainer.data_of(train, None, config.train),
            trainer.data_of(held_out, None, config.train),
            jnp.asarray(held_out.logits),
        )
        self.state = strategy.init(jax.random.key(0))
        self._config, self._space = config, space
        self._run: Any = next(p.advance for p in strategy.phases if isinstance(p.advance, Repeated))

    def advance(self, n: int) -> dict[str, jax.Array]:
        """Runs `n` steps, waits until they are done, and returns the metrics of the last."""
        self.state, metrics = jax.block_until_ready(self._run(self.state, self.data, n))
        return metrics

    def paths(self, count: int) -> list[list[int]]:
        """Lists the ops at every position in the first `count` steps of SPOS."""
        draw, key = sampling.make_path_sampler(self._space, self._config.spos), self.state.train.key
        path = jax.vmap(lambda step: self._space.gates(draw(key, step)))
        return path(jnp.arange(count)).tolist()

    def temporaries(self) -> int:
        """Returns the bytes of temporaries of a step's largest program, as XLA reports them."""
        programs = self._run.lower(self.state, self.data)
        memory = [program.compile().memory_analysis() for program in programs.values()]
        return max(m.temp_size_in_bytes for m in memory if m)
