"""What the rest of the project knows of a teacher."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
from jaxtyping import Array

from datafree_nas.data.labeller import Labeller
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.interop.torch_names import Rename, same
from datafree_nas.runtime.precision import network_in

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True)
class Teacher:
    """A classifier without its weights.

    Attributes:
        arch: name in the registry, or `package.module:function` of a model of your own.
        model: Linen module; `model.apply(variables, x, train=False)` gives logits `[b k]` of
            normalized images `x` `[b h w c]`.
        num_classes: number k of classes.
        image_size: `(h, w, c)` of the images that it was trained on.
        mean: mean of each channel of the training images, of pixels in [0, 1].
        std: standard deviation of each channel, of pixels in [0, 1].
        head: path of the last dense layer, joined by dots; its width is `num_classes`.
        torch_names: functions from a module's path to its name in PyTorch, one for each published
            style of keys.
        variant_of: name of another architecture with the same keys and shapes, if there is one; a
            file does not tell the two apart.
        difference: sentence on what a variant computes differently.
        rare: whether `auto` takes the other architecture without asking.
    """

    arch: str
    model: nn.Module
    num_classes: int
    image_size: tuple[int, int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    head: str = "fc"
    torch_names: tuple[Rename, ...] = field(default=(same,), compare=False)
    variant_of: str = ""
    difference: str = ""
    rare: bool = False


def logits_fn(teacher: Teacher) -> Callable[[Any, Array], Array]:
    """Returns `(variables, normalized images [b h w c]) -> logits [b k]`, for soft labels.

    Layers compute in the type of the images.
    """

    def logits(variables: Any, x: Array) -> Array:
        return teacher.model.apply(network_in(x.dtype, variables), x, train=False)

    return logits


def labeller(teacher: Teacher, variables: Any) -> Labeller:
    """Builds the labeller of a teacher.

    Args:
        teacher: classifier without its weights.
        variables: weights and statistics, or their shapes.
    """
    preprocessing = Preprocessing(teacher.mean, teacher.std)
    return Labeller(logits_fn(teacher), variables, preprocessing)
