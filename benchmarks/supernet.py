"""A supernet, trained as the search stage does, that scores given architectures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from datafree_nas import pipeline
from datafree_nas.data.images import ImageSet
from datafree_nas.runtime import loop, seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.search import run as search
from datafree_nas.search import scoring
from datafree_nas.spaces.space import Space
from datafree_nas.teachers import Teacher
from datafree_nas.training.trainer import Preprocessing

Scorer = Callable[[list[str]], list[dict[str, float]]]


def train(
    directory: Path,
    space: Space,
    teacher: tuple[Teacher, Any],
    images: ImageSet,
    config: Config,
    seed: int,
) -> Scorer:
    """Trains a supernet on single paths, going on where it was.

    Args:
        directory: for its progress, kept until the caller discards it.
        space: of the architectures.
        teacher: who labels the images, and its variables.
        images: to train on; a share `config.held_out` is kept apart for scoring.
        config: `config.search`.
        seed: of everything.

    Returns:
        From encoded architectures to what `scoring.make_scorer` says of each, with a `score`.

    Raises:
        UserError: the config does not fit.
        Interrupted: a signal came; the state is saved.
    """
    model, variables = teacher
    preprocess = Preprocessing(model.mean, model.std)
    space, labelled = space.regularized(config.train), pipeline.logits_fn(model)
    strategy = search.create(space, labelled, preprocess, config)
    data = search.split(images, (labelled, variables), preprocess, config, seed)
    state = loop.run(
        [phase for phase in strategy.phases if phase.unit == "steps"],
        strategy.init(seeds.key_for(seed, "search")),
        data,
        label="ranking",
        directory=directory,
        writer=lambda start: MetricsWriter(directory.parent, start),
    )
    score = scoring.make_scorer(space.supernet(), preprocess, config)

    def scorer(names: list[str]) -> list[dict[str, float]]:
        architectures = [space.decode(name) for name in names]
        gates = [space.gates(jnp.asarray(a)) for a in architectures]
        found = scoring.score_all(score, state.train, data, gates)
        return [{"score": scoring.score_of(each, config), **each} for each in found]

    return scorer
