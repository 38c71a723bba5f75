"""The interface of a search space, on which every search strategy works."""

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

# fields of a training recipe that change the network in train mode
REGULARIZERS = ("auxiliary", "dropout", "drop_path")

Architecture = Int[np.ndarray, "choices"]  # index of the option at every choice
Choices = Int[Array, "choices"] | Architecture  # an architecture in JAX or in NumPy


class Cost(NamedTuple):
    """Cost of a network (weights, time, ...) as a sum over the positions of the supernet.

    Attributes:
        fixed: cost of all parts that are not searched.
        table: cost of every op at every position; 0 where the position does not have the op.
    """

    fixed: float
    table: Real[np.ndarray, "positions ops"]

    def of(self, gates: Int[np.ndarray, "positions"]) -> float:
        """Returns the cost of one path; an exact integer if all costs are integers."""
        return self.fixed + np.sum(self.table[np.arange(len(gates)), gates]).item()

    def bounds(self, has: Bool[np.ndarray, "positions ops"]) -> tuple[float, float]:
        """Returns the smallest and the largest possible sum, with any op at each position.

        Args:
            has: mask of the ops that each position has, see `Space.has`.
        """
        least = np.min(np.where(has, self.table, np.inf), axis=1)
        most = np.max(np.where(has, self.table, -np.inf), axis=1)
        return self.fixed + float(np.sum(least)), self.fixed + float(np.sum(most))


class Space(ABC):
    """A search space: a list of `choices` decides which of `ops` is at each position of a network.

    A supernet or network is called as `apply(variables, x, ..., train)` on normalized images
    `[b h w c]` and returns logits `[b k]`.

    Attributes:
        name: name of the space in the registry.
        image_size: shape `(h, w, c)` of the input images.
        ops: names of the candidate ops.
        regularizers: entries of `REGULARIZERS` that the networks of the space support.
        settings: allowed values of each setting of `config.search.space`, by name.
        num_classes: width of the head.
        positions: number of places where one of `ops` is chosen.
        choices: number of options of each choice. In most spaces a choice is the op of a position;
            it is not where only some combinations of ops are networks, see `gates`.
        macs_cost: multiply-accumulates of one image in convolutions and linear layers.
        params_cost: trainable weights of a single network.
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
        """Refuses a training recipe with a regularizer that the networks do not support.

        Args:
            recipe: training block of the config.
            field: name of that block in the config, for the error message.

        Raises:
            UserError: the recipe has such a regularizer; the message names the field.
        """
        for name in REGULARIZERS:
            if recipe[name] and name not in cls.regularizers:
                raise UserError(
                    f"config.{field}.{name}={recipe[name]}: {cls.name} has no {name}; set it to 0"
                )

    def regularized(self, recipe: Config) -> "Space":
        """Returns the same space with the regularizers of a training recipe in its networks."""
        asked = {"auxiliary": recipe.auxiliary > 0, "dropout": recipe.dropout}
        settings: dict[str, Any] = {n: v for n, v in asked.items() if n in self.regularizers}
        return replace(self, **settings)  # type: ignore[type-var]  # all spaces are dataclasses

    @abstractmethod
    def supernet(self) -> nn.Module:
        """Builds the supernet, all networks in one: `apply(variables, x, gates, train)`.

        `gates` is one op index per position, `[positions]`, mixture weights `[positions, ops]`, or
        `ops.Paths`. BatchNorm keeps no running average: after a call in train mode the collection
        `batch_stats` holds the statistics of that batch alone.
        """

    def network_supernet(self) -> nn.Module:
        """Builds the supernet at the size of `network`; some spaces search at a smaller size."""
        return self.supernet()

    @abstractmethod
    def network(self, architecture: Architecture) -> nn.Module:
        """Builds the network of one architecture: `apply(variables, x, train)`."""

    @abstractmethod
    def encode(self, architecture: Architecture) -> str:
        """Writes an architecture as text."""

    def decode(self, spelling: Any) -> Architecture:
        """Reads an architecture.

        Args:
            spelling: text in the notation of `encode`, of the original code of the space or of
                code based on it; or the lists that such a text describes. docs/students.md shows
                all forms.

        Raises:
            UserError: the text cannot be read; the message has the reason and a valid example.
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
        """An architecture as `encode` writes it, for error messages."""
        return self.encode(np.arange(len(self.choices), dtype=np.int32) % np.array(self.choices))

    def options(self, spelling: Any) -> list[int]:
        """Reads the index of the option at every choice.

        This default reads a list with the name or the index of the op at every position, or a text
        of digits. Spaces that have their own notation read it as well.

        Args:
            spelling: text or list that `notation.bare` returned.

        Raises:
            ValueError: `spelling` cannot be read; the message says why.
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
        """Returns the graph to draw: `{"nodes": [names], "edges": [[from, to, op]]}`."""

    @abstractmethod
    def torch_name(self, module: str) -> str:
        """What a module of `network`, a path joined by dots, is called in the PyTorch release."""

    def initial(self, name: str, shape: tuple[int, ...]) -> tuple[float, float]:
        """Returns mean and standard deviation of the initial values, see `layers.initial.Rule`."""
        return initial.fan_in(name, shape)

    def gates(self, architecture: Choices) -> Int[Array, "positions"]:
        """Returns the index of the op at every position; can be jitted."""
        return jnp.asarray(architecture)

    def derive(self, weights: Float[np.ndarray, "positions ops"]) -> Architecture:
        """Returns the architecture with the op of the largest weight at every position."""
        return np.where(self.has, weights, -np.inf).argmax(axis=1).astype(np.int32)

    @property
    def position_names(self) -> list[str]:
        """Names of the positions for people to read."""
        return [str(i) for i in range(self.positions)]

    @property
    def has(self) -> Bool[np.ndarray, "positions ops"]:
        """Mask of the ops that each position has; by default the first `choices[position]` ops."""
        return np.arange(len(self.ops)) < np.array(self.choices)[:, None]

    def connected(self, architecture: Architecture) -> bool:
        """Tells whether the output of the network depends on the image."""
        return True

    def sample(self, key: jax.Array) -> Int[Array, "choices"]:
        """Draws an architecture uniformly at random; can be jitted."""
        return jax.random.randint(key, (len(self.choices),), 0, jnp.array(self.choices))

    def without_unused(self, architecture: Architecture) -> Architecture:
        """Removes the ops whose outputs do not reach the head, as a compiler does."""
        return architecture

    def macs(self, architecture: Architecture) -> int:
        """Counts multiply-accumulates of one image in convolutions and linear layers."""
        return int(self.macs_cost.of(np.asarray(self.gates(architecture))))

    def params(self, architecture: Architecture) -> int:
        """Counts the trainable weights of the network."""
        return int(self.params_cost.of(np.asarray(self.gates(architecture))))

    def latency(self, architecture: Architecture, cost: Cost) -> float:
        """Predicts the latency from a table, in its unit, without ops that are not used."""
        return cost.of(np.asarray(self.gates(self.without_unused(architecture))))
