"""The cell space of DARTS (Liu et al. 2019): a normal and a reduction cell of 4 nodes and 8 ops.

In the search network every node has an edge from each of the cell's two inputs and from each node
before it; in a network of its own it keeps two of them, and none of those is `none`. As in the
release, the search network's cells have BatchNorm without affine parameters and one more after
every pool; the stems are affine in both. Modules bear the names that they have in the release.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from datafree_nas.layers.depthwise import DepthwiseConv
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values, boolean, integer
from datafree_nas.spaces import genotype, ops
from datafree_nas.spaces.genotype import KINDS, NODES
from datafree_nas.spaces.space import Architecture, Choices, Cost, Space

OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NONE = OPS.index("none")
STEM = 3  # times the channels of the first cell, for small images
EDGES = tuple((source, node + 2) for node in range(NODES) for source in range(node + 2))
_SEPARABLE = {  # kernel, dilation, repetitions
    "sep_conv_3x3": (3, 1, 2),
    "sep_conv_5x5": (5, 1, 2),
    "dil_conv_3x3": (3, 2, 1),
    "dil_conv_5x5": (5, 2, 1),
}

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


class _Weightless(nn.Module):
    """`none`, the identity or a pooling op; in a supernet pooling is followed by BatchNorm."""

    op: str
    stride: int
    in_supernet: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies the op."""
        strided = (slice(None), slice(None, None, self.stride), slice(None, None, self.stride))
        if self.op == "none":
            return jnp.zeros_like(x[strided])
        if self.op == "skip_connect":
            return x
        if self.op == "max_pool_3x3":
            y = nn.max_pool(x, (3, 3), (self.stride, self.stride), ((1, 1), (1, 1)))
        else:
            y = ops.average_pool(x)[strided]
        return ops.Norm(True, affine=False, name="bn")(y, train) if self.in_supernet else y


class _Separable(nn.Module):
    """ReLU, depthwise convolution, pointwise convolution and BatchNorm, once or twice in a row."""

    op: str
    stride: int
    in_supernet: bool
    in_switch: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies the op."""
        kernel, dilation, repetitions = _SEPARABLE[self.op]
        for i in range(repetitions):
            depthwise, pointwise, norm = (f"op.{4 * i + layer}" for layer in (1, 2, 3))
            stride = 1 if i else self.stride
            x = nn.relu(x)
            padding = dilation * (kernel // 2)
            in_switch = self.in_switch
            conv = DepthwiseConv(kernel, stride, padding, dilation, in_switch, name=depthwise)
            x = ops.Conv(x.shape[-1], 1, in_switch=in_switch, name=pointwise)(conv(x))
            x = ops.Norm(self.in_supernet, affine=not self.in_supernet, name=norm)(x, train)
        return x


class _FactorizedReduce(nn.Module):
    """Halves the size by two 1x1 convolutions; the second one starts one pixel down and right."""

    features: int
    in_supernet: bool
    in_switch: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies ReLU, both convolutions and BatchNorm."""

        def half(name: str) -> ops.Conv:
            return ops.Conv(self.features // 2, 1, 2, in_switch=self.in_switch, name=name)

        x = nn.relu(x)
        y = jnp.concatenate([half("conv_1")(x), half("conv_2")(x[:, 1:, 1:])], axis=-1)
        return ops.Norm(self.in_supernet, affine=not self.in_supernet, name="bn")(y, train)


class _ReluConv(nn.Module):
    """ReLU, 1x1 convolution and BatchNorm."""

    features: int
    in_supernet: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies the layers."""
        y = nn.Conv(self.features, (1, 1), use_bias=False, name="op.1")(nn.relu(x))
        return ops.Norm(self.in_supernet, affine=not self.in_supernet, name="op.2")(y, train)


def _op(
    op: str, in_switch: bool = False, *, stride: int, features: int, in_supernet: bool, **place: Any
) -> Any:
    """Builds the module of one edge, with `features` channels at both ends.

    Args:
        op: name of the op.
        in_switch: whether the module is inside control flow, see `ops.Conv`.
        stride: step in both directions, in pixels.
        features: input channels, and as many output channels.
        in_supernet: whether the module is part of a supernet.
        **place: name and parent of the module.
    """
    if op in _SEPARABLE:
        return _Separable(op, stride, in_supernet, in_switch, **place)
    if op == "skip_connect" and stride == 2:
        return _FactorizedReduce(features, in_supernet, in_switch, **place)
    return _Weightless(op, stride, in_supernet, **place)


def _sum(terms: list[Array]) -> Array:
    """Adds up arrays, without a zero at the start."""
    return sum(terms[1:], terms[0])


class _Plan(NamedTuple):
    """Settings of one cell of the network.

    Attributes:
        features: channels of every node.
        reduction: whether the cell halves the size.
        after_reduction: whether the first input has twice the size of the second one, because a
            reduction cell or the stem for ImageNet comes just before.
    """

    features: int
    reduction: bool
    after_reduction: bool


def _plan(channels: int, cells: int, imagenet: bool) -> list[_Plan]:
    """Plans all cells; reduction cells at 1/3 and 2/3 of the depth double the channels."""
    plan: list[_Plan] = []
    reduction = imagenet  # the stems' outputs differ in size
    for cell in range(cells):
        after_reduction, reduction = reduction, cell in (cells // 3, 2 * cells // 3)
        channels *= 2 if reduction else 1
        plan.append(_Plan(channels, reduction, after_reduction))
    return plan


class _Cell(nn.Module):
    """One cell; its ops are named `edgeJ` in a supernet and `_ops.K` in a single network.

    Attributes:
        plan: settings of the cell.
        chosen: op index of each edge of the cell, or None for the supernet.
    """

    plan: _Plan
    chosen: tuple[int, ...] | None

    @nn.compact
    def __call__(
        self,
        before_last: Array,
        last: Array,
        gates: ops.Gates | None,
        train: bool,
        drop_path: float | Array,
    ) -> Array:
        """Applies the cell to the outputs of the two cells before it."""
        features, reduction, after_reduction = self.plan
        shared: dict[str, Any] = {"features": features, "in_supernet": self.chosen is None}
        preprocess = _FactorizedReduce if after_reduction else _ReluConv
        nodes = [
            preprocess(**shared, name="preprocess0")(before_last, train),
            _ReluConv(**shared, name="preprocess1")(last, train),
        ]
        edges, kept = itertools.count(), itertools.count()
        for _ in range(NODES):
            arriving = []
            for source, (x, edge) in enumerate(zip(nodes, edges, strict=False)):
                stride = 2 if reduction and source < 2 else 1
                if self.chosen is None:
                    assert gates is not None
                    build = partial(_op, stride=stride, **shared)
                    position = len(EDGES) * reduction + edge
                    mixed = ops.Mixed(OPS, build, position, name=f"edge{edge}")
                    arriving.append(mixed(x, gates[edge], train))
                elif (op := OPS[self.chosen[edge]]) != "none":
                    y = _op(op, stride=stride, **shared, name=f"_ops.{next(kept)}")(x, train)
                    identity = op == "skip_connect" and stride == 1
                    arriving.append(y if identity else self._dropped(y, train, drop_path))
            nodes.append(_sum(arriving))
        return jnp.concatenate(nodes[2:], axis=-1)

    def _dropped(self, y: Array, train: bool, rate: float | Array) -> Array:
        """Sets `y` to 0 for some images and scales up the others, in train mode alone."""
        if not train or (not isinstance(rate, jax.Array) and rate == 0.0):
            return y
        keep = 1.0 - rate
        mask = jax.random.bernoulli(self.make_rng("drop_path"), keep, (len(y), 1, 1, 1))
        return y * mask / keep


class _AuxiliaryHead(nn.Module):
    """A second classifier on the output of the last reduction cell.

    For ImageNet the second BatchNorm is missing, as in the release, which gave the paper's results.
    """

    num_classes: int
    imagenet: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Computes the logits."""

        def conv(features: int, kernel: int, name: str) -> nn.Conv:
            return nn.Conv(features, (kernel, kernel), padding=0, use_bias=False, name=name)

        stride = _auxiliary_stride(self.imagenet)
        x = nn.avg_pool(nn.relu(x), (5, 5), (stride, stride))
        x = ops.Norm(False, name="features.3")(conv(128, 1, "features.2")(x), train)
        x = conv(768, 2, "features.5")(nn.relu(x))
        if not self.imagenet:
            x = ops.Norm(False, name="features.6")(x, train)
        # the mean is over a single pixel at the published image sizes
        return nn.Dense(self.num_classes, name="classifier")(jnp.mean(nn.relu(x), axis=(1, 2)))


def _auxiliary_stride(imagenet: bool) -> int:
    """Returns the stride of the pooling in the auxiliary head."""
    return 2 if imagenet else 3


class Network(nn.Module):
    """The supernet or a single network: stem, cells and head.

    Attributes:
        channels: channels of the nodes of the first cell.
        cells: number of cells.
        num_classes: width of the head.
        imagenet: whether the network has the stem for ImageNet, see `Darts`.
        auxiliary: whether the network has an auxiliary head.
        chosen: op index at every position, or None for the supernet.
    """

    channels: int
    cells: int
    num_classes: int
    imagenet: bool
    auxiliary: bool = False
    chosen: tuple[int, ...] | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        gates: ops.Gates | None = None,
        train: bool = False,
        drop_path: float | Float[Array, ""] = 0.0,
    ) -> Float[Array, "b k"]:
        """Computes logits.

        Args:
            x: normalized images.
            gates: gates of the supernet, see `Space.supernet`; None for a single network.
            train: whether BatchNorm uses the statistics of the batch. The logits of an auxiliary
                head are then put into the collection `auxiliary`, if it is mutable.
            drop_path: probability that an op other than the identity is left out for an image in
                train mode (Larsson et al. 2017). Unless it is 0.0, it needs the random stream
                `drop_path`.
        """
        before_last, last = self._imagenet_stem(x, train) if self.imagenet else self._stem(x, train)
        for i, plan in enumerate(_plan(self.channels, self.cells, self.imagenet)):
            edges = slice(len(EDGES), None) if plan.reduction else slice(len(EDGES))
            chosen = None if self.chosen is None else self.chosen[edges]
            cell = _Cell(plan, chosen, name=f"cells.{i}")
            of_cell = None if gates is None else gates[edges]
            before_last, last = last, cell(before_last, last, of_cell, train, drop_path)
            if self.auxiliary and i == 2 * self.cells // 3:
                self._auxiliary(last, train)
        return nn.Dense(self.num_classes, name="classifier")(jnp.mean(last, axis=(1, 2)))

    def _stem(self, x: Array, train: bool) -> tuple[Array, Array]:
        """Computes the two inputs of the first cell, which are equal."""
        x = self._conv_norm(x, STEM * self.channels, 1, "stem.0", "stem.1", train)
        return x, x

    def _imagenet_stem(self, x: Array, train: bool) -> tuple[Array, Array]:
        """Computes the two inputs of the first cell; the second one has half the size."""
        x = self._conv_norm(x, self.channels // 2, 2, "stem0.0", "stem0.1", train)
        first = self._conv_norm(nn.relu(x), self.channels, 2, "stem0.3", "stem0.4", train)
        second = self._conv_norm(nn.relu(first), self.channels, 2, "stem1.1", "stem1.2", train)
        return first, second

    def _conv_norm(
        self, x: Array, features: int, stride: int, conv: str, norm: str, train: bool
    ) -> Array:
        """Applies a 3x3 convolution and BatchNorm."""
        x = nn.Conv(features, (3, 3), stride, padding=1, use_bias=False, name=conv)(x)
        return ops.Norm(self.chosen is None, name=norm)(x, train)

    def _auxiliary(self, x: Array, train: bool) -> None:
        """Puts the logits of the auxiliary head into the collection `auxiliary`, in train mode."""
        if train or self.is_initializing():
            head = _AuxiliaryHead(self.num_classes, self.imagenet, name="auxiliary_head")
            logits = head(x, train)
            if not self.is_initializing():  # else they would be stored as variables
                self.sow("auxiliary", "logits", logits)


def _weights_and_norms(op: str, stride: int, features: int) -> tuple[int, int]:
    """Counts convolution weights and BatchNorm layers of one op in a single network."""
    if op in _SEPARABLE:
        kernel, _, repetitions = _SEPARABLE[op]
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
        smallest = divisor * (5 + _auxiliary_stride(self.imagenet))
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
        """A sum over layers.

        Args:
            of: `(weights, normalized channels, output pixels) -> cost` of a convolution, or of
                several with their BatchNorm layers.
        """
        stem = self._stem_layers()
        fixed = sum(of(*layer) for layer in stem)
        _, last, pixels = stem[-1]
        before_last = last
        table = np.zeros((len(KINDS), len(EDGES), len(OPS)), np.int64)
        plan = _plan(self.network_channels, self.network_cells, self.imagenet)
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

    def torch_name(self, module: str) -> str:
        """Implements `Space.torch_name`; `NetworkCIFAR` and `NetworkImageNet` of quark0/darts.

        There the ops of a cell are in the order of its genotype. Here they are node by node, the
        two of a node in the order of their inputs, which is the order of `encode`.
        """
        return module.removesuffix(".norm")

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
