"""The cell space of NAS-Bench-201 (Dong & Yang 2020): 4 nodes, 6 edges, 5 ops, 15 625 cells.

The network around the cells follows the release in its details: no ReLU after the stem, BatchNorm
and ReLU before global pooling, average pooling without BatchNorm. In the supernet, candidate
convolutions have a bias and their BatchNorm is not affine; in a single network they have no bias
and their BatchNorm is affine. BatchNorm of the residual blocks between stages is always affine.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values, integer
from datafree_nas.spaces import notation, ops, torch_source
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.memory import Step
from datafree_nas.spaces.schedule import Recorder, Tensor, zeros
from datafree_nas.spaces.space import Architecture, Space

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (from, to), in the order of positions
NODES = 4
_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
_PRINTED = re.compile(rf"Structure\({NODES}nodeswith(.*)\)")  # as AutoDL-Projects prints a cell

# modules here -> names in the release, see `NasBench201.torch_name`
_TORCH_ENDS = {
    "stem_conv": "stem.0",
    "stem_bn.norm": "stem.1",
    "last_bn.norm": "lastact.0",
    "head": "classifier",
}
_TORCH_REDUCTION = {
    "conv1": "conv_a.op.1",
    "bn1.norm": "conv_a.op.2",
    "conv2": "conv_b.op.1",
    "bn2.norm": "conv_b.op.2",
    "shortcut": "downsample.1",
}


class _Op(nn.Module):
    """One candidate of one edge."""

    op: str
    in_supernet: bool
    in_switch: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies the op."""
        if self.op == "none":
            return jnp.zeros_like(x)
        if self.op == "skip_connect":
            return x
        if self.op == "avg_pool_3x3":
            return ops.average_pool(x)
        kernel = _KERNELS[self.op]
        bias = self.in_supernet
        conv = ops.Conv(x.shape[-1], kernel, 1, bias, self.in_switch, name="conv")
        norm = ops.Norm(self.in_supernet, affine=not self.in_supernet, name="bn")
        return norm(conv(nn.relu(x)), train)


def _candidate(op: str, in_switch: bool, *, in_supernet: bool, **scope: Any) -> nn.Module:
    """Builds a candidate, see `ops.searched`."""
    return _Op(op, in_supernet, in_switch, **scope)


class _ResidualBlock(nn.Module):
    """The block between stages: half the image size, twice the channels."""

    features: int
    in_supernet: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies the block."""

        def conv(stride: int, name: str) -> nn.Conv:
            return nn.Conv(self.features, (3, 3), stride, padding=1, use_bias=False, name=name)

        y = ops.Norm(self.in_supernet, name="bn1")(conv(2, "conv1")(nn.relu(x)), train)
        y = ops.Norm(self.in_supernet, name="bn2")(conv(1, "conv2")(nn.relu(y)), train)
        shortcut = nn.avg_pool(x, (2, 2), (2, 2))
        return y + nn.Conv(self.features, (1, 1), use_bias=False, name="shortcut")(shortcut)


class Network(nn.Module):
    """The supernet or a single network: stem, three stages of cells and head.

    Attributes:
        channels: channels of the first stage.
        cells: number of cells per stage.
        num_classes: width of the head.
        architecture: op index of every edge, or None for the supernet.
    """

    channels: int
    cells: int
    num_classes: int
    architecture: tuple[int, ...] | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        gates: ops.Gates | None = None,
        train: bool = False,
    ) -> Float[Array, "b k"]:
        """Computes logits; `gates` is needed in the supernet alone, see `Space.supernet`."""
        in_supernet = self.architecture is None
        x = nn.Conv(self.channels, (3, 3), padding=1, use_bias=False, name="stem_conv")(x)
        x = ops.Norm(in_supernet, name="stem_bn")(x, train)
        for stage in range(3):
            if stage:
                features = self.channels * 2**stage
                x = _ResidualBlock(features, in_supernet, name=f"reduce{stage}")(x, train)
            for cell in range(self.cells):
                x = self._cell(x, gates, train, f"stage{stage}_cell{cell}")
        x = nn.relu(ops.Norm(in_supernet, name="last_bn")(x, train))
        return nn.Dense(self.num_classes, name="head")(jnp.mean(x, axis=(1, 2)))

    def _cell(self, x: Array, gates: ops.Gates | None, train: bool, name: str) -> Array:
        """Applies one cell."""
        nodes = [x] + [jnp.zeros_like(x)] * (NODES - 1)
        for position, (source, target) in enumerate(EDGES):
            edge = ops.searched(
                _candidate, OPS, position, self.architecture, gates, f"{name}_edge{position}"
            )
            nodes[target] = nodes[target] + edge(nodes[source], train)
        return nodes[-1]


def _record_op(recorder: Recorder, x: Tensor, op: str) -> Tensor:
    """Records the ops of one edge."""
    if op == "none":
        return zeros(x.shape)
    if op == "skip_connect":
        return x
    if op == "avg_pool_3x3":
        return recorder.average_pool(x)
    return recorder.conv(recorder.relu(x), x.shape[2], _KERNELS[op])


def _record_cell(recorder: Recorder, x: Tensor, architecture: Architecture) -> Tensor:
    """Records the ops of one cell."""
    nodes = [x] + [zeros(x.shape)] * (NODES - 1)
    for option, (source, target) in zip(architecture, EDGES, strict=True):
        y = _record_op(recorder, nodes[source], OPS[option])
        nodes[target] = recorder.add(nodes[target], y)
    return nodes[-1]


def _record_residual(recorder: Recorder, x: Tensor) -> Tensor:
    """Records the ops of a `_ResidualBlock`, those of the shortcut first."""
    features = 2 * x.shape[2]
    shortcut = recorder.conv(recorder.average_pool(x, 2), features)
    y = recorder.conv(recorder.relu(x), features, 3, 2)
    return recorder.add(shortcut, recorder.conv(recorder.relu(y), features, 3))


def _residual_weights(channels: int) -> int:
    """Counts the weights of the convolutions in a `_ResidualBlock` of so many output channels."""
    half = channels // 2
    return (9 * half + 9 * channels + half) * channels


def _split(text: str) -> list[list[str]]:
    """Splits a text in the benchmark's notation into the edges `op~source` of every node."""
    text = re.sub(r"\s", "", text)
    if printed := _PRINTED.fullmatch(text):
        text = printed[1]
    nodes = text.split("+")
    if len(nodes) != NODES - 1 or not all(re.fullmatch(r"\|.+\|", node) for node in nodes):
        raise ValueError(f"it needs {NODES - 1} nodes |...|, joined by +")
    return [node[1:-1].split("|") for node in nodes]


def _into(number: int, node: Any) -> list[int]:
    """Reads the indices of the ops on the edges into a node, in the order of the source nodes."""
    if not isinstance(node, list | tuple):
        raise ValueError(f"{notation.shown(node)} is no list of the edges into node {number}")
    edges = sorted(notation.edge(end, OPS) for end in node)
    sources = [source for source, _ in edges]
    if sources != list(range(number)):
        raise ValueError(
            f"node {number} has edges from {notation.shown(sources)}; it needs one from each of "
            f"{[*range(number)]}"
        )
    return [op for _, op in edges]


@dataclass(frozen=True)
class NasBench201(Space):
    """The search space; every position is an edge of the cell.

    Attributes:
        num_classes: width of the head.
        image_size: shape `(h, w, c)` of the images.
        channels: channels of the first stage; 16 in the benchmark.
        cells: number of cells per stage; 5 in the benchmark.
    """

    num_classes: int = 10
    image_size: tuple[int, int, int] = (32, 32, 3)
    channels: int = 16
    cells: int = 5

    name = "nasbench201"
    ops = OPS
    settings: ClassVar[dict[str, Values]] = {
        "channels": integer(1, 4096),
        "cells": integer(1, 1000),
    }
    positions = len(EDGES)

    def __post_init__(self) -> None:
        """Refuses images that cannot be halved twice."""
        if any(side % 4 for side in self.image_size[:2]):
            raise UserError(
                f"nasbench201 halves images twice; {self.image_size} has a side that 4 does not "
                "divide"
            )

    def supernet(self) -> Network:
        """Implements `Space.supernet`."""
        return Network(self.channels, self.cells, self.num_classes)

    def network(self, architecture: Architecture) -> Network:
        """Implements `Space.network`."""
        chosen = tuple(int(op) for op in architecture)
        return Network(self.channels, self.cells, self.num_classes, chosen)

    @property
    def position_names(self) -> list[str]:
        """Names of the positions: the two nodes of each edge."""
        return [f"{source} → {target}" for source, target in EDGES]

    def encode(self, architecture: Architecture) -> str:
        """Writes the benchmark's notation: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`."""
        nodes = []
        for node in range(1, NODES):
            chosen = [
                f"{OPS[op]}~{source}"
                for op, (source, target) in zip(architecture, EDGES, strict=True)
                if target == node
            ]
            nodes.append(f"|{'|'.join(chosen)}|")
        return "+".join(nodes)

    def options(self, spelling: Any) -> list[int]:
        """Implements `Space.options`; also reads the benchmark's notation as text or as lists.

        A list of three elements has one element per node, the list of the edges into that node:
        `[[("none", 0)], [...], [...]]`.
        """
        written = isinstance(spelling, str) and "~" in spelling
        nodes = _split(spelling) if written else notation.listed(spelling)
        if len(nodes) != NODES - 1:
            return super().options(nodes)
        return [op for number, node in enumerate(nodes, start=1) for op in _into(number, node)]

    def connected(self, architecture: Architecture) -> bool:
        """Implements `Space.connected`."""
        reached = {0}
        for op, (source, target) in zip(architecture, EDGES, strict=True):
            if OPS[op] != "none" and source in reached:
                reached.add(target)
        return NODES - 1 in reached

    def without_unused(self, architecture: Architecture) -> Architecture:
        """Implements `Space.without_unused`: ops on edges to unused nodes become `none`."""
        left, used = architecture.copy(), {NODES - 1}
        for position, (source, target) in reversed(list(enumerate(EDGES))):
            if target not in used:
                left[position] = OPS.index("none")
            elif OPS[left[position]] != "none":
                used.add(source)
        return left

    @cached_property
    def _stages(self) -> list[tuple[int, int]]:
        """Channels and pixels of each stage."""
        height, width, _ = self.image_size
        stages = []
        for stage in range(3):
            stages.append((self.channels * 2**stage, height * width))
            height, width = -(-height // 2), -(-width // 2)
        return stages

    @cached_property
    def macs_cost(self) -> Cost:
        """Implements `Space.macs_cost`."""
        (first, pixels), *_ = self._stages
        fixed = 9 * self.image_size[2] * first * pixels + self._stages[-1][0] * self.num_classes
        fixed += sum(pixels * _residual_weights(channels) for channels, pixels in self._stages[1:])
        squares = sum(channels * channels * pixels for channels, pixels in self._stages)
        return self._cost(fixed, lambda kernel: kernel**2 * squares)

    @cached_property
    def params_cost(self) -> Cost:
        """Implements `Space.params_cost`."""
        widths = [channels for channels, _ in self._stages]
        first, last = widths[0], widths[-1]
        fixed = 9 * self.image_size[2] * first + last * self.num_classes + self.num_classes
        fixed += 2 * (first + last)  # BatchNorm of stem and head
        fixed += sum(_residual_weights(channels) + 4 * channels for channels in widths[1:])
        return self._cost(fixed, lambda kernel: sum(kernel**2 * c * c + 2 * c for c in widths))

    def _cost(self, fixed: int, of_kernel: Callable[[int], int]) -> Cost:
        """Counts every op, whose edge is in every cell of all stages."""
        row = [self.cells * of_kernel(_KERNELS[op]) if op in _KERNELS else 0 for op in OPS]
        return Cost(fixed, np.tile(np.array(row), (len(EDGES), 1)))

    def schedule(self, architecture: Architecture) -> list[Step]:
        """Implements `Space.schedule`."""
        recorder = Recorder(self.image_size)
        x = recorder.conv(recorder.image, self.channels, 3)
        for stage in range(3):
            x = _record_residual(recorder, x) if stage else x
            for _ in range(self.cells):
                x = _record_cell(recorder, x, architecture)
        return recorder.head(recorder.relu(recorder.norm(x)), self.num_classes)

    def torch_name(self, module: str) -> str:
        """Implements `Space.torch_name`; `TinyNetwork` of D-X-Y/AutoDL-Projects."""
        if module in _TORCH_ENDS:
            return _TORCH_ENDS[module]
        if found := re.fullmatch(r"reduce(\d)\.(.+)", module):
            stage, layer = int(found[1]), found[2]
            return f"cells.{stage * self.cells + stage - 1}.{_TORCH_REDUCTION[layer]}"
        found = re.fullmatch(r"stage(\d)_cell(\d+)_edge(\d)\.(conv|bn\.norm)", module)
        assert found, module
        cell = int(found[1]) * (self.cells + 1) + int(found[2])
        return f"cells.{cell}.layers.{found[3]}.op.{1 if found[4] == 'conv' else 2}"

    def torch_source(self, architecture: Architecture) -> str:
        """Implements `Space.torch_source`."""
        edges = {
            position: (*ends, OPS[op])
            for position, (ends, op) in enumerate(zip(EDGES, architecture, strict=True))
            if OPS[op] != "none"
        }
        return torch_source.fill(
            "nasbench201",
            COLOURS=self.image_size[2],
            CLASSES=self.num_classes,
            CHANNELS=self.channels,
            CELLS=self.cells,
            EDGES=edges,
        )

    def graph(self, architecture: Architecture) -> dict[str, Any]:
        """Implements `Space.graph`."""
        nodes = ["input", *(f"node {i}" for i in range(1, NODES - 1)), "output"]
        edges = [
            [source, target, OPS[op]]
            for op, (source, target) in zip(architecture, EDGES, strict=True)
        ]
        return {"nodes": nodes, "edges": edges}
