"""Preprocessing and augmentation of batches, as functions that `jax.jit` can compile."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from datafree_nas.data import color
from datafree_nas.data.resized_crop import random_resized_crop
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError

Stats = tuple[float, ...]
# (key, bytes [b h w c]) -> augmented and normalized images
Augmentation = Callable[[Key[Array, ""], Array], Array]


def normalize(images: UInt8[Array, "b h w c"], mean: Stats, std: Stats) -> Float[Array, "b h w c"]:
    """Converts bytes into what a teacher sees: `(x / 255 − mean) / std` per channel."""
    return _standardize(_pixels(images), mean, std)


def make_augmentation(recipe: Config, mean: Stats, std: Stats) -> Augmentation:
    """Builds the function `(key, bytes) -> x` that augments as the recipe says, and normalizes.

    The order is: crop, flip, colour jitter, lighting, normalization, cutout, mixup.

    Args:
        recipe: training block of the config.
        mean: mean of the pixels, which are in [0, 1], one number per channel.
        std: standard deviation of these pixels, one number per channel.

    Raises:
        UserError: a field has an impossible value, or one that does not suit images with this
            number of channels.
    """
    check(recipe, len(mean))

    def augmented(key: Array, images: Array) -> Array:
        crop, flip, jitter, light, cut, mix = jax.random.split(key, 6)
        images = random_crop(crop, images, recipe.crop_padding)
        x = _pixels(random_flip(flip, images) if recipe.flip else images)
        if recipe.crop_scale:
            x = random_resized_crop(crop, x, tuple(recipe.crop_scale))
        if recipe.color_jitter:
            x = color.jitter(jitter, x, tuple(recipe.color_jitter))
        if recipe.lighting:
            x = color.lighting(light, x, recipe.lighting)
        x = _standardize(x, mean, std)
        x = cutout(cut, x, recipe.cutout) if recipe.cutout else x
        return mixup(mix, x) if recipe.mixup else x

    return augmented


def random_crop(
    key: Key[Array, ""], images: UInt8[Array, "b h w c"], padding: int
) -> UInt8[Array, "b h w c"]:
    """Pads each image with black and cuts out a window of the old size, at a random place."""
    if padding == 0:
        return images
    batch, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    corners = jax.random.randint(key, (batch, 2), 0, 2 * padding + 1)

    def cut(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (*corner, 0), (height, width, channels))

    return jax.vmap(cut)(padded, corners)


def random_flip(key: Key[Array, ""], images: UInt8[Array, "b h w c"]) -> UInt8[Array, "b h w c"]:
    """Mirrors each image left to right with probability one half."""
    coins = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jnp.where(coins, images[:, :, ::-1], images)


def cutout(
    key: Key[Array, ""], images: Float[Array, "b h w c"], side: int
) -> Float[Array, "b h w c"]:
    """Sets a square of each image to 0, the mean of normalized images (DeVries & Taylor 2017).

    Args:
        key: random key; the centre of each square may be any pixel of the image, and the part of
            the square outside the image is cut off.
        images: images after normalization.
        side: side of the square, in pixels.
    """
    batch, *size, _ = images.shape
    centres = jax.random.randint(key, (batch, 2), 0, jnp.array(size))

    def inside(axis: int) -> Array:
        place = jnp.arange(size[axis]) - centres[:, axis, None] + side // 2
        return (place >= 0) & (place < side)

    square = inside(0)[:, :, None] & inside(1)[:, None, :]
    return jnp.where(square[..., None], 0, images)


def mixup(key: Key[Array, ""], images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Mixes each image with its neighbour in the batch; its own share is uniform in [0, 1].

    Labels are not mixed here: the teacher labels the mixed image (Beyer et al. 2022).
    """
    share = jax.random.uniform(key, (images.shape[0], 1, 1, 1))
    return share * images + (1 - share) * jnp.roll(images, 1, axis=0)


def _pixels(images: Array) -> Array:
    """Converts bytes into pixels in [0, 1]."""
    return images.astype(jnp.float32) / 255


def _standardize(pixels: Array, mean: Stats, std: Stats) -> Array:
    return (pixels - jnp.array(mean)) / jnp.array(std)


def check(recipe: Config, channels: int, place: str = "a training recipe") -> None:
    """Checks that the augmentation fields fit together and fit the images.

    Args:
        recipe: training block of the config.
        channels: number of channels of the images.
        place: path of the block in the config, for messages.

    Raises:
        UserError: a field does not fit; the message has its name, its value and what to do.
    """
    scale, jitter = tuple(recipe.crop_scale), tuple(recipe.color_jitter)

    def require(holds: bool, name: str, remedy: str) -> None:
        if not holds:
            raise UserError(f"{name}={recipe[name]} of {place}: {remedy}")

    for name in ("crop_padding", "lighting", "cutout"):
        require(recipe[name] >= 0, name, "it cannot be negative; 0 means none")
    require(
        not scale or (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1),
        "crop_scale",
        "give the least and the greatest share of the image's area, in (0, 1], or () for none",
    )
    require(
        not (scale and recipe.crop_padding),
        "crop_padding",
        f"crop_scale={scale} is another kind of crop; set crop_padding=0, or crop_scale=()",
    )
    require(
        not jitter or (len(jitter) == 4 and min(jitter) >= 0 and max(*jitter, 2 * jitter[3]) <= 1),
        "color_jitter",
        "give brightness, contrast and saturation in [0, 1] and hue in [0, 0.5], or () for none",
    )
    require(
        not recipe.mixup or recipe.labels == "teacher",
        "mixup",
        "only the teacher can label a mixture of images; set labels='teacher', or mixup=False",
    )
    rgb, remedy = channels == 3, f"images of {channels} channel(s) are not RGB; set"
    require(rgb or not recipe.lighting, "lighting", f"{remedy} it to 0")
    require(rgb or not any(jitter[2:]), "color_jitter", f"{remedy} saturation and hue in it to 0")
