"""What every search space offers, so that any strategy runs on it."""

from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Int

Architecture = Int[np.ndarray, "positions"]  # index of the chosen op at every position


@runtime_checkable
class Space(Protocol):
    """A search space over `positions` choices among `ops`.

    A supernet or network is called as `apply(variables, x, ..., train)` on normalized images
    `[b h w c]` and returns logits `[b k]`.
    """

    name: str
    ops: tuple[str, ...]
    positions: int

    def supernet(self) -> nn.Module:
        """All networks in one: `apply(variables, x, gates, train)`.

        `gates` is either one op index a position, `[positions]`, or mixture weights
        `[positions, ops]`. Its BatchNorm layers keep no average over time: after an application in
        train mode the collection `batch_stats` holds that batch's own statistics.
        """

    def network(self, architecture: Architecture) -> nn.Module:
        """One architecture on its own: `apply(variables, x, train)`."""

    def sample(self, key: jax.Array) -> jax.Array:
        """A uniformly random architecture, `[positions]`; jittable."""

    def encode(self, architecture: Architecture) -> str:
        """The architecture as text."""

    def decode(self, text: str) -> Architecture:
        """The architecture that a text names; `ValueError` if it names none."""

    def connected(self, architecture: Architecture) -> bool:
        """Whether the image reaches the head at all."""

    def macs(self, architecture: Architecture) -> int:
        """Multiply-accumulates of one image in convolutions and linear layers."""

    def params(self, architecture: Architecture) -> int:
        """Trainable weights of the network on its own."""

    def torch_name(self, module: str) -> str:
        """What a module of `network`, a path joined by dots, is called in the PyTorch release."""

    def graph(self, architecture: Architecture) -> dict[str, Any]:
        """`{"nodes": [names], "edges": [[from, to, op]]}`, to be drawn."""
