"""Compares a teacher with logits that its PyTorch original gave for the same images."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from datafree_nas.data import npz_array
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import as_path
from datafree_nas.teachers.teacher import Teacher

TOLERANCE = 1e-3  # allowed difference of a logit, as a share of the largest logit
_BATCH = 64


def compare(place: str | Path, teacher: Teacher, variables: Any) -> str:
    """Compares a teacher's logits with those in a file.

    Args:
        place: path of an `.npz` file with `x`, images `[n h w c]` or `[n c h w]`, as bytes or as
            floats that are normalized already, and `y`, logits `[n k]`.
        teacher: description and module of the teacher.
        variables: weights and statistics of the teacher.

    Returns:
        A line with the largest difference and the share of equal predictions.

    Raises:
        UserError: the file cannot be used, or the logits differ by more than `TOLERANCE`.
    """
    path = as_path(place)
    x, y = _read(path)
    images = _normalized(path, x, teacher)
    if y.shape != (len(images), teacher.num_classes):
        raise UserError(
            f"{path}: y {y.shape} is not ({len(images)}, {teacher.num_classes}), logits of the "
            "images in x"
        )
    predict = jax.jit(lambda batch: teacher.model.apply(variables, batch, train=False))
    with jax.default_matmul_precision("highest"):
        batches = [images[i : i + _BATCH] for i in range(0, len(images), _BATCH)]
        found = np.concatenate([np.asarray(predict(batch)) for batch in batches])
    difference = np.abs(found - y).max() / max(np.abs(y).max(), np.finfo(np.float32).tiny)
    agreement = np.mean(found.argmax(-1) == y.argmax(-1))
    line = f"logits differ by {difference:.2g} of the largest, top-1 agrees on {agreement:.1%}"
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path}: {line} of {len(y)} images; {teacher.arch} is not the network that gave them: "
            "its strides, padding, pooling, activations or BatchNorm's epsilon differ, or x was "
            "normalized otherwise"
        )
    return line


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            x = npz_array.read(file, "x")
            y = np.asarray(npz_array.read(file, "y"), np.float32)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except Exception as error:  # whatever error NumPy raises, the file is the cause
        raise UserError(f"{path} is no .npz with arrays x and y: {error}") from None
    if not len(y) or not np.isfinite(y).all():
        raise UserError(f"{path}: y holds no logits, or values that are not finite")
    return x, y


def _normalized(path: Path, x: np.ndarray, teacher: Teacher) -> np.ndarray:
    """Returns the images as the network takes them, normalized, `[n h w c]`."""
    channels = teacher.image_size[2]
    if x.ndim != 4 or channels not in (x.shape[1], x.shape[3]):
        raise UserError(f"{path}: x {x.shape} is not images (n, h, w, {channels})")
    if x.shape[3] != channels:
        x = x.transpose(0, 2, 3, 1)
    if x.dtype == np.uint8:
        return ((x / 255 - np.array(teacher.mean)) / np.array(teacher.std)).astype(np.float32)
    if x.dtype.kind != "f":
        raise UserError(f"{path}: x has values of type {x.dtype}, neither uint8 nor floats")
    return x.astype(np.float32)
