"""What every search strategy is: pure functions on one state."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from datafree_nas.runtime.loop import Phase
from datafree_nas.spaces.space import Architecture
from datafree_nas.training.trainer import TrainData


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


class Strategy(NamedTuple):
    """A search, in the manner of `optax.GradientTransformation`.

    Attributes:
        init: `key -> state`, ONE pytree: weights, optimizer, architecture parameters, population,
            scores, keys. A checkpoint of it is complete.
        phases: what `loop.run` does to the state; data is a `SearchData`.
        derive: `state -> architecture`, the result.
        history: `state -> rows`, every architecture scored, in order.
    """

    init: Callable[[jax.Array], Any]
    phases: Sequence[Phase]
    derive: Callable[[Any], Architecture]
    history: Callable[[Any], list[dict[str, Any]]]
