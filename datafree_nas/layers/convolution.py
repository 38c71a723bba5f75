"""A convolution whose gradients, on a CPU, are as fast inside control flow as outside."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from datafree_nas.runtime import lowering

_Padding = list[tuple[int, int]]


def conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k c f"],
    stride: int,
    in_switch: bool = False,
) -> Float[Array, "b i j f"]:
    """Computes a convolution with a square kernel, padded by half the kernel.

    Args:
        x: input images or feature maps.
        kernel: weights of the kernel, whose side is odd.
        stride: step in both directions, in pixels.
        in_switch: whether the convolution is inside control flow, see
            `lowering.canonical_in_switch`; it then has no forward-mode derivative on a CPU.
    """
    if in_switch and lowering.canonical_in_switch():
        return _canonical(x, kernel, stride)
    return _plain(x, kernel, stride)


def _plain(x: Array, kernel: Array, stride: int) -> Array:
    return _convolved(x, kernel, [(kernel.shape[0] // 2,) * 2] * 2, stride)


def _convolved(
    x: Array, kernel: Array, padding: _Padding, stride: int = 1, dilation: int = 1
) -> Array:
    """Convolves in the form that XLA:CPU's fast kernel takes: the input is never dilated."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _canonical(x: Array, kernel: Array, stride: int) -> Array:
    """Computes `_plain`, with gradients that use `_convolved` too."""
    return _plain(x, kernel, stride)


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _plain(x, kernel, stride), (x, kernel)


def _backward(stride: int, kept: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = kept
    pad = kernel.shape[0] // 2
    # number of pixels after the centre of the last window
    rests = [
        before - 1 - (after - 1) * stride
        for before, after in zip(x.shape[1:3], dy.shape[1:3], strict=True)
    ]
    # gradient of the input: output gradients, spread out by the stride, with the flipped kernel
    spread = [(pad, pad + rest, stride - 1) for rest in rests]
    around = lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *spread, (0, 0, 0)])
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    of_input = _convolved(around, turned, [(0, 0)] * 2)
    # gradient of the kernel: input channels as images, output gradients as one large kernel
    sides = [(pad, pad - rest) for rest in rests]
    channels, outputs = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
    of_kernel = _convolved(channels, outputs, sides, dilation=stride)
    return of_input, of_kernel.transpose(1, 2, 0, 3)


_canonical.defvjp(_forward, _backward)
