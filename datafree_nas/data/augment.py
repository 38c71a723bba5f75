"""Preprocessing and augmentation as jittable functions on batches."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

Stats = tuple[float, ...]


def normalize(images: UInt8[Array, "b h w c"], mean: Stats, std: Stats) -> Float[Array, "b h w c"]:
    """Bytes to what a teacher sees: `(x / 255 − mean) / std` per channel."""
    return (images.astype(jnp.float32) / 255 - jnp.array(mean)) / jnp.array(std)


def random_crop(
    key: Key[Array, ""], images: UInt8[Array, "b h w c"], padding: int
) -> UInt8[Array, "b h w c"]:
    """Pads with black and cuts a window of the old size, at its own place for each image."""
    if padding == 0:
        return images
    batch, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    corners = jax.random.randint(key, (batch, 2), 0, 2 * padding + 1)

    def cut(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (*corner, 0), (height, width, channels))

    return jax.vmap(cut)(padded, corners)


def random_flip(key: Key[Array, ""], images: UInt8[Array, "b h w c"]) -> UInt8[Array, "b h w c"]:
    """Mirrors each image with probability one half."""
    coins = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jnp.where(coins, images[:, :, ::-1], images)


def augment(
    key: Key[Array, ""], images: UInt8[Array, "b h w c"], padding: int, flip: bool
) -> UInt8[Array, "b h w c"]:
    """The standard small-image augmentation: padded random crop, and a flip if wanted."""
    crop_key, flip_key = jax.random.split(key)
    images = random_crop(crop_key, images, padding)
    return random_flip(flip_key, images) if flip else images
