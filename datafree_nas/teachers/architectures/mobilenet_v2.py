"""MobileNetV2 (Sandler et al. 2018), with torchvision's keys or timm's.

`mobilenet_v2` is torchvision's and timm's `mobilenetv2_100`; the other widths and depths are
timm's.
"""

import math
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.interop.torch_names import same
from datafree_nas.layers.depthwise import DepthwiseConv
from datafree_nas.teachers.teacher import Teacher
from datafree_nas.teachers.torch_layers import batch_norm, conv

# name -> width and depth, as multiples of the paper's
ARCHITECTURES = {
    "mobilenet_v2": (1.0, 1.0),
    "mobilenetv2_035": (0.35, 1.0),
    "mobilenetv2_050": (0.5, 1.0),
    "mobilenetv2_075": (0.75, 1.0),
    "mobilenetv2_110d": (1.1, 1.2),
    "mobilenetv2_120d": (1.2, 1.4),
    "mobilenetv2_140": (1.4, 1.0),
}
# expansion, features, blocks, stride of the first block (table 2 of the paper)
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 convolution; layers have torchvision's numbers."""

    expansion: int
    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b i j k"]:
        y, layer = x, 0
        if self.expansion > 1:
            y = conv(x.shape[-1] * self.expansion, 1, name="conv.0.0")(x)
            y, layer = nn.relu6(batch_norm(train, "conv.0.1")(y)), 1
        y = DepthwiseConv(3, self.stride, padding=1, name=f"conv.{layer}.0")(y)
        y = nn.relu6(batch_norm(train, f"conv.{layer}.1")(y))
        y = conv(self.features, 1, name=f"conv.{layer + 1}")(y)
        y = batch_norm(train, f"conv.{layer + 2}")(y)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """Stem, 17 inverted residual blocks or more, 1x1 convolution, head.

    Attributes:
        width: number of channels, as a multiple of the paper's.
        depth: number of blocks of the inner stages, as a multiple of the paper's. Deeper networks
            keep the paper's stem and last convolution.
        num_classes: width of the head.
    """

    width: float
    depth: float
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        ends = 1.0 if self.depth > 1 else self.width
        x = conv(_channels(32, ends), 3, 2, name="features.0.0")(x)
        x = nn.relu6(batch_norm(train, "features.0.1")(x))
        number = 1
        stages = zip(STAGES, _blocks(self.depth), strict=True)
        for (expansion, features, _, first_stride), blocks in stages:
            features = _channels(features, self.width)
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                name = f"features.{number}"
                x = InvertedResidual(expansion, features, stride, name=name)(x, train)
                number += 1
        x = conv(max(1280, _channels(1280, ends)), 1, name=f"features.{number}.0")(x)
        x = nn.relu6(batch_norm(train, f"features.{number}.1")(x))
        return nn.Dense(self.num_classes, name="classifier.1")(jnp.mean(x, axis=(1, 2)))


def _channels(paper: int, width: float) -> int:
    """Returns the number of channels at a width: a multiple of 8, at least 90 % of the product."""
    channels = max(8, int(paper * width + 4) // 8 * 8)
    return channels + 8 if channels < 0.9 * paper * width else channels


def _blocks(depth: float) -> list[int]:
    """Returns the number of blocks of each stage; the first and the last one always have one."""
    return [blocks if blocks == 1 else math.ceil(blocks * depth) for _, _, blocks, _ in STAGES]


_TIMM = {
    "features.0.0": "conv_stem",
    "features.0.1": "bn1",
    "classifier.1": "classifier",
}
_TIMM_LAST = {"0": "conv_head", "1": "bn2"}
_TIMM_FIRST_BLOCK = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
_TIMM_BLOCK = {
    "0.0": "conv_pw",
    "0.1": "bn1",
    "1.0": "conv_dw",
    "1.1": "bn2",
    "2": "conv_pwl",
    "3": "bn3",
}


def _timm(depth: float, name: str) -> str:
    """Returns timm's name of a module; timm counts blocks within their stage."""
    if name in _TIMM:
        return _TIMM[name]
    _, number, *layers = name.split(".", 3)
    stage, block, blocks = 0, int(number) - 1, _blocks(depth)
    if block == sum(blocks):
        return _TIMM_LAST[layers[0]]
    while block >= blocks[stage]:
        stage, block = stage + 1, block - blocks[stage]
    names = _TIMM_BLOCK if stage else _TIMM_FIRST_BLOCK
    return f"blocks.{stage}.{block}.{names[layers[1]]}"


def build(arch: str, num_classes: int) -> Teacher:
    """Builds the teacher of that name; see `teachers.create_teacher`."""
    classes, (width, depth) = num_classes or 1000, ARCHITECTURES[arch]
    timm = partial(_timm, depth)
    return Teacher(
        arch=arch,
        model=MobileNetV2(width, depth, classes),
        num_classes=classes,
        image_size=(224, 224, 3),
        head="classifier.1",
        torch_names=(same, timm) if arch == "mobilenet_v2" else (timm,),
    )
