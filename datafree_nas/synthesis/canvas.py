"""The synthesizer: its parameters are pixels, and the teacher sees a window of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from datafree_nas.synthesis.noise import NOISES


class Canvas(nn.Module):
    """A batch of images, larger than the teacher's, whose pixels are learned (regional update).

    Attributes:
        shape: `(b, H, W, c)`, the shape of the canvas. H and W are `margin` pixels longer than the
            height h and the width w of the teacher's images.
        margin: difference H − h = W − w, in pixels.
        noise: name of the noise that the pixels start from, one of `noise.NOISES`.
        roll: largest number of pixels by which images are rolled, DeepInversion's jitter; 0: none.
    """

    shape: tuple[int, int, int, int]
    margin: int
    noise: str = "white"
    roll: int = 0

    @nn.compact
    def __call__(
        self, offset: Int[Array, "2"], flip: Bool[Array, ""], pool: int
    ) -> Float[Array, "b i j c"]:
        """Cuts out the window of one iteration, the same for all images as in the release.

        Args:
            offset: row and column of the window's upper left corner, in pooled pixels, each in
                `[0, margin // pool]`; or, with `roll`, the pixels by which rows and columns are
                rolled.
            flip: whether the window is mirrored.
            pool: side of the average pooling before the cut, in pixels; 1 for full resolution.

        Returns:
            Images of sides h / pool and w / pool.
        """
        pixels = self.param("pixels", NOISES[self.noise], self.shape)
        pooled = nn.avg_pool(pixels, (pool, pool), (pool, pool)) if pool > 1 else pixels
        height, width = ((side - self.margin) // pool for side in self.shape[1:3])
        size = (self.shape[0], height, width, self.shape[3])
        if self.roll:
            window = jnp.roll(pooled, offset, (1, 2))
        else:
            window = jax.lax.dynamic_slice(pooled, (0, offset[0], offset[1], 0), size)
        return jnp.where(flip, window[:, :, ::-1], window)


def centre(pixels: Float[Array, "b H W c"], margin: int) -> Float[Array, "b h w c"]:
    """Cuts out the middle of a canvas, the part that is stored."""
    near, far = margin // 2, margin - margin // 2
    return pixels[:, near : pixels.shape[1] - far, near : pixels.shape[2] - far]
