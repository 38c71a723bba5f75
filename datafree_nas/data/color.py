"""Random changes of colour in batches of pixels in [0, 1], as functions for `jax.jit`."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

Images = Float[Array, "b h w c"]
Factors = Float[Array, "b 1 1 1"]  # one for each image

_LUMA = np.array([[0.299], [0.587], [0.114]])  # weights of red, green, blue (ITU-R BT.601)
# Principal components of the colours of ImageNet's pixels in [0, 1]; rows: red, green, blue
_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
_EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


def adjust_brightness(images: Images, factor: Factors) -> Images:
    """Blends each image with black: factor 0 gives black, factor 1 changes nothing."""
    return _blend(images, jnp.zeros_like(images), factor)


def adjust_contrast(images: Images, factor: Factors) -> Images:
    """Blends each image with its mean grey: factor 0 gives that grey, factor 1 changes nothing."""
    return _blend(images, _grey(jnp.mean(images, axis=(1, 2), keepdims=True)), factor)


def adjust_saturation(images: Images, factor: Factors) -> Images:
    """Blends each image with its grey version: factor 0 gives grey, factor 1 changes nothing."""
    return _blend(images, _grey(images), factor)


def adjust_hue(images: Float[Array, "b h w 3"], turn: Factors) -> Float[Array, "b h w 3"]:
    """Changes the hue in HSV and keeps value and saturation; 1 is a full turn, 0 changes nothing.

    The largest channel is found by comparing channels, not by testing which one equals the
    maximum: compiled together with earlier operations, XLA may compute the two sides of such a
    test in different ways, so that they differ in their last bits.
    """
    red, green, blue = jnp.moveaxis(images, -1, 0)
    value = jnp.max(images, axis=-1)
    chroma = value - jnp.min(images, axis=-1)
    divisor = jnp.where(chroma > 0, chroma, 1)
    hue = jnp.select(  # in sixths of a turn
        [(red >= green) & (red >= blue), green >= blue],
        [(green - blue) / divisor, 2 + (blue - red) / divisor],
        4 + (red - green) / divisor,
    )
    distance = (hue[..., None] + 6 * turn + jnp.array([5.0, 3.0, 1.0])) % 6
    share = jnp.clip(jnp.minimum(distance, 4 - distance), 0, 1)
    return value[..., None] - chroma[..., None] * share


# In the order in which they are applied, each with the factor that changes nothing
_ADJUSTMENTS = (
    (adjust_brightness, 1.0),
    (adjust_contrast, 1.0),
    (adjust_saturation, 1.0),
    (adjust_hue, 0.0),
)


def jitter(key: Key[Array, ""], images: Images, strengths: tuple[float, ...]) -> Images:
    """Changes colours as torchvision's ColorJitter does, but always in the same order.

    The order is: brightness, contrast, saturation, hue.

    Args:
        key: random key of the factors; every image has its own factors.
        images: RGB images; grey images only if the strengths of saturation and hue are 0.
        strengths: largest changes of the four; a factor is uniform within this distance of the
            factor that changes nothing.
    """
    keys = jax.random.split(key, len(_ADJUSTMENTS))
    for each, strength, (adjust, neutral) in zip(keys, strengths, _ADJUSTMENTS, strict=True):
        if strength:
            noise = jax.random.uniform(each, (images.shape[0], 1, 1, 1), minval=-1.0)
            images = adjust(images, neutral + strength * noise)
    return images


def lighting(
    key: Key[Array, ""], images: Float[Array, "b h w 3"], std: float
) -> Float[Array, "b h w 3"]:
    """Adds AlexNet's noise along the principal components of colour (section 4.1 of its paper).

    Args:
        key: random key of the noise, which is one colour per image.
        images: RGB images with pixels in [0, 1]; the result is clipped to that range.
        std: standard deviation of the noise, in units of the eigenvalues.
    """
    alphas = std * jax.random.normal(key, (images.shape[0], 3))
    colors = jnp.einsum("bk,ck->bc", alphas * _EIGENVALUES, _EIGENVECTORS)
    return jnp.clip(images + colors[:, None, None], 0, 1)


def _blend(images: Array, other: Array, factor: Array) -> Array:
    return jnp.clip(factor * images + (1 - factor) * other, 0, 1)


def _grey(images: Array) -> Array:
    """Returns the luma `[b h w 1]` by ITU-R BT.601; without RGB, the mean of the channels."""
    if images.shape[-1] == 3:
        return jnp.dot(images, _LUMA, precision="highest")
    return jnp.mean(images, axis=-1, keepdims=True)
