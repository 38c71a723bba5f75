"""What every search strategy is: pure functions on one state."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from datafree_nas.layers import initial
from datafree_nas.runtime.loop import Phase
from datafree_nas.runtime.precision import weights_in
from datafree_nas.spaces.ops import Gates
from datafree_nas.spaces.space import Architecture, Space
from datafree_nas.training.trainer import Batch, Outputs, TrainData


class SearchData(NamedTuple):
    """What a search reads; on the devices.

    Attributes:
        train: to train the supernet's weights on.
        held_out: to score on, and to train architecture parameters on.
        held_out_logits: `[m k]`, the teacher's on the held-out images as they are.
    """

    train: TrainData
    held_out: TrainData
    held_out_logits: Float[Array, "m k"]


def supernet_variables(space: Space, key: Key[Array, ""]) -> dict[str, Any]:
    """What a supernet begins with; see `layers.initial.variables`."""
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


class Strategy(NamedTuple):
    """A search, in the manner of `optax.GradientTransformation`.

    Attributes:
        init: `key -> state`, ONE pytree: weights, optimizer, architecture parameters, population,
            scores, keys. A checkpoint of it is complete.
        phases: what `loop.run` does to the state; data is a `SearchData`.
        derive: `state -> architecture`, the result.
        history: `state -> rows`, every architecture scored, in order.
        probabilities: `state -> ` those of all ops over time, see `architecture.Trace`; None where
            a strategy has none.
    """

    init: Callable[[jax.Array], Any]
    phases: Sequence[Phase]
    derive: Callable[[Any], Architecture]
    history: Callable[[Any], list[dict[str, Any]]]
    probabilities: Callable[[Any], dict[str, Any] | None] = lambda state: None
