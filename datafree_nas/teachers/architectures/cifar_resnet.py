"""ResNet-20 to 110 for 32x32 images (He et al. 2016, section 4.2).

Shortcuts have no weights (option A); those of names that end in `_b` are 1x1 convolutions where
sizes change (option B). Keys and preprocessing are those of akamaster/pytorch_resnet_cifar10, whose
checkpoints were trained with ImageNet's mean and standard deviation. Option B has also the keys of
torchvision's ResNets, as in chenyaofo/pytorch-cifar-models.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.interop.torch_names import same
from datafree_nas.teachers.teacher import Teacher
from datafree_nas.teachers.torch_layers import batch_norm, conv

_BLOCKS = (1, 3, 5, 7, 9, 18)
# name -> residual blocks per stage, and whether shortcuts are convolutions; depth = 6 n + 2
ARCHITECTURES = {
    **{f"cifar_resnet{6 * n + 2}": (n, False) for n in _BLOCKS},
    **{f"cifar_resnet{6 * n + 2}_b": (n, True) for n in _BLOCKS},
}
WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Attributes:
        features: number of output channels.
        stride: stride of the block.
        projects: whether the shortcut is a convolution where sizes change (option B), not every
            second pixel and zeros for the new channels (option A).
    """

    features: int
    stride: int
    projects: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b i j k"]:
        y = conv(self.features, 3, self.stride, name="conv1")(x)
        y = nn.relu(batch_norm(train, "bn1")(y))
        y = conv(self.features, 3, name="conv2")(y)
        y = batch_norm(train, "bn2")(y)
        if x.shape == y.shape:
            return nn.relu(x + y)
        if self.projects:
            x = conv(self.features, 1, self.stride, name="shortcut.0")(x)
            x = batch_norm(train, "shortcut.1")(x)
        else:
            side = (self.features - x.shape[-1]) // 2
            x = jnp.pad(
                x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (side, side))
            )
        return nn.relu(x + y)


class CifarResNet(nn.Module):
    """ResNet of depth 6 n + 2.

    Attributes:
        blocks: number n of residual blocks per stage.
        projects: whether shortcuts are convolutions where sizes change.
        num_classes: width of the head.
    """

    blocks: int
    projects: bool
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        x = nn.relu(batch_norm(train, "bn1")(conv(WIDTHS[0], 3, name="conv1")(x)))
        for stage, features in enumerate(WIDTHS, start=1):
            for block in range(self.blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                name = f"layer{stage}.{block}"
                x = BasicBlock(features, stride, self.projects, name=name)(x, train)
        return nn.Dense(self.num_classes, name="linear")(jnp.mean(x, axis=(1, 2)))


def _torchvision(name: str) -> str:
    """Returns a module's name as torchvision's ResNets have it."""
    return {"linear": "fc"}.get(name, name.replace("shortcut", "downsample"))


def build(arch: str, num_classes: int) -> Teacher:
    """Builds the teacher of that name; see `teachers.create_teacher`."""
    classes, (blocks, projects) = num_classes or 10, ARCHITECTURES[arch]
    return Teacher(
        arch=arch,
        model=CifarResNet(blocks, projects, classes),
        num_classes=classes,
        image_size=(32, 32, 3),
        head="linear",
        torch_names=(same, _torchvision) if projects else (same,),
    )
