"""Depthwise convolution, computed in one of three ways from the same weights."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import he_normal
from jaxtyping import Array, Float

from datafree_nas.runtime import lowering


class DepthwiseConv(nn.Module):
    """A convolution with one square kernel per channel, computed as `lowering.depthwise` decides.

    Attributes:
        kernel: side of the kernel, in pixels.
        stride: step in both directions, in pixels.
        padding: `"SAME"` as in TensorFlow, or the number of pixels on every side as in PyTorch.
        dilation: distance between neighbouring pixels that the kernel sees, in pixels.
        in_switch: whether the convolution is inside control flow, see `lowering.depthwise`.
    """

    kernel: int
    stride: int = 1
    padding: str | int = "SAME"
    dilation: int = 1
    in_switch: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
        k, stride = self.kernel, (self.stride, self.stride)
        kernel = self.param("kernel", he_normal(), (k, k, 1, x.shape[-1]))
        padding: Sequence[tuple[int, int]] = [(0, 0)] * 2
        if isinstance(self.padding, int):
            padding = [(self.padding, self.padding)] * 2
        else:
            seen = ((k - 1) * self.dilation + 1,) * 2
            padding = jax.lax.padtype_to_pads(x.shape[1:3], seen, stride, self.padding)
        return depthwise(x, kernel, stride, padding, (self.dilation,) * 2, self.in_switch)


def depthwise(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k l 1 c"],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    in_switch: bool = False,
) -> Float[Array, "b i j c"]:
    """Convolves every channel with a kernel of its own, as `lowering.depthwise` decides.

    Args:
        x: input images or feature maps.
        kernel: weights, one kernel for each channel.
        stride: step along each axis, in pixels.
        padding: number of pixels before and after each axis.
        dilation: distance between neighbouring pixels that the kernel sees, along each axis.
        in_switch: whether the convolution is inside control flow, see `lowering.depthwise`.
    """
    channels = x.shape[-1]
    form = lowering.depthwise(channels, in_switch)
    if form == "shifts":
        return _shifted(x, kernel, stride, padding, dilation)
    return jax.lax.conv_general_dilated(
        x,
        kernel * jnp.eye(channels, dtype=kernel.dtype) if form == "dense" else kernel,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=1 if form == "dense" else channels,
    )


def _shifted(
    x: Array,
    kernel: Array,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> Array:
    """Adds up, over the places of the kernel, the shifted input times one weight per channel."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = (
        [
            slice(start, start + (side - reach - 1) // step * step + 1, step)
            for start in range(0, reach + 1, apart)
        ]
        for side, step, apart, reach in zip(
            x.shape[1:3],
            stride,
            dilation,
            [apart * (k - 1) for apart, k in zip(dilation, kernel.shape, strict=False)],
            strict=True,
        )
    )
    terms = [
        x[:, row, column] * kernel[i, j, 0]
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    ]
    return sum(terms[1:], terms[0])
