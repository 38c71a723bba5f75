"""Sets of labelled images: in memory, or decoded one by one when they are asked for."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from datafree_nas.runtime.errors import UserError


class ImageSet(NamedTuple):
    """Images with what is known of them.

    Attributes:
        images: `[n h w c]`, pixels 0 to 255.
        labels: `[n]`, class indices.
        logits: `[n k]`, the teacher's on these very images; for synthetic ones only.
        rounds: `[n]`, in which round of recursive calibration; for synthetic ones only.
    """

    images: UInt8[Array | np.ndarray, "n h w c"]
    labels: Int[Array | np.ndarray, "n"]
    logits: Float[Array | np.ndarray, "n k"] | None = None
    rounds: Int[Array | np.ndarray, "n"] | None = None

    @property
    def size(self) -> int:
        """n."""
        return self.images.shape[0]

    @property
    def image_size(self) -> tuple[int, int, int]:
        """`(h, w, c)`."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def averaged(self, pool: int) -> "ImageSet":
        """Smaller images, each pixel the mean of a square of `pool` by `pool`.

        Raises:
            UserError: the sides are no multiples of it.
        """
        height, width, channels = self.image_size
        if height % pool or width % pool:
            raise UserError(f"images of {height}x{width} cannot be pooled by {pool}")
        squares = (-1, height // pool, pool, width // pool, pool, channels)
        means = np.asarray(self.images).reshape(squares).mean((2, 4))
        return self._replace(images=np.round(means).astype(np.uint8))

    def take(self, index: np.ndarray) -> "ImageSet":
        """The images at these places."""
        return ImageSet(*(None if c is None else c[index] for c in self))  # type: ignore[arg-type]


class Example(NamedTuple):
    """One image of an `ImageSet`.

    Attributes:
        image: `[h w c]`, pixels 0 to 255.
        label: class index.
        logits: `[k]`, likewise.
        round: likewise.
    """

    image: UInt8[np.ndarray, "h w c"]
    label: int
    logits: Float[np.ndarray, "k"] | None = None
    round: int | None = None


class Records(NamedTuple):
    """A set that is not in memory.

    Attributes:
        size: how many images.
        image_size: `(h, w, c)`.
        read: decodes the one at a place; may be called by many threads at once.
    """

    size: int
    image_size: tuple[int, int, int]
    read: Callable[[int], Example]

    def take(self, index: np.ndarray) -> ImageSet:
        """The images at these places, in memory."""
        images, labels, logits, rounds = zip(*(self.read(int(i)) for i in index), strict=True)
        return ImageSet(
            np.stack(images),
            np.array(labels, np.int32),
            None if logits[0] is None else np.stack(logits),
            None if rounds[0] is None else np.array(rounds, np.int32),
        )


Images = ImageSet | Records


def fitting(image_size: tuple[int, int, int], gigabytes: float) -> float:
    """How many images of `(h, w, c)` pixels take so many 10^9 bytes."""
    return gigabytes * 1e9 // math.prod(image_size)


def is_large(records: Records, gigabytes: float) -> bool:
    """Whether the pixels of a set take more than that."""
    return records.size > fitting(records.image_size, gigabytes)


def held(records: Records, gigabytes: float) -> Images:
    """A set in memory, unless it is large."""
    return records if is_large(records, gigabytes) else records.take(np.arange(records.size))
