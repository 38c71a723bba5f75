"""Converts image files that Pillow can read, and arrays, into pixels of one byte per value."""

import warnings

import numpy as np
from PIL import Image, ImageOps

from datafree_nas.runtime.errors import UserError

BORDER = 0.0625  # share of a photograph that is cut off on every side: 224 of 256 pixels are left
_ORIENTATION = 0x0112  # number of the EXIF tag
_MEGAPIXELS = 178  # Pillow refuses larger images, and warns of those larger than half of this
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

Size = tuple[int, int, int]


def read(file: str, size: Size) -> np.ndarray:
    """Reads an image file; of an animation, only the first image.

    Args:
        file: path of an image file in a format that Pillow reads.
        size: size of the result, `(h, w, c)`.

    Returns:
        Pixels `[h w c]`, turned upright as the EXIF tag says, 16 bits scaled to 8, without
        transparency.

    Raises:
        UserError: the file is not a readable image.
    """
    try:
        with Image.open(file) as opened:
            return fitted(_upright(opened), size)
    except Exception as error:  # Pillow raises errors of many kinds for a bad file
        raise UserError(f"{file} {refusal(error)}") from None


def remarks(file: str) -> list[str]:
    """Lists assumptions about an image file that may be wrong.

    Raises:
        UserError: the file is not a readable image.
    """
    try:
        with Image.open(file) as opened:
            turned = opened.getexif().get(_ORIENTATION, 1) != 1
            found = [f"{file} is rotated as its EXIF orientation says"] * turned
            if _is_deep(opened):
                array = np.asarray(opened)
                found += [
                    f"{file} has more than 8 bits, its brightest pixel is {array.max():g}: "
                    f"{_white(opened, array)} is taken for white"
                ]
            return found
    except Exception as error:  # Pillow raises errors of many kinds for a bad file
        raise UserError(f"{file} {refusal(error)}") from None


def refusal(error: Exception) -> str:
    """Says what is wrong with an image and what to do, given the error of its reader."""
    if isinstance(error, Image.DecompressionBombError):
        return f"has more than {_MEGAPIXELS} megapixels; resize or remove it"
    reason = str(error).strip() or type(error).__name__
    return f"is no readable image ({reason}); fix or remove it"


def fitted(image: Image.Image, size: Size) -> np.ndarray:
    """Cuts out the middle, as is usual for testing on ImageNet, unless the image has the size.

    Args:
        image: image of any Pillow mode.
        size: size of the result, `(h, w, c)`.

    Raises:
        ValueError: a pixel is outside the range that its kind of image allows.
    """
    height, width, channels = size
    image = _eight_bits(image).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC, bleed=BORDER)
    return np.asarray(image, np.uint8).reshape(size)


def fitted_array(array: np.ndarray, size: Size) -> np.ndarray:
    """Applies `fitted` to an array `[h w c]` of 8-bit or 16-bit integers or of floats."""
    if array.dtype == np.uint8 and array.shape == size:
        return array
    if array.dtype == np.uint16:
        array = np.round(array * (255 / 65535)).astype(np.uint8)
    return fitted(Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array), size)


def to_bytes(array: np.ndarray, where: str) -> np.ndarray:
    """Converts an array of pixels to bytes.

    Args:
        array: integers from 0 to 255, floats from 0 to 1, floats with whole values from 0 to 255,
            or booleans.
        where: name of the array, for errors.

    Returns:
        An array of the same shape, uint8.

    Raises:
        UserError: the pixels are anything else, or integers that are only 0 and 1.
    """
    if array.dtype.kind not in "biuf" or not array.size:
        raise UserError(f"{where} is {array.dtype} {array.shape}; pixels must be numbers, 0 to 255")
    low, high = array.min(), array.max()
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and low >= 0 and high <= 1):
        return np.round(array * np.float32(255)).astype(np.uint8)
    whole = array.dtype.kind != "f" or bool((array == np.round(array)).all())
    if not (low >= 0 and high <= 255 and whole):  # `not` so that NaN is refused too
        raise UserError(
            f"{where} has {array.dtype} pixels from {low:g} to {high:g}; give integers from 0 to "
            "255, or floats from 0 to 1, without subtracting the mean"
        )
    if high == 1:
        raise UserError(
            f"{where} has {array.dtype} pixels of 0 and 1; multiply them by 255, or give floats"
        )
    return array.astype(np.uint8, copy=False)


def _upright(image: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _is_deep(image: Image.Image) -> bool:
    """Returns whether Pillow's `convert` would clip the pixels at 255."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _eight_bits(image: Image.Image) -> Image.Image:
    if not _is_deep(image):
        return image
    array = np.asarray(image)
    return Image.fromarray(np.round(array * (255 / _white(image, array))).astype(np.uint8))


def _white(image: Image.Image, array: np.ndarray) -> int:
    """Returns the value that becomes 255, for an image with more than 8 bits."""
    low, high = array.min(), array.max()
    choices: tuple[int, ...] = (65535,)
    if image.mode == "F":
        choices = (1, 255)
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):  # these have 16 bits
        choices = (255, 65535)
    for white in choices:
        if low >= 0 and high <= white:
            return white
    raise ValueError(f"its pixels go from {low:g} to {high:g}")
