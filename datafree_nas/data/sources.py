"""Natural images by name: `digits`, `tfds:NAME`, `folder:DIR`, `npz:FILE`."""

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

FILE = "data.json"  # in the workdir: what `inspect` says of the images
DIGITS_TRAIN = 1297  # of 1797; the other 500 are held out
SHOWN = 20  # class names, in a line
DARK = 64  # of 255, which is what 14 bits in 16 come to: hardly a photograph's brightest pixel


def request_of(data: Config, size: Size, num_classes: int, names: Sequence[str] = ()) -> Request:
    """What a config asks of its source.

    Args:
        data: the block `data` of the config.
        size: `(h, w, c)` of the teacher's images.
        num_classes: of the teacher.
        names: of its classes, if its card has them; `data.classes` takes precedence.

    Raises:
        UserError: the file of class names does not fit.
    """
    classes = class_names.known(num_classes, data.classes, names)
    return Request(data.source, size, classes, data.data_dir, data.train_split, data.test_split)


def load(request: Request, split: str) -> ImageSet:
    """Loads a whole split into memory; arguments and errors as of `load_up_to`."""
    found = load_up_to(request, split, math.inf)
    assert isinstance(found, ImageSet)
    return found


def load_up_to(request: Request, split: str, gigabytes: float) -> Images:
    """Loads a split into memory; of one whose pixels take more than that, finds the images.

    Args:
        request: the source. Files in a folder, and data sets of TFDS whose images have many sizes,
            are resized to the teacher's size: the middle, as ImageNet is evaluated.
        split: `train` or `test`. Without splits in the source, every fifth image is for testing.
        gigabytes: of 10^9 bytes.

    Raises:
        UserError: unknown source, nothing there, labels that are not the teacher's classes,
            unreadable images, or images of another size.
    """
    images = _part(request, split).images
    return held(images, gigabytes) if isinstance(images, Records) else images


def inspect(request: Request, needed: Iterable[str] = ("train", "test")) -> dict[str, Any]:
    """Opens a source without reading more than one image of a split, and checks its labels.

    Args:
        request: the source.
        needed: the splits that will be read.

    Returns:
        Ready for JSON: `source`; `splits`, by `train` and `test`, with `name` in the source and
        `images`; `classes`, name to index, where the source has names; `classes_by`, on what
        ground; `skipped`, what is not read and how much of it; `notes`; `warnings`.

    Raises:
        UserError: whatever `load_up_to` would raise, but for images further on.
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
    """The names of all classes in their order, as `inspect` found them; none if some are missing.

    Args:
        inspected: what `inspect` returned.
        number: k, the number of classes.
    """
    names = {index: name for name, index in inspected["classes"].items()}
    return [names[index] for index in range(number)] if names.keys() == set(range(number)) else []


def lines(inspected: dict[str, Any]) -> list[str]:
    """What `inspect` found, to be printed."""
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
        source: as `config.data.source` has it.
        data_dir: where TFDS finds its data sets; empty for its usual place.

    Returns:
        Its path, which need not exist; None where a source has none or where it is not found.
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
    """A warning if images, or the first of those that are not in memory, are hardly visible."""
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
