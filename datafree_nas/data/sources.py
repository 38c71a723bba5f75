"""Loads natural images by source: `digits`, `tfds:NAME`, `folder:DIR` or `npz:FILE`."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datafree_nas.data import classes as class_names
from datafree_nas.data import folder, npz, splits, tfds_source
from datafree_nas.data.images import Images, ImageSet, Records, held
from datafree_nas.data.labels import check, without_images
from datafree_nas.data.part import Part, Request
from datafree_nas.data.pixels import Size
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.runtime.terminal import printable
from datafree_nas.runtime.values import Values, name, number, text

# values of the fields of `config.data`
FIELDS: dict[str, Values] = {
    "source": text(),
    "data_dir": text(),
    "memory_gb": number(0, 1e6),
    "classes": text(),
    "train_split": name(),
    "test_split": name(),
}
DIGITS_TRAIN = 1297  # of 1797 images; the other 500 are held out for testing
SHOWN = 20  # classes that a line lists
# The brightest pixel of a photograph is rarely this dark (of 255). 14-bit pixels stored as 16 bits
# reach 64 at most.
DARK = 64


def request_of(data: Config, size: Size, num_classes: int, names: Sequence[str] = ()) -> Request:
    """Builds the request for the images that a config names.

    Args:
        data: block `data` of the config.
        size: size of the teacher's images, `(h, w, c)`.
        num_classes: number of classes of the teacher.
        names: class names from the teacher's card; may be empty. `data.classes` takes precedence.

    Raises:
        UserError: the class names do not fit, or their file cannot be read.
    """
    classes = class_names.known(num_classes, data.classes, names)
    return Request(data.source, size, classes, data.data_dir, data.train_split, data.test_split)


def load(request: Request, split: str) -> ImageSet:
    """Loads a whole split into memory; see `load_up_to` for arguments and errors."""
    found = load_up_to(request, split, math.inf)
    assert isinstance(found, ImageSet)
    return found


def load_up_to(request: Request, split: str, gigabytes: float) -> Images:
    """Loads a split into memory; if its pixels take too much, only finds the images.

    Args:
        request: source of the images. Files in a folder, and TFDS images of varying size, are
            resized to the teacher's size: their middle, as is usual for testing on ImageNet.
        split: `train` or `test`. If the source has no splits, every fifth image is for testing.
        gigabytes: most memory that the pixels may take, in 10^9 bytes.

    Raises:
        UserError: the source is unknown or has no images, its labels are not the teacher's
            classes, or an image is unreadable or has the wrong size.
    """
    images = _part(request, split).images
    return held(images, gigabytes) if isinstance(images, Records) else images


def inspect(request: Request, needed: Iterable[str] = ("train", "test")) -> dict[str, Any]:
    """Opens a source and checks its labels; of images in files, it decodes one per split at most.

    Args:
        request: source of the images.
        needed: names of the splits that will be read.

    Returns:
        A dict that can be written as JSON: `source`; `splits`, for `train` and `test` the `name` in
        the source and the number of `images`; `classes`, class index by name, empty if the source
        has no names; `classes_by`, the reason for these indices; `skipped`, the number of items
        that are not read, by kind; `notes`; `warnings`.

    Raises:
        UserError: any error of `load_up_to`, except those of images that are not decoded here.
    """
    parts = {split: _part(request, split) for split in needed}
    skipped: Counter[str] = Counter()
    notes, warnings = [], []
    for split, part in parts.items():
        labels = part.labels()
        skipped.update(part.skipped)
        notes += [*part.notes, *labels.notes]
        warnings += [*part.order.warnings, *_dark(part.images, request, split)]
        if len(labels.indices) == part.images.size:
            warnings += _absent(labels.indices, request, split)
    order = next((part.order for part in parts.values()), None)
    return {
        "source": request.source,
        "splits": {s: {"name": p.name, "images": p.images.size} for s, p in parts.items()},
        "classes": order.places if order else {},
        "classes_by": order.how if order else "",
        "skipped": dict(skipped),
        "notes": list(dict.fromkeys(notes)),
        "warnings": list(dict.fromkeys(warnings)),
    }


def names_in_order(inspected: dict[str, Any], number: int) -> list[str]:
    """Returns the names of all classes in order, as `inspect` found them; empty if any is missing.

    Args:
        inspected: result of `inspect`.
        number: number of classes, k.
    """
    names = {index: name for name, index in inspected["classes"].items()}
    return [names[index] for index in range(number)] if names.keys() == set(range(number)) else []


def lines(inspected: dict[str, Any]) -> list[str]:
    """Returns what `inspect` found as lines to be printed."""
    parts = [
        f"{split} {part['images']} images"
        + (f" ({part['name']})" if part["name"] else " (every fifth is a test image)")
        for split, part in inspected["splits"].items()
    ]
    found = [f"data: {inspected['source']}: {', '.join(parts)}"]
    classes = [f"{name}={place}" for name, place in inspected["classes"].items()]
    if classes:
        more = f", ... {len(classes) - SHOWN} more" * (len(classes) > SHOWN)
        found.append(f"classes: {', '.join(classes[:SHOWN])}{more} (by {inspected['classes_by']})")
    skipped = [f"{count} {what}" for what, count in inspected["skipped"].items()]
    found += [f"skipped: {', '.join(skipped)}"] * bool(skipped)
    found += [*inspected["notes"], *(f"warning: {w}" for w in inspected["warnings"])]
    return [printable(line) for line in found]


def _part(request: Request, split: str) -> Part:
    kind, _, place = request.source.partition(":")
    readers: dict[str, Callable[[Request, str], Part]] = {
        "digits": _digits,
        "tfds": tfds_source.read,
        "folder": folder.read,
        "npz": npz.read,
    }
    if kind not in readers:
        raise UserError(
            f"config.data.source={request.source!r} is unknown{did_you_mean(kind, readers)}"
        )
    if bool(place) == (kind == "digits"):
        raise UserError(
            f"config.data.source={request.source!r} must be digits, tfds:NAME, folder:DIR or "
            "npz:FILE"
        )
    part = readers[kind](request, split)
    size = part.images.image_size
    if size != request.size:
        raise UserError(
            f"{request.source} has images of {size}, the teacher wants {request.size} "
            "(height, width, channels); set config.teacher.image_size or choose other data"
        )
    return part


def place(source: str, data_dir: str = "") -> Path | None:
    """Finds the file or folder that holds the images of a source.

    Args:
        source: value of `config.data.source`.
        data_dir: folder of the data sets of TFDS; empty for the default of TFDS.

    Returns:
        The path, which need not exist; None if the source has none, or if TFDS does not find it.
    """
    kind, _, name = source.partition(":")
    if kind != "tfds":
        return Path(name).expanduser() if name else None
    try:
        return Path(tfds_source.find(Request(source, (1, 1, 1), data_dir=data_dir)))
    except UserError:
        return None


def _digits(request: Request, split: str) -> Part:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    if request.classes.number not in (0, 10):
        raise UserError(f"digits has 10 classes, the teacher {request.classes.number}")
    name = "test" if splits.is_test(request.name(split), request.source) else "train"
    part = slice(DIGITS_TRAIN) if name == "train" else slice(DIGITS_TRAIN, None)
    checked = check(digits.target[part], len(images[part]), request.classes, request.source)
    return Part(ImageSet(images[part], checked.indices), lambda: checked, name)


def _dark(images: Images, request: Request, split: str) -> list[str]:
    """Returns a warning if the images in memory, or the first image otherwise, are very dark."""
    pixels = images.read(0).image if isinstance(images, Records) else images.images
    if (most := np.max(pixels)) > DARK:
        return []
    which = "the first" if isinstance(images, Records) else "any"
    return [
        f"{request.source}: the brightest pixel of {which} {split} image is {most} of 255; perhaps "
        "the pixels have another range"
    ]


def _absent(indices: np.ndarray, request: Request, split: str) -> list[str]:
    missing = without_images(indices, request.classes)
    if not missing:
        return []
    listed = ", ".join(map(str, missing[:SHOWN])) + ", ..." * (len(missing) > SHOWN)
    return [f"{request.source} has no {split} image of {len(missing)} classes: {listed}"]
