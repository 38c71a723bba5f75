"""How good synthetic images are, measured with a teacher."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from datafree_nas.data.augment import normalize
from datafree_nas.data.images import ImageSet
from datafree_nas.runtime.errors import UserError
from datafree_nas.synthesis import losses
from datafree_nas.teachers import Teacher, apply_with_taps

BATCH = 100


@partial(jax.jit, static_argnums=0)
def _look(teacher_model: object, variables: object, x: Array) -> tuple[Array, Array, Array]:
    """Returns logits, BatchNorm loss (all weights 1) and features of a batch of images.

    Features are the means of each image at the input of the last BatchNorm layer.
    """
    logits, taps = apply_with_taps(teacher_model, variables, x)
    if not taps:
        raise UserError("this teacher has no BatchNorm layers")
    _, per_image = apply_with_taps(teacher_model, variables, x, x.shape[0])
    return logits, losses.batch_norm_matching(taps, 1.0), per_image[-1].mean


def measure(images: ImageSet, teacher: Teacher, variables: object) -> dict[str, float]:
    """Measures images with the teacher, or with another classifier that was not inverted.

    Args:
        images: images, labelled with the classes that they were made for. They are resized to the
            image size of `teacher` if they have another.
        teacher: classifier that measures the images.
        variables: weights and statistics of `teacher`.

    Returns:
        `images`: number of images. `agreement` and `agreement_top5`: share of images whose label is
        the top class, or one of the top five. `confidence`: mean probability of the top class.
        `batch_norm`: mean over batches of 100 images of the BatchNorm loss. `pixel_diversity` and
        `feature_diversity`: mean distance of two images of the same class; the distance is the root
        mean square difference of pixels in [0, 1], or of features (see `look`).
    """
    logits, batch_norm, features = look(images, teacher, variables)
    flat = np.asarray(images.images, np.float32).reshape(images.size, -1) / 255
    labels = np.asarray(images.labels)
    of_label = np.take_along_axis(logits, labels[:, None], axis=-1)
    rank = np.sum(logits > of_label, axis=-1)  # number of classes above the label
    return {
        "images": images.size,
        "agreement": float(np.mean(rank == 0)),
        "agreement_top5": float(np.mean(rank < 5)),
        "confidence": float(np.mean(jax.nn.softmax(logits).max(-1))),
        "batch_norm": batch_norm,
        "pixel_diversity": _spread(flat, labels),
        "feature_diversity": _spread(features, labels),
    }


def look(
    images: ImageSet, teacher: Teacher, variables: object
) -> tuple[np.ndarray, float, Float[np.ndarray, "n d"]]:
    """Computes a teacher's outputs on images; the arguments are those of `measure`.

    Returns:
        Logits `[n k]`; mean over batches of 100 images of the BatchNorm loss; features `[n d]`,
        the means of each image at the input of the last BatchNorm layer.
    """
    logits, losses_, features = [], [], []
    for start in range(0, images.size, BATCH):
        x = normalize(jnp.asarray(images.images[start : start + BATCH]), teacher.mean, teacher.std)
        if x.shape[1:] != teacher.image_size:
            x = jax.image.resize(x, (len(x), *teacher.image_size), "cubic")
        seen = jax.device_get(_look(teacher.model, variables, x))
        logits.append(seen[0])
        losses_.append((len(x), seen[1]))
        features.append(seen[2])
    loss = np.average([v for _, v in losses_], weights=[n for n, _ in losses_])
    return np.concatenate(logits), float(loss), np.concatenate(features)


def _spread(points: Float[np.ndarray, "n d"], labels: np.ndarray) -> float:
    """Returns the mean root mean square distance of pairs of points with the same label."""
    total, pairs = 0.0, 0
    for label in np.unique(labels):
        mine = points[labels == label].astype(np.float64)
        square = np.sum(mine**2, axis=1)
        distances = np.maximum(square[:, None] + square - 2 * mine @ mine.T, 0) / mine.shape[1]
        total += float(np.sum(np.sqrt(distances))) - float(np.sum(np.sqrt(np.diag(distances))))
        pairs += len(mine) * (len(mine) - 1)
    return total / max(pairs, 1)
