"""A convolution whose gradients are as quick in control flow on a CPU as outside."""

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
    """A square convolution, padded by half its kernel.

    Args:
        x: images.
        kernel: of an odd side.
        stride: in both directions.
        in_switch: whether it is in control flow, see `lowering.canonical_in_switch`; it has no
            forward-mode derivative there.
    """
    if in_switch and lowering.canonical_in_switch():
        return _canonical(x, kernel, stride)
    return _plain(x, kernel, stride)


def _plain(x: Array, kernel: Array, stride: int) -> Array:
    return _convolved(x, kernel, [(kernel.shape[0] // 2,) * 2] * 2, stride)


def _convolved(
    x: Array, kernel: Array, padding: _Padding, stride: int = 1, dilation: int = 1
) -> Array:
    """In the form that XLA:CPU's quick kernel takes; the input is never dilated."""
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
    """`_plain`, whose gradients are `_convolved` too."""
    return _plain(x, kernel, stride)


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _plain(x, kernel, stride), (x, kernel)


def _backward(stride: int, kept: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = kept
    pad = kernel.shape[0] // 2
    # pixels behind the last one that a window is centred on
    rests = [
        before - 1 - (after - 1) * stride
        for before, after in zip(x.shape[1:3], dy.shape[1:3], strict=True)
    ]
    # of the input: the outputs, spread out by the stride, under the turned kernel
    spread = [(pad, pad + rest, stride - 1) for rest in rests]
    around = lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *spread, (0, 0, 0)])
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    of_input = _convolved(around, turned, [(0, 0)] * 2)
    # of the kernel: channels as images, the outputs as one large kernel
    sides = [(pad, pad - rest) for rest in rests]
    channels, outputs = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
    of_kernel = _convolved(channels, outputs, sides, dilation=stride)
    return of_input, of_kernel.transpose(1, 2, 0, 3)


_canonical.defvjp(_forward, _backward)
