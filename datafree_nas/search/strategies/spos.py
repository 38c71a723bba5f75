"""Single path one-shot search (Guo et al. 2020): one random path a step, then evolution."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime import mesh, processes, seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.loop import Phase
from datafree_nas.runtime.repeat import Step, repeat
from datafree_nas.search import costs, evolution, limits, sampling, scoring
from datafree_nas.search.strategy import (
    SearchData,
    Strategy,
    StrategyBuilder,
    supernet_variables,
    train_mode,
)
from datafree_nas.spaces.space import Space
from datafree_nas.training import recipe, trainer
from datafree_nas.training.trainer import Batch, BatchSampler, Outputs, TrainState


class SposState(NamedTuple):
    """Supernet and evolution.

    Attributes:
        train: the supernet's weights and optimizer.
        seen: `[m choices]`, every architecture proposed; rows from `proposed` on are empty.
        measured: `[m]` each of `scoring.MEASURES`, of the architectures in `seen`; rows from
            `scored` on are empty.
        born: `[m]`, the generation that proposed each architecture.
        proposed: number of architectures in `seen`.
        scored: number of architectures that are scored.
        turns: number of turns that are over, of `population` in each generation. One turn scores
            one architecture, or none if the generation has fewer.
    """

    train: TrainState
    seen: Int[Array, "m choices"]
    measured: dict[str, Float[Array, "m"]]
    born: Int[Array, "m"]
    proposed: Int[Array, ""]
    scored: Int[Array, ""]
    turns: Int[Array, ""]


def build(space: Space, labeller: Labeller, config: Config, breed: bool = True) -> Strategy:
    """Builds the strategy.

    Args:
        space: search space, with any candidates.
        labeller: teacher; labels augmented images if `config.train.labels` is `teacher`.
        config: block `config.search`; `spos`, `evolution`, `objective` and `train` are read.
        breed: whether later generations are children of the best architectures; else all
            architectures are drawn at random.
    """
    limits.check(space, config)
    transform = _optimizer(space, config)
    rows = config.evolution.population * config.evolution.generations

    def init(key: Array) -> SposState:
        init_key, key = jax.random.split(key)
        empty = SposState(
            train=trainer.create_train_state(key, supernet_variables(space, init_key), transform),
            seen=jnp.zeros((rows, len(space.choices)), jnp.int32),
            measured={name: jnp.zeros(rows) for name in scoring.MEASURES},
            born=jnp.zeros(rows, jnp.int32),
            proposed=jnp.zeros((), jnp.int32),
            scored=jnp.zeros((), jnp.int32),
            turns=jnp.zeros((), jnp.int32),
        )
        return mesh.put(empty, mesh.replicated())

    sample = trainer.make_batch_sampler(labeller, config.train)
    step = _make_step(space, sample, transform, config)
    score = scoring.make_scorer(space.supernet(), labeller.preprocessing, config)
    phases = [
        Phase("supernet", config.train.steps, repeat(step), every=config.train.log_every),
        Phase(
            "evolution",
            rows,
            _make_evolution(space, score, config, breed),
            every=config.evolution.population,
            unit="networks",
            at_once=processes.count(),
        ),
    ]
    return Strategy(
        init,
        phases,
        derive=lambda state: np.asarray(state.seen)[np.argmax(_scores(state, config))],
        history=lambda state: _history(state, space, config),
        supernet=lambda state: state.train,
    )


def _optimizer(space: Space, config: Config) -> optax.GradientTransformation:
    """Builds the optimizer, of one path a step or, for fair sampling, of the sum over a round."""
    paths = sampling.round_length(space, config.spos)
    transform = recipe.only_used(recipe.optimizer(config.train, paths))
    if paths == 1:
        return transform
    return optax.MultiSteps(transform, paths, use_grad_mean=False).gradient_transformation()


def _make_step(
    space: Space,
    sample: BatchSampler,
    transform: optax.GradientTransformation,
    config: Config,
) -> Step:
    apply, path = train_mode(space.supernet()), sampling.make_path_sampler(space, config.spos)

    def forward(params: Any, batch: Batch, train: TrainState) -> Outputs:
        gates = space.gates(path(train.key, train.step))
        return apply(params, train.batch_stats, gates, batch)

    inner = trainer.make_train_step(forward, sample, config.train, transform)

    def step(state: SposState, data: SearchData) -> tuple[SposState, dict[str, Array]]:
        train, metrics = inner(state.train, data.train)
        return state._replace(train=train), metrics

    return step


def _scores(state: SposState, config: Config) -> np.ndarray:
    count = int(state.scored)
    return np.asarray(scoring.score_of(state.measured, config))[:count]


def _make_evolution(space: Space, score: Any, config: Config, breed: bool) -> Any:
    """Makes the turns of the evolution; a call of them ends with its generation at the latest."""
    allowed, cost = limits.make_test(space, config), costs.function(space, config)

    def propose(state: SposState) -> SposState:
        generation, count = int(state.turns) // config.evolution.population, int(state.scored)
        seen = np.asarray(state.seen)[:count]
        weighed = config.objective == "pareto"
        # Where several sizes are wanted, the limits are those of one of them: the first generation
        # has networks that keep them, the later ones look for smaller and larger ones as well.
        free = weighed and generation > 0
        born = evolution.propose(
            seeds.numpy_generator(jax.random.fold_in(state.train.key, generation + (1 << 30))),
            seen,
            _scores(state, config),
            space.choices,
            space.connected if free else allowed,
            config.evolution,
            breed=breed,
            costs=np.array([cost(each) for each in seen], float) if weighed else None,
        )
        new = slice(count, count + len(born))
        return state._replace(
            seen=state.seen.at[new].set(born),
            born=state.born.at[new].set(generation),
            proposed=state.proposed + len(born),
        )

    def advance(state: SposState, data: SearchData, n: int) -> tuple[SposState, dict[str, Any]]:
        if int(state.turns) % config.evolution.population == 0:
            state = propose(state)
        new = slice(int(state.scored), min(int(state.scored) + n, int(state.proposed)))
        chosen = np.asarray(state.seen)[new]  # on the host: each process scores on its own devices
        gates = [space.gates(jnp.asarray(architecture)) for architecture in chosen]
        found = scoring.score_all(score, state.train, data, gates)
        changed = state._replace(
            measured={
                name: values.at[new].set(np.array([f[name] for f in found]))
                for name, values in state.measured.items()
            },
            scored=state.scored + len(found),
            turns=state.turns + n,
        )
        state = mesh.put(changed, mesh.replicated())
        return state, {"best": jnp.max(_scores(state, config)), "scored": state.scored}

    return advance


def _history(state: SposState, space: Space, config: Config) -> list[dict[str, Any]]:
    seen, born, measured = jax.tree.map(np.asarray, (state.seen, state.born, state.measured))
    return [
        {
            **scoring.row(space, seen[i], {n: float(v[i]) for n, v in measured.items()}, config),
            "generation": int(born[i]),
        }
        for i in range(int(state.scored))
    ]


STRATEGY = StrategyBuilder("spos", build, sampling.FIELDS)
