"""EfficientNet-Lite0 to Lite4: EfficientNet without squeeze-and-excitation, and with ReLU6.

As in TensorFlow's release: paddings are uneven where stride 2 needs it, BatchNorm's epsilon is
1e-3, pixels are in [-1, 1]. Modules have the names of efficientnet_lite_pytorch. timm's names are
known too; there these networks are called `tf_efficientnet_lite0` to 4.

`timm_efficientnet_lite0` to 4 are what timm calls `efficientnet_lite0` to 4: the same keys and
shapes, but paddings are symmetric, epsilon is 1e-5, and pixels are normalized by ImageNet's mean
and standard deviation.
"""

import math
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.interop.torch_names import same
from datafree_nas.layers.depthwise import DepthwiseConv
from datafree_nas.layers.width import scaled
from datafree_nas.teachers.teacher import Teacher
from datafree_nas.teachers.torch_layers import batch_norm

# name -> width and depth multipliers, image side
ARCHITECTURES = {
    "efficientnet_lite0": (1.0, 1.0, 224),
    "efficientnet_lite1": (1.0, 1.1, 240),
    "efficientnet_lite2": (1.1, 1.2, 260),
    "efficientnet_lite3": (1.2, 1.4, 280),
    "efficientnet_lite4": (1.4, 1.8, 300),
    "timm_efficientnet_lite0": (1.0, 1.0, 224),
    "timm_efficientnet_lite1": (1.0, 1.1, 240),
    "timm_efficientnet_lite2": (1.1, 1.2, 260),
    "timm_efficientnet_lite3": (1.2, 1.4, 300),
    "timm_efficientnet_lite4": (1.4, 1.8, 380),
}
# of Lite0: blocks, kernel, stride of the first block, expansion, features
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # the same in all five


class Style(NamedTuple):
    """Differences between two releases of the same network.

    Attributes:
        symmetric: whether padding is half the kernel on every side; else it is TensorFlow's.
        epsilon: epsilon of all BatchNorm layers.
    """

    symmetric: bool = False
    epsilon: float = 1e-3


def _scaled_blocks(depth: float) -> list[int]:
    """Returns the number of blocks of each stage; the first and the last are not scaled."""
    first, *inner, last = (blocks for blocks, *_ in STAGES)
    return [first, *(math.ceil(blocks * depth) for blocks in inner), last]


def _padding(kernel: int, style: Style) -> int | str:
    return kernel // 2 if style.symmetric else "SAME"


def _conv(features: int, kernel: int, stride: int, style: Style, name: str) -> nn.Conv:
    padding = _padding(kernel, style)
    return nn.Conv(features, (kernel, kernel), stride, padding, use_bias=False, name=name)


class MBConv(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 convolution; a shortcut if shapes allow."""

    kernel: int
    stride: int
    expansion: int
    features: int
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b i j k"]:
        y = x
        if self.expansion > 1:
            y = _conv(x.shape[-1] * self.expansion, 1, 1, self.style, "_expand_conv")(y)
            y = nn.relu6(batch_norm(train, "_bn0", self.style.epsilon)(y))
        padding = _padding(self.kernel, self.style)
        y = DepthwiseConv(self.kernel, self.stride, padding, name="_depthwise_conv")(y)
        y = nn.relu6(batch_norm(train, "_bn1", self.style.epsilon)(y))
        y = _conv(self.features, 1, 1, self.style, "_project_conv")(y)
        y = batch_norm(train, "_bn2", self.style.epsilon)(y)
        return x + y if x.shape == y.shape else y


class EfficientNetLite(nn.Module):
    """Stem, seven stages of blocks, 1x1 convolution, head.

    Attributes:
        width: multiplier of the number of features.
        depth: multiplier of the number of blocks.
        num_classes: width of the head.
        style: padding and epsilon of the release.
    """

    width: float
    depth: float
    num_classes: int
    style: Style = Style()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        x = _conv(STEM, 3, 2, self.style, "_conv_stem")(x)
        x = nn.relu6(batch_norm(train, "_bn0", self.style.epsilon)(x))
        number = 0
        stages = zip(_scaled_blocks(self.depth), STAGES, strict=True)
        for blocks, (_, kernel, first_stride, expansion, features) in stages:
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                shape = (kernel, stride, expansion, scaled(features, self.width))
                x = MBConv(*shape, self.style, name=f"_blocks.{number}")(x, train)
                number += 1
        x = _conv(HEAD, 1, 1, self.style, "_conv_head")(x)
        x = nn.relu6(batch_norm(train, "_bn1", self.style.epsilon)(x))
        return nn.Dense(self.num_classes, name="_fc")(jnp.mean(x, axis=(1, 2)))


_TIMM = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_TIMM_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_TIMM_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _timm(name: str, depth: float) -> str:
    """Returns timm's name of a module; timm counts blocks within their stage."""
    if not name.startswith("_blocks."):
        return _TIMM[name]
    _, number, layer = name.split(".")
    stage, block = 0, int(number)
    for blocks in _scaled_blocks(depth):
        if block < blocks:
            break
        stage, block = stage + 1, block - blocks
    layers = _TIMM_BLOCK if stage else _TIMM_FIRST_BLOCK
    return f"blocks.{stage}.{block}.{layers[layer]}"


def create(arch: str, num_classes: int) -> Teacher:
    """Builds the teacher of that name; see `teachers.create`."""
    width, depth, side = ARCHITECTURES[arch]
    classes, timm = num_classes or 1000, partial(_timm, depth=depth)
    if arch.startswith("timm_"):
        other = arch.removeprefix("timm_")
        return Teacher(
            arch=arch,
            model=EfficientNetLite(width, depth, classes, Style(symmetric=True, epsilon=1e-5)),
            num_classes=classes,
            image_size=(side, side, 3),
            head="_fc",
            torch_names=(timm,),
            variant_of=other,
            difference=f"timm's {other}: symmetric padding and BatchNorm's epsilon 1e-5, where "
            f"{other} here is timm's tf_{other}, with TensorFlow's padding and epsilon 1e-3",
        )
    return Teacher(
        arch=arch,
        model=EfficientNetLite(width, depth, classes),
        num_classes=classes,
        image_size=(side, side, 3),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        head="_fc",
        torch_names=(same, timm),
    )
