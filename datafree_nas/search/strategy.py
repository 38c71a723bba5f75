"""What every search strategy is: pure functions on one state."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from datafree_nas.data.labeller import Labeller
from datafree_nas.layers import initial
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.loop import Phase
from datafree_nas.runtime.precision import weights_in
from datafree_nas.runtime.values import Values
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.ops import Gates
from datafree_nas.spaces.space import Architecture, Space
from datafree_nas.training.trainer import Batch, Outputs, TrainData, TrainState


class SearchData(NamedTuple):
    """What a search reads; on the devices.

    Attributes:
        train: images on which the supernet's weights are trained.
        held_out: images on which architectures are scored, and alphas trained.
        held_out_logits: logits `[m k]` of the teacher for the held-out images without augmentation.
    """

    train: TrainData
    held_out: TrainData
    held_out_logits: Float[Array, "m k"]


class Strategy(NamedTuple):
    """A search of one space, in the manner of `optax.GradientTransformation`.

    The state is ONE pytree of arrays of fixed shapes: weights, optimizer, alphas, population,
    scores, keys. It is all that a checkpoint keeps, so nothing else may change during a search.

    Attributes:
        init: `key -> state`; every array is on all devices (`mesh.put(state, mesh.replicated())`).
        phases: list of what `loop.run_phases` does to the state, one after another. A phase of
            gradient steps is `Phase(name, steps, repeat(step), every=log_every)` with a
            pure `step(state, data: SearchData) -> (state, metrics)`; metrics are scalars, and the
            report draws those of phases that have a `loss`. A phase that works on the host has a
            function `(state, data, n) -> (state, metrics)` that advances by n units.
        derive: `state -> architecture`, the result of the search.
        history: `state -> rows`, one row of `scoring.row` for each architecture that was scored,
            in order. A derived architecture that is not among them is scored at the end.
        supernet: `state -> TrainState` of the supernet, by which architectures are scored; None
            where nothing is trained, and then `history` has to hold the derived architecture.
        probabilities: `state -> alphas.describe(...)`, the probabilities of all ops over time;
            None where a strategy has none.
        cheaper: `(state, cost) -> architectures` that cost less and less, besides the derived one;
            all of them are scored where several sizes are wanted (`config.objective`). None are
            needed where `history` holds architectures of several sizes.
    """

    init: Callable[[jax.Array], Any]
    phases: Sequence[Phase]
    derive: Callable[[Any], Architecture]
    history: Callable[[Any], list[dict[str, Any]]] = lambda state: []
    supernet: Callable[[Any], TrainState] | None = None
    probabilities: Callable[[Any], dict[str, Any] | None] = lambda state: None
    cheaper: Callable[[Any, Cost], Sequence[Architecture]] = lambda state, cost: ()


class StrategyBuilder(NamedTuple):
    """A search strategy before it knows the space and the config: what a strategy's file brings.

    Attributes:
        name: name of the strategy in `config.search.strategy`.
        build: `(space, labeller, config) -> Strategy`, where `config` is `config.search`. The
            labeller's variables may be shapes; the weights come with the data, see
            `TrainData.teacher`. Raises `UserError` for a config that does not fit.
        fields: values that each field of `config.search.NAME` may have; empty where the strategy
            has no fields of its own.
        defaults: values of those fields where the config does not have them.
    """

    name: str
    build: Callable[[Space, Labeller, Config], Strategy]
    fields: Mapping[str, Values] = {}
    defaults: Mapping[str, Any] = {}


def supernet_variables(space: Space, key: Key[Array, ""]) -> dict[str, Any]:
    """Draws the initial variables of a supernet, see `layers.initial.variables`."""
    image = jax.ShapeDtypeStruct((1, *space.image_size), jnp.float32)
    gates = jax.ShapeDtypeStruct((space.positions,), jnp.int32)
    return initial.variables(space.supernet(), key, image, gates, rule=space.initial)


def train_mode(supernet: nn.Module) -> Callable[[Any, Any, Gates, Batch], Outputs]:
    """Makes `(params, batch_stats, gates, batch) -> outputs` of a supernet."""

    def apply(params: Any, batch_stats: Any, gates: Gates, batch: Batch) -> Outputs:
        variables = {"params": weights_in(batch.x.dtype, params), "batch_stats": batch_stats}
        rngs = {"dropout": batch.key}
        logits, new = supernet.apply(
            variables, batch.x, gates, train=True, mutable=["batch_stats"], rngs=rngs
        )
        return Outputs(logits, new["batch_stats"])

    return apply
