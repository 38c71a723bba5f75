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

# of all 8 nodes, first those of the normal cell: the positions of the edges that arrive there, and
# the pairs of inputs that it can keep
_ARRIVING = [
    len(EDGES) * kind + np.flatnonzero([target == node + 2 for _, target in EDGES])
    for kind, node in itertools.product(range(len(KINDS)), range(NODES))
]
_PAIRS = [list(itertools.combinations(range(len(arriving)), 2)) for arriving in _ARRIVING]


def _kept_positions() -> Int[np.ndarray, "nodes pairs 2"]:
    """The positions of the two edges that every pair of every node stands for.

    Nodes with fewer pairs than others have rows that no architecture reaches.
    """
    table = np.zeros((len(_PAIRS), max(map(len, _PAIRS)), 2), np.int32)
    for rows, arriving, pairs in zip(table, _ARRIVING, _PAIRS, strict=True):
        rows[: len(pairs)] = arriving[np.array(pairs)]
    return table


_KEPT_POSITIONS = _kept_positions()


class _Weightless(nn.Module):
    """`none`, the identity or a pool, which in a supernet has a BatchNorm."""

    op: str
    stride: int
    in_supernet: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
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
    """ReLU, depthwise and pointwise convolution and BatchNorm, once or twice."""

    op: str
    stride: int
    in_supernet: bool
    in_switch: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
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
    """Half the size: two 1x1 convolutions, the second of them one pixel further down and right."""

    features: int
    in_supernet: bool
    in_switch: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
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
        y = nn.Conv(self.features, (1, 1), use_bias=False, name="op.1")(nn.relu(x))
        return ops.Norm(self.in_supernet, affine=not self.in_supernet, name="op.2")(y, train)


def _op(
    op: str, in_switch: bool = False, *, stride: int, features: int, in_supernet: bool, **place: Any
) -> Any:
    """The module of one edge, with as many features at both ends; `place`: its name and parent."""
    if op in _SEPARABLE:
        return _Separable(op, stride, in_supernet, in_switch, **place)
    if op == "skip_connect" and stride == 2:
        return _FactorizedReduce(features, in_supernet, in_switch, **place)
    return _Weightless(op, stride, in_supernet, **place)


def _sum(terms: list[Array]) -> Array:
    return sum(terms[1:], terms[0])


class _Plan(NamedTuple):
    """What kind of cell is at one place.

    Attributes:
        features: of every node.
        reduction: whether it halves the size.
        after_reduction: whether the cell before it did, so that its first input is twice as large.
    """

    features: int
    reduction: bool
    after_reduction: bool


def _plan(channels: int, cells: int, imagenet: bool) -> list[_Plan]:
    """Of all cells, which double the channels at a third and at two thirds of the depth."""
    plan: list[_Plan] = []
    reduction = imagenet  # the stems' outputs differ in size
    for cell in range(cells):
        after_reduction, reduction = reduction, cell in (cells // 3, 2 * cells // 3)
        channels *= 2 if reduction else 1
        plan.append(_Plan(channels, reduction, after_reduction))
    return plan


class _Cell(nn.Module):
    """One cell; its ops are `edgeJ` in a supernet, and `_ops.K` where two a node are kept.

    Attributes:
        plan: see there.
        chosen: op index of each of its edges, or None for the supernet.
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
        """In train mode 0 for some images, and larger for the others to make up for it."""
        if not train or (not isinstance(rate, jax.Array) and rate == 0.0):
            return y
        keep = 1.0 - rate
        mask = jax.random.bernoulli(self.make_rng("drop_path"), keep, (len(y), 1, 1, 1))
        return y * mask / keep


class _AuxiliaryHead(nn.Module):
    """A second classifier, on the output of the last reduction cell.

    For ImageNet the second BatchNorm is missing, as in the release and so in the paper's results.
    """

    num_classes: int
    imagenet: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        def conv(features: int, kernel: int, name: str) -> nn.Conv:
            return nn.Conv(features, (kernel, kernel), padding=0, use_bias=False, name=name)

        stride = _auxiliary_stride(self.imagenet)
        x = nn.avg_pool(nn.relu(x), (5, 5), (stride, stride))
        x = ops.Norm(False, name="features.3")(conv(128, 1, "features.2")(x), train)
        x = conv(768, 2, "features.5")(nn.relu(x))
        if not self.imagenet:
            x = ops.Norm(False, name="features.6")(x, train)
        # one pixel at the published image sizes
        return nn.Dense(self.num_classes, name="classifier")(jnp.mean(nn.relu(x), axis=(1, 2)))


def _auxiliary_stride(imagenet: bool) -> int:
    return 2 if imagenet else 3


class Network(nn.Module):
    """The macro network around cells.

    Attributes:
        channels: of the first cell's nodes.
        cells: how many.
        num_classes: width of the head.
        imagenet: see `Darts`.
        auxiliary: see `Darts`.
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
        """Logits.

        Args:
            x: normalized images.
            gates: of the supernet, see `Space.supernet`.
            train: whether BatchNorm looks at the batch. An auxiliary head's logits are then put
                into the collection `auxiliary`, if that is mutable.
            drop_path: how often an op other than the identity is left out for an image, in train
                mode (Larsson et al. 2017). Needs the random stream of that name unless it is 0.0.
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
        x = self._conv_norm(x, STEM * self.channels, 1, "stem.0", "stem.1", train)
        return x, x

    def _imagenet_stem(self, x: Array, train: bool) -> tuple[Array, Array]:
        x = self._conv_norm(x, self.channels // 2, 2, "stem0.0", "stem0.1", train)
        first = self._conv_norm(nn.relu(x), self.channels, 2, "stem0.3", "stem0.4", train)
        second = self._conv_norm(nn.relu(first), self.channels, 2, "stem1.1", "stem1.2", train)
        return first, second

    def _conv_norm(
        self, x: Array, features: int, stride: int, conv: str, norm: str, train: bool
    ) -> Array:
        x = nn.Conv(features, (3, 3), stride, padding=1, use_bias=False, name=conv)(x)
        return ops.Norm(self.chosen is None, name=norm)(x, train)

    def _auxiliary(self, x: Array, train: bool) -> None:
        if train or self.is_initializing():
            head = _AuxiliaryHead(self.num_classes, self.imagenet, name="auxiliary_head")
            logits = head(x, train)
            if not self.is_initializing():  # which would make them variables of the network
                self.sow("auxiliary", "logits", logits)


def _weights_and_norms(op: str, stride: int, features: int) -> tuple[int, int]:
    """Of one op in a network of its own: weights of convolutions, and BatchNorm layers."""
    if op in _SEPARABLE:
        kernel, _, repetitions = _SEPARABLE[op]
        return repetitions * (kernel**2 + features) * features, repetitions
    return (features**2, 1) if op == "skip_connect" and stride == 2 else (0, 0)


@dataclass(frozen=True)
class Darts(Space):
    """The space.

    An architecture has three choices for each of the 4 nodes of the normal cell and then of the
    reduction cell: which pair of its inputs it keeps, in lexicographic order, and the ops of the
    first and of the second, counted from the one after `none`. Positions are the 14 edges of the
    normal cell, then those of the reduction cell; all cells of a kind share them.

    Attributes:
        num_classes: of the head.
        image_size: `(h, w, c)`.
        channels: of the first cell of the search network.
        cells: of the search network.
        network_channels: of the first cell of a network of its own; 48 for ImageNet.
        network_cells: of a network of its own; 14 for ImageNet.
        imagenet: three convolutions of stride 2 before the cells, instead of one of stride 1.
        auxiliary: whether a network of its own has an auxiliary head; costs do not count it.
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
        """Refuses sizes that cannot be halved as often as the network does."""
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
        """See `Space.supernet`."""
        return Network(self.channels, self.cells, self.num_classes, self.imagenet)

    def network_supernet(self) -> Network:
        """See `Space.network_supernet`; of `network_channels` and `network_cells`."""
        return replace(self, channels=self.network_channels, cells=self.network_cells).supernet()

    def network(self, architecture: Architecture) -> Network:
        """See `Space.network`; of `network_channels` and `network_cells`."""
        return Network(
            self.network_channels,
            self.network_cells,
            self.num_classes,
            self.imagenet,
            self.auxiliary,
            tuple(np.asarray(self.gates(architecture)).tolist()),
        )

    def gates(self, architecture: Choices) -> Int[Array, "positions"]:
        """The op at every position, `none` where an edge is not kept; jittable."""
        pair, *options = jnp.asarray(architecture).reshape(-1, 3).T
        kept = jnp.asarray(_KEPT_POSITIONS)[jnp.arange(len(pair)), pair]
        chosen = jnp.stack(options, axis=1) + 1
        return jnp.full(self.positions, NONE, chosen.dtype).at[kept].set(chosen)

    def derive(self, weights: Float[np.ndarray, "positions ops"]) -> Architecture:
        """The release's rule: a node keeps the two edges whose best op other than `none` weighs
        most, with that op."""
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
        """See `Space.has`: in the supernet every position has every op."""
        return np.ones((self.positions, len(OPS)), bool)

    @property
    def position_names(self) -> list[str]:
        """See `Space`; the nodes that an edge joins, numbered as in `encode`."""
        return [f"{kind} {source} → {target}" for kind in KINDS for source, target in EDGES]

    def encode(self, architecture: Architecture) -> str:
        """As `DARTS_V1`: for every node its two ops, each with the input that it is applied to.

        Inputs 0 and 1 are those of the cell, 2 is its first node. Those of a node are in order.
        """
        cells = []
        for kind, nodes in zip(KINDS, self._kept(architecture), strict=True):
            texts = [" ".join(f"{op}~{source}" for source, op in node) for node in nodes]
            cells.append(f"{kind}: {'|'.join(texts)}")
        return "; ".join(cells)

    def _kept(self, architecture: Architecture) -> list[list[list[tuple[int, str]]]]:
        """For every kind of cell and node, what is kept: inputs in order, and their ops."""
        nodes = [
            [(source, OPS[1 + op]) for source, op in zip(pairs[pair], chosen, strict=True)]
            for pairs, (pair, *chosen) in zip(_PAIRS, architecture.reshape(-1, 3), strict=True)
        ]
        return [nodes[:NODES], nodes[NODES:]]

    def options(self, spelling: Any) -> list[int]:
        """See `Space.options`; the genotypes that `genotype.read` reads."""
        options: list[int] = []
        edges = genotype.read(spelling, OPS[1:])
        for pairs, ((one, first), (other, second)) in zip(_PAIRS, edges, strict=True):
            options += [pairs.index((one, other)), first, second]
        return options

    @cached_property
    def macs_cost(self) -> Cost:
        """See `Space`."""
        return self._cost(lambda weights, _, pixels: weights * pixels)

    @cached_property
    def params_cost(self) -> Cost:
        """See `Space`."""
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
        """Weights, features and output pixels of its convolutions."""
        height, width, colours = self.image_size
        channels, stride = self.network_channels, 2 if self.imagenet else 1
        features = [channels // 2, channels, channels] if self.imagenet else [STEM * channels]
        layers = []
        for before, after in itertools.pairwise([colours, *features]):
            height, width = height // stride, width // stride
            layers.append((9 * before * after, after, height * width))
        return layers

    def torch_name(self, module: str) -> str:
        """See `Space.torch_name`; `NetworkCIFAR` and `NetworkImageNet` of quark0/darts.

        There the ops of a cell are in the order of its genotype. Here they are node by node, the
        two of a node in the order of their inputs, which is the order of `encode`.
        """
        return module.removesuffix(".norm")

    def graph(self, architecture: Architecture) -> dict[str, Any]:
        """See `Space.graph`; the normal cell, then the reduction cell, named as in the release."""
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
