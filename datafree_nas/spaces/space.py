"""What every search space offers, so that any strategy runs on it."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Real

from datafree_nas.layers import initial
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values
from datafree_nas.spaces import notation

# fields of a training recipe that change a network in training
REGULARIZERS = ("auxiliary", "dropout", "drop_path")

Architecture = Int[np.ndarray, "choices"]  # the option taken at every choice
Choices = Int[Array, "choices"] | Architecture  # the same, wherever it is


class Cost(NamedTuple):
    """What a network costs, as a sum over the positions of its supernet.

    Attributes:
        fixed: of all that is not searched.
        table: of every op at every position; 0 where the position does not have it.
    """

    fixed: float
    table: Real[np.ndarray, "positions ops"]

    def of(self, gates: Int[np.ndarray, "positions"]) -> float:
        """The cost of one path; an integer, and exact, if all costs are."""
        return self.fixed + np.sum(self.table[np.arange(len(gates)), gates]).item()

    def bounds(self, has: Bool[np.ndarray, "positions ops"]) -> tuple[float, float]:
        """Returns costs that no network is below or above, whatever op each position takes.

        Args:
            has: whether a position has an op, see `Space.has`.
        """
        least = np.min(np.where(has, self.table, np.inf), axis=1)
        most = np.max(np.where(has, self.table, -np.inf), axis=1)
        return self.fixed + float(np.sum(least)), self.fixed + float(np.sum(most))


class Space(ABC):
    """A search space: `choices`, each with some options, that decide which of `ops` is at each of
    `positions` of a network.

    A supernet or network is called as `apply(variables, x, ..., train)` on normalized images
    `[b h w c]` and returns logits `[b k]`.

    Attributes:
        name: in the registry.
        image_size: `(h, w, c)` of the images that the networks are for.
        ops: names of the candidates.
        regularizers: those of `REGULARIZERS` that its networks can be trained with.
        settings: values that each setting of `config.search.space` may have, by name.
        num_classes: of the head.
        positions: places where one of them is chosen.
        choices: how many options each choice of an architecture has. In most spaces a choice is the
            op of a position; where only some combinations are networks it is not, see `gates`.
        macs_cost: multiply-accumulates of one image in convolutions and linear layers.
        params_cost: trainable weights of the network on its own.
    """

    name: ClassVar[str]
    ops: ClassVar[tuple[str, ...]]
    regularizers: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[dict[str, Values]]
    num_classes: int
    image_size: tuple[int, int, int]
    positions: int
    choices: tuple[int, ...]
    macs_cost: Cost
    params_cost: Cost

    @classmethod
    def check(cls, recipe: Config, field: str) -> None:
        """Refuses a training recipe that asks for what the networks cannot have.

        Args:
            recipe: a training block of the config.
            field: its place in the config.

        Raises:
            UserError: names the field.
        """
        for name in REGULARIZERS:
            if recipe[name] and name not in cls.regularizers:
                raise UserError(
                    f"config.{field}.{name}={recipe[name]}: {cls.name} has no {name}; set it to 0"
                )

    def regularized(self, recipe: Config) -> "Space":
        """The same space, of networks with what a training recipe asks of them."""
        asked = {"auxiliary": recipe.auxiliary > 0, "dropout": recipe.dropout}
        settings: dict[str, Any] = {n: v for n, v in asked.items() if n in self.regularizers}
        return replace(self, **settings)  # type: ignore[type-var]  # all spaces are dataclasses

    @abstractmethod
    def supernet(self) -> nn.Module:
        """All networks in one: `apply(variables, x, gates, train)`.

        `gates` is either one op index a position, `[positions]`, or mixture weights
        `[positions, ops]`. Its BatchNorm layers keep no average over time: after an application in
        train mode the collection `batch_stats` holds that batch's own statistics.
        """

    def network_supernet(self) -> nn.Module:
        """`supernet` at the size of `network`, where the space searches at a smaller one."""
        return self.supernet()

    @abstractmethod
    def network(self, architecture: Architecture) -> nn.Module:
        """One architecture on its own: `apply(variables, x, train)`."""

    @abstractmethod
    def encode(self, architecture: Architecture) -> str:
        """The architecture as text."""

    def decode(self, spelling: Any) -> Architecture:
        """Reads an architecture.

        Args:
            spelling: text that `encode` wrote, or that the space's release or its followers write;
                or the lists that such a text stands for. docs/students.md shows them.

        Raises:
            UserError: says what is wrong, with an example of what is right.
        """
        try:
            return np.array(self.options(notation.bare(spelling)), np.int32)
        except ValueError as error:
            raise UserError(
                f"{notation.shown(spelling)} is no architecture of {self.name}: {error} (example: "
                f"{self.example})"
            ) from None

    @property
    def example(self) -> str:
        """Some architecture as `encode` writes it, for messages."""
        return self.encode(np.arange(len(self.choices), dtype=np.int32) % np.array(self.choices))

    def options(self, spelling: Any) -> list[int]:
        """The option at every choice that a spelling stands for.

        Here it is a list with the name or the number of the op at every position, or a text of
        digits; spaces with a notation of their own read that as well.

        Args:
            spelling: as `notation.bare` returns it.

        Raises:
            ValueError: says what is wrong.
        """
        ops = notation.listed(spelling)
        if len(ops) != self.positions:
            raise ValueError(f"{self.positions} ops are needed, not {len(ops)}")
        return [
            notation.option(op, self.ops[:count], f"position {i}")
            for i, (op, count) in enumerate(zip(ops, self.choices, strict=True))
        ]

    @abstractmethod
    def graph(self, architecture: Architecture) -> dict[str, Any]:
        """`{"nodes": [names], "edges": [[from, to, op]]}`, to be drawn."""

    @abstractmethod
    def torch_name(self, module: str) -> str:
        """What a module of `network`, a path joined by dots, is called in the PyTorch release."""

    def initial(self, name: str, shape: tuple[int, ...]) -> tuple[float, float]:
        """Mean and standard deviation of a tensor's initial values, see `layers.initial.Rule`."""
        return initial.fan_in(name, shape)

    def gates(self, architecture: Choices) -> Int[Array, "positions"]:
        """The op at every position; jittable."""
        return jnp.asarray(architecture)

    def derive(self, weights: Float[np.ndarray, "positions ops"]) -> Architecture:
        """The architecture that mixture weights stand for: the largest at every position."""
        return np.where(self.has, weights, -np.inf).argmax(axis=1).astype(np.int32)

    @property
    def position_names(self) -> list[str]:
        """What a reader may call the positions."""
        return [str(i) for i in range(self.positions)]

    @property
    def has(self) -> Bool[np.ndarray, "positions ops"]:
        """Whether a position has an op: all, unless its choice has fewer options than `ops`."""
        return np.arange(len(self.ops)) < np.array(self.choices)[:, None]

    def connected(self, architecture: Architecture) -> bool:
        """Whether the image reaches the head at all."""
        return True

    def sample(self, key: jax.Array) -> Int[Array, "choices"]:
        """A uniformly random architecture; jittable."""
        return jax.random.randint(key, (len(self.choices),), 0, jnp.array(self.choices))

    def without_unused(self, architecture: Architecture) -> Architecture:
        """The same network without ops whose outputs reach no head; a compiler leaves them out."""
        return architecture

    def macs(self, architecture: Architecture) -> int:
        """Multiply-accumulates of one image in convolutions and linear layers."""
        return int(self.macs_cost.of(np.asarray(self.gates(architecture))))

    def params(self, architecture: Architecture) -> int:
        """Trainable weights of the network on its own."""
        return int(self.params_cost.of(np.asarray(self.gates(architecture))))

    def latency(self, architecture: Architecture, cost: Cost) -> float:
        """What a table of latencies says, in its unit; only what is run counts."""
        return cost.of(np.asarray(self.gates(self.without_unused(architecture))))
