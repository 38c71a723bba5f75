"""The cell space of DARTS (Liu et al. 2019): a normal and a reduction cell of 4 nodes and 8 ops.

In the supernet every node has an edge from each of the cell's two inputs and from each node before
it; in a single network it keeps two of them, and none of those is `none`.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values, boolean, integer
from datafree_nas.spaces import darts_schedule, genotype, torch_source
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.darts_network import (
    EDGES,
    OPS,
    SEPARABLE,
    STEM,
    Network,
    auxiliary_stride,
    cell_plans,
)
from datafree_nas.spaces.genotype import KINDS, NODES
from datafree_nas.spaces.memory import Step
from datafree_nas.spaces.space import Architecture, Choices, Space

NONE = OPS.index("none")
# for each of the 8 nodes, those of the normal cell first: the positions of the edges that enter the
# node, and the pairs of inputs that it can keep
_ARRIVING = [
    len(EDGES) * kind + np.flatnonzero([target == node + 2 for _, target in EDGES])
    for kind, node in itertools.product(range(len(KINDS)), range(NODES))
]
_PAIRS = [list(itertools.combinations(range(len(arriving)), 2)) for arriving in _ARRIVING]


def _kept_positions() -> Int[np.ndarray, "nodes pairs 2"]:
    """Tabulates the positions of the two edges of every pair of every node.

    The rows of nodes with fewer pairs are filled up with zeros, which no architecture selects.
    """
    table = np.zeros((len(_PAIRS), max(map(len, _PAIRS)), 2), np.int32)
    for rows, arriving, pairs in zip(table, _ARRIVING, _PAIRS, strict=True):
        rows[: len(pairs)] = arriving[np.array(pairs)]
    return table


_KEPT_POSITIONS = _kept_positions()


def _weights_and_norms(op: str, stride: int, features: int) -> tuple[int, int]:
    """Counts convolution weights and BatchNorm layers of one op in a single network."""
    if op in SEPARABLE:
        kernel, _, repetitions = SEPARABLE[op]
        return repetitions * (kernel**2 + features) * features, repetitions
    return (features**2, 1) if op == "skip_connect" and stride == 2 else (0, 0)


@dataclass(frozen=True)
class Darts(Space):
    """The search space.

    An architecture has three choices for each of the 4 nodes of the normal cell, then for each node
    of the reduction cell: the index of the pair of inputs that the node keeps, in lexicographic
    order, and the ops on the first and on the second of them, as index in `OPS[1:]` (without
    `none`). Positions are the 14 edges of the normal cell, then the 14 of the reduction cell; all
    cells of a kind share them.

    Attributes:
        num_classes: width of the head.
        image_size: shape `(h, w, c)` of the images.
        channels: channels of the first cell of the supernet.
        cells: number of cells of the supernet.
        network_channels: channels of the first cell of a single network; 48 for ImageNet.
        network_cells: number of cells of a single network; 14 for ImageNet.
        imagenet: whether the stem has three convolutions of stride 2 instead of one of stride 1.
        auxiliary: whether a single network has an auxiliary head; costs do not count it.
    """

    num_classes: int = 10
    image_size: tuple[int, int, int] = (32, 32, 3)
    channels: int = 16
    cells: int = 8
    network_channels: int = 36
    network_cells: int = 20
    imagenet: bool = False
    auxiliary: bool = False

    name = "darts"
    ops = OPS
    settings: ClassVar[dict[str, Values]] = {
        "channels": integer(2, 4096),
        "cells": integer(1, 1000),
        "network_channels": integer(2, 4096),
        "network_cells": integer(1, 1000),
        "imagenet": boolean(),
        "auxiliary": boolean(),
    }
    regularizers = ("auxiliary", "drop_path")
    positions = len(KINDS) * len(EDGES)
    choices = tuple(n for pairs in _PAIRS for n in (len(pairs), len(OPS) - 1, len(OPS) - 1))

    def __post_init__(self) -> None:
        """Refuses image sizes and channels that do not suit the layers."""
        times, sides = 5 if self.imagenet else 2, self.image_size[:2]
        divisor = 2**times
        if any(side % divisor for side in sides):
            raise UserError(
                f"darts halves images {times} times; {self.image_size} has a side that {divisor} "
                "does not divide"
            )
        if self.channels % 2 or self.network_channels % 2:
            raise UserError("darts makes some layers of two halves; its channels must be even")
        smallest = divisor * (5 + auxiliary_stride(self.imagenet))
        if self.auxiliary and min(sides) < smallest:
            raise UserError(
                f"the auxiliary head of darts needs images of {smallest} pixels or more a side; "
                f"these are {self.image_size}"
            )

    def supernet(self) -> Network:
        """Implements `Space.supernet`."""
        return Network(self.channels, self.cells, self.num_classes, self.imagenet)

    def network_supernet(self) -> Network:
        """Implements `Space.network_supernet`, with `network_channels` and `network_cells`."""
        return replace(self, channels=self.network_channels, cells=self.network_cells).supernet()

    def network(self, architecture: Architecture) -> Network:
        """Implements `Space.network`, with `network_channels` and `network_cells`."""
        return Network(
            self.network_channels,
            self.network_cells,
            self.num_classes,
            self.imagenet,
            self.auxiliary,
            tuple(np.asarray(self.gates(architecture)).tolist()),
        )

    def gates(self, architecture: Choices) -> Int[Array, "positions"]:
        """Implements `Space.gates`; an edge that is not kept has `none`."""
        pair, *options = jnp.asarray(architecture).reshape(-1, 3).T
        kept = jnp.asarray(_KEPT_POSITIONS)[jnp.arange(len(pair)), pair]
        chosen = jnp.stack(options, axis=1) + 1
        return jnp.full(self.positions, NONE, chosen.dtype).at[kept].set(chosen)

    def derive(self, weights: Float[np.ndarray, "positions ops"]) -> Architecture:
        """Implements `Space.derive` with the rule of the release.

        For every edge the op with the largest weight counts, without `none`. A node keeps the two
        edges for which this weight is largest.
        """
        options = np.delete(weights, NONE, axis=1)
        strength, best = options.max(axis=1), options.argmax(axis=1)
        architecture: list[int] = []
        for arriving, pairs in zip(_ARRIVING, _PAIRS, strict=True):
            strongest = np.argsort(-strength[arriving], kind="stable")[:2]
            one, other = sorted(strongest.tolist())
            chosen = best[arriving[[one, other]]]
            architecture += [pairs.index((one, other)), *chosen.tolist()]
        return np.array(architecture, np.int32)

    @property
    def has(self) -> Bool[np.ndarray, "positions ops"]:
        """Mask of the ops that each position has: in the supernet all ops."""
        return np.ones((self.positions, len(OPS)), bool)

    @property
    def position_names(self) -> list[str]:
        """Names of the positions: kind of cell and ends of the edge, numbered as in `encode`."""
        return [f"{kind} {source} → {target}" for kind in KINDS for source, target in EDGES]

    def encode(self, architecture: Architecture) -> str:
        """Writes the two ops of every node, each with the number of its input, like `DARTS_V1`.

        Inputs 0 and 1 are the inputs of the cell, and 2 is its first node. The two ops of a node
        are in the order of their inputs.
        """
        cells = []
        for kind, nodes in zip(KINDS, self._kept(architecture), strict=True):
            texts = [" ".join(f"{op}~{source}" for source, op in node) for node in nodes]
            cells.append(f"{kind}: {'|'.join(texts)}")
        return "; ".join(cells)

    def _kept(self, architecture: Architecture) -> list[list[list[tuple[int, str]]]]:
        """Lists the kept edges `(input, op)` of every node, by kind of cell; inputs in order."""
        nodes = [
            [(source, OPS[1 + op]) for source, op in zip(pairs[pair], chosen, strict=True)]
            for pairs, (pair, *chosen) in zip(_PAIRS, architecture.reshape(-1, 3), strict=True)
        ]
        return [nodes[:NODES], nodes[NODES:]]

    def options(self, spelling: Any) -> list[int]:
        """Implements `Space.options` for the genotypes that `genotype.read` reads."""
        options: list[int] = []
        edges = genotype.read(spelling, OPS[1:])
        for pairs, ((one, first), (other, second)) in zip(_PAIRS, edges, strict=True):
            options += [pairs.index((one, other)), first, second]
        return options

    @cached_property
    def macs_cost(self) -> Cost:
        """Implements `Space.macs_cost`."""
        return self._cost(lambda weights, _, pixels: weights * pixels)

    @cached_property
    def params_cost(self) -> Cost:
        """Implements `Space.params_cost`."""
        cost = self._cost(lambda weights, normalized, _: weights + 2 * normalized)
        return cost._replace(fixed=cost.fixed + self.num_classes)  # the head's bias

    def _cost(self, of: Callable[[int, int, int], int]) -> Cost:
        """Adds up the cost of all layers.

        Args:
            of: function `(weights, normalized channels, output pixels) -> cost` of a convolution,
                or of several with their BatchNorm layers.
        """
        stem = self._stem_layers()
        fixed = sum(of(*layer) for layer in stem)
        _, last, pixels = stem[-1]
        before_last = last
        table = np.zeros((len(KINDS), len(EDGES), len(OPS)), np.int64)
        plan = cell_plans(self.network_channels, self.network_cells, self.imagenet)
        for features, reduction, _ in plan:
            fixed += of((before_last + last) * features, 2 * features, pixels)
            pixels //= 4 if reduction else 1
            for edge, (source, _) in enumerate(EDGES):
                stride = 2 if reduction and source < 2 else 1
                for i, op in enumerate(OPS):
                    weights, norms = _weights_and_norms(op, stride, features)
                    table[int(reduction), edge, i] += of(weights, norms * features, pixels)
            before_last, last = last, NODES * features
        fixed += of(last * self.num_classes, 0, 1)
        return Cost(fixed, table.reshape(self.positions, len(OPS)))

    def _stem_layers(self) -> list[tuple[int, int, int]]:
        """Returns weights, output channels and output pixels of the convolutions of the stem."""
        height, width, colours = self.image_size
        channels, stride = self.network_channels, 2 if self.imagenet else 1
        features = [channels // 2, channels, channels] if self.imagenet else [STEM * channels]
        layers = []
        for before, after in itertools.pairwise([colours, *features]):
            height, width = height // stride, width // stride
            layers.append((9 * before * after, after, height * width))
        return layers

    def schedule(self, architecture: Architecture) -> list[Step]:
        """Implements `Space.schedule`."""
        return darts_schedule.schedule(
            self.image_size,
            self.num_classes,
            self.network_channels,
            self.network_cells,
            self.imagenet,
            self._kept(architecture),
        )

    def torch_name(self, module: str) -> str:
        """Implements `Space.torch_name`; `NetworkCIFAR` and `NetworkImageNet` of quark0/darts.

        There the ops of a cell are in the order of its genotype. Here they are node by node, the
        two of a node in the order of their inputs, which is the order of `encode`.
        """
        return module.removesuffix(".norm")

    def torch_source(self, architecture: Architecture) -> str:
        """Implements `Space.torch_source`."""
        normal, reduce = (tuple(map(tuple, nodes)) for nodes in self._kept(architecture))
        return torch_source.fill(
            "darts",
            COLOURS=self.image_size[2],
            CLASSES=self.num_classes,
            CHANNELS=self.network_channels,
            CELLS=self.network_cells,
            IMAGENET=self.imagenet,
            NORMAL=normal,
            REDUCE=reduce,
        )

    def graph(self, architecture: Architecture) -> dict[str, Any]:
        """Implements `Space.graph`: normal cell, then reduction cell, named as in the release."""
        nodes: list[str] = []
        edges: list[list[Any]] = []
        for kind, kept in zip(KINDS, self._kept(architecture), strict=True):
            first = len(nodes)
            inner = range(first + 2, first + 2 + NODES)
            names = ("c_{k-2}", "c_{k-1}", *map(str, range(NODES)), "c_{k}")
            nodes += [f"{kind}\n{name}" for name in names]
            for node, ends in zip(inner, kept, strict=True):
                edges += [[first + source, node, op] for source, op in ends]
            edges += [[node, inner.stop, "concat"] for node in inner]
        return {"nodes": nodes, "edges": edges}
