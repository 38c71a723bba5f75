"""How bytes become what a network sees."""

from typing import NamedTuple

from jaxtyping import Array, Float, UInt8

from datafree_nas.data import augment


class Preprocessing(NamedTuple):
    """The normalization that a network was trained with.

    Attributes:
        mean: mean of each channel, of pixels in [0, 1].
        std: standard deviation of each channel, of pixels in [0, 1].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalizes a batch of bytes."""
        return augment.normalize(images, self.mean, self.std)
