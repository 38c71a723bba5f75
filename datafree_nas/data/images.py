"""Sets of labelled images: in memory, or decoded one by one when they are needed."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from datafree_nas.runtime.errors import UserError


class ImageSet(NamedTuple):
    """Images in memory, with their labels.

    Attributes:
        images: pixels from 0 to 255, `[n h w c]`.
        labels: class index of each image, `[n]`.
        logits: the teacher's logits on exactly these images, `[n k]`; synthetic images only.
        rounds: round of recursive label calibration that made each image, `[n]`; synthetic images
            only.
    """

    images: UInt8[Array | np.ndarray, "n h w c"]
    labels: Int[Array | np.ndarray, "n"]
    logits: Float[Array | np.ndarray, "n k"] | None = None
    rounds: Int[Array | np.ndarray, "n"] | None = None

    @property
    def size(self) -> int:
        """Number of images, n."""
        return self.images.shape[0]

    @property
    def image_size(self) -> tuple[int, int, int]:
        """Height, width and channels of the images, `(h, w, c)`."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def averaged(self, pool: int) -> "ImageSet":
        """Returns smaller images: each pixel is the mean of a square of `pool` by `pool` pixels.

        Raises:
            UserError: the height or the width is not a multiple of `pool`.
        """
        height, width, channels = self.image_size
        if height % pool or width % pool:
            raise UserError(f"images of {height}x{width} cannot be pooled by {pool}")
        squares = (-1, height // pool, pool, width // pool, pool, channels)
        means = np.asarray(self.images).reshape(squares).mean((2, 4))
        return self._replace(images=np.round(means).astype(np.uint8))

    def take(self, index: np.ndarray) -> "ImageSet":
        """Returns the images at these indices."""
        return ImageSet(*(None if c is None else c[index] for c in self))  # type: ignore[arg-type]


class Example(NamedTuple):
    """One image of an `ImageSet`.

    Attributes:
        image: pixels from 0 to 255, `[h w c]`.
        label: class index of the image.
        logits: the teacher's logits on the image, `[k]`; synthetic images only.
        round: round of recursive label calibration that made the image; synthetic images only.
    """

    image: UInt8[np.ndarray, "h w c"]
    label: int
    logits: Float[np.ndarray, "k"] | None = None
    round: int | None = None


class Records(NamedTuple):
    """A set of labelled images that is not in memory.

    Attributes:
        size: number of images, n.
        image_size: height, width and channels of the images, `(h, w, c)`.
        read: function that decodes the image at an index; many threads may call it at once.
    """

    size: int
    image_size: tuple[int, int, int]
    read: Callable[[int], Example]

    def take(self, index: np.ndarray) -> ImageSet:
        """Decodes the images at these indices into memory."""
        images, labels, logits, rounds = zip(*(self.read(int(i)) for i in index), strict=True)
        return ImageSet(
            np.stack(images),
            np.array(labels, np.int32),
            None if logits[0] is None else np.stack(logits),
            None if rounds[0] is None else np.array(rounds, np.int32),
        )


Images = ImageSet | Records


def fitting(image_size: tuple[int, int, int], gigabytes: float) -> float:
    """Returns how many images of size `(h, w, c)` fit into this many gigabytes (10^9 bytes)."""
    return gigabytes * 1e9 // math.prod(image_size)


def is_large(records: Records, gigabytes: float) -> bool:
    """Returns whether the pixels of a set take more than this many gigabytes (10^9 bytes)."""
    return records.size > fitting(records.image_size, gigabytes)


def held(records: Records, gigabytes: float) -> Images:
    """Reads a set into memory, unless its pixels take more than this many gigabytes."""
    return records if is_large(records, gigabytes) else records.take(np.arange(records.size))
