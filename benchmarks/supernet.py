"""Trains a supernet as the search stage does, to score given architectures."""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp

from benchmarks.inputs import Inputs
from datafree_nas.runtime import loop, seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.runtime.repeat import Repeated
from datafree_nas.search import registry, scoring
from datafree_nas.search.run import split
from datafree_nas.spaces.space import Space

Scorer = Callable[[list[str]], list[dict[str, float]]]


def train(directory: Path, space: Space, inputs: Inputs, config: Config, seed: int) -> Scorer:
    """Trains a supernet on single paths; an interrupted training is continued.

    Args:
        directory: directory of the progress, kept until the caller discards it.
        space: space of the architectures.
        inputs: images, of which a share `config.held_out` is for scoring, and the network that
            labels them.
        config: block `config.search` of an experiment.
        seed: seed of all random numbers.

    Returns:
        A function from encoded architectures to what `scoring.make_scorer` measures of each, with a
        `score`.

    Raises:
        UserError: the config does not fit.
        Interrupted: a signal came; the state is saved.
    """
    images, labeller = inputs
    space = space.regularized(config.train)
    strategy = registry.find(config.strategy).build(space, labeller, config)
    data = split(images, labeller, config, seed)
    state = loop.run_phases(
        [phase for phase in strategy.phases if isinstance(phase.advance, Repeated)],
        strategy.init(seeds.key_for(seed, "search")),
        data,
        label="ranking",
        directory=directory,
        writer=lambda start: MetricsWriter(directory.parent, start),
    )
    score = scoring.make_scorer(space.supernet(), labeller.preprocessing, config)

    assert strategy.supernet
    train_state = strategy.supernet(state)

    def scorer(names: list[str]) -> list[dict[str, float]]:
        architectures = [space.decode(name) for name in names]
        gates = [space.gates(jnp.asarray(a)) for a in architectures]
        found = scoring.score_all(score, train_state, data, gates)
        return [{"score": scoring.score_of(each, config), **each} for each in found]

    return scorer
