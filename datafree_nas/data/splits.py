"""Names of splits, and the images that are held out if a source has no splits."""

from collections.abc import Iterable

import numpy as np

from datafree_nas.runtime.errors import UserError

HOLD_OUT_EVERY = 5  # if a source has no splits, every fifth image is a test image

_TRAIN = ("train", "training")
_VALIDATION = ("validation", "valid", "val")
_TEST = ("test", "testing", *_VALIDATION)


def same(wanted: str) -> tuple[str, ...]:
    """Returns all names that a split may have, the wanted one first."""
    for family in (_TRAIN, _VALIDATION, _TEST):
        if wanted.casefold() in family:
            return (wanted, *family)
    return (wanted,)


def find(wanted: str, there: Iterable[str]) -> str | None:
    """Finds the name of a split in a source.

    Args:
        wanted: value of `config.data.train_split` or `config.data.test_split`.
        there: names in the source, in upper or lower case.

    Returns:
        The wanted name if it is there, else another usual name (`val` for `test`), or None.
    """
    there = list(there)
    if wanted in there:
        return wanted
    by_name = {name.casefold(): name for name in there}
    return next((by_name[n.casefold()] for n in same(wanted) if n.casefold() in by_name), None)


def is_split(name: str) -> bool:
    """Returns whether a folder or an array of this name is usually a split."""
    return name.casefold() in (*_TRAIN, *_TEST)


def is_test(wanted: str, source: str) -> bool:
    """Returns whether a split is the held-out part of a source that has no splits of its own.

    Raises:
        UserError: the name stands neither for `train` nor for `test`.
    """
    if not is_split(wanted):
        raise UserError(
            f"{source} has no split {wanted!r}, nor any other: every fifth image is held out for "
            "testing; set config.data.train_split to 'train' and config.data.test_split to 'test'"
        )
    return wanted.casefold() in _TEST


def held_out(count: int, wanted: str, source: str) -> np.ndarray:
    """Returns the indices of the images that belong to a split, if the source has no splits.

    Args:
        count: number of images in the source.
        wanted: name of the split.
        source: name of the source, for the error.
    """
    test = np.arange(count) % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1
    return np.flatnonzero(test if is_test(wanted, source) else ~test)
