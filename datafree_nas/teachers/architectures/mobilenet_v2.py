"""MobileNetV2 (Sandler et al. 2018), with torchvision's keys, or timm's (`mobilenetv2_100`)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.interop.torch_names import same
from datafree_nas.layers.depthwise import DepthwiseConv
from datafree_nas.teachers.teacher import Teacher
from datafree_nas.teachers.torch_layers import batch_norm, conv

ARCHITECTURES = ("mobilenet_v2",)
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
    """Stem, 17 inverted residual blocks, 1x1 convolution, head."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        x = conv(32, 3, 2, name="features.0.0")(x)
        x = nn.relu6(batch_norm(train, "features.0.1")(x))
        number = 1
        for expansion, features, blocks, first_stride in STAGES:
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                name = f"features.{number}"
                x = InvertedResidual(expansion, features, stride, name=name)(x, train)
                number += 1
        x = conv(1280, 1, name=f"features.{number}.0")(x)
        x = nn.relu6(batch_norm(train, f"features.{number}.1")(x))
        return nn.Dense(self.num_classes, name="classifier.1")(jnp.mean(x, axis=(1, 2)))


_TIMM = {
    "features.0.0": "conv_stem",
    "features.0.1": "bn1",
    "features.18.0": "conv_head",
    "features.18.1": "bn2",
    "classifier.1": "classifier",
}
_TIMM_FIRST_BLOCK = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
_TIMM_BLOCK = {
    "0.0": "conv_pw",
    "0.1": "bn1",
    "1.0": "conv_dw",
    "1.1": "bn2",
    "2": "conv_pwl",
    "3": "bn3",
}


def _timm(name: str) -> str:
    """Returns timm's name of a module; timm counts blocks within their stage."""
    if name in _TIMM:
        return _TIMM[name]
    _, number, _, layer = name.split(".", 3)
    stage, block = 0, int(number) - 1
    while block >= STAGES[stage][2]:
        stage, block = stage + 1, block - STAGES[stage][2]
    layers = _TIMM_BLOCK if stage else _TIMM_FIRST_BLOCK
    return f"blocks.{stage}.{block}.{layers[layer]}"


def build(arch: str, num_classes: int) -> Teacher:
    """Builds the teacher of that name; see `teachers.create_teacher`."""
    classes = num_classes or 1000
    return Teacher(
        arch=arch,
        model=MobileNetV2(classes),
        num_classes=classes,
        image_size=(224, 224, 3),
        head="classifier.1",
        torch_names=(same, _timm),
    )
