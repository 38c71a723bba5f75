"""DenseNet-121 (Huang et al. 2017), with torchvision's keys."""

import re

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.interop.torch_names import same
from datafree_nas.teachers.teacher import Teacher
from datafree_nas.teachers.torch_layers import batch_norm, conv, max_pool

ARCHITECTURES = {"densenet121": (6, 12, 24, 16)}  # name -> layers of each dense block
STEM, GROWTH = 64, 32


class DenseLayer(nn.Module):
    """Appends `GROWTH` features to its input, by a 1x1 and a 3x3 convolution."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w k"]:
        y = nn.relu(batch_norm(train, "norm1")(x))
        y = conv(4 * GROWTH, 1, name="conv1")(y)
        y = nn.relu(batch_norm(train, "norm2")(y))
        y = conv(GROWTH, 3, name="conv2")(y)
        return jnp.concatenate([x, y], axis=-1)


class DenseNet(nn.Module):
    """Dense blocks; between two of them, a transition halves the features and the size.

    Attributes:
        layers: number of layers of each dense block.
        num_classes: width of the head.
    """

    layers: tuple[int, ...]
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        x = conv(STEM, 7, 2, name="features.conv0")(x)
        x = nn.relu(batch_norm(train, "features.norm0")(x))
        x = max_pool(x, 3, 2, padding=1)
        for block, layers in enumerate(self.layers, start=1):
            if block > 1:
                transition = f"features.transition{block - 1}"
                x = nn.relu(batch_norm(train, f"{transition}.norm")(x))
                x = conv(x.shape[-1] // 2, 1, name=f"{transition}.conv")(x)
                x = nn.avg_pool(x, (2, 2), (2, 2))
            for layer in range(1, layers + 1):
                x = DenseLayer(name=f"features.denseblock{block}.denselayer{layer}")(x, train)
        x = nn.relu(batch_norm(train, "features.norm5")(x))
        return nn.Dense(self.num_classes, name="classifier")(jnp.mean(x, axis=(1, 2)))


def _published(name: str) -> str:
    """Returns a module's name in torchvision before 0.3, which the published files have."""
    return re.sub(r"(denselayer\d+\.)(norm|conv)(\d)", r"\1\2.\3", name)


def create(arch: str, num_classes: int) -> Teacher:
    """Builds the teacher of that name; see `teachers.create`."""
    classes = num_classes or 1000
    return Teacher(
        arch=arch,
        model=DenseNet(ARCHITECTURES[arch], classes),
        num_classes=classes,
        image_size=(224, 224, 3),
        head="classifier",
        torch_names=(same, _published),
    )
