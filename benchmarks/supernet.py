"""A supernet, trained as the search stage does, that scores given architectures."""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp

from benchmarks.inputs import Inputs
from datafree_nas.runtime import loop, seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.search import run as search
from datafree_nas.search import scoring
from datafree_nas.spaces.space import Space

Scorer = Callable[[list[str]], list[dict[str, float]]]


def train(directory: Path, space: Space, inputs: Inputs, config: Config, seed: int) -> Scorer:
    """Trains a supernet on single paths, going on where it was.

    Args:
        directory: for its progress, kept until the caller discards it.
        space: of the architectures.
        inputs: images, a share of which, `config.held_out`, is for scoring; and who labels them.
        config: `config.search`.
        seed: of everything.

    Returns:
        From encoded architectures to what `scoring.make_scorer` says of each, with a `score`.

    Raises:
        UserError: the config does not fit.
        Interrupted: a signal came; the state is saved.
    """
    images, teacher, preprocess = inputs
    space = space.regularized(config.train)
    strategy = search.create(space, teacher[0], preprocess, config)
    data = search.split(images, teacher, preprocess, config, seed)
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
