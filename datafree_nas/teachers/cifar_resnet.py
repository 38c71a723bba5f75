"""ResNet-20 to 110 for 32x32 images (He et al. 2016, section 4.2; option-A shortcuts).

Keys and preprocessing are those of akamaster/pytorch_resnet_cifar10, whose checkpoints were trained
with ImageNet's mean and standard deviation.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.teachers.teacher import KeyTable, Teacher

# name -> residual blocks per stage; depth = 6 n + 2
ARCHITECTURES = {f"cifar_resnet{6 * n + 2}": n for n in (1, 3, 5, 7, 9, 18)}
WIDTHS = (16, 32, 64)
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def _conv(features: int, stride: int, name: str) -> nn.Conv:
    return nn.Conv(features, (3, 3), stride, padding=1, use_bias=False, name=name)


def _batch_norm(train: bool, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A)."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b i j k"]:
        y = _conv(self.features, self.stride, "conv1")(x)
        y = nn.relu(_batch_norm(train, "bn1")(y))
        y = _conv(self.features, 1, "conv2")(y)
        y = _batch_norm(train, "bn2")(y)
        if self.stride != 1 or x.shape[-1] != self.features:
            side = (self.features - x.shape[-1]) // 2
            x = jnp.pad(
                x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (side, side))
            )
        return nn.relu(x + y)


class CifarResNet(nn.Module):
    """ResNet of depth 6 n + 2.

    Attributes:
        blocks: n, residual blocks per stage.
        num_classes: width of the head.
    """

    blocks: int
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        x = nn.relu(_batch_norm(train, "bn1")(_conv(WIDTHS[0], 1, "conv1")(x)))
        for stage, features in enumerate(WIDTHS, start=1):
            for block in range(self.blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                x = BasicBlock(features, stride, name=f"layer{stage}_{block}")(x, train)
        return nn.Dense(self.num_classes, name="linear")(jnp.mean(x, axis=(1, 2)))


def _torch_keys(blocks: int) -> KeyTable:
    table: dict[str, tuple[str, ...]] = {"conv1.weight": ("params", "conv1", "kernel")}

    def add_batch_norm(torch_name: str, *path: str) -> None:
        table[f"{torch_name}.weight"] = ("params", *path, "scale")
        table[f"{torch_name}.bias"] = ("params", *path, "bias")
        table[f"{torch_name}.running_mean"] = ("batch_stats", *path, "mean")
        table[f"{torch_name}.running_var"] = ("batch_stats", *path, "var")

    add_batch_norm("bn1", "bn1")
    for stage in (1, 2, 3):
        for block in range(blocks):
            torch_name, name = f"layer{stage}.{block}", f"layer{stage}_{block}"
            for i in (1, 2):
                table[f"{torch_name}.conv{i}.weight"] = ("params", name, f"conv{i}", "kernel")
                add_batch_norm(f"{torch_name}.bn{i}", name, f"bn{i}")
    table["linear.weight"] = ("params", "linear", "kernel")
    table["linear.bias"] = ("params", "linear", "bias")
    return table


def create(
    arch: str,
    num_classes: int = 0,
    *,
    image_size: tuple[int, int, int] = (32, 32, 3),
    mean: tuple[float, ...] = MEAN,
    std: tuple[float, ...] = STD,
) -> Teacher:
    """The teacher of that name; see `teachers.create`."""
    blocks, classes = ARCHITECTURES[arch], num_classes or 10
    return Teacher(
        arch=arch,
        model=CifarResNet(blocks, classes),
        num_classes=classes,
        image_size=image_size,
        mean=mean,
        std=std,
        torch_keys=_torch_keys(blocks),
    )
