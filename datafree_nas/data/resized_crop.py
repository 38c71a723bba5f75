"""torchvision's RandomResizedCrop as a jittable function on batches."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

_RATIO = 4 / 3  # the greatest of width to height, and of height to width
_CANDIDATES = 10  # of which the first that fits is taken


def random_resized_crop(
    key: Key[Array, ""], images: Float[Array, "b h w c"], scale: tuple[float, float]
) -> Float[Array, "b h w c"]:
    """Cuts a random window out of each image and enlarges it to the size of the image.

    Args:
        key: of the windows.
        images: to cut from.
        scale: least and greatest area of a window, as shares of the image's.
    """
    return resize_windows(images, random_windows(key, images.shape[:3], scale))


def random_windows(
    key: Key[Array, ""], shape: tuple[int, ...], scale: tuple[float, float]
) -> Int[Array, "b 4"]:
    """Draws windows at random places; where no candidate fits, the largest in the middle.

    Args:
        key: of all draws.
        shape: number, height and width of the images.
        scale: least and greatest area of a window, as shares of the image's.

    Returns:
        Top, left, height, width, in pixels.
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
    """Heights and widths: the area is uniform, and so is the logarithm of the aspect ratio."""
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

    No smoothing (antialiasing) comes first: a window is never larger than its image.

    Args:
        images: to cut from.
        windows: top, left, height, width, in pixels.
    """

    def resize(image: Array, window: Array) -> Array:
        top, left, height, width = window
        rows = _interpolate(image, _positions(top, height, image.shape[0]), axis=0)
        return _interpolate(rows, _positions(left, width, image.shape[1]), axis=1)

    return jax.vmap(resize)(images, windows)


def _positions(start: Array, length: Array, size: int) -> Float[Array, "size"]:
    """Where `size` pixels' centres lie in a window; none reads across its border."""
    inside = (jnp.arange(size) + 0.5) * length / size - 0.5
    return start + jnp.clip(inside, 0, length - 1)


def _interpolate(image: Array, positions: Float[Array, "size"], axis: int) -> Array:
    below = jnp.floor(positions).astype(jnp.int32)
    share = jnp.expand_dims(positions - below, range(1, image.ndim - axis))
    low, high = (jnp.take(image, index, axis, mode="clip") for index in (below, below + 1))
    return low + share * (high - low)
