"""Wide ResNets for 32x32 images (Zagoruyko & Komodakis 2016): BatchNorm and ReLU come first.

Keys are those of xternalz/WideResNet-pytorch, which the data-free distillation papers use.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.teachers.teacher import CIFAR_MEAN, CIFAR_STD, Teacher
from datafree_nas.teachers.torch_layers import batch_norm, conv

# name -> depth 6 n + 4, widening factor
ARCHITECTURES = {
    "wrn16_1": (16, 1),
    "wrn16_2": (16, 2),
    "wrn40_1": (40, 1),
    "wrn40_2": (40, 2),
}


class Block(nn.Module):
    """Two 3x3 convolutions after BatchNorm; if the width changes, the shortcut has a 1x1 one."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b i j k"]:
        active = nn.relu(batch_norm(train, "bn1")(x))
        y = conv(self.features, 3, self.stride, name="conv1")(active)
        y = nn.relu(batch_norm(train, "bn2")(y))
        y = conv(self.features, 3, name="conv2")(y)
        if x.shape[-1] != self.features:
            x = conv(self.features, 1, self.stride, name="convShortcut")(active)
        return x + y


class WideResNet(nn.Module):
    """Three stages of widths 16 k, 32 k, 64 k.

    Attributes:
        depth: number of layers, 6 n + 4.
        widen: widening factor k.
        num_classes: width of the head.
    """

    depth: int
    widen: int
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        x = conv(16, 3, name="conv1")(x)
        for stage in (1, 2, 3):
            for block in range((self.depth - 4) // 6):
                stride = 2 if stage > 1 and block == 0 else 1
                name = f"block{stage}.layer.{block}"
                x = Block(8 * 2**stage * self.widen, stride, name=name)(x, train)
        x = nn.relu(batch_norm(train, "bn1")(x))
        return nn.Dense(self.num_classes, name="fc")(jnp.mean(x, axis=(1, 2)))


def create(arch: str, num_classes: int) -> Teacher:
    """Builds the teacher of that name; see `teachers.create`."""
    depth, widen = ARCHITECTURES[arch]
    classes = num_classes or 10
    return Teacher(
        arch=arch,
        model=WideResNet(depth, widen, classes),
        num_classes=classes,
        image_size=(32, 32, 3),
        mean=CIFAR_MEAN,
        std=CIFAR_STD,
    )
