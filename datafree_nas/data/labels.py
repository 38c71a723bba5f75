"""The check of labels, the same for every kind of source."""

import re
from typing import NamedTuple

import numpy as np

from datafree_nas.data.classes import ADVICE, Classes, is_number
from datafree_nas.runtime.errors import UserError

_WHOLE = re.compile(r"\s*[+-]?\d+(\.0*)?\s*")  # text that is a whole number


class Labels(NamedTuple):
    """Labels that have been checked.

    Attributes:
        indices: class indices from 0 to k-1, `[n]`.
        notes: remarks on unusual labels and how they were understood.
    """

    indices: np.ndarray
    notes: tuple[str, ...] = ()


def check(labels: np.ndarray, images: int, classes: Classes, where: str) -> Labels:
    """Converts labels into class indices.

    Args:
        labels: integers, floats with whole values, booleans or text, of shape `[n]` or `[n 1]`; or
            one-hot rows `[n k]`.
        images: number of images, n.
        classes: the teacher's classes; labels that are text are looked up among their names.
        where: name of the labels or their images, for errors.

    Raises:
        UserError: the labels cannot be class indices of the teacher.
    """
    labels = np.asarray(labels)
    if not images:
        raise UserError(f"{where}: there are no images")
    if labels.dtype.kind not in "biufSU":
        raise UserError(f"{where}: labels are {labels.dtype}; they must be integers from 0")
    notes = []
    if _is_rows(labels, images):
        labels = _from_one_hot(labels, classes, where)
        notes.append(f"one-hot rows were read as classes {labels.min()} to {labels.max()}")
    elif sorted(labels.shape)[-1:] != [images] or labels.size != images:
        raise UserError(
            f"{where}: labels of shape {labels.shape} for {images} images; one for each is needed"
        )
    labels = labels.reshape(-1)
    if labels.dtype.kind in "SU":
        labels, how = _from_text(labels, classes, where)
        notes.append(how)
    if labels.dtype.kind == "f":
        labels = _from_floats(labels, where)
    _check_range(labels, classes, where)
    return Labels(labels.astype(np.int32), tuple(notes))


def without_images(indices: np.ndarray, classes: Classes) -> list[int]:
    """Returns the teacher's classes that have no image."""
    return np.setdiff1d(np.arange(classes.number), indices).tolist()


def _is_rows(labels: np.ndarray, images: int) -> bool:
    return labels.ndim == 2 and labels.shape[0] == images and labels.shape[1] > 1


def _from_one_hot(labels: np.ndarray, classes: Classes, where: str) -> np.ndarray:
    ones, others = (labels == 1).sum(1), ((labels != 0) & (labels != 1)).sum(1)
    if labels.dtype.kind in "SU" or (ones != 1).any() or others.any():
        raise UserError(
            f"{where}: labels of shape {labels.shape} are no one-hot rows (one 1, otherwise 0); "
            "give one class index for each image"
        )
    if classes.number and labels.shape[1] != classes.number:
        raise UserError(
            f"{where}: one-hot labels of {labels.shape[1]} classes, the teacher has "
            f"{classes.number}"
        )
    return labels.argmax(1)


def _from_text(labels: np.ndarray, classes: Classes, where: str) -> tuple[np.ndarray, str]:
    """Converts class names, or numbers written as text, into numbers, and says how."""
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    texts, inverse = np.unique(labels, return_inverse=True)
    found = [classes.find(text) for text in texts.tolist()]
    if classes.names and all(place is not None for place in found):
        return np.array(found)[inverse], "labels that are names were looked up in the class names"
    named_by_numbers = any(is_number(name) for name in classes.names)
    if all(_WHOLE.fullmatch(text) for text in texts.tolist()) and not named_by_numbers:
        return texts.astype(float)[inverse], "labels that are text were read as numbers"
    unknown = [t for t, place in zip(texts.tolist(), found, strict=True) if place is None]
    shown = ", ".join(unknown[:5]) + ", ..." * (len(unknown) > 5)
    problem = "are not among the class names" if classes.names else "are names, not class indices"
    raise UserError(f"{where}: labels ({shown}) {problem}; {ADVICE}")


def _from_floats(labels: np.ndarray, where: str) -> np.ndarray:
    wrong = np.flatnonzero(~np.isfinite(labels) | (labels != np.round(labels)))
    if wrong.size:
        raise UserError(
            f"{where}: label {wrong[0]} is {labels[wrong[0]]}; labels must be whole numbers from 0"
        )
    return labels


def _check_range(labels: np.ndarray, classes: Classes, where: str) -> None:
    low, high = labels.min(), labels.max()
    most = classes.number - 1 if classes.number else np.iinfo(np.int32).max
    found = f"{where}: labels go from {low:.0f} to {high:.0f}"
    if low < 0:
        hint = "; -1 often marks images without a label: choose another split" * bool(low == -1)
        raise UserError(f"{found}; they must begin at 0{hint}")
    if high > most and low >= 1 and high == most + 1:
        raise UserError(
            f"{found}, the teacher's {classes.number} classes are 0 to {most}: subtract 1 from all "
            "labels, if they are in the teacher's order"
        )
    if high > most:
        raise UserError(f"{found}, the teacher's {classes.number} classes are 0 to {most}")
