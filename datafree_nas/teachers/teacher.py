"""What the rest of the project knows of a teacher."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
from jaxtyping import Array

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
        arch: its name in the registry, or `package.module:function` of a model of your own.
        model: Linen module; `model.apply(variables, x, train=False)` gives logits `[b k]` of
            normalized images `x` `[b h w c]`.
        num_classes: k.
        image_size: `(h, w, c)` that it was trained on.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        head: path of the last dense layer, joined by dots, whose width is `num_classes`.
        torch_names: for every published style of PyTorch keys, from a module's path to its name.
        variant_of: another architecture whose keys and shapes are the same, if there is one; a file
            does not tell the two apart.
        difference: what a variant computes otherwise, in words.
        rare: whether `auto` takes the other one without asking.
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
