"""The inverted residual block (Sandler et al. 2018), which several spaces choose among forms of."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from datafree_nas.layers.depthwise import DepthwiseConv
from datafree_nas.spaces import ops


class BlockSpec(NamedTuple):
    """Where a block is in a network: with its op, all that its cost depends on.

    Attributes:
        inputs: channels that it gets.
        features: channels that it gives.
        stride: of its depthwise convolution.
        size: `(h, w)` that it gets.
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
        """Of one channel of the input."""
        return self.size[0] * self.size[1]

    @property
    def pixels_after(self) -> int:
        """Of one channel of the output."""
        height, width = smaller(self.size, self.stride)
        return height * width


class MBConv(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1; BatchNorm after each.

    Attributes:
        expansion: of the channels; at 1 there is no first convolution.
        kernel: side of the depthwise convolution.
        features: output channels.
        stride: of the depthwise convolution.
        activation: after the first and the second BatchNorm.
        epsilon: of BatchNorm.
        in_supernet: or in a network of its own; affine in both.
        in_switch: see `ops.Conv`.
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
    """Multiply-accumulates of an `MBConv` for one image."""
    hidden = place.inputs * expansion
    expand = place.inputs * hidden * place.pixels if expansion > 1 else 0
    return expand + hidden * (kernel**2 + place.features) * place.pixels_after


def params(place: BlockSpec, expansion: int, kernel: int) -> int:
    """Trainable weights of an `MBConv`."""
    hidden = place.inputs * expansion
    expand = hidden * (place.inputs + 2) if expansion > 1 else 0
    return expand + hidden * (kernel**2 + 2 + place.features) + 2 * place.features


def smaller(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """The size of an image after a convolution that pads by half its kernel."""
    return -(-size[0] // stride), -(-size[1] // stride)


def chain(chosen: Sequence[str]) -> dict[str, Any]:
    """`Space.graph` of blocks that follow each other.

    Args:
        chosen: their ops.
    """
    nodes = ["input", *(f"node {i}" for i in range(1, len(chosen))), "output"]
    return {"nodes": nodes, "edges": [[i, i + 1, op] for i, op in enumerate(chosen)]}
