"""Pixels of any kind as bytes: files that Pillow reads, and arrays."""

import warnings

import numpy as np
from PIL import Image, ImageOps

from datafree_nas.runtime.errors import UserError

BORDER = 0.0625  # of a photograph, left out on every side: 224 of 256 pixels are seen
_ORIENTATION = 0x0112  # the EXIF tag
_MEGAPIXELS = 178  # Pillow refuses more, and warns from half as many on
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

Size = tuple[int, int, int]


def read(file: str, size: Size) -> np.ndarray:
    """Reads an image file; of an animation the first image.

    Args:
        file: of a kind that Pillow reads.
        size: `(h, w, c)` of the result.

    Returns:
        `[h w c]`, upright as the EXIF tag says, 16 bits scaled to 8, transparency dropped.

    Raises:
        UserError: it is no readable image.
    """
    try:
        with Image.open(file) as opened:
            return fitted(_upright(opened), size)
    except Exception as error:  # whatever Pillow stumbles over, the file is at fault
        raise UserError(f"{file} {refusal(error)}") from None


def remarks(file: str) -> list[str]:
    """What is assumed of an image file that could be otherwise.

    Raises:
        UserError: it is no readable image.
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
    except Exception as error:  # whatever Pillow stumbles over, the file is at fault
        raise UserError(f"{file} {refusal(error)}") from None


def refusal(error: Exception) -> str:
    """What is wrong with an image, and what to do, from what its reader has raised."""
    if isinstance(error, Image.DecompressionBombError):
        return f"has more than {_MEGAPIXELS} megapixels; resize or remove it"
    reason = str(error).strip() or type(error).__name__
    return f"is no readable image ({reason}); mend or remove it"


def fitted(image: Image.Image, size: Size) -> np.ndarray:
    """The middle of an image, as ImageNet is evaluated; the whole image if it has the size.

    Args:
        image: of any mode.
        size: `(h, w, c)` of the result.

    Raises:
        ValueError: pixels out of the range of their kind.
    """
    height, width, channels = size
    image = _eight_bits(image).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC, bleed=BORDER)
    return np.asarray(image, np.uint8).reshape(size)


def fitted_array(array: np.ndarray, size: Size) -> np.ndarray:
    """The same as `fitted`, for `[h w c]` of 8 or 16 bits or floats."""
    if array.dtype == np.uint8 and array.shape == size:
        return array
    if array.dtype == np.uint16:
        array = np.round(array * (255 / 65535)).astype(np.uint8)
    return fitted(Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array), size)


def to_bytes(array: np.ndarray, where: str) -> np.ndarray:
    """Understands an array of pixels.

    Args:
        array: integers from 0 to 255; or floats, from 0 to 1 or whole ones from 0 to 255.
        where: its name, for errors.

    Returns:
        The same shape, uint8.

    Raises:
        UserError: anything else.
    """
    if array.dtype.kind not in "biuf" or not array.size:
        raise UserError(f"{where} is {array.dtype} {array.shape}; pixels must be numbers, 0 to 255")
    low, high = array.min(), array.max()
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and low >= 0 and high <= 1):
        return np.round(array * np.float32(255)).astype(np.uint8)
    whole = array.dtype.kind != "f" or bool((array == np.round(array)).all())
    if not (low >= 0 and high <= 255 and whole):  # so that NaN is refused
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
    """Whether `convert` would cut its pixels off at 255."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _eight_bits(image: Image.Image) -> Image.Image:
    if not _is_deep(image):
        return image
    array = np.asarray(image)
    return Image.fromarray(np.round(array * (255 / _white(image, array))).astype(np.uint8))


def _white(image: Image.Image, array: np.ndarray) -> int:
    """The value that becomes 255, of an image of more than 8 bits."""
    low, high = array.min(), array.max()
    choices: tuple[int, ...] = (65535,)
    if image.mode == "F":
        choices = (1, 255)
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):  # which have 16 bits
        choices = (255, 65535)
    for white in choices:
        if low >= 0 and high <= white:
            return white
    raise ValueError(f"its pixels go from {low:g} to {high:g}")
