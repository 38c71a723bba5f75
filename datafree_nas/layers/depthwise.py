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
        channels = x.shape[-1]
        form = lowering.depthwise(channels, self.in_switch)
        if form == "shifts":
            return _shifted(x, kernel, self.stride, padding, self.dilation)
        return jax.lax.conv_general_dilated(
            x,
            kernel * jnp.eye(channels, dtype=kernel.dtype) if form == "dense" else kernel,
            stride,
            padding,
            rhs_dilation=(self.dilation, self.dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=1 if form == "dense" else channels,
        )


def _shifted(
    x: Array, kernel: Array, stride: int, padding: Sequence[tuple[int, int]], dilation: int
) -> Array:
    """Adds up, over the places of the kernel, the shifted input times one weight per channel."""
    k = kernel.shape[0]
    reach = (k - 1) * dilation
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = ((side - reach - 1) // stride * stride + 1 for side in x.shape[1:3])
    terms = [
        x[:, top : top + height : stride, left : left + width : stride] * kernel[i, j, 0]
        for i, top in enumerate(range(0, reach + 1, dilation))
        for j, left in enumerate(range(0, reach + 1, dilation))
    ]
    return sum(terms[1:], terms[0])
