"""Layers with weights, normalizations, products of matrices, attention."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from datafree_nas.layers.depthwise import depthwise
from datafree_nas.teachers.graph.ops.elementwise import Number
from datafree_nas.teachers.graph.ops.shapes import broadcast_tensors
from datafree_nas.teachers.graph.ops.table import op
from datafree_nas.teachers.graph.ops.windows import per_axis
from datafree_nas.teachers.graph.tensor import (
    Tensor,
    aligned,
    from_channels_last,
    plain,
    reshaped,
)

_Sizes = int | Sequence[int]
_PIXELS = {1: "W", 2: "HW", 3: "DHW"}  # by the number of an image's axes


@op("conv1d", "conv2d", "conv3d")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Sizes = 1,
    padding: _Sizes | str = 0,
    dilation: _Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Computes a convolution; the padding is PyTorch's, on both sides, or `same` or `valid`."""
    count = weight.ndim - 2
    if x.ndim != weight.ndim:
        raise ValueError(f"a convolution of {count} axes of an image with {x.ndim} dimensions")
    sides, steps = weight.shape[2:], per_axis(dilation, count)
    strides = per_axis(stride, count)
    image, kernel = x.channels_last(), weight.arranged((*range(2, count + 2), 1, 0))
    pads = _padding(padding, sides, steps)
    kernel = kernel.astype(image.dtype)
    if count == 2 and groups == x.shape[1] == weight.shape[0] and groups > 1:
        result = depthwise(image, kernel, strides, pads, steps)
    else:
        letters = _PIXELS[count]
        result = lax.conv_general_dilated(
            image,
            kernel,
            strides,
            pads,
            rhs_dilation=steps,
            dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
            feature_group_count=groups,
        )
    return from_channels_last(result if bias is None else result + bias.array)


def _padding(
    padding: _Sizes | str, sides: Sequence[int], steps: Sequence[int]
) -> list[tuple[int, int]]:
    if padding == "valid":
        return [(0, 0)] * len(sides)
    if padding == "same":
        totals = [step * (side - 1) for side, step in zip(sides, steps, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    assert not isinstance(padding, str)
    return [(pad, pad) for pad in per_axis(padding, len(sides))]


@op("convolution")
def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: _Sizes,
    padding: _Sizes,
    dilation: _Sizes,
    transposed: bool,
    output_padding: _Sizes,
    groups: int,
) -> Tensor:
    """Convolves, as in Core ATen."""
    if transposed:
        return conv_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return conv(x, weight, bias, stride, padding, dilation, groups)


@op("conv_transpose2d")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Sizes = 1,
    padding: _Sizes = 0,
    output_padding: _Sizes = 0,
    groups: int = 1,
    dilation: _Sizes = 1,
) -> Tensor:
    """Computes a transposed convolution: that of the image, spread out by the stride."""
    inputs, outputs, *sides = weight.shape
    kernel = weight.plain().reshape(groups, inputs // groups, outputs, *sides)
    kernel = kernel.transpose(3, 4, 1, 0, 2).reshape(*sides, inputs // groups, groups * outputs)
    steps = per_axis(dilation, 2)
    pads = [
        (step * (side - 1) - pad, step * (side - 1) - pad + more)
        for side, step, pad, more in zip(
            sides, steps, per_axis(padding, 2), per_axis(output_padding, 2), strict=True
        )
    ]
    image = x.channels_last()
    result = lax.conv_general_dilated(
        image,
        jnp.flip(kernel, (0, 1)).astype(image.dtype),
        (1, 1),
        pads,
        lhs_dilation=per_axis(stride, 2),
        rhs_dilation=steps,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    return from_channels_last(result if bias is None else result + bias.array)


@op("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiplies the last dimension by a matrix."""
    axis, last = x.axis(-1), x.ndim - 1
    kernel = weight.arranged((1, 0)).astype(x.array.dtype)
    result = lax.dot_general(x.array, kernel, (((axis,), (0,)), ((), ())))
    order = (*(dim for dim in x.order if dim != last), last)
    return Tensor(result if bias is None else result + bias.array, order)


@op("addmm")
def addmm(x: Tensor, mat1: Tensor, mat2: Tensor, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """Adds a product of matrices to x."""
    product = alpha * jnp.matmul(mat1.plain(), mat2.plain())
    return plain(product + beta * x.plain())


@op("matmul", "mm", "bmm")
def matmul(x: Tensor, other: Tensor | None = None, mat2: Tensor | None = None) -> Tensor:
    """Multiplies matrices; `mm` and `bmm` call the second one `mat2`."""
    right = other or mat2
    assert right is not None
    return plain(jnp.matmul(x.plain(), right.plain()))


@op("baddbmm")
def baddbmm(
    x: Tensor, batch1: Tensor, batch2: Tensor, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """Adds products of matrices to x."""
    return addmm(x, batch1, batch2, beta, alpha)


@op("einsum")
def einsum(equation: str, tensors: Sequence[Tensor], path: Sequence[int] | None = None) -> Tensor:
    """Multiplies and adds up by Einstein's rule."""
    return plain(jnp.einsum(equation, *(each.plain() for each in tensors)))


@op("scaled_dot_product_attention")
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: Number = 0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Computes attention of queries `[..., q, d]` to keys `[..., k, d]`.

    Raises:
        ValueError: it is causal, drops values, or groups its queries.
    """
    if is_causal or dropout_p or enable_gqa:
        raise ValueError("attention that is causal, drops values or groups its queries")
    q, k, v = query.plain(), key.plain(), value.plain()
    scores = jnp.einsum("...qd,...kd->...qk", q, k) * (scale or q.shape[-1] ** -0.5)
    if attn_mask is not None:
        mask = attn_mask.plain()
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == bool else scores + mask
    return plain(jnp.matmul(jax.nn.softmax(scores, -1), v))


def _normalized(x: jax.Array, axes: Sequence[int], epsilon: float) -> jax.Array:
    """Brings mean and variance over axes to 0 and 1, in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(wide, axes, keepdims=True)
    var = jnp.mean(jnp.square(wide - mean), axes, keepdims=True)
    return ((wide - mean) * lax.rsqrt(var + epsilon)).astype(x.dtype)


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Multiplies by a weight and adds a bias that broadcast to x."""
    for other, function in ((weight, jnp.multiply), (bias, jnp.add)):
        if other is not None:
            (left, right), order = aligned(x, other)
            x = Tensor(function(left, right), order)
    return x


def _by_channel(weight: Tensor | None, ndim: int) -> Tensor | None:
    """Gives a vector with an entry for each channel the dimensions behind it."""
    return weight and reshaped(weight, (-1,) + (1,) * (ndim - 2))


@op("layer_norm")
def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """Normalizes over the last dimensions."""
    axes = x.axes(range(x.ndim - len(normalized_shape), x.ndim))
    return _scaled(x.with_array(_normalized(x.array, axes, eps)), weight, bias)


@op("native_layer_norm")
def native_layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, None, None]:
    """Normalizes over the last dimensions; the statistics, which are not needed, are None."""
    return layer_norm(x, normalized_shape, weight, bias, eps), None, None


@op("rms_norm")
def rms_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divides by the root of the mean of squares over the last dimensions."""
    axes = x.axes(range(x.ndim - len(normalized_shape), x.ndim))
    epsilon = float(jnp.finfo(x.array.dtype).eps) if eps is None else eps
    power = jnp.mean(jnp.square(x.array), axes, keepdims=True)
    return _scaled(x.with_array(x.array * lax.rsqrt(power + epsilon)), weight, None)


@op("group_norm")
def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Normalizes over pixels and groups of channels."""
    batch, channels, *pixels = x.shape
    groups = reshaped(x, (batch, num_groups, channels // num_groups, *pixels))
    array = _normalized(groups.array, groups.axes(range(2, groups.ndim)), eps)
    result = reshaped(groups.with_array(array), x.shape)
    return _scaled(result, _by_channel(weight, x.ndim), _by_channel(bias, x.ndim))


@op("native_group_norm")
def native_group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    N: int,  # noqa: N803 (PyTorch's names)
    C: int,  # noqa: N803
    HxW: int,  # noqa: N803
    group: int,
    eps: float,
) -> tuple[Tensor, None, None]:
    """Normalizes over pixels and groups of channels; the statistics are None."""
    return group_norm(x, group, weight, bias, eps), None, None


@op("instance_norm")
def instance_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Normalizes over the pixels of each channel of each image.

    Raises:
        ValueError: it uses running statistics.
    """
    if not use_input_stats:
        raise ValueError("an instance normalization by running statistics")
    return group_norm(x, x.shape[1], weight, bias, eps)


@op("batch_norm")
def batch_norm_of_batch(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """Normalizes by the statistics of x itself, as networks do that normalize their weights.

    BatchNorm by running statistics is a layer of its own, see `network.py`.
    """
    axes = x.axes([dim for dim in range(x.ndim) if dim != 1])
    result = x.with_array(_normalized(x.array, axes, eps))
    return _scaled(result, _by_channel(weight, x.ndim), _by_channel(bias, x.ndim))


@op("cosine_similarity")
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Computes the cosine of the angle between vectors."""
    left, right = (each.plain() for each in broadcast_tensors([x1, x2]))

    def length(array: jax.Array) -> jax.Array:
        return jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(array), dim), eps**2))

    return plain(jnp.sum(left * right, dim) / (length(left) * length(right)))
