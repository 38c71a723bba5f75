"""A set of labelled images in memory."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, UInt8


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

    def take(self, index: np.ndarray) -> "ImageSet":
        """The images at these places."""
        return ImageSet(*(None if c is None else c[index] for c in self))  # type: ignore[arg-type]
