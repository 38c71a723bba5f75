"""ResNet-20 to 110 for 32x32 images (He et al. 2016, section 4.2; option-A shortcuts).

Keys and preprocessing are those of akamaster/pytorch_resnet_cifar10, whose checkpoints were trained
with ImageNet's mean and standard deviation.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.teachers.teacher import Teacher
from datafree_nas.teachers.torch_layers import batch_norm, conv

# name -> residual blocks per stage; depth = 6 n + 2
ARCHITECTURES = {f"cifar_resnet{6 * n + 2}": n for n in (1, 3, 5, 7, 9, 18)}
WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A)."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b i j k"]:
        y = conv(self.features, 3, self.stride, name="conv1")(x)
        y = nn.relu(batch_norm(train, "bn1")(y))
        y = conv(self.features, 3, name="conv2")(y)
        y = batch_norm(train, "bn2")(y)
        if self.stride != 1 or x.shape[-1] != self.features:
            side = (self.features - x.shape[-1]) // 2
            x = jnp.pad(
                x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (side, side))
            )
        return nn.relu(x + y)


class CifarResNet(nn.Module):
    """ResNet of depth 6 n + 2.

    Attributes:
        blocks: number n of residual blocks per stage.
        num_classes: width of the head.
    """

    blocks: int
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        x = nn.relu(batch_norm(train, "bn1")(conv(WIDTHS[0], 3, name="conv1")(x)))
        for stage, features in enumerate(WIDTHS, start=1):
            for block in range(self.blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                x = BasicBlock(features, stride, name=f"layer{stage}.{block}")(x, train)
        return nn.Dense(self.num_classes, name="linear")(jnp.mean(x, axis=(1, 2)))


def create(arch: str, num_classes: int) -> Teacher:
    """Builds the teacher of that name; see `teachers.create`."""
    classes = num_classes or 10
    return Teacher(
        arch=arch,
        model=CifarResNet(ARCHITECTURES[arch], classes),
        num_classes=classes,
        image_size=(32, 32, 3),
        head="linear",
    )
