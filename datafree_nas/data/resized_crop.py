"""torchvision's RandomResizedCrop for batches, as a function that `jax.jit` can compile."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

_RATIO = 4 / 3  # largest ratio of width to height, and of height to width
_CANDIDATES = 10  # windows drawn for each image; the first one that fits is taken


def random_resized_crop(
    key: Key[Array, ""], images: Float[Array, "b h w c"], scale: tuple[float, float]
) -> Float[Array, "b h w c"]:
    """Cuts a random window out of each image and enlarges it to the size of the image.

    Args:
        key: random key of the windows.
        images: images to cut from.
        scale: smallest and largest area of a window, as shares of the image's area.
    """
    return resize_windows(images, random_windows(key, images.shape[:3], scale))


def random_windows(
    key: Key[Array, ""], shape: tuple[int, ...], scale: tuple[float, float]
) -> Int[Array, "b 4"]:
    """Draws a window of random size at a random place for each image.

    If no candidate fits into an image, its window is the largest one allowed, in the middle.

    Args:
        key: random key of all draws.
        shape: number, height and width of the images.
        scale: smallest and largest area of a window, as shares of the image's area.

    Returns:
        Top, left, height and width of each window, in pixels.
    """
    batch, height, width = shape
    size_key, place_key = jax.random.split(key)
    candidates = _candidates(size_key, shape, scale)
    fits = jnp.all((candidates > 0) & (candidates <= jnp.array([height, width])), axis=-1)
    found = jnp.any(fits, axis=1, keepdims=True)
    first = jnp.take_along_axis(candidates, jnp.argmax(fits, axis=1)[:, None, None], axis=1)[:, 0]
    largest = (min(height, round(width * _RATIO)), min(width, round(height * _RATIO)))
    size = jnp.where(found, first, jnp.array(largest))
    free = jnp.array([height, width]) - size
    corner = jnp.where(found, jax.random.randint(place_key, (batch, 2), 0, free + 1), free // 2)
    return jnp.concatenate([corner, size], axis=1)


def _candidates(
    key: Array, shape: tuple[int, ...], scale: tuple[float, float]
) -> Int[Array, "b candidates 2"]:
    """Draws heights and widths: the area and the logarithm of the aspect ratio are uniform."""
    batch, height, width = shape
    area_key, ratio_key = jax.random.split(key)
    draws, log_ratio = (batch, _CANDIDATES), math.log(_RATIO)
    area = height * width * jax.random.uniform(area_key, draws, minval=scale[0], maxval=scale[1])
    ratio = jnp.exp(jax.random.uniform(ratio_key, draws, minval=-log_ratio, maxval=log_ratio))
    sides = jnp.sqrt(jnp.stack([area / ratio, area * ratio], axis=-1))
    return jnp.round(sides).astype(jnp.int32)


def resize_windows(
    images: Float[Array, "b h w c"], windows: Int[Array, "b 4"]
) -> Float[Array, "b h w c"]:
    """Enlarges a window of each image to the size of the image, bilinearly.

    There is no smoothing (antialiasing) before: a window is never larger than its image.

    Args:
        images: images to cut from.
        windows: top, left, height and width of each window, in pixels.
    """

    def resize(image: Array, window: Array) -> Array:
        top, left, height, width = window
        rows = _interpolate(image, _positions(top, height, image.shape[0]), axis=0)
        return _interpolate(rows, _positions(left, width, image.shape[1]), axis=1)

    return jax.vmap(resize)(images, windows)


def _positions(start: Array, length: Array, size: int) -> Float[Array, "size"]:
    """Returns where the centres of `size` pixels lie in a window; none is beyond its border."""
    inside = (jnp.arange(size) + 0.5) * length / size - 0.5
    return start + jnp.clip(inside, 0, length - 1)


def _interpolate(image: Array, positions: Float[Array, "size"], axis: int) -> Array:
    below = jnp.floor(positions).astype(jnp.int32)
    share = jnp.expand_dims(positions - below, range(1, image.ndim - axis))
    low, high = (jnp.take(image, index, axis, mode="clip") for index in (below, below + 1))
    return low + share * (high - low)
