"""The inverted residual block (Sandler et al. 2018), of which several spaces search the form."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from datafree_nas.layers.depthwise import DepthwiseConv
from datafree_nas.spaces import ops
from datafree_nas.spaces.schedule import Recorder, Tensor


class BlockSpec(NamedTuple):
    """Shape and stride of a block; its cost depends on these and on its op alone.

    Attributes:
        inputs: input channels.
        features: output channels.
        stride: stride of the depthwise convolution.
        size: height and width of the input, in pixels.
    """

    inputs: int
    features: int
    stride: int
    size: tuple[int, int]

    @property
    def has_shortcut(self) -> bool:
        """Whether the input can be added to the output."""
        return self.stride == 1 and self.inputs == self.features

    @property
    def pixels(self) -> int:
        """Pixels of one channel of the input."""
        return self.size[0] * self.size[1]

    @property
    def pixels_after(self) -> int:
        """Pixels of one channel of the output."""
        height, width = smaller(self.size, self.stride)
        return height * width


class MBConv(nn.Module):
    """A 1x1 expansion, a depthwise convolution and a linear 1x1 convolution, each with BatchNorm.

    Attributes:
        expansion: factor of the channels; at 1 the first convolution is left out.
        kernel: side of the depthwise kernel.
        features: output channels.
        stride: stride of the depthwise convolution.
        activation: function after the first and after the second BatchNorm.
        epsilon: constant added to the variance in BatchNorm.
        in_supernet: whether the block is part of a supernet, see `ops.Norm`; BatchNorm is affine
            in either case.
        in_switch: whether the block is inside control flow, see `convolution.conv`.
    """

    expansion: int
    kernel: int
    features: int
    stride: int
    activation: Callable[[Array], Array]
    epsilon: float
    in_supernet: bool
    in_switch: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b i j k"]:
        """Applies the block; in train mode BatchNorm uses the statistics of the batch."""

        def conv(features: int, name: str) -> nn.Module:
            return ops.Conv(features, 1, in_switch=self.in_switch, name=name)

        def norm(x: Array, name: str) -> Array:
            return ops.Norm(self.in_supernet, epsilon=self.epsilon, name=name)(x, train)

        if self.expansion > 1:
            x = conv(x.shape[-1] * self.expansion, "expand")(x)
            x = self.activation(norm(x, "expand_bn"))
        kernel, stride = self.kernel, self.stride
        depthwise = DepthwiseConv(
            kernel, stride, kernel // 2, in_switch=self.in_switch, name="depthwise"
        )
        x = depthwise(x)
        x = self.activation(norm(x, "depthwise_bn"))
        return norm(conv(self.features, "project")(x), "project_bn")


def macs(place: BlockSpec, expansion: int, kernel: int) -> int:
    """Counts the multiply-accumulates of an `MBConv` for one image."""
    hidden = place.inputs * expansion
    expand = place.inputs * hidden * place.pixels if expansion > 1 else 0
    return expand + hidden * (kernel**2 + place.features) * place.pixels_after


def params(place: BlockSpec, expansion: int, kernel: int) -> int:
    """Counts the trainable weights of an `MBConv`."""
    hidden = place.inputs * expansion
    expand = hidden * (place.inputs + 2) if expansion > 1 else 0
    return expand + hidden * (kernel**2 + 2 + place.features) + 2 * place.features


def record(recorder: Recorder, x: Tensor, place: BlockSpec, expansion: int, kernel: int) -> Tensor:
    """Records the ops of an `MBConv`; its activations are parts of the convolutions."""
    hidden = place.inputs * expansion
    y = recorder.conv(x, hidden) if expansion > 1 else x
    y = recorder.conv(y, hidden, kernel, place.stride)
    return recorder.conv(y, place.features)


def smaller(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Returns the size of an image after a convolution that pads by half its kernel."""
    return -(-size[0] // stride), -(-size[1] // stride)
