"""The space of NAS-Bench-Macro (Su et al. 2021): 8 layers of 3 ops, 6561 architectures.

Three stages have two, three and three layers; a layer is an identity or an inverted residual block.
The first layer of a stage halves the image and doubles the channels; as an identity it is a 1x1
convolution of stride 2. Blocks have ReLU, not ReLU6. The benchmark has no supernet; the supernet
here has affine BatchNorm, like the networks of the benchmark.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from datafree_nas.runtime.values import Values, integer
from datafree_nas.spaces import mbconv, ops, torch_source
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.mbconv import BlockSpec, MBConv
from datafree_nas.spaces.memory import Step
from datafree_nas.spaces.schedule import Recorder
from datafree_nas.spaces.space import Architecture, Space

_BLOCKS = {"mb3_k3": (3, 3), "mb6_k5": (6, 5)}  # expansion and kernel
OPS = ("identity", *_BLOCKS)
STAGES = (2, 3, 3)  # number of layers in each
LAST = 1280  # channels before the head
EPSILON = 1e-5

# modules here -> names in the release, see `NasBenchMacro.torch_name`
_TORCH_ENDS = {
    "stem_conv": "stem.0",
    "stem_bn.norm": "stem.1",
    "last_conv": "out.0",
    "last_bn.norm": "out.1",
    "head": "classifier",
}
_TORCH_LAYERS = {
    "downsample": "downsample.0",
    "downsample_bn.norm": "downsample.1",
    "block.expand": "conv.0",
    "block.expand_bn.norm": "conv.1",
    "block.depthwise": "conv.3",
    "block.depthwise_bn.norm": "conv.4",
    "block.project": "conv.6",
    "block.project_bn.norm": "conv.7",
}


class _Layer(nn.Module):
    """One candidate of one layer."""

    place: BlockSpec
    op: str
    in_supernet: bool
    in_switch: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies the layer."""
        features, stride = self.place.features, self.place.stride
        if self.op != "identity":
            block = MBConv(
                *_BLOCKS[self.op],
                features,
                stride,
                nn.relu,
                EPSILON,
                self.in_supernet,
                self.in_switch,
                name="block",
            )
            return x + block(x, train) if self.place.has_shortcut else block(x, train)
        if self.place.has_shortcut:
            return x
        conv = ops.Conv(features, 1, stride, in_switch=self.in_switch, name="downsample")
        return ops.Norm(self.in_supernet, epsilon=EPSILON, name="downsample_bn")(conv(x), train)


def _candidate(
    spec: BlockSpec, op: str, in_switch: bool, *, in_supernet: bool, **scope: Any
) -> nn.Module:
    """Builds a candidate, see `ops.searched`."""
    return _Layer(spec, op, in_supernet, in_switch, **scope)


class Network(nn.Module):
    """The supernet or a single network: stem, layers and head.

    Attributes:
        places: shapes and strides of the layers.
        num_classes: width of the head.
        architecture: op index of every layer, or None for the supernet.
    """

    places: tuple[BlockSpec, ...]
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
        x = nn.Conv(self.places[0].inputs, (3, 3), padding=1, use_bias=False, name="stem_conv")(x)
        x = nn.relu(ops.Norm(in_supernet, epsilon=EPSILON, name="stem_bn")(x, train))
        for position, place in enumerate(self.places):
            layer = ops.searched(
                partial(_candidate, place),
                OPS,
                position,
                self.architecture,
                gates,
                f"layer{position}",
            )
            x = layer(x, train)
        x = nn.Conv(LAST, (1, 1), use_bias=False, name="last_conv")(x)
        x = nn.relu(ops.Norm(in_supernet, epsilon=EPSILON, name="last_bn")(x, train))
        return nn.Dense(self.num_classes, name="head")(jnp.mean(x, axis=(1, 2)))


@dataclass(frozen=True)
class NasBenchMacro(Space):
    """The search space; every position is a layer.

    Attributes:
        num_classes: width of the head.
        image_size: shape `(h, w, c)` of the images.
        channels: channels of the stem; 32 in the benchmark.
    """

    num_classes: int = 10
    image_size: tuple[int, int, int] = (32, 32, 3)
    channels: int = 32

    name = "nasbench_macro"
    ops = OPS
    settings: ClassVar[dict[str, Values]] = {"channels": integer(1, 4096)}
    positions = sum(STAGES)

    def supernet(self) -> Network:
        """Implements `Space.supernet`."""
        return Network(self._places, self.num_classes)

    def network(self, architecture: Architecture) -> Network:
        """Implements `Space.network`."""
        return Network(self._places, self.num_classes, tuple(int(op) for op in architecture))

    def encode(self, architecture: Architecture) -> str:
        """Writes the benchmark's notation: the index of every op, `22212202`."""
        return "".join(str(int(op)) for op in architecture)

    def canonical(self, architecture: Architecture) -> Architecture:
        """Moves all identities to the end of their stages, which leaves the network the same.

        An identity does nothing unless it is the first layer of its stage. Two architectures are
        the same network if and only if their canonical forms are equal. There are 3969 of these.
        """
        moved = []
        for stage in np.split(architecture, np.cumsum(STAGES)[:-1]):
            first, rest = stage[:1], stage[1:]
            moved += [first, rest[rest > 0], rest[rest == 0]]
        return np.concatenate(moved)

    @cached_property
    def _places(self) -> tuple[BlockSpec, ...]:
        """Shapes and strides of the layers."""
        places: list[BlockSpec] = []
        inputs, size = self.channels, self.image_size[:2]
        for layers in STAGES:
            places.append(BlockSpec(inputs, 2 * inputs, 2, size))
            inputs, size = 2 * inputs, mbconv.smaller(size, 2)
            places += [BlockSpec(inputs, inputs, 1, size)] * (layers - 1)
        return tuple(places)

    @cached_property
    def macs_cost(self) -> Cost:
        """Implements `Space.macs_cost`."""
        first, end = self._places[0], self._places[-1]
        fixed = 9 * self.image_size[2] * first.inputs * first.pixels
        fixed += end.features * LAST * end.pixels_after + LAST * self.num_classes
        return self._cost(fixed, lambda p: p.inputs * p.features * p.pixels_after, mbconv.macs)

    @cached_property
    def params_cost(self) -> Cost:
        """Implements `Space.params_cost`."""
        first, end = self._places[0], self._places[-1]
        fixed = (9 * self.image_size[2] + 2) * first.inputs + (end.features + 2) * LAST
        fixed += (LAST + 1) * self.num_classes
        return self._cost(fixed, lambda p: (p.inputs + 2) * p.features, mbconv.params)

    def _cost(
        self,
        fixed: int,
        of_downsample: Callable[[BlockSpec], int],
        of_block: Callable[[BlockSpec, int, int], int],
    ) -> Cost:
        rows = [
            [
                0 if place.has_shortcut else of_downsample(place),
                *(of_block(place, *shape) for shape in _BLOCKS.values()),
            ]
            for place in self._places
        ]
        return Cost(fixed, np.array(rows))

    def schedule(self, architecture: Architecture) -> list[Step]:
        """Implements `Space.schedule`."""
        recorder = Recorder(self.image_size)
        x = recorder.conv(recorder.image, self.channels, 3)
        for place, op in zip(self._places, architecture, strict=True):
            if OPS[op] != "identity":
                y = mbconv.record(recorder, x, place, *_BLOCKS[OPS[op]])
                x = recorder.add(x, y) if place.has_shortcut else y
            elif not place.has_shortcut:
                x = recorder.conv(x, place.features, 1, place.stride)
        return recorder.head(recorder.conv(x, LAST), self.num_classes)

    def torch_name(self, module: str) -> str:
        """Implements `Space.torch_name`; `Network` of xiusu/NAS-Bench-Macro."""
        if module in _TORCH_ENDS:
            return _TORCH_ENDS[module]
        found = re.fullmatch(r"layer(\d)\.(.+)", module)
        assert found, module
        return f"features.{found[1]}.{_TORCH_LAYERS[found[2]]}"

    def torch_source(self, architecture: Architecture) -> str:
        """Implements `Space.torch_source`."""
        layers = [
            (*_BLOCKS.get(OPS[op], (0, 0)), place.inputs, place.features, place.stride)
            for place, op in zip(self._places, architecture, strict=True)
        ]
        return torch_source.fill(
            "nasbench_macro",
            COLOURS=self.image_size[2],
            CLASSES=self.num_classes,
            LAYERS=tuple(layers),
            LAST=LAST,
        )
