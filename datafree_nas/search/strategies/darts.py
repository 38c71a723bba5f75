"""DARTS (Liu et al. 2019): weights and a mixture of ops by gradient descent, in turns.

A step updates the architecture parameters on held-out images first, then the weights on the others,
as the release does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.loop import Phase
from datafree_nas.runtime.repeat import Step, repeat
from datafree_nas.runtime.values import SHARE, WEIGHT, Values, one_of
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
from datafree_nas.spaces.space import Space
from datafree_nas.training import recipe, trainer
from datafree_nas.training.trainer import Batch, BatchSampler, TrainState

ORDERS = ("first", "second", "second_fd")
# values of the fields of `config.search.darts`
FIELDS: dict[str, Values] = {"order": one_of(ORDERS), "beta_darts": WEIGHT, "sdarts_rs": SHARE}
_PERTURBATION = 0.01  # of the weights, in norm, for the finite difference


class DartsState(NamedTuple):
    """Weights and architecture parameters, each with its optimizer."""

    train: TrainState
    alphas: Alphas
    moments: Any
    trace: Trace


# (params, gates, batch_stats, batch) -> loss, (accuracy, new batch_stats)
Loss = Callable[[Any, Array, Any, Batch], tuple[Array, Any]]


def build(space: Space, labeller: Labeller, config: Config) -> Strategy:
    """Builds the strategy.

    Args:
        space: search space, with any candidates.
        labeller: teacher; labels augmented images if `config.train.labels` is `teacher`.
        config: block `config.search`; `darts`, `alphas` and `train` are read.
    """
    transform, adam = recipe.optimizer(config.train), alpha_optimizer(config.alphas)
    sample = trainer.make_batch_sampler(labeller, config.train)
    steps, every = config.train.steps, config.train.log_every

    def init(key: Array) -> DartsState:
        init_key, alpha_key, key = jax.random.split(key, 3)
        train = trainer.create_train_state(key, supernet_variables(space, init_key), transform)
        alphas = init_alphas(alpha_key, space)
        trace = start_trace(space, steps)
        state = DartsState(train, alphas, adam.init(alphas), trace)
        return mesh.put(state, mesh.replicated())

    step = _make_step(space, sample, transform, adam, config)
    return Strategy(
        init,
        [Phase("supernet", steps, repeat(step), every=every)],
        derive=lambda state: derive_architecture(state.alphas, space),
        supernet=lambda state: state.train,
        probabilities=lambda s: describe_trace(s.trace, s.alphas, space, steps),
        cheaper=lambda state, cost: derive_cheaper(state.alphas, space, cost),
    )


def _make_step(
    space: Space,
    sample: BatchSampler,
    transform: optax.GradientTransformation,
    adam: optax.GradientTransformation,
    config: Config,
) -> Step:
    loss = _make_loss(space, config)
    alpha_gradient = _ALPHA_GRADIENTS[config.darts.order](loss, transform, space)

    def step(state: DartsState, data: SearchData) -> tuple[DartsState, dict[str, Array]]:
        train = state.train
        keys = jax.random.split(jax.random.fold_in(train.key, train.step), 3)
        batch, held_out = sample(keys[0], data.train), sample(keys[1], data.held_out)
        progress = train.step / config.train.steps

        grads = alpha_gradient(state.alphas, train, batch, held_out)
        if config.darts.beta_darts:
            decay = jax.grad(lambda a: jnp.mean(_log_sum_exp(a, space)))(state.alphas)
            grads += config.darts.beta_darts * progress * decay
        updates, moments = adam.update(grads, state.moments, state.alphas)
        alphas = optax.apply_updates(state.alphas, updates)

        gates = op_probabilities(alphas, space)
        if config.darts.sdarts_rs:
            reach = config.darts.sdarts_rs * progress
            gates += jax.random.uniform(keys[2], gates.shape, minval=-reach, maxval=reach)
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, (accuracy, stats)), grads = gradient(train.params, gates, train.batch_stats, batch)
        metrics = {"loss": value, "accuracy": accuracy, **alpha_metrics(alphas, space)}
        trace = record(state.trace, state.alphas, space, train.step, config.train.steps)
        train = trainer.descend(train, grads, stats, transform)
        return DartsState(train, alphas, moments, trace), metrics

    return step


def _make_loss(space: Space, config: Config) -> Loss:
    apply = train_mode(space.supernet())

    def loss(params: Any, gates: Array, batch_stats: Any, batch: Batch) -> tuple[Array, Any]:
        outputs = apply(params, batch_stats, gates, batch)
        value, accuracy = trainer.loss_and_accuracy(outputs.logits, batch, config.train)
        return value, (accuracy, outputs.batch_stats)

    return loss


def _log_sum_exp(alphas: Alphas, space: Space) -> Array:
    """Computes log Σ exp alpha of every position, which beta-DARTS (Ye et al. 2022) keeps small."""
    return jax.nn.logsumexp(jnp.where(space.has, alphas, -jnp.inf), axis=-1)


# Each builds `(alphas, train state, batch, held-out batch) -> gradient of the held-out loss`.


def _first_order(loss: Loss, transform: optax.GradientTransformation, space: Space) -> Any:
    """Uses the weights as they are."""

    def gradient(alphas: Alphas, train: TrainState, batch: Batch, held_out: Batch) -> Alphas:
        def outer(alphas: Alphas) -> Array:
            gates = op_probabilities(alphas, space)
            return loss(train.params, gates, train.batch_stats, held_out)[0]

        return jax.grad(outer)(alphas)

    return gradient


def _second_order(loss: Loss, transform: optax.GradientTransformation, space: Space) -> Any:
    """Uses the weights after one more step, and differentiates that step exactly."""

    def gradient(alphas: Alphas, train: TrainState, batch: Batch, held_out: Batch) -> Alphas:
        def outer(alphas: Alphas) -> Array:
            gates = op_probabilities(alphas, space)
            inner = jax.grad(lambda p: loss(p, gates, train.batch_stats, batch)[0])
            updates, _ = transform.update(inner(train.params), train.optimizer, train.params)
            ahead = optax.apply_updates(train.params, updates)
            return loss(ahead, gates, train.batch_stats, held_out)[0]

        return jax.grad(outer)(alphas)

    return gradient


def _finite_difference(loss: Loss, transform: optax.GradientTransformation, space: Space) -> Any:
    """Approximates the mixed second derivative by a central difference (equation 8).

    The direction is the held-out gradient at the weights ahead, taken back through the optimizer's
    step: for plain SGD that is minus the learning rate times it, as in the paper.
    """

    def gradient(alphas: Alphas, train: TrainState, batch: Batch, held_out: Batch) -> Alphas:
        def of(params: Any, alphas: Alphas, data: Batch) -> Array:
            gates = op_probabilities(alphas, space)
            return loss(params, gates, train.batch_stats, data)[0]

        def ahead(grads: Any) -> Any:
            updates, _ = transform.update(grads, train.optimizer, train.params)
            return optax.apply_updates(train.params, updates)

        there, back = jax.vjp(ahead, jax.grad(of)(train.params, alphas, batch))
        to_params, to_alphas = jax.grad(of, argnums=(0, 1))(there, alphas, held_out)
        (direction,) = back(to_params)
        size = _PERTURBATION / (optax.tree.norm(direction) + 1e-12)

        def beside(sign: float) -> Alphas:
            moved = jax.tree.map(lambda p, d: p + sign * size * d, train.params, direction)
            return jax.grad(of, argnums=1)(moved, alphas, batch)

        return to_alphas + (beside(1.0) - beside(-1.0)) / (2 * size)

    return gradient


_ALPHA_GRADIENTS = dict(zip(ORDERS, (_first_order, _second_order, _finite_difference), strict=True))
STRATEGY = StrategyBuilder("darts", build, FIELDS)
