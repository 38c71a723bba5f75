"""The synthesizer: pixels as parameters, and the window of them that the teacher sees."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from datafree_nas.synthesis.noise import NOISES


class Canvas(nn.Module):
    """An over-sized canvas whose pixels are learned (regional update).

    Attributes:
        shape: `(b, H, W, c)`; each side `margin` pixels longer than the teacher's image.
        margin: H − h.
        noise: that it begins with, one of `noise.NOISES`.
    """

    shape: tuple[int, int, int, int]
    margin: int
    noise: str = "white"

    @nn.compact
    def __call__(
        self, offset: Int[Array, "2"], flip: Bool[Array, ""], pool: int
    ) -> Float[Array, "b i j c"]:
        """The window of one iteration, shared by the batch as in the release.

        Args:
            offset: of the window's corner, in pooled pixels, each in `[0, margin // pool]`.
            flip: whether the window is mirrored.
            pool: side of the average pooling before the cut; 1 for full resolution.
        """
        pixels = self.param("pixels", NOISES[self.noise], self.shape)
        pooled = nn.avg_pool(pixels, (pool, pool), (pool, pool)) if pool > 1 else pixels
        height, width = ((side - self.margin) // pool for side in self.shape[1:3])
        size = (self.shape[0], height, width, self.shape[3])
        window = jax.lax.dynamic_slice(pooled, (0, offset[0], offset[1], 0), size)
        return jnp.where(flip, window[:, :, ::-1], window)


def centre(pixels: Float[Array, "b H W c"], margin: int) -> Float[Array, "b h w c"]:
    """The middle window of a canvas: what is stored."""
    near, far = margin // 2, margin - margin // 2
    return pixels[:, near : pixels.shape[1] - far, near : pixels.shape[2] - far]
