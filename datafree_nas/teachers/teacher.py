"""What the rest of the project knows of a teacher."""

from collections.abc import Mapping
from dataclasses import dataclass

import flax.linen as nn

# Where a PyTorch tensor goes: ("params" or "batch_stats", module names..., leaf name).
KeyTable = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Teacher:
    """A classifier without its weights.

    Attributes:
        arch: its name in the registry.
        model: Linen module; `model.apply(variables, x, train=False)` gives logits `[b k]` of
            normalized images `x` `[b h w c]`.
        num_classes: k.
        image_size: `(h, w, c)` that it was trained on.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        torch_keys: for every tensor of the PyTorch release, its place in `variables`.
    """

    arch: str
    model: nn.Module
    num_classes: int
    image_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    torch_keys: KeyTable
