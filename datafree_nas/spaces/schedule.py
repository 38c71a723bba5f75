"""Records the ops of a network in the order in which LiteRT runs them.

LiteRT gets a network from litert-torch, which converts the source of `Space.torch_source`. The ops
keep their order, with these changes:

- BatchNorm becomes a part of the convolution before it. ReLU becomes a part of the op before it,
  unless something else reads that op's output; the op then runs where the ReLU stood.
- What has no weights and is computed twice from the same input is computed once. What does not
  reach the logits is left out.
- A convolution or max pooling of stride 2 over an even side reads a padded copy: PyTorch pads both
  ends of the side, and LiteRT's own padding would be at one end only.
- The image, and the input of the mean before the head, are transposed, each into a copy.

`python -m benchmarks.peak_memory` compares the result with LiteRT.
"""

import math
from collections import Counter
from typing import NamedTuple

from datafree_nas.spaces.memory import Step

Shape = tuple[int, int, int]  # height, width and channels
_WITH_RELU = ("conv", "max_pool", "average_pool", "add", "norm")  # ops that a ReLU can join
_IN_PLACE = ("add", "norm")  # ops that can overwrite an input


class Tensor(NamedTuple):
    """The output of an op, for one image.

    Attributes:
        op: number of the op; None for zeros that no op computes.
        shape: height, width and channels.
    """

    op: int | None
    shape: Shape


class _Op(NamedTuple):
    kind: str
    inputs: tuple[int, ...]
    size: int


class Recorder:
    """Writes down the ops of a network; its methods stand for ops and return their outputs.

    Attributes:
        image: input of the network.
    """

    def __init__(self, image_size: Shape) -> None:
        """Starts with the image.

        Args:
            image_size: shape `(h, w, c)` of the image.
        """
        self._ops: list[_Op] = []
        self._known: dict[tuple[str, tuple[int, ...], Shape], Tensor] = {}
        self.image = self._once("transpose", image_size, self._new("image", image_size))

    def conv(
        self, x: Tensor, features: int, kernel: int = 1, stride: int = 1, dilation: int = 1
    ) -> Tensor:
        """Records a convolution, full or depthwise, with its BatchNorm.

        Args:
            x: input of the convolution.
            features: output channels.
            kernel: side of the kernel, an odd number; the padding is half of it.
            stride: 1 or 2.
            dilation: distance between the pixels that the kernel reads.
        """
        read = self._padded(x, dilation * (kernel // 2), stride)
        return self._new("conv", (*_strided(x, stride), features), read)

    def max_pool(self, x: Tensor, stride: int = 1) -> Tensor:
        """Records max pooling over windows of 3x3."""
        read = self._padded(x, 1, stride)
        return self._once("max_pool", (*_strided(x, stride), x.shape[2]), read)

    def average_pool(self, x: Tensor, stride: int = 1) -> Tensor:
        """Records average pooling, whose padding does not count in the mean, nor in memory."""
        return self._once("average_pool", (*_strided(x, stride), x.shape[2]), x)

    def relu(self, x: Tensor) -> Tensor:
        """Records a ReLU, or another function of each value."""
        return x if x.op is None else self._once("relu", x.shape, x)

    def norm(self, x: Tensor) -> Tensor:
        """Records a BatchNorm that follows no convolution."""
        return self._once("norm", x.shape, x)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Records a sum; to add zeros is no op."""
        if x.op is None or y.op is None:
            return y if x.op is None else x
        return self._once("add", x.shape, x, y)

    def concatenate(self, *parts: Tensor) -> Tensor:
        """Records the channels of all parts, one after another."""
        height, width, _ = parts[0].shape
        channels = sum(part.shape[2] for part in parts)
        return self._once("concatenate", (height, width, channels), *parts)

    def take(self, x: Tensor, which: str, shape: Shape) -> Tensor:
        """Records a copy of a part of a tensor.

        Args:
            x: tensor that holds the part.
            which: name of the part, so that different parts of one shape are not the same.
            shape: height, width and channels of the part.
        """
        return self._once(f"take {which}", shape, x)

    def head(self, x: Tensor, num_classes: int) -> list[Step]:
        """Records the mean over all pixels and the linear layer, the last ops of a network.

        Args:
            x: last features.
            num_classes: width of the head.

        Returns:
            All that LiteRT runs, as steps of `memory.profile`.
        """
        mean = self._once("mean", (1, 1, x.shape[2]), self._once("transpose", x.shape, x))
        self._new("linear", (1, 1, num_classes), mean)
        return self._steps()

    def _padded(self, x: Tensor, pad: int, stride: int) -> Tensor:
        """Records the padding that LiteRT's ops cannot do themselves."""
        height, width, channels = x.shape
        if not pad or stride == 1 or (height % 2 and width % 2):
            return x
        return self._once("pad", (height + 2 * pad, width + 2 * pad, channels), x)

    def _once(self, kind: str, shape: Shape, *inputs: Tensor) -> Tensor:
        """Records an op without weights, unless it is there already."""
        key = kind, tuple(x.op for x in inputs if x.op is not None), shape
        if key not in self._known:
            self._known[key] = self._new(kind, shape, *inputs)
        return self._known[key]

    def _new(self, kind: str, shape: Shape, *inputs: Tensor) -> Tensor:
        """Records an op."""
        sources = tuple(x.op for x in inputs if x.op is not None)
        self._ops.append(_Op(kind, sources, math.prod(shape)))
        return Tensor(len(self._ops) - 1, shape)

    def _steps(self) -> list[Step]:
        """Leaves out what does not reach the last op, and joins every ReLU that can be joined."""
        used = {0, len(self._ops) - 1}
        for number in reversed(range(len(self._ops))):
            if number in used:
                used.update(self._ops[number].inputs)
        readers = Counter(source for op in used for source in set(self._ops[op].inputs))
        joined = {  # number of each ReLU that is a part of an op -> number of that op
            number: self._ops[number].inputs[0]
            for number in used
            if self._ops[number].kind == "relu"
            and readers[self._ops[number].inputs[0]] == 1
            and self._ops[self._ops[number].inputs[0]].kind in _WITH_RELU
        }
        steps: list[Step] = []
        place: dict[int, int] = {}  # of the output of each op among those of the steps
        for number in sorted(used - set(joined.values())):
            kind, inputs, size = self._ops[joined.get(number, number)]
            place[number] = len(steps)
            steps.append(Step(tuple(place[i] for i in inputs), size, kind in _IN_PLACE))
        return steps


def _strided(x: Tensor, stride: int) -> tuple[int, int]:
    """Returns the sides of an op's output."""
    height, width, _ = x.shape
    return -(-height // stride), -(-width // stride)


def zeros(shape: Shape) -> Tensor:
    """Returns zeros that no op computes."""
    return Tensor(None, shape)
