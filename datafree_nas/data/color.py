"""Random changes of colour as jittable functions on batches of pixels in [0, 1]."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

Images = Float[Array, "b h w c"]
Factors = Float[Array, "b 1 1 1"]  # one for each image

_LUMA = np.array([[0.299], [0.587], [0.114]])  # of red, green, blue, by ITU-R BT.601
# Principal components of the colours of ImageNet's pixels in [0, 1]: red, green, blue in rows
_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
_EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


def adjust_brightness(images: Images, factor: Factors) -> Images:
    """Blends with black; 0: black, 1: as it was."""
    return _blend(images, jnp.zeros_like(images), factor)


def adjust_contrast(images: Images, factor: Factors) -> Images:
    """Blends with the mean grey of the image; 0: that grey, 1: as it was."""
    return _blend(images, _grey(jnp.mean(images, axis=(1, 2), keepdims=True)), factor)


def adjust_saturation(images: Images, factor: Factors) -> Images:
    """Blends with the grey image; 0: grey, 1: as it was."""
    return _blend(images, _grey(images), factor)


def adjust_hue(images: Float[Array, "b h w 3"], turn: Factors) -> Float[Array, "b h w 3"]:
    """Turns the hue of HSV, whose value and saturation stay; in turns, 0: as it was.

    The greatest channel is found by order, not by equality to the maximum: compiled into what
    comes before, XLA may compute the two sides of an equality in different ways.
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


# In the order of application, with the factor that changes nothing
_ADJUSTMENTS = (
    (adjust_brightness, 1.0),
    (adjust_contrast, 1.0),
    (adjust_saturation, 1.0),
    (adjust_hue, 0.0),
)


def jitter(key: Key[Array, ""], images: Images, strengths: tuple[float, ...]) -> Images:
    """torchvision's ColorJitter, in one order: brightness, contrast, saturation, hue.

    Args:
        key: of the factors, which every image has for itself.
        images: RGB; grey ones where saturation and hue have no strength.
        strengths: of the four; the factor is uniform within that distance of changing nothing.
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
    """AlexNet's noise along the principal components of colour (its section 4.1), clipped.

    Args:
        key: of the noise, one colour for each image.
        images: RGB.
        std: of the noise, in units of the eigenvalues.
    """
    alphas = std * jax.random.normal(key, (images.shape[0], 3))
    colors = jnp.einsum("bk,ck->bc", alphas * _EIGENVALUES, _EIGENVECTORS)
    return jnp.clip(images + colors[:, None, None], 0, 1)


def _blend(images: Array, other: Array, factor: Array) -> Array:
    return jnp.clip(factor * images + (1 - factor) * other, 0, 1)


def _grey(images: Array) -> Array:
    """Luma `[b h w 1]` by ITU-R BT.601; images that are not RGB: the mean of their channels."""
    if images.shape[-1] == 3:
        return jnp.dot(images, _LUMA, precision="highest")
    return jnp.mean(images, axis=-1, keepdims=True)
