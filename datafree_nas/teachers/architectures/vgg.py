"""VGG-11 to 19 with BatchNorm (Simonyan & Zisserman 2015), with torchvision's keys or timm's.

timm's, whose names begin with `timm_` here, have convolutions where torchvision's have dense
layers.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from datafree_nas.teachers.teacher import Teacher
from datafree_nas.teachers.torch_layers import batch_norm, conv, max_pool

# depth -> convolutions before each of the five poolings
_DEPTHS = {
    "11": (1, 1, 2, 2, 2),
    "13": (2, 2, 2, 2, 2),
    "16": (2, 2, 3, 3, 3),
    "19": (2, 2, 4, 4, 4),
}
ARCHITECTURES = {
    f"{prefix}vgg{depth}_bn": (convolutions, bool(prefix))
    for prefix in ("", "timm_")
    for depth, convolutions in _DEPTHS.items()
}
WIDTHS = (64, 128, 256, 512, 512)
POOLED = 7  # the classifier sees 7x7 positions, whatever the image size


class VGG(nn.Module):
    """3x3 convolutions between poolings, then three dense layers; without dropout.

    Attributes:
        convolutions: number of convolutions before each pooling.
        convolves: whether the first two layers of the classifier are convolutions, 7x7 and 1x1.
        num_classes: width of the head.
    """

    convolutions: tuple[int, ...]
    convolves: bool
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        layer = 0  # torchvision counts ReLU and pooling too
        for count, features in zip(self.convolutions, WIDTHS, strict=True):
            for _ in range(count):
                x = conv(features, 3, bias=True, name=f"features.{layer}")(x)
                x = nn.relu(batch_norm(train, f"features.{layer + 1}")(x))
                layer += 3
            x = max_pool(x, 2, 2)
            layer += 1
        if self.convolves:
            return self._convolved(x)
        x = _adaptive_average_pool(x, POOLED).transpose(0, 3, 1, 2)  # flattened as in PyTorch
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(4096, name="classifier.0")(x))
        x = nn.relu(nn.Dense(4096, name="classifier.3")(x))
        return nn.Dense(self.num_classes, name="classifier.6")(x)

    def _convolved(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
        if min(x.shape[1:3]) < POOLED:
            x = _adaptive_average_pool(x, POOLED)
        sides = (POOLED, POOLED)
        x = nn.relu(nn.Conv(4096, sides, padding="VALID", name="pre_logits.fc1")(x))
        x = nn.relu(nn.Conv(4096, (1, 1), name="pre_logits.fc2")(x))
        return nn.Dense(self.num_classes, name="head.fc")(jnp.mean(x, axis=(1, 2)))


def _adaptive_average_pool(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b n n c"]:
    """Pools as PyTorch does: place i averages rows floor(i h / n) to ceil((i + 1) h / n)."""
    rows, columns = (_averages(side, size) for side in x.shape[1:3])
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x)


def _averages(side: int, size: int) -> np.ndarray:
    place, i = np.arange(side), np.arange(size)[:, None]
    inside = (place >= i * side // size) & (place < -(-(i + 1) * side // size))
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def build(arch: str, num_classes: int) -> Teacher:
    """Builds the teacher of that name; see `teachers.create_teacher`."""
    classes, (convolutions, convolves) = num_classes or 1000, ARCHITECTURES[arch]
    return Teacher(
        arch=arch,
        model=VGG(convolutions, convolves, classes),
        num_classes=classes,
        image_size=(224, 224, 3),
        head="head.fc" if convolves else "classifier.6",
    )
