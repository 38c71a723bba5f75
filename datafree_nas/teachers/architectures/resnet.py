"""ResNets with the four stages for ImageNet (He et al. 2016), also wide and grouped ones.

The blocks are torchvision's: stride 2 is in the 3x3 convolution of a bottleneck (v1.5); if a name
ends in `_v1`, it is in the first 1x1 convolution, as in the paper. `wide_stem_resnet18` and `34`
are those of the data-free distillation papers for 32x32 images: a 3x3 stem of stride 1 without
pooling; with `_pool`, max-pooling follows the stem. `resnet18d` to `152d` are timm's (He et al.
2019): a stem of three convolutions, and shortcuts that average before they convolve. Keys are
torchvision's, Hugging Face's, kuangliu's or timm's.
"""

import re
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.interop.torch_names import same
from datafree_nas.teachers.teacher import CIFAR_MEAN, CIFAR_STD, Teacher
from datafree_nas.teachers.torch_layers import batch_norm, conv, max_pool


class Shape(NamedTuple):
    """Settings in which the members of the family differ.

    Attributes:
        blocks: number of residual blocks of each stage.
        bottleneck: whether a block has three convolutions, not two.
        width: width of a bottleneck's inner convolutions at stage 1, 64 in the paper.
        groups: number of groups of a bottleneck's 3x3 convolution.
        stride_first: whether stride 2 is in a bottleneck's first convolution, not in its 3x3.
        small_stem: whether the stem is a 3x3 convolution of stride 1.
        pooling: whether max-pooling follows the stem.
        deep: whether the stem has three convolutions, and shortcuts average before they convolve.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool = False
    width: int = 64
    groups: int = 1
    stride_first: bool = False
    small_stem: bool = False
    pooling: bool = True
    deep: bool = False


_18, _34, _50, _101, _152 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)
ARCHITECTURES = {
    "resnet18": Shape(_18),
    "resnet34": Shape(_34),
    "resnet50": Shape(_50, bottleneck=True),
    "resnet101": Shape(_101, bottleneck=True),
    "resnet152": Shape(_152, bottleneck=True),
    "resnet50_v1": Shape(_50, bottleneck=True, stride_first=True),
    "resnet101_v1": Shape(_101, bottleneck=True, stride_first=True),
    "resnet152_v1": Shape(_152, bottleneck=True, stride_first=True),
    "wide_resnet50_2": Shape(_50, bottleneck=True, width=128),
    "resnext50_32x4d": Shape(_50, bottleneck=True, width=128, groups=32),
    "wide_stem_resnet18": Shape(_18, small_stem=True, pooling=False),
    "wide_stem_resnet34": Shape(_34, small_stem=True, pooling=False),
    "wide_stem_resnet18_pool": Shape(_18, small_stem=True),
    "wide_stem_resnet34_pool": Shape(_34, small_stem=True),
    "resnet18d": Shape(_18, deep=True),
    "resnet26d": Shape(_18, bottleneck=True, deep=True),
    "resnet34d": Shape(_34, deep=True),
    "resnet50d": Shape(_50, bottleneck=True, deep=True),
    "resnet101d": Shape(_101, bottleneck=True, deep=True),
    "resnet152d": Shape(_152, bottleneck=True, deep=True),
}


class Block(nn.Module):
    """Convolutions and a shortcut, which has a convolution if sizes differ.

    Attributes:
        shape: settings of the network.
        features: features of the stage: 64, 128, 256 or 512; a bottleneck has four times as many
            outputs.
        stride: stride of the whole block.
    """

    shape: Shape
    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b i j k"]:
        y = x
        layers = self._layers()
        for number, (features, kernel, stride, groups) in enumerate(layers, start=1):
            y = conv(features, kernel, stride, groups=groups, name=f"conv{number}")(y)
            y = batch_norm(train, f"bn{number}")(y)
            y = nn.relu(y) if number < len(layers) else y
        if x.shape != y.shape:
            x = self._shortcut(x, y.shape[-1], train)
        return nn.relu(x + y)

    def _shortcut(self, x: Array, features: int, train: bool) -> Array:
        if not self.shape.deep:
            x = conv(features, 1, self.stride, name="downsample.0")(x)
            return batch_norm(train, "downsample.1")(x)
        if self.stride > 1:
            odd = [(0, side % 2) for side in x.shape[1:3]]
            x = nn.avg_pool(x, (2, 2), (2, 2), odd, count_include_pad=False)
        x = conv(features, 1, name="downsample.1")(x)
        return batch_norm(train, "downsample.2")(x)

    def _layers(self) -> list[tuple[int, int, int, int]]:
        """Lists features, kernel, stride and groups of each convolution."""
        features, stride = self.features, self.stride
        if not self.shape.bottleneck:
            return [(features, 3, stride, 1), (features, 3, 1, 1)]
        inner = features * self.shape.width // 64
        strides = (stride, 1) if self.shape.stride_first else (1, stride)
        return [
            (inner, 1, strides[0], 1),
            (inner, 3, strides[1], self.shape.groups),
            (4 * features, 1, 1, 1),
        ]


class ResNet(nn.Module):
    """Stem, four stages of blocks, head.

    Attributes:
        shape: settings of the network.
        num_classes: width of the head.
    """

    shape: Shape
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        if self.shape.deep:
            x = nn.relu(batch_norm(train, "conv1.1")(conv(32, 3, 2, name="conv1.0")(x)))
            x = nn.relu(batch_norm(train, "conv1.4")(conv(32, 3, name="conv1.3")(x)))
            x = conv(64, 3, name="conv1.6")(x)
        else:
            kernel, stride = (3, 1) if self.shape.small_stem else (7, 2)
            x = conv(64, kernel, stride, name="conv1")(x)
        x = nn.relu(batch_norm(train, "bn1")(x))
        x = max_pool(x, 3, 2, padding=1) if self.shape.pooling else x
        for stage, blocks in enumerate(self.shape.blocks, start=1):
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                name = f"layer{stage}.{block}"
                x = Block(self.shape, 32 * 2**stage, stride, name=name)(x, train)
        return nn.Dense(self.num_classes, name="fc")(jnp.mean(x, axis=(1, 2)))


def _kuangliu(name: str) -> str:
    """Returns a module's name in kuangliu/pytorch-cifar, DAFL, CMI and Fast-Datafree."""
    return {"fc": "linear"}.get(name, name.replace("downsample", "shortcut"))


def _hugging_face(name: str) -> str:
    """Returns a module's name in transformers' ResNetForImageClassification."""
    kinds = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}
    if name == "fc":
        return "classifier.1"
    if name in ("conv1", "bn1"):
        return f"resnet.embedder.embedder.{kinds[name[:-1]]}"
    stage, block, layer = re.fullmatch(r"layer(\d)\.(\d+)\.(.*)", name).groups()  # type: ignore[union-attr]
    place = f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}"
    if layer.startswith("downsample."):
        return f"{place}.shortcut.{kinds[layer[-1]]}"
    return f"{place}.layer.{int(layer[-1]) - 1}.{kinds[layer[:-1]]}"


def _variant(arch: str) -> dict[str, Any]:
    """Describes how an architecture differs from one with the same keys and shapes."""
    other = arch.removesuffix("_v1").removesuffix("_pool")
    if arch.endswith("_v1"):
        words = f"stride 2 in a block's first convolution, where {other} has it in the second"
        return {"variant_of": other, "difference": words, "rare": True}
    if arch.endswith("_pool"):
        words = f"max-pooling behind the stem, where {other} has none"
        return {"variant_of": other, "difference": words}
    return {}


def build(arch: str, num_classes: int) -> Teacher:
    """Builds the teacher of that name; see `teachers.create_teacher`."""
    shape = ARCHITECTURES[arch]
    if shape.small_stem:
        return Teacher(
            arch=arch,
            model=ResNet(shape, num_classes or 10),
            num_classes=num_classes or 10,
            image_size=(32, 32, 3),
            mean=CIFAR_MEAN,
            std=CIFAR_STD,
            torch_names=(same,) if shape.pooling else (_kuangliu, same),
            **_variant(arch),
        )
    return Teacher(
        arch=arch,
        model=ResNet(shape, num_classes or 1000),
        num_classes=num_classes or 1000,
        image_size=(224, 224, 3),
        torch_names=(same,) if shape.deep else (same, _hugging_face),
        **_variant(arch),
    )
