"""Whether natural images have their classes in the teacher's order, which the teacher can tell."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

from datafree_nas.runtime.errors import UserError

IMAGES = 1000  # that are looked at
_BETTER, _IMAGES_BETTER = 0.1, 8  # share and number of images; below, it may be chance
_SHOWN = 10  # classes in a message


class Order(NamedTuple):
    """How well labels fit predictions, as they are and renamed.

    Attributes:
        accuracy: share of the images whose label is predicted.
        renamed: the same share after the classes were renamed so that other images fit best.
        images: number of images that both shares are of.
        names: `[k]`, the predicted class that each label stands for, after that renaming.
    """

    accuracy: float
    renamed: float
    images: int
    names: Int[np.ndarray, "k"]


def compare(
    labels: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], num_classes: int
) -> Order:
    """Finds the renaming of classes that fits a classifier's predictions best.

    A renaming is found on a random half of the images and judged on the other, so that it gains
    nothing where there are few images of a class.

    Args:
        labels: class of each image, by the data.
        predicted: class of each image, by the classifier.
        num_classes: k.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    one, other = order[::2], order[1::2]
    names = _best_names(labels[one], predicted[one], num_classes)
    accuracy, renamed = (
        float(np.mean(found[other] == predicted[other])) if len(other) else 0.0
        for found in (labels, names[labels])
    )
    return Order(accuracy, renamed, len(other), names)


def check(order: Order, class_names: Sequence[str], source: str) -> None:
    """Refuses images whose classes are in another order than the teacher's.

    Args:
        order: from `compare`.
        class_names: name of every label in the source, or none.
        source: name of the image source, for the message.

    Raises:
        UserError: another order fits the teacher's predictions far better; says which.
    """
    gain = order.renamed - order.accuracy
    if gain < _BETTER or gain * order.images < _IMAGES_BETTER:
        return
    moved = [label for label, name in enumerate(order.names) if label != name]
    listed = ", ".join(
        f"{class_names[label] if class_names else label} is class {order.names[label]}"
        for label in moved[:_SHOWN]
    )
    raise UserError(
        f"the teacher is right on {order.accuracy:.1%} of the images of {source}, and on "
        f"{order.renamed:.1%} if their classes are renamed ({listed}"
        f"{', ...' if len(moved) > _SHOWN else ''}): they are in another order than the teacher's. "
        "Write the names of the classes in the teacher's order into a file, one a line, for "
        "config.data.classes; or correct the labels"
    )


def _best_names(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """A permutation of the classes; where nothing is gained, a class keeps its name."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (labels, predicted), 1)
    kept = 1e-3 * np.eye(num_classes)
    return np.asarray(linear_sum_assignment(counts + kept, maximize=True)[1])
