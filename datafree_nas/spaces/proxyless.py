"""The space of ProxylessNAS (Cai et al. 2019): a chain of inverted residual blocks.

There are six stages, and each block has one of six forms. Where stride and channels allow a
shortcut, the block always has one, and "zero" is a seventh form, which adds nothing to the shortcut
and so removes the block. BatchNorm is affine, in the supernet too, and its epsilon is 1e-3.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from datafree_nas.layers.width import scaled
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values, integer, list_of, number
from datafree_nas.spaces import mbconv, notation, ops, torch_source
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.mbconv import BlockSpec, MBConv
from datafree_nas.spaces.memory import Step
from datafree_nas.spaces.schedule import Recorder
from datafree_nas.spaces.space import Architecture, Space

_BLOCKS = {  # expansion and kernel, in the order of the release
    "mb3_k3": (3, 3),
    "mb6_k3": (6, 3),
    "mb3_k5": (3, 5),
    "mb6_k5": (6, 5),
    "mb3_k7": (3, 7),
    "mb6_k7": (6, 7),
}
OPS = (*_BLOCKS, "zero")
_NAMES = {  # names of the ops in the release -> names here
    **{f"{kernel}x{kernel}_MBConv{grow}": name for name, (grow, kernel) in _BLOCKS.items()},
    "Zero": "zero",
}
STEM, FIRST, FEATURES, LAST = 32, 16, (24, 40, 80, 96, 192, 320), 1280  # channels at width 1
FIRST_BLOCK = (1, 3)  # expansion and kernel of the only block that is not searched
EPSILON = 1e-3

# modules here -> names in the release, see `Proxyless.torch_name`
_TORCH_ENDS = {
    "stem_conv": "first_conv.conv",
    "stem_bn.norm": "first_conv.bn",
    "last_conv": "feature_mix_layer.conv",
    "last_bn.norm": "feature_mix_layer.bn",
    "head": "classifier.linear",
}
_TORCH_LAYERS = {
    "expand": "inverted_bottleneck.conv",
    "expand_bn.norm": "inverted_bottleneck.bn",
    "depthwise": "depth_conv.conv",
    "depthwise_bn.norm": "depth_conv.bn",
    "project": "point_linear.conv",
    "project_bn.norm": "point_linear.bn",
}


class _Zero(nn.Module):
    """The candidate that adds nothing to the shortcut."""

    def __call__(self, x: Array, train: bool) -> Array:
        """Returns zeros of the shape of `x`."""
        return jnp.zeros_like(x)


def _block(
    shape: tuple[int, int], place: BlockSpec, in_supernet: bool, in_switch: bool = False, **at: Any
) -> MBConv:
    """Builds a block without its shortcut; `shape` is expansion and kernel."""
    return MBConv(
        *shape, place.features, place.stride, nn.relu6, EPSILON, in_supernet, in_switch, **at
    )


def _candidate(
    spec: BlockSpec, op: str, in_switch: bool, *, in_supernet: bool, **scope: Any
) -> nn.Module:
    """Builds a candidate, see `ops.searched`."""
    if op == "zero":
        return _Zero(**scope)
    return _block(_BLOCKS[op], spec, in_supernet, in_switch, **scope)


def _options(place: BlockSpec) -> int:
    """Returns how many of `OPS` a position has."""
    return len(OPS) if place.has_shortcut else len(_BLOCKS)


class Network(nn.Module):
    """The supernet or a single network: stem, blocks and head.

    Attributes:
        stem_stride: stride of the first convolution.
        places: shapes and strides of the blocks; the first block is not searched.
        last: channels before the head.
        num_classes: width of the head.
        dropout: dropout rate before the head, see `Proxyless`.
        architecture: op index of every searched block, or None for the supernet.
    """

    stem_stride: int
    places: tuple[BlockSpec, ...]
    last: int
    num_classes: int
    dropout: float = 0.0
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
        first, *searched = self.places
        x = nn.Conv(
            first.inputs, (3, 3), self.stem_stride, padding=1, use_bias=False, name="stem_conv"
        )(x)
        x = nn.relu6(ops.Norm(in_supernet, epsilon=EPSILON, name="stem_bn")(x, train))
        x = _block(FIRST_BLOCK, first, in_supernet, name="block0")(x, train)
        for position, place in enumerate(searched):
            x = self._searched(x, position, place, gates, train)
        x = nn.Conv(self.last, (1, 1), use_bias=False, name="last_conv")(x)
        x = nn.relu6(ops.Norm(in_supernet, epsilon=EPSILON, name="last_bn")(x, train))
        x = nn.Dropout(self.dropout, deterministic=not train)(jnp.mean(x, axis=(1, 2)))
        return nn.Dense(self.num_classes, name="head")(x)

    def _searched(
        self, x: Array, position: int, place: BlockSpec, gates: ops.Gates | None, train: bool
    ) -> Array:
        if self.architecture is not None and OPS[self.architecture[position]] == "zero":
            return x
        block = ops.searched(
            partial(_candidate, place),
            OPS[: _options(place)],
            position,
            self.architecture,
            gates,
            f"block{position + 1}",
        )
        y = block(x, train)
        return x + y if place.has_shortcut else y


@dataclass(frozen=True)
class Proxyless(Space):
    """The search space; every position is a block.

    Attributes:
        num_classes: width of the head.
        image_size: shape `(h, w, c)` of the images.
        width: factor of all channels; the channels before the head are only scaled up.
        stem_stride: stride of the first convolution; 2 in the release, 1 for images of 32x32.
        cells: number of searched blocks of each stage.
        strides: stride of the first block of each stage.
        dropout: dropout rate before the head; above 0, train mode needs the random stream
            `dropout`.
    """

    num_classes: int = 1000
    image_size: tuple[int, int, int] = (224, 224, 3)
    width: float = 1.0
    stem_stride: int = 2
    cells: tuple[int, ...] = (4, 4, 4, 4, 4, 1)
    strides: tuple[int, ...] = (2, 2, 2, 1, 2, 1)
    dropout: float = 0.0

    name = "proxyless"
    ops = OPS
    settings: ClassVar[dict[str, Values]] = {
        "width": number(0, 16, above=True),
        "stem_stride": integer(1, 2),
        "cells": list_of(integer(1, 100), (6,), "one number a stage"),
        "strides": list_of(integer(1, 2), (6,), "one number a stage"),
        "dropout": number(0, 1, below=True),
    }
    regularizers = ("dropout",)

    def __post_init__(self) -> None:
        """Refuses settings that do not have one value for each of the six stages."""
        for setting in ("cells", "strides"):
            values = getattr(self, setting)
            if len(values) != len(FEATURES) or min(values) < 1:
                raise UserError(
                    f"proxyless has {len(FEATURES)} stages; {setting}={values} is no {setting} of "
                    "as many"
                )

    def supernet(self) -> Network:
        """Implements `Space.supernet`."""
        return self._network(None)

    def network(self, architecture: Architecture) -> Network:
        """Implements `Space.network`."""
        return self._network(tuple(int(op) for op in architecture))

    def _network(self, architecture: tuple[int, ...] | None) -> Network:
        """Builds a network, or the supernet if `architecture` is None."""
        return Network(
            self.stem_stride,
            self._places,
            self._last,
            self.num_classes,
            self.dropout,
            architecture,
        )

    def initial(self, name: str, shape: tuple[int, ...]) -> tuple[float, float]:
        """Implements `Space.initial`; by fan-out, ignoring groups, as in the release."""
        if len(shape) == 4:
            return 0.0, math.sqrt(2 / (shape[0] * shape[1] * shape[3]))
        return super().initial(name, shape)

    @cached_property
    def positions(self) -> int:
        """Number of searched blocks; 21 in the release."""
        return sum(self.cells)

    @cached_property
    def choices(self) -> tuple[int, ...]:
        """Number of candidates of each block: 7 where there is a shortcut, else 6."""
        return tuple(_options(place) for place in self._places[1:])

    def encode(self, architecture: Architecture) -> str:
        """Writes the index of every op, grouped by stage: `1163-2266-2260-1661-3366-5`."""
        digits = iter(str(int(op)) for op in architecture)
        return "-".join("".join(next(digits) for _ in range(count)) for count in self.cells)

    def options(self, spelling: Any) -> list[int]:
        """Implements `Space.options`; also reads the text of `encode`, and names of the release."""
        stages = "-".join(f"[0-9]{{{count}}}" for count in self.cells)
        if isinstance(spelling, str) and re.fullmatch(stages, spelling):
            spelling = spelling.replace("-", "")
        ops = notation.listed(spelling)
        return super().options([_NAMES.get(op, op) if isinstance(op, str) else op for op in ops])

    @cached_property
    def _last(self) -> int:
        """Channels before the head."""
        return scaled(LAST, self.width) if self.width > 1 else LAST

    @cached_property
    def _places(self) -> tuple[BlockSpec, ...]:
        """Shapes and strides of all blocks, including the first."""
        stem, first = (scaled(features, self.width) for features in (STEM, FIRST))
        size = mbconv.smaller(self.image_size[:2], self.stem_stride)
        places = [BlockSpec(stem, first, 1, size)]
        for features, count, first_stride in zip(FEATURES, self.cells, self.strides, strict=True):
            for block in range(count):
                before = places[-1]
                size = mbconv.smaller(before.size, before.stride)
                stride = first_stride if block == 0 else 1
                places.append(
                    BlockSpec(before.features, scaled(features, self.width), stride, size)
                )
        return tuple(places)

    @cached_property
    def macs_cost(self) -> Cost:
        """Implements `Space.macs_cost`."""
        stem, end = self._places[0], self._places[-1]
        fixed = 9 * self.image_size[2] * stem.inputs * stem.pixels
        fixed += end.features * self._last * end.pixels_after + self._last * self.num_classes
        return self._cost(fixed, mbconv.macs)

    @cached_property
    def params_cost(self) -> Cost:
        """Implements `Space.params_cost`."""
        stem, end = self._places[0], self._places[-1]
        fixed = (9 * self.image_size[2] + 2) * stem.inputs + (end.features + 2) * self._last
        fixed += (self._last + 1) * self.num_classes
        return self._cost(fixed, mbconv.params)

    def _cost(self, fixed: int, of_block: Callable[[BlockSpec, int, int], int]) -> Cost:
        """Adds up the ends of the network, and counts every block that it may have."""
        first, *searched = self._places
        rows = [[*(of_block(place, *shape) for shape in _BLOCKS.values()), 0] for place in searched]
        return Cost(fixed + of_block(first, *FIRST_BLOCK), np.array(rows))

    def schedule(self, architecture: Architecture) -> list[Step]:
        """Implements `Space.schedule`."""
        recorder, (first, *searched) = Recorder(self.image_size), self._places
        x = recorder.conv(recorder.image, first.inputs, 3, self.stem_stride)
        x = mbconv.record(recorder, x, first, *FIRST_BLOCK)
        for place, op in zip(searched, architecture, strict=True):
            if OPS[op] != "zero":
                y = mbconv.record(recorder, x, place, *_BLOCKS[OPS[op]])
                x = recorder.add(x, y) if place.has_shortcut else y
        return recorder.head(recorder.conv(x, self._last), self.num_classes)

    def torch_name(self, module: str) -> str:
        """Implements `Space.torch_name`; `ProxylessNASNets` of mit-han-lab/proxylessnas."""
        if module in _TORCH_ENDS:
            return _TORCH_ENDS[module]
        found = re.fullmatch(r"block(\d+)\.(.+)", module)
        assert found, module
        return f"blocks.{found[1]}.mobile_inverted_conv.{_TORCH_LAYERS[found[2]]}"

    def torch_source(self, architecture: Architecture) -> str:
        """Implements `Space.torch_source`."""
        shapes = [FIRST_BLOCK, *(_BLOCKS.get(OPS[op]) for op in architecture)]
        blocks = {
            number: (
                *(*shape, place.inputs, place.features, place.stride),
                place.has_shortcut and number > 0,
            )
            for number, (shape, place) in enumerate(zip(shapes, self._places, strict=True))
            if shape  # else it is removed
        }
        return torch_source.fill(
            "proxyless",
            COLOURS=self.image_size[2],
            CLASSES=self.num_classes,
            STEM_STRIDE=self.stem_stride,
            BLOCKS=blocks,
            LAST=self._last,
        )
