"""Natural images by name: `digits`, `tfds:NAME`, `folder:DIR`, `npz:FILE`."""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from datafree_nas.data.images import Example, Images, ImageSet, Records, held
from datafree_nas.runtime.errors import UserError, did_you_mean

SPLITS = ("train", "test")
DIGITS_TRAIN = 1297  # of 1797; the other 500 are held out
BORDER = 0.0625  # of a photograph, left out on every side: 224 of 256 pixels are seen
HOLD_OUT_EVERY = 5  # where a source has no splits, every fifth image is a test image

Size = tuple[int, int, int]


def load(source: str, split: str, size: Size, data_dir: str = "") -> ImageSet:
    """Loads a whole split into memory; arguments and errors as of `load_up_to`."""
    found = load_up_to(source, split, size, data_dir, math.inf)
    assert isinstance(found, ImageSet)
    return found


def load_up_to(source: str, split: str, size: Size, data_dir: str, gigabytes: float) -> Images:
    """Loads a split into memory; of one whose pixels take more than that, finds the images.

    Args:
        source: `digits` (scikit-learn's, 8x8), `tfds:NAME`, `folder:DIR` (one folder a class, below
            `train/` and `test/` if these exist) or `npz:FILE` (`train_images`, `train_labels`,
            `test_images`, `test_labels`, or `images` and `labels`).
        split: `train` or `test`. Without splits in the source, every fifth image is for testing.
        size: `(h, w, c)` of the teacher's images. Files in a folder, and data sets of TFDS whose
            images have many sizes, are resized to it: the middle, as ImageNet is evaluated.
        data_dir: where TFDS finds its data sets.
        gigabytes: of 10^9 bytes.

    Raises:
        UserError: unknown source, nothing there, unreadable images, or images of another size.
    """
    kind, _, place = source.partition(":")
    readers: dict[str, Callable[[], Images]] = {
        "digits": lambda: _digits(split),
        "tfds": lambda: held(_tfds(place, split, size, data_dir), gigabytes),
        "folder": lambda: held(_folder(Path(place), split, size), gigabytes),
        "npz": lambda: _npz(Path(place), split),
    }
    if kind not in readers:
        raise UserError(f"config.data.source={source!r} is unknown{did_you_mean(kind, readers)}")
    found = readers[kind]()
    if found.image_size != size:
        raise UserError(
            f"{source} has images of {found.image_size}, the teacher wants {size} "
            "(height, width, channels); set config.teacher.image_size or choose other data"
        )
    return found


def place(source: str, data_dir: str = "") -> Path | None:
    """Returns the file or folder that holds a source's images, None where there is none."""
    kind, _, name = source.partition(":")
    if kind == "tfds":
        return Path(data_dir or "~/tensorflow_datasets").expanduser() / name
    return Path(name).expanduser() if name else None


def _digits(split: str) -> ImageSet:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    part = slice(DIGITS_TRAIN) if split == "train" else slice(DIGITS_TRAIN, None)
    return ImageSet(images[part], digits.target.astype(np.int32)[part])


def _tfds(name: str, split: str, size: Size, data_dir: str) -> Records:
    import tensorflow_datasets as tfds

    try:
        records = tfds.data_source(name, split=split, data_dir=data_dir or None, download=False)
    except (tfds.core.DatasetNotFoundError, AssertionError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"tfds:{name}, split {split!r}, is not in {data_dir or '~/tensorflow_datasets'} "
            f"({reason}); set config.data.data_dir, or prepare it with the tfds command"
        ) from None
    shape = records.dataset_info.features["image"].shape

    def read(index: int) -> Example:
        row = records[index]
        image = _fitted(Image.fromarray(row["image"]), size) if None in shape else row["image"]
        return Example(image, int(row["label"]))

    return Records(len(records), size if None in shape else shape, read)


def _held_out(count: int, split: str) -> np.ndarray:
    is_test = np.arange(count) % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1
    return np.flatnonzero(is_test if split == "test" else ~is_test)


def _folder(directory: Path, split: str, size: Size) -> Records:
    if not directory.is_dir():
        raise UserError(f"no folder at {directory}")
    has_splits = all((directory / name).is_dir() for name in SPLITS)
    root = directory / split if has_splits else directory
    classes = sorted(p for p in root.iterdir() if p.is_dir())
    files = [
        (file, label)
        for label, folder in enumerate(classes)
        for file in sorted(p for p in folder.iterdir() if p.is_file())
    ]
    if not has_splits:
        files = [files[i] for i in _held_out(len(files), split)]
    if not files:
        raise UserError(f"{root} holds no images; expected one folder a class, images in each")

    def read(index: int) -> Example:
        file, label = files[index]
        return Example(_read_image(file, size), label)

    return Records(len(files), size, read)


def _read_image(file: Path, size: Size) -> np.ndarray:
    try:
        with Image.open(file) as opened:
            return _fitted(opened, size)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{file} is no readable image ({error}); mend or remove it") from None


def _fitted(image: Image.Image, size: Size) -> np.ndarray:
    height, width, channels = size
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC, bleed=BORDER)
    return np.asarray(image, np.uint8).reshape(size)


def _npz(file: Path, split: str) -> ImageSet:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{file} is not a readable .npz file: {error}") from None
    has_splits = f"{split}_images" in content
    prefix = f"{split}_" if has_splits else ""
    try:
        images, labels = content[f"{prefix}images"], content[f"{prefix}labels"]
    except KeyError as error:
        raise UserError(f"{file} has no array {error}; it has {sorted(content)}") from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or len(images) != len(labels):
        raise UserError(
            f"{file}: {prefix}images must be uint8 [n h w c] with one label each, "
            f"not {images.dtype} {images.shape} with {len(labels)} labels"
        )
    images = images[..., None] if images.ndim == 3 else images
    found = ImageSet(images, labels.astype(np.int32))
    return found if has_splits else found.take(_held_out(found.size, split))
