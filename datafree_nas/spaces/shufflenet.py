"""The ShuffleNetV2 space of SPOS (Guo et al. 2020): 20 blocks, each of 4 kinds, 4^20 networks.

The network follows the release (megvii-model/SinglePathOneShot), which does not search widths. In a
block that keeps the image size, the shortcut is the even channels of the input, and the odd
channels go through the main branch. The head has no bias. BatchNorm is affine in a single network
and not affine in the supernet.
"""

import itertools
import re
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from datafree_nas.layers.depthwise import DepthwiseConv
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values, integer, list_of, number
from datafree_nas.spaces import ops, torch_source
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.memory import Step
from datafree_nas.spaces.schedule import Recorder, Tensor
from datafree_nas.spaces.space import Architecture, Space

OPS = ("shuffle_3x3", "shuffle_5x5", "shuffle_7x7", "xception")
_KERNELS = {"shuffle_3x3": 3, "shuffle_5x5": 5, "shuffle_7x7": 7, "xception": 3}

# modules here -> names in the release, see `ShuffleNet.torch_name`
_TORCH_ENDS = {
    "stem_conv": "first_conv.0",
    "stem_bn.norm": "first_conv.1",
    "last_conv": "conv_last.0",
    "last_bn.norm": "conv_last.1",
    "head": "classifier.0",
}


class _BlockSpec(NamedTuple):
    """Channels and stride, which all candidates of a position share.

    Attributes:
        inputs: input channels of each branch.
        features: output channels of the block.
        stride: stride of the block, 2 in the first block of a stage, else 1.
    """

    inputs: int
    features: int
    stride: int


class _Layer(NamedTuple):
    """A convolution and its BatchNorm.

    Attributes:
        kernel: side of the kernel; 1 is a pointwise convolution with a ReLU after BatchNorm, a
            larger side is a depthwise convolution without.
        features: output channels.
        stride: step in both directions, in pixels.
    """

    kernel: int
    features: int
    stride: int = 1


def _places(channels: tuple[int, ...], repeats: tuple[int, ...]) -> list[_BlockSpec]:
    """Returns the place of every position; the arguments are as in `ShuffleNet`."""
    places = []
    for stage, blocks in enumerate(repeats):
        before, features = channels[stage : stage + 2]
        places += [_BlockSpec(before, features, 2)]
        places += [_BlockSpec(features // 2, features, 1)] * (blocks - 1)
    return places


def _branches(op: str, place: _BlockSpec) -> dict[str, list[_Layer]]:
    """Lists the layers of a block: of its main branch and of its shortcut."""
    inputs, features, stride = place
    kernel, middle, outputs = _KERNELS[op], features // 2, features - inputs
    if op == "xception":
        main = [_Layer(3, inputs, stride), _Layer(1, middle)]
        main += [_Layer(3, middle), _Layer(1, middle), _Layer(3, middle), _Layer(1, outputs)]
    else:
        main = [_Layer(1, middle), _Layer(kernel, middle, stride), _Layer(1, outputs)]
    shortcut = [_Layer(kernel, inputs, stride), _Layer(1, inputs)] if stride == 2 else []
    return {"main": main, "proj": shortcut}


def _cost(op: str, place: _BlockSpec, sides: tuple[int, int]) -> tuple[int, int]:
    """Counts MACs and weights of a block for an input of these sides."""
    macs = params = 0
    for layers in _branches(op, place).values():
        (height, width), inputs = sides, place.inputs
        for kernel, features, stride in layers:
            height, width = -(-height // stride), -(-width // stride)
            weights = features * (inputs if kernel == 1 else kernel**2)
            macs += weights * height * width
            params += weights + 2 * features  # BatchNorm
            inputs = features
    return macs, params


def _record(recorder: Recorder, x: Tensor, op: str, place: _BlockSpec) -> Tensor:
    """Records the ops of a block; ReLUs are parts of the convolutions."""
    ends, (height, width, _) = {"proj": x, "main": x}, x.shape
    if place.stride == 1:
        half = height, width, place.inputs
        ends = {name: recorder.take(x, name, half) for name in ends}
    branches = _branches(op, place)
    for name in ends:
        for kernel, features, stride in branches[name]:
            ends[name] = recorder.conv(ends[name], features, kernel, stride)
    return recorder.concatenate(*ends.values())


class _Block(nn.Module):
    """One candidate of one position."""

    op: str
    place: _BlockSpec
    in_supernet: bool
    in_switch: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies the block and joins shortcut and main branch."""
        branches = _branches(self.op, self.place)
        shortcut, y = (x, x) if self.place.stride == 2 else (x[..., ::2], x[..., 1::2])
        y = self._branch("main", branches["main"], y, train)
        return jnp.concatenate([self._branch("proj", branches["proj"], shortcut, train), y], -1)

    def _branch(self, name: str, layers: list[_Layer], x: Array, train: bool) -> Array:
        """Applies the layers of one branch."""
        slot = 0  # index in the release's `nn.Sequential`, which counts a ReLU too
        for kernel, features, stride in layers:
            conv_name, norm_name = f"{name}{slot}", f"{name}{slot + 1}"
            norm = ops.Norm(self.in_supernet, affine=not self.in_supernet, name=norm_name)
            if kernel == 1:
                conv = ops.Conv(features, 1, in_switch=self.in_switch, name=conv_name)
                x = nn.relu(norm(conv(x), train))
                slot += 3
            else:
                depthwise = DepthwiseConv(
                    kernel, stride, kernel // 2, in_switch=self.in_switch, name=conv_name
                )
                x = norm(depthwise(x), train)
                slot += 2
        return x


def _candidate(
    spec: _BlockSpec, op: str, in_switch: bool, *, in_supernet: bool, **scope: Any
) -> nn.Module:
    """Builds a candidate, see `ops.searched`."""
    return _Block(op, spec, in_supernet, in_switch, **scope)


class Network(nn.Module):
    """The supernet or a single network: stem, blocks and head.

    Attributes:
        channels: widths, see `ShuffleNet`.
        repeats: number of blocks of every stage.
        num_classes: width of the head.
        stem_stride: stride of the first convolution.
        dropout: dropout rate before the head; train mode needs the random stream `dropout`.
        architecture: op index of every position, or None for the supernet.
    """

    channels: tuple[int, ...]
    repeats: tuple[int, ...]
    num_classes: int
    stem_stride: int
    dropout: float
    architecture: tuple[int, ...] | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        gates: ops.Gates | None = None,
        train: bool = False,
    ) -> Float[Array, "b k"]:
        """Computes logits; `gates` is needed in the supernet alone, see `Space.supernet`."""
        x = self._end("stem", self.channels[0], 3, self.stem_stride, x, train)
        for position, place in enumerate(_places(self.channels, self.repeats)):
            block = ops.searched(
                partial(_candidate, place),
                OPS,
                position,
                self.architecture,
                gates,
                f"block{position}",
            )
            x = block(x, train)
        x = jnp.mean(self._end("last", self.channels[-1], 1, 1, x, train), axis=(1, 2))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, use_bias=False, name="head")(x)

    def _end(
        self, name: str, features: int, kernel: int, stride: int, x: Array, train: bool
    ) -> Array:
        """Applies a convolution that is not searched, BatchNorm and ReLU."""
        conv = nn.Conv(
            features,
            (kernel, kernel),
            stride,
            padding=kernel // 2,
            use_bias=False,
            name=f"{name}_conv",
        )
        in_supernet = self.architecture is None
        norm = ops.Norm(in_supernet, affine=not in_supernet, name=f"{name}_bn")
        return nn.relu(norm(conv(x), train))


@dataclass(frozen=True)
class ShuffleNet(Space):
    """The search space; every position is a block.

    Attributes:
        num_classes: width of the head.
        image_size: shape `(h, w, c)` of the images; every stage halves the sides, rounded up.
        channels: widths of the stem, of every stage and of the last convolution.
        repeats: number of blocks of every stage.
        stem_stride: stride of the first convolution; 1 keeps the size of small images, such as
            those of CIFAR.
        dropout: dropout rate before the head, 0.1 in the release; above 0, train mode needs the
            random stream `dropout`.
    """

    num_classes: int = 1000
    image_size: tuple[int, int, int] = (224, 224, 3)
    channels: tuple[int, ...] = (16, 64, 160, 320, 640, 1024)
    repeats: tuple[int, ...] = (4, 4, 8, 4)
    stem_stride: int = 2
    dropout: float = 0.0

    name = "shufflenet"
    ops = OPS
    settings: ClassVar[dict[str, Values]] = {
        "channels": list_of(integer(1, 10**5), range(3, 20), "widths of stem, stages and head"),
        "repeats": list_of(integer(1, 100), range(1, 18), "blocks of each stage"),
        "stem_stride": integer(1, 2),
        "dropout": number(0, 1, below=True),
    }
    regularizers = ("dropout",)

    def __post_init__(self) -> None:
        """Refuses widths that do not fit together."""
        if len(self.channels) != len(self.repeats) + 2 or min(self.repeats, default=0) < 1:
            raise UserError(
                f"shufflenet: channels={self.channels} are those of the stem, of every stage and "
                f"of the last convolution, and repeats={self.repeats} the blocks of every stage"
            )
        widths = self.channels[:-1]
        if any(b % 2 or b <= a for a, b in itertools.pairwise(widths)):
            raise UserError(
                f"shufflenet: every stage needs an even number of channels, and more than there "
                f"are before it; channels={self.channels}"
            )

    @property
    def positions(self) -> int:
        """Number of blocks."""
        return sum(self.repeats)

    def supernet(self) -> Network:
        """Implements `Space.supernet`."""
        return self._network(None)

    def network(self, architecture: Architecture) -> Network:
        """Implements `Space.network`."""
        return self._network(tuple(int(op) for op in architecture))

    def initial(self, name: str, shape: tuple[int, ...]) -> tuple[float, float]:
        """Implements `Space.initial` with the rule of the release."""
        if len(shape) == 1:
            return (1e-4, 0.0) if name.endswith("bias") else super().initial(name, shape)
        # 1 / (input channels of one output channel), which is 1 for a depthwise convolution
        return 0.0, 0.01 if name in ("stem_conv/kernel", "head/kernel") else 1 / shape[2]

    def _network(self, architecture: tuple[int, ...] | None) -> Network:
        """Builds a network, or the supernet if `architecture` is None."""
        return Network(
            self.channels,
            self.repeats,
            self.num_classes,
            self.stem_stride,
            self.dropout,
            architecture,
        )

    def encode(self, architecture: Architecture) -> str:
        """Writes one digit per block, the index of its op in `OPS`: `21012020202300003233`."""
        return "".join(str(op) for op in architecture)

    @cached_property
    def _sides(self) -> list[tuple[int, int]]:
        """Height and width of the input of every position, then of the output of the last one."""
        height, width, _ = self.image_size
        sides = []
        strides = (place.stride for place in _places(self.channels, self.repeats))
        for stride in (self.stem_stride, *strides):
            height, width = -(-height // stride), -(-width // stride)
            sides.append((height, width))
        return sides

    @cached_property
    def macs_cost(self) -> Cost:
        """Implements `Space.macs_cost`."""
        (stem, *_, width, last), first, end = self.channels, self._sides[0], self._sides[-1]
        fixed = 9 * self.image_size[2] * stem * first[0] * first[1]
        fixed += width * last * end[0] * end[1] + last * self.num_classes
        return Cost(fixed, self._table[..., 0])

    @cached_property
    def params_cost(self) -> Cost:
        """Implements `Space.params_cost`."""
        stem, *_, width, last = self.channels
        fixed = 9 * self.image_size[2] * stem + width * last + last * self.num_classes
        return Cost(fixed + 2 * (stem + last), self._table[..., 1])

    @cached_property
    def _table(self) -> Int[np.ndarray, "positions ops 2"]:
        """MACs and weights of every candidate, in this order."""
        places = zip(_places(self.channels, self.repeats), self._sides[:-1], strict=True)
        return np.array([[_cost(op, place, sides) for op in OPS] for place, sides in places])

    def schedule(self, architecture: Architecture) -> list[Step]:
        """Implements `Space.schedule`."""
        recorder = Recorder(self.image_size)
        x = recorder.conv(recorder.image, self.channels[0], 3, self.stem_stride)
        places = _places(self.channels, self.repeats)
        for op, place in zip(architecture, places, strict=True):
            x = _record(recorder, x, OPS[op], place)
        return recorder.head(recorder.conv(x, self.channels[-1]), self.num_classes)

    def torch_name(self, module: str) -> str:
        """Implements `Space.torch_name`; `ShuffleNetV2_OneShot` of the release's evaluation."""
        if module in _TORCH_ENDS:
            return _TORCH_ENDS[module]
        found = re.fullmatch(r"block(\d+)\.(main|proj)(\d+)(\.norm)?", module)
        assert found, module
        return f"features.{found[1]}.branch_{found[2]}.{found[3]}"

    def torch_source(self, architecture: Architecture) -> str:
        """Implements `Space.torch_source`."""
        places = _places(self.channels, self.repeats)
        return torch_source.fill(
            "shufflenet",
            COLOURS=self.image_size[2],
            CLASSES=self.num_classes,
            STEM=self.channels[0],
            STEM_STRIDE=self.stem_stride,
            BLOCKS=tuple((OPS[op], *p) for op, p in zip(architecture, places, strict=True)),
            LAST=self.channels[-1],
        )
