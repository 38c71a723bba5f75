"""Our side of benchmarks.mct: synthesis with the CIFAR-10 recipe as a command, and its time.

This module is not a command.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from benchmarks import children
from configs import cifar10_spos
from datafree_nas.runtime.config import Config
from datafree_nas.synthesis import store

CONFIG = "configs/cifar10_spos.py"


class Made(NamedTuple):
    """Images, and how fast they were made.

    Attributes:
        images: images as bytes, `[n h w c]`.
        per_minute: images a minute once everything is compiled.
        per_minute_with_start: images a minute of the whole process.
    """

    images: UInt8[np.ndarray, "n h w c"]
    per_minute: float
    per_minute_with_start: float


def recipe() -> Config:
    """Returns `config.synthesis` of the recipe."""
    return cifar10_spos.get_config().synthesis


def synthesize(
    directory: Path, checkpoint: str, images: int, batch: int, share: float, seed: int
) -> Made:
    """Runs the stages teacher and synthesize in a process of their own, for one round.

    Args:
        directory: workdir that does not exist yet.
        checkpoint: file of the teacher's weights.
        images: number of images, two batches or more.
        batch: number of images in a batch.
        share: share of the recipe's iterations that is run.
        seed: seed of the run.

    Raises:
        UserError: the run has failed.
    """
    command = [sys.executable, "-m", "datafree_nas.main", f"--config={CONFIG}"]
    command += [f"--workdir={directory}", "--stages=teacher,synthesize"]
    changes = {
        "seed": seed,
        "data.source": "",
        "teacher.checkpoint": checkpoint,
        "teacher.arch": "auto",
        "synthesis.images": images,
        "synthesis.batch_size": batch,
        "synthesis.held_out": 0,
        "synthesis.rounds": 1,
        **shortened(recipe(), share),
    }
    command += [f"--config.{field}={value}" for field, value in changes.items()]
    # nothing is compiled before the start
    cache = {"JAX_COMPILATION_CACHE_DIR": f"{directory}.compiled"}
    seconds = children.run(command, Path(f"{directory}.log"), cache)
    found = store.load(directory / "synthetic")
    layout = store.Layout(directory / "synthetic", images // batch)
    written = [layout.shard(i).stat().st_mtime for i in range(layout.shards)]
    pixels = np.asarray(found.images)
    return Made(pixels, rate(written, batch), 60 * images / seconds)


def is_share(text: str) -> bool:
    """Returns whether a text is a number above 0, and at most 1."""
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False


def shortened(block: Config, share: float) -> dict[str, object]:
    """Returns the fields of the config that make a synthesis shorter, and their values.

    Args:
        block: settings of the synthesis, `config.synthesis`.
        share: share of the iterations that is left at each resolution, and of the warm-up.
    """

    def part(iterations: int) -> int:
        return max(1, round(share * iterations))

    resolutions = tuple((pool, part(iterations)) for pool, iterations in block.resolutions)
    return {"synthesis.resolutions": resolutions, "synthesis.warmup": part(block.warmup)}


def rate(written: Sequence[float], batch: int) -> float:
    """Computes images a minute from the times at which batches were written, in seconds.

    The first batch only starts the clock, since programs are compiled before it.
    """
    return 60 * batch * (len(written) - 1) / (written[-1] - written[0])
