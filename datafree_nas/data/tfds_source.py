"""Reads data sets that TensorFlow Datasets (TFDS) has prepared, without TensorFlow."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from PIL import Image

from datafree_nas.data import pixels, splits, tfds_metadata
from datafree_nas.data.classes import ADVICE, Classes, Order, is_number
from datafree_nas.data.images import Example, Records
from datafree_nas.data.labels import Labels, check
from datafree_nas.data.part import Part, Request
from datafree_nas.runtime.errors import UserError, did_you_mean

SAMPLE = 2000  # labels that are checked before the images are read
_INFO = "dataset_info.json"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.+=,/-]+))?(:(?P<version>[\d.*]+))?")


class _Column(NamedTuple):
    """The feature of a set that is its label.

    Attributes:
        name: name of the feature.
        order: class of each class name in the set.
        understand: function from labels as they are stored, and their name for errors, to class
            indices.
    """

    name: str
    order: Order
    understand: Callable[[list[Any], str], Labels]


def read(request: Request, split: str) -> Part:
    """Opens a split; each image is decoded only when it is needed.

    Raises:
        UserError: the set is not prepared, is in a format that only TensorFlow reads, has no such
            split, or it is unclear which feature is the image or the label.
    """
    directory = find(request)
    builder = _open(directory, request)
    name, features = _split(builder, request, split), dict(builder.info.features.items())
    image, label = _image(features, request), _label(features, request)
    where, shape = f"{request.source}, split {name!r}", features[image].shape
    size = request.size if None in shape else shape
    records = _records(builder, name, request)

    def example(index: int) -> Example:
        with _reading(f"{where}, image {index}"):
            row = records[index]
            seen = pixels.fitted_array(row[image], size)
        labels = label.understand([row[label.name]], f"{where}, image {index}")
        return Example(seen, int(labels.indices[0]))

    def labels() -> Labels:
        rows = _records(builder, name, request, image)
        places = np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int).tolist()
        with _reading(where):
            found = [rows[place][label.name] for place in places]
        return label.understand(found, where)

    return Part(
        images=Records(len(records), size, example),
        labels=labels,
        name=name,
        order=label.order,
        notes=(f"images are {image!r}, labels are {label.name!r} of {directory}",),
    )


def find(request: Request) -> epath.Path:
    """Finds the folder of the newest version of a set, or of the version that is asked for.

    Raises:
        UserError: there is no such folder, or several configs of the set fit.
    """
    import tensorflow_datasets as tfds

    parsed = _NAME.fullmatch(request.place)
    if not parsed:
        raise UserError(f"{request.source}: write tfds:NAME, tfds:NAME/CONFIG or tfds:NAME:VERSION")
    name, config, version = parsed["name"], parsed["config"] or "", parsed["version"] or "*"
    root = epath.Path(os.path.expanduser(request.data_dir or tfds.core.constants.DATA_DIR))
    others = [other for other in _folders(root / name) if not _VERSION.fullmatch(other)]
    configs = [config] if config else ["", *others]
    for folder in (root / name, root):
        found = [at for each in configs for at in _versions(folder / each, version)]
        if found and (folder != root or _open(found[-1], request).name == name):
            if len({at.parent for at in found}) > 1:
                several = ", ".join(sorted(f"tfds:{name}/{at.parent.name}" for at in found))
                raise UserError(f"{request.source} has several configs; choose from {several}")
            return found[-1]
    raise UserError(_missing(request, name, root))


def _folders(place: epath.Path) -> list[str]:
    return sorted(at.name for at in place.iterdir() if at.is_dir()) if place.is_dir() else []


def _versions(place: epath.Path, version: str) -> list[epath.Path]:
    """Returns the folders of prepared versions, the newest last; `place` itself may be one."""
    if (place / _INFO).exists():
        return [place] * fnmatch(place.name, version)
    numbers = [v for v in _folders(place) if _VERSION.fullmatch(v) and fnmatch(v, version)]
    numbers.sort(key=lambda number: [int(part) for part in number.split(".")])
    return [place / number for number in numbers if (place / number / _INFO).exists()]


def _missing(request: Request, name: str, root: epath.Path) -> str:
    import tensorflow_datasets as tfds

    known, there = tfds.list_builders(with_community_datasets=False), _folders(root)
    problem = f"{request.source} is not in {root}; set config.data.data_dir to where it is"
    if name in known:
        return f"{problem}, or prepare it: {_command(request, root)}"
    near = did_you_mean(name, [*known, *there])
    listed = ", ".join(there[:12]) or "nothing"
    return f"{problem}{near if 'did you mean' in near else f'; it has {listed}'}"


def _command(request: Request, root: str | epath.Path) -> str:
    return (
        f'python -c \'import tensorflow_datasets as tfds; tfds.builder("{request.place}", '
        f'data_dir="{root}", file_format="array_record").download_and_prepare()\' '
        "(this step alone needs TensorFlow, in any environment; without it, give the images as "
        "folder:DIR or npz:FILE)"
    )


def _open(directory: epath.Path, request: Request) -> Any:
    import tensorflow_datasets as tfds

    try:
        tfds_metadata.check(directory)
    except UserError as error:
        raise UserError(f"{request.source}: {error}") from None
    with _reading(f"{request.source} in {directory}"):
        return tfds.builder_from_directory(directory)


def _split(builder: Any, request: Request, split: str) -> str:
    """Returns the name of a split in the set, or of a part of one such as `train[:90%]`."""
    wanted = request.name(split)
    base, part = re.fullmatch(r"(\w*)(.*)", wanted, re.DOTALL).groups()  # type: ignore[union-attr]
    found = splits.find(base, builder.info.splits)
    if found is None:
        raise UserError(
            f"{request.source} has no split {wanted!r}, it has {sorted(builder.info.splits)}; set "
            f"config.data.{split}_split"
        )
    return found + part


def _records(builder: Any, split: str, request: Request, *undecoded: str) -> Any:
    import tensorflow_datasets as tfds

    decoders = {feature: tfds.decode.SkipDecoding() for feature in undecoded}
    try:
        with _reading(f"{request.source}, split {split!r},"):
            return builder.as_data_source(split, decoders=decoders or None)
    except NotImplementedError:
        raise UserError(
            f"{request.source} is prepared as {builder.info.file_format.value}, which TensorFlow "
            "alone reads; prepare it as array_record, in another folder for config.data.data_dir: "
            f"{_command(request, 'DIR')}"
        ) from None


def _image(features: dict[str, Any], request: Request) -> str:
    """Finds the feature that is the image."""
    import tensorflow_datasets as tfds

    found = [name for name, feature in features.items() if type(feature) is tfds.features.Image]
    found = found or [name for name, feature in features.items() if _is_picture(feature)]
    if "image" in found or len(found) == 1:
        return "image" if "image" in found else found[0]
    raise UserError(_no_choice("an image", features, request))


def _is_picture(feature: Any) -> bool:
    return _dtype(feature) == np.uint8 and len(feature.shape) == 3


def _label(features: dict[str, Any], request: Request) -> _Column:
    """Finds the feature that is the class of the image."""
    import tensorflow_datasets as tfds

    kind = tfds.features.ClassLabel
    if "label" in features:
        found = ["label"]
    else:
        found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(found) > 1:  # for example coarse and fine classes
        found = [n for n in found if features[n].num_classes == request.classes.number]
    if not found:
        found = [name for name, feature in features.items() if _is_whole_number(name, feature)]
    if len(found) != 1 or not _is_one_label(features[found[0]], request.classes):
        raise UserError(_no_choice("one class for each image", features, request))
    feature = features[found[0]]
    if isinstance(feature, kind):
        return _class_label(found[0], feature, request)

    def understand(labels: list[Any], where: str) -> Labels:
        return check(np.asarray(labels), len(labels), request.classes, where)

    return _Column(found[0], Order({}, "labels are class indices"), understand)


def _is_whole_number(name: str, feature: Any) -> bool:
    is_id = re.search(r"(^|_)(id|idx|index)$", name)
    return not is_id and feature.shape == () and np.issubdtype(_dtype(feature), np.integer)


def _is_one_label(feature: Any, classes: Classes) -> bool:
    return feature.shape in ((), (1,), (classes.number,)) and _dtype(feature) is not None


def _dtype(feature: Any) -> Any:
    """Returns the NumPy type of a feature's values, or None if they are not numbers or text."""
    dtype = getattr(feature, "np_dtype", None)
    return dtype if isinstance(dtype, type | np.dtype) else None


def _no_choice(what: str, features: dict[str, Any], request: Request) -> str:
    listed = ", ".join(
        f"{name}: {' '.join(repr(f).split())}" for name, f in sorted(features.items())
    )
    return (
        f"{request.source} has no feature that must be {what}: {listed}; write the images and "
        "their classes to folders or an .npz file, and give folder:DIR or npz:FILE"
    )


def _class_label(name: str, feature: Any, request: Request) -> _Column:
    """Describes a label for which the set knows the number of classes, and perhaps the names."""
    own, classes = Classes(feature.num_classes), request.classes
    names = [] if all(is_number(each) for each in feature.names) else feature.names
    found = [classes.find(each) for each in names] if classes.names else []
    places = [place for place in found if place is not None]
    if places and len(places) == len(names):
        order = Order(dict(zip(names, places, strict=True)), "names of the teacher's classes")
        table = np.array(places)
    else:
        _check_as_numbers(name, found, own, request)
        differ = (
            f"{request.source}: class names of {name!r} ({', '.join(names[:5])}, ...) are not "
            f"the teacher's ({', '.join(classes.names[:5])}, ...); classes were taken by number",
        )
        how, index = "the numbers of the set", {each: i for i, each in enumerate(names)}
        order = Order(index, how, True, differ if found else ())
        table = np.arange(own.number)

    def understand(labels: list[Any], where: str) -> Labels:
        checked = check(np.asarray(labels), len(labels), own, where)
        return checked._replace(indices=table[checked.indices].astype(np.int32))

    return _Column(name, order, understand)


def _check_as_numbers(name: str, found: list[int | None], own: Classes, request: Request) -> None:
    """Checks that the numbers of a set's classes can be the teacher's, if names do not decide.

    Args:
        name: name of the label's feature.
        found: the teacher's class for every name of the set; empty if there is nothing to compare.
    """
    if request.classes.number not in (0, own.number):
        raise UserError(
            f"{request.source}: {name!r} has {own.number} classes, the teacher has "
            f"{request.classes.number}"
        )
    moved = [place for place, other in enumerate(found) if other not in (None, place)]
    if moved:
        raise UserError(
            f"{request.source}: class {moved[0]} of {name!r} is class {found[moved[0]]} by the "
            f"class names, but other names of the set are unknown; {ADVICE}, spelled as in the set"
        )


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turns the errors that libraries raise for damaged files into a `UserError` of one line."""
    try:
        yield
    except (NotImplementedError, UserError):
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{what} {pixels.refusal(error)}") from None
    except Exception as error:  # TFDS, array_record and Pillow raise many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{what} is not readable: {reason}") from None
