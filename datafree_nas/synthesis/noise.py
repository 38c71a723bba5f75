"""The noise that the pixels of a canvas start from."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

Shape = tuple[int, int, int, int]


def white(key: Key[Array, ""], shape: Shape) -> Float[Array, "b h w c"]:
    """Draws noise of variance 1, with all frequencies equally strong, as in DeepInversion."""
    return jax.random.normal(key, shape)


def pink(key: Key[Array, ""], shape: Shape) -> Float[Array, "b h w c"]:
    """Draws noise of amplitude 1 / frequency, like that of natural images (Field 1987).

    Its variance, averaged over the canvas, is 1. It is white noise, weighted by frequency, times an
    orthonormal cosine basis (DCT-II): two matrix products.
    """
    height, width = shape[1:3]
    rows, columns = np.arange(height)[:, None] / height, np.arange(width) / width
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    amplitude /= np.sqrt(np.mean(amplitude**2))
    weights = white(key, shape) * amplitude[:, :, None].astype(np.float32)
    waves = _cosines(height), _cosines(width)
    return jnp.einsum("yi,xj,bijc->byxc", *waves, weights, precision="highest")


def _cosines(side: int) -> np.ndarray:
    """Returns the orthonormal basis of the DCT-II, `[position frequency]`."""
    place, frequency = np.arange(side)[:, None] + 0.5, np.arange(side)
    basis = np.sqrt(2 / side) * np.cos(np.pi * place * frequency / side)
    basis[:, 0] /= np.sqrt(2)
    return basis.astype(np.float32)


NOISES = {"white": white, "pink": pink}
