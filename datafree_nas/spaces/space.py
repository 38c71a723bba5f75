"""The interface of a search space, on which every search strategy works."""

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
from datafree_nas.spaces import memory, notation
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.memory import Step
from datafree_nas.spaces.traced_costs import traced_costs

# fields of a training recipe that change the network in train mode
REGULARIZERS = ("auxiliary", "dropout", "drop_path")

Architecture = Int[np.ndarray, "choices"]  # index of the option at every choice
Choices = Int[Array, "choices"] | Architecture  # an architecture in JAX or in NumPy


@dataclass(frozen=True)
class Space(ABC):
    """A search space: a list of `choices` decides which of `ops` is at each position of a network.

    A supernet or network is called as `apply(variables, x, ..., train)` on normalized images
    `[b h w c]` and returns logits `[b k]`.

    A space is a frozen dataclass whose fields are its settings. It has to define `name`, `ops`,
    `settings`, `positions`, `supernet` and `network`; all else has a default that fits a space in
    which every position has every op. docs/extending.md shows a whole one.

    Attributes:
        num_classes: width of the head.
        image_size: shape `(h, w, c)` of the input images.
        name: name of the space in the registry.
        ops: names of the candidate ops.
        regularizers: entries of `REGULARIZERS` that the networks of the space support.
        settings: allowed values of each setting of `config.search.space`, by name.
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
        """Number of options of each choice; here a choice is the op of a position.

        It is another thing where only some combinations of ops are networks, see `gates`.
        """
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
        return replace(self, **settings)

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

    def encode(self, architecture: Architecture) -> str:
        """Writes an architecture as text; here the names of its ops, as a list."""
        return f"[{', '.join(self.ops[option] for option in architecture)}]"

    def decode(self, spelling: Any) -> Architecture:
        """Reads an architecture.

        Args:
            spelling: text in the notation of `encode`, of the original code of the space or of
                code based on it; or the lists that such a text describes.
                docs/own_architecture.md shows all forms.

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

    def torch_source(self, architecture: Architecture) -> str | None:
        """Returns the PyTorch source of a class `Network`, or None where a space has none.

        Its tensors have the names of `torch_name`. docs/students/pytorch.md shows how it is used.
        """
        return None

    @property
    def lists_ops(self) -> bool:
        """Whether the space has a `schedule`, so that the memory of its networks is known."""
        return type(self).schedule is not Space.schedule

    def schedule(self, architecture: Architecture) -> list[Step]:
        """Lists the ops of a network in their order, as `schedule.Recorder` records them.

        Raises:
            UserError: the space does not define this method.
        """
        raise UserError(
            f"{self.name} does not list the ops of its networks, so their memory is unknown; "
            "define its method schedule, see docs/extending.md"
        )

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
        """Mask of the ops that each position has; by default the first `choices[i]` at i."""
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

    def peak_memory(self, architecture: Architecture) -> int:
        """Computes the largest sum of activations in memory at once, for one image.

        Args:
            architecture: architecture of the network.

        Returns:
            Number of elements: the bytes in int8, a quarter of the bytes in float32.

        Raises:
            UserError: the space has no `schedule`.
        """
        return memory.peak(self.schedule(architecture))

    def latency(self, architecture: Architecture, cost: Cost) -> float:
        """Predicts the latency from a table, in its unit, without ops that are not used."""
        return cost.of(np.asarray(self.gates(self.without_unused(architecture))))
