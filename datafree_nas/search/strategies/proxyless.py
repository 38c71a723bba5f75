"""ProxylessNAS (Cai et al. 2019): weights on sampled paths, alphas on binary gates.

A weight step runs one path, drawn from the probabilities. Every few of them, one step of the
architecture parameters on held-out images, whose gradient is that of the gates: of all ops
(`full`), of two drawn ops (`two`), or by REINFORCE.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.loop import Phase
from datafree_nas.runtime.repeat import Step, alternate
from datafree_nas.runtime.values import COUNT, COUNT_OR_NONE, SHARE, Values, number, one_of
from datafree_nas.search import hardware
from datafree_nas.search.alphas import (
    Alphas,
    Trace,
    alpha_metrics,
    alpha_optimizer,
    derive_architecture,
    derive_cheaper,
    describe_trace,
    init_alphas,
    op_probabilities,
    record,
    start_trace,
)
from datafree_nas.search.strategy import (
    SearchData,
    Strategy,
    StrategyBuilder,
    supernet_variables,
    train_mode,
)
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.ops import Gates, Paths
from datafree_nas.spaces.space import Space
from datafree_nas.training import recipe, trainer
from datafree_nas.training.trainer import Batch, BatchSampler, Outputs, TrainState

GRADIENTS = ("full", "two", "reinforce")
# values of the fields of `config.search.proxyless`
FIELDS: dict[str, Values] = {
    "gradient": one_of(GRADIENTS),
    "warmup": COUNT_OR_NONE,
    "every": COUNT,
    "baseline_decay": SHARE,
    "reward_exponent": number(0, 100),
}
# gates -> (loss, accuracy), on one batch, with the weights as they are
Evaluate = Callable[[Gates], tuple[Array, Array]]


class ProxylessState(NamedTuple):
    """Weights and architecture parameters, each with its optimizer; REINFORCE's mean reward."""

    train: TrainState
    alphas: Alphas
    moments: Any
    baseline: Float[Array, ""]
    trace: Trace


class _Problem(NamedTuple):
    """What a step of the architecture parameters depends on, besides the state."""

    space: Space
    cost: Cost | None
    adam: optax.GradientTransformation
    config: Config


def build(space: Space, labeller: Labeller, config: Config) -> Strategy:
    """Builds the strategy.

    Args:
        space: search space, with any candidates.
        labeller: teacher; labels augmented images if `config.train.labels` is `teacher`.
        config: block `config.search`; `proxyless`, `hardware`, `alphas` and `train` are read.
    """
    transform = recipe.only_used(recipe.optimizer(config.train))
    cost, adam = hardware.of(space, config), alpha_optimizer(config.alphas)
    problem = _Problem(space, cost, adam, config)
    sample = trainer.make_batch_sampler(labeller, config.train)
    steps = config.train.steps

    def init(key: Array) -> ProxylessState:
        init_key, alpha_key, key = jax.random.split(key, 3)
        train = trainer.create_train_state(key, supernet_variables(space, init_key), transform)
        alphas = init_alphas(alpha_key, space)
        trace = start_trace(space, steps)
        state = ProxylessState(train, alphas, adam.init(alphas), jnp.zeros(()), trace)
        return mesh.put(state, mesh.replicated())

    step = _make_step(problem, sample, transform)
    alpha_step = _make_alpha_step(problem, sample)
    warmup, every = config.proxyless.warmup, config.proxyless.every

    def due(state: ProxylessState) -> Array:
        return (state.train.step > warmup) & (state.train.step % every == 0)

    both = alternate(step, alpha_step, due, "alphas")
    return Strategy(
        init,
        [Phase("supernet", steps, both, every=config.train.log_every)],
        derive=lambda state: derive_architecture(state.alphas, space),
        supernet=lambda state: state.train,
        probabilities=lambda s: describe_trace(s.trace, s.alphas, space, steps),
        cheaper=lambda state, cost: derive_cheaper(state.alphas, space, cost),
    )


def _make_step(
    problem: _Problem,
    sample: BatchSampler,
    transform: optax.GradientTransformation,
) -> Step:
    """Makes a step of the weights, on one path."""
    space, cost, _, config = problem
    apply = train_mode(space.supernet())

    def step(state: ProxylessState, data: SearchData) -> tuple[ProxylessState, dict[str, Array]]:
        def forward(params: Any, batch: Batch, train: TrainState) -> Outputs:
            path = _path(jax.random.fold_in(batch.key, 0), state.alphas, space)
            return apply(params, train.batch_stats, path, batch)

        inner = trainer.make_train_step(forward, sample, config.train, transform)
        train, metrics = inner(state.train, data.train)
        metrics |= alpha_metrics(state.alphas, space)
        if cost is not None:
            chances = op_probabilities(state.alphas, space)
            metrics["expected_cost"] = hardware.expected(chances, cost)
        trace = record(state.trace, state.alphas, space, state.train.step, config.train.steps)
        return state._replace(train=train, trace=trace), metrics

    return step


def _make_alpha_step(
    problem: _Problem, sample: BatchSampler
) -> Callable[[ProxylessState, SearchData], ProxylessState]:
    """Makes a step of the alphas, on held-out images."""
    space, config = problem.space, problem.config
    apply = train_mode(space.supernet())
    turn = dict(zip(GRADIENTS, (_full, _two, _reinforce), strict=True))[config.proxyless.gradient]

    def alpha_step(state: ProxylessState, data: SearchData) -> ProxylessState:
        train = state.train
        pick, draw = jax.random.split(jax.random.fold_in(train.key, train.step + (1 << 30)))
        batch = sample(pick, data.held_out)

        def evaluate(gates: Gates) -> tuple[Array, Array]:
            outputs = apply(train.params, train.batch_stats, gates, batch)
            return trainer.loss_and_accuracy(outputs.logits, batch, config.train)

        return turn(state, draw, evaluate, problem)

    return alpha_step


def _log_chances(alphas: Alphas, space: Space) -> Float[Array, "positions ops"]:
    return jax.nn.log_softmax(jnp.where(space.has, alphas, -jnp.inf), axis=-1)


def _path(key: Key[Array, ""], alphas: Alphas, space: Space) -> Array:
    """Draws one op at every position, each with its probability."""
    return jax.random.categorical(key, _log_chances(alphas, space)).astype(jnp.int32)


def _binary(key: Key[Array, ""], chances: Float[Array, "positions m"]) -> Array:
    """Draws one-hot gates whose derivative is that of the probabilities (equation 4)."""
    drawn = jax.random.categorical(key, jnp.log(chances))
    one_hot = jax.nn.one_hot(drawn, chances.shape[-1])
    return one_hot + chances - jax.lax.stop_gradient(chances)


def _descend(
    state: ProxylessState, grads: Alphas, adam: optax.GradientTransformation
) -> ProxylessState:
    updates, moments = adam.update(grads, state.moments, state.alphas)
    return state._replace(alphas=optax.apply_updates(state.alphas, updates), moments=moments)


def _full(
    state: ProxylessState, key: Key[Array, ""], evaluate: Evaluate, problem: _Problem
) -> ProxylessState:
    """Runs all ops; only the drawn ones are let through."""
    space, cost, adam, config = problem

    def objective(alphas: Alphas) -> Array:
        chances = op_probabilities(alphas, space)
        value, _ = evaluate(_binary(key, chances))
        return hardware.loss(value, chances, cost, config.hardware)

    return _descend(state, jax.grad(objective)(state.alphas), adam)


def _two(
    state: ProxylessState, key: Key[Array, ""], evaluate: Evaluate, problem: _Problem
) -> ProxylessState:
    """Draws two ops a position and runs these; their sum of probabilities stays what it was."""
    space, cost, adam, config = problem
    pair_key, gate_key = jax.random.split(key)
    log_chances = _log_chances(state.alphas, space)
    noisy = log_chances + jax.random.gumbel(pair_key, log_chances.shape)
    _, pair = jax.lax.top_k(noisy, 2)  # two draws without replacement

    def objective(alphas: Alphas) -> Array:
        between = jax.nn.softmax(jnp.take_along_axis(alphas, pair, axis=-1))
        value, _ = evaluate(Paths(pair, _binary(gate_key, between)))
        chances = op_probabilities(alphas, space)
        return hardware.loss(value, chances, cost, config.hardware)

    drawn = jnp.zeros(state.alphas.shape, bool)
    drawn = drawn.at[jnp.arange(len(pair))[:, None], pair].set(True)
    grads = jnp.where(drawn, jax.grad(objective)(state.alphas), 0.0)
    new = _descend(state, grads, adam)
    before, after = (
        jax.nn.logsumexp(jnp.where(drawn, alphas, -jnp.inf), axis=-1, keepdims=True)
        for alphas in (state.alphas, new.alphas)
    )
    return new._replace(alphas=jnp.where(drawn, new.alphas + before - after, state.alphas))


def _reinforce(
    state: ProxylessState, key: Key[Array, ""], evaluate: Evaluate, problem: _Problem
) -> ProxylessState:
    """Descends `−(reward − baseline) ∇ log p(path)` (equation 5).

    The reward is accuracy (ref / cost)^w.
    """
    space, cost, adam, config = problem
    path = _path(key, state.alphas, space)
    _, reward = evaluate(path)
    if cost is not None:
        taken = hardware.expected(jax.nn.one_hot(path, state.alphas.shape[-1]), cost)
        reward *= (config.hardware.reference / taken) ** config.proxyless.reward_exponent

    def log_likelihood(alphas: Alphas) -> Array:
        return jnp.sum(jnp.take_along_axis(_log_chances(alphas, space), path[:, None], axis=-1))

    first = state.baseline == 0
    baseline = jnp.where(first, reward, state.baseline)
    grads = -(reward - baseline) * jax.grad(log_likelihood)(state.alphas)
    decay = config.proxyless.baseline_decay
    new = _descend(state, grads, adam)
    return new._replace(baseline=decay * baseline + (1 - decay) * reward)


STRATEGY = StrategyBuilder("proxyless", build, FIELDS)
