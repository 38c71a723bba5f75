"""Images and labels in one `.npz` file, in arrays with common names."""

import os
import re
from typing import NamedTuple

import numpy as np

from datafree_nas.data import npz_array, pixels, splits
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labels import check
from datafree_nas.data.part import Part, Request
from datafree_nas.runtime.errors import UserError

IMAGES = ("x", "image", "images", "img", "imgs", "data", "pixels", "inputs")
LABELS = ("y", "label", "labels", "target", "targets", "class", "classes")
_SHOWN = 20  # arrays of a file that a message lists


class _Pair(NamedTuple):
    """Names of an image array, of its label array, and of their split (empty without splits)."""

    images: str
    labels: str
    split: str


_POSITIONAL = _Pair("arr_0", "arr_1", "")  # what `np.savez(file, images, labels)` writes


def read(request: Request, split: str) -> Part:
    """Reads a split into memory.

    Raises:
        UserError: the file does not exist, has no arrays with common names, or these are not
            images and labels.
    """
    file = os.path.expanduser(request.place)
    try:
        with _open(file) as arrays:
            pair = _choose(arrays, request, split, file)
            images, labels = (npz_array.read(arrays, name) for name in (pair.images, pair.labels))
    except UserError:
        raise
    except Exception as error:  # NumPy raises errors of many kinds for a bad file
        reason = "it holds pickled Python objects" if "pickle" in str(error) else error
        raise UserError(
            f"{file} is not a readable .npz file: {reason}; numpy.savez(file, images=..., "
            "labels=...) writes one"
        ) from None
    images, layout = _layout(images, request, f"{file}: {pair.images}")
    images = pixels.to_bytes(images, f"{file}: {pair.images}")
    checked = check(labels, len(images), request.classes, f"{file}: {pair.labels}")
    found = ImageSet(images, checked.indices)
    if not pair.split:
        found = found.take(splits.held_out(found.size, request.name(split), request.source))
    return Part(
        images=found,
        labels=lambda: checked._replace(indices=np.asarray(found.labels)),
        name=pair.split,
        notes=(f"images are {pair.images}, labels are {pair.labels}", *layout),
    )


def _open(file: str) -> np.lib.npyio.NpzFile:
    if not os.path.isfile(file):
        raise OSError("there is no such file")
    arrays = np.load(file, allow_pickle=False)
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise ValueError(f"it is a single array of shape {arrays.shape}")
    return arrays


def _choose(arrays: np.lib.npyio.NpzFile, request: Request, split: str, file: str) -> _Pair:
    """Chooses the arrays of a split.

    Raises:
        UserError: no arrays fit, or several do.
    """
    if sorted(arrays.files) == sorted(_POSITIONAL[:2]):
        return _POSITIONAL
    by_split: dict[str, tuple[list[str], list[str]]] = {}
    for name in arrays.files:
        if understood := _understand(name, request):
            part, is_label = understood
            by_split.setdefault(part, ([], []))[is_label].append(name)
    named = [part for part in by_split if part]
    found = splits.find(request.name(split), named) if named else ""
    images, labels = by_split.get(found, ([], [])) if found is not None else ([], [])
    if len(images) != 1 or len(labels) != 1:
        raise UserError(
            f"{file} must have one array of images and one of labels for the split "
            f"{request.name(split)!r}, such as x_train and y_train, train_images and train_labels, "
            f"or images and labels without splits; it has {_listed(arrays)}"
        )
    return _Pair(images[0], labels[0], found or "")


def _understand(name: str, request: Request) -> tuple[str, bool] | None:
    """Returns the split in an array's name, and whether it holds labels; None if unclear."""
    wanted = [request.train_split.casefold(), request.test_split.casefold()]
    words = re.split(r"[_\W]+", name.casefold())
    parts = [word for word in words if splits.is_split(word) or word in wanted]
    kinds = [word for word in words if word in (*IMAGES, *LABELS)]
    if len(kinds) != 1 or len(parts) > 1 or len(words) != len(kinds) + len(parts):
        return None
    return "".join(parts), kinds[0] in LABELS


def _listed(arrays: np.lib.npyio.NpzFile) -> str:
    """Lists the arrays with their types and shapes, which are read from their headers."""
    found = []
    archive = arrays.zip
    assert archive is not None  # because the file is open
    for member in archive.namelist()[:_SHOWN]:
        shape, dtype = npz_array.header(arrays, member)
        found.append(f"{member.removesuffix('.npy')} {dtype} {list(shape)}")
    more = ", ..." * (len(archive.namelist()) > _SHOWN)
    return ", ".join(found) + more or "nothing"


def _layout(images: np.ndarray, request: Request, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the images as `[n h w c]`, and notes on how they were understood."""
    if images.ndim == 3:
        return images[..., None], ()
    if images.ndim != 4:
        raise UserError(
            f"{where} has shape {images.shape}; images must be [n h w], [n h w c] or [n c h w]"
        )
    moved = np.moveaxis(images, 1, -1)
    if images.shape[1:] != request.size and moved.shape[1:] == request.size:
        return np.ascontiguousarray(moved), ("channels come first in the file",)
    return images, ()
