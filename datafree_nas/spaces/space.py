"""What every search space offers, so that any strategy runs on it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from datafree_nas.layers import initial
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values
from datafree_nas.spaces import notation
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.traced_costs import traced_costs

# fields of a training recipe that change a network in training
REGULARIZERS = ("auxiliary", "dropout", "drop_path")

Architecture = Int[np.ndarray, "choices"]  # the option taken at every choice
Choices = Int[Array, "choices"] | Architecture  # the same, wherever it is


@dataclass(frozen=True)
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

    num_classes: int = 10
    image_size: tuple[int, int, int] = (32, 32, 3)

    name: ClassVar[str]
    ops: ClassVar[tuple[str, ...]]
    regularizers: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[Mapping[str, Values]] = {}

    @property
    @abstractmethod
    def positions(self) -> int:
        """Number of places where an op is chosen."""

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of options of each choice; here a choice is the op of a position."""
        return (len(self.ops),) * self.positions

    @property
    def macs_cost(self) -> Cost:
        """Multiply-accumulates of one image in convolutions and linear layers."""
        return traced_costs(self)[0]

    @property
    def params_cost(self) -> Cost:
        """Trainable weights of the network on its own."""
        return traced_costs(self)[1]

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
        return replace(self, **settings)

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

    def encode(self, architecture: Architecture) -> str:
        """Writes an architecture as text; here the names of its ops, as a list."""
        return f"[{', '.join(self.ops[option] for option in architecture)}]"

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

    def graph(self, architecture: Architecture) -> dict[str, Any]:
        """Returns `{"nodes": [names], "edges": [[from, to, op]]}`, to be drawn; here a chain."""
        nodes = ["input", *(f"node {i}" for i in range(1, self.positions)), "output"]
        edges = [[i, i + 1, self.ops[option]] for i, option in enumerate(architecture)]
        return {"nodes": nodes, "edges": edges}

    def torch_name(self, module: str) -> str:
        """Returns the name of a module of `network` in the PyTorch release; here the same.

        Args:
            module: path of the module, joined by dots.
        """
        return module

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
