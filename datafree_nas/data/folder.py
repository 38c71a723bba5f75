"""Images in folders, one folder per class; these may lie inside folders `train` and `test`."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from datafree_nas.data import classes as class_names
from datafree_nas.data import pixels, splits
from datafree_nas.data.images import Example, Records
from datafree_nas.data.labels import Labels
from datafree_nas.data.part import Part, Request
from datafree_nas.runtime.errors import UserError

SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
# folders made by macOS, Synology, Windows and ext4; names that begin with a dot are hidden as well
_HIDDEN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")


class _Content(NamedTuple):
    """The entries of a folder itself, not of its subfolders, in alphabetical order.

    Attributes:
        folders: names of the subfolders.
        images: names of the image files.
        skipped: number of other entries, by kind.
    """

    folders: list[str]
    images: list[str]
    skipped: Counter[str]


def read(request: Request, split: str) -> Part:
    """Finds the images of a split; each is decoded only when it is needed.

    Raises:
        UserError: the folder or the split does not exist, there are no images, or it is unclear
            which class a folder is.
    """
    top = _top(request)
    roots = _roots(top, request)
    root = roots.get(split, top)
    if roots and split not in roots:
        raise UserError(_no_split(top, request, split))
    order = _mapping(list(roots.values()) or [top], request)
    content = _content(root)
    skipped = content.skipped
    if content.images:
        skipped["images outside of class folders"] += len(content.images)
    files = [
        (file, order.places[name])
        for name in sorted(content.folders, key=lambda name: order.places[name])
        for file in _images(os.path.join(root, name), skipped, ())
    ]
    if not roots:
        kept = splits.held_out(len(files), request.name(split), request.source)
        files = [files[i] for i in kept]
    if not files:
        raise UserError(_nothing(root, skipped))

    def example(index: int) -> Example:
        file, label = files[index]
        return Example(pixels.read(file, request.size), label)

    labels = np.array([label for _, label in files], np.int32)
    return Part(
        images=Records(len(files), request.size, example),
        labels=lambda: Labels(labels),
        name=os.path.relpath(root, top) if roots else "",
        order=order,
        skipped=skipped,
        notes=tuple(pixels.remarks(files[0][0])),
    )


def _top(request: Request) -> str:
    """Returns the folder that the request names, if images can be read from it."""
    top = os.path.expanduser(request.place)
    if not os.path.isdir(top):
        kind = "is a file, not a folder: unpack it" if os.path.exists(top) else "does not exist"
        raise UserError(f"{top} {kind}; folder:DIR needs a folder for each class")
    if request.size[2] not in (1, 3):
        channels = request.size[2]
        raise UserError(f"{request.source}: the teacher has {channels} channels; use npz:FILE")
    return top


def _content(folder: str) -> _Content:
    folders, images, skipped = [], [], Counter[str]()
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith(".") or entry.name in _HIDDEN:
            skipped["hidden"] += 1
        elif entry.is_dir():
            folders.append(entry.name)
        elif not entry.is_file():
            skipped["broken links"] += 1
        elif suffix in SUFFIXES:
            images.append(entry.name)
        else:
            skipped[f"files {suffix}" if suffix else "files without a suffix"] += 1
    return _Content(folders, images, skipped)


def _roots(top: str, request: Request) -> dict[str, str]:
    """Finds the folders of `train` and `test`; none if the class folders are at the top."""
    there = _content(top).folders
    found = {role: splits.find(request.name(role), there) for role in ("train", "test")}
    named = [request.name(role) for role in found]
    others = [name for name in there if not splits.is_split(name) and name not in named]
    if None in found.values() and others:
        return {}  # these are class folders, one of which may be called `train`
    return {role: os.path.join(top, name) for role, name in found.items() if name}


def _class_folders(root: str) -> list[str]:
    content = _content(root)
    if content.images and not content.folders:
        raise UserError(
            f"{root} holds {len(content.images)} images and no folders; put the images of each "
            "class into a folder of their own"
        )
    return content.folders


def _mapping(roots: list[str], request: Request) -> class_names.Order:
    """Finds one order for all splits: a class without test images must not shift the others."""
    found: list[set[str]] = [set(_class_folders(root)) for root in roots]
    everything: set[str] = set().union(*found)
    most = max(found, key=len)
    if not everything:
        raise UserError(_nothing(roots[0], _content(roots[0]).skipped))
    where = roots[0] if len(roots) == 1 else request.source
    order = class_names.order(everything, request.classes, where)
    if everything != most and not order.certain:
        raise UserError(
            f"{request.source}: {_listed(sorted(everything - most))} in one split, "
            f"{_listed(sorted(most - most.intersection(*found)))} in the other; both need the same "
            "class folders"
        )
    return order


def _images(folder: str, skipped: Counter[str], above: tuple[str, ...]) -> Iterator[str]:
    """Yields all image files below a class folder; those in deeper folders come last."""
    here = os.path.realpath(folder)
    if here in above:
        raise UserError(f"{folder} is a link to a folder that it is in; remove it")
    content = _content(folder)
    skipped.update(content.skipped)
    for name in content.images:
        yield os.path.join(folder, name)
    for name in content.folders:
        yield from _images(os.path.join(folder, name), skipped, (*above, here))


def _no_split(top: str, request: Request, split: str) -> str:
    return (
        f"{top} has no folder {request.name(split)!r}, or one of another usual name, for the "
        f"{split} images; it has {_listed(_content(top).folders)}; set "
        f"config.data.{split}_split, or give the folder of the classes itself"
    )


def _nothing(root: str, skipped: Counter[str]) -> str:
    passed = ", ".join(f"{count} {what}" for what, count in skipped.items())
    return (
        f"{root} holds no images{f' (skipped: {passed})' * bool(passed)}; expected one folder for "
        f"each class, with images in it: {' '.join(SUFFIXES)}"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) + ", ..." * (len(names) > 12)
