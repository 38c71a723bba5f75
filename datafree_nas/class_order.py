"""Checks, by the teacher's predictions, whether natural images have the teacher's class order."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

from datafree_nas.data import sources
from datafree_nas.experiment import Experiment
from datafree_nas.runtime.errors import UserError
from datafree_nas.training.fit import logits_of

IMAGES = 1000  # images that are compared
_BETTER, _IMAGES_BETTER = 0.1, 8  # share and number of images; a smaller gain may be chance
_SHOWN = 10  # classes that a message lists


class Order(NamedTuple):
    """Agreement of labels with predictions, with the classes as they are and renamed.

    Attributes:
        accuracy: share of the images whose label is the predicted class.
        renamed: the same share after renaming the classes; the renaming was chosen on other images.
        images: number of images that both shares are of.
        names: predicted class that each label stands for after the renaming, `[k]`.
    """

    accuracy: float
    renamed: float
    images: int
    names: Int[np.ndarray, "k"]


def check_images(experiment: Experiment, images: dict[str, Any]) -> None:
    """Asks a teacher that was trained elsewhere about some of the images that it is tested on.

    Args:
        experiment: run whose teacher stage is done.
        images: description of the natural images, from `sources.inspect`.

    Raises:
        UserError: another order of the classes fits the predictions far better.
    """
    config = experiment.config
    if not config.teacher.checkpoint or config.data.classes or "test" not in images["splits"]:
        return
    labeller, test = experiment.labeller(), experiment.natural("test")
    chosen = np.linspace(0, test.size - 1, min(test.size, IMAGES)).astype(int)
    some = test.take(chosen)
    logits, labels = logits_of(labeller, np.asarray(some.images)), np.asarray(some.labels)
    num_classes = experiment.teacher.num_classes
    order = compare(labels, logits.argmax(-1), num_classes)
    check(order, sources.names_in_order(images, num_classes), config.data.source)


def compare(
    labels: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], num_classes: int
) -> Order:
    """Finds the renaming of classes that fits a classifier's predictions best.

    The renaming is chosen on a random half of the images and judged on the other half, so that it
    gains nothing by chance if there are few images per class.

    Args:
        labels: class of each image according to the data, `[n]`.
        predicted: class of each image according to the classifier, `[n]`.
        num_classes: number of classes, k.
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
        order: result of `compare`.
        class_names: name of every label in the source; empty if the source has no names.
        source: name of the image source, for the message.

    Raises:
        UserError: another order fits the teacher's predictions far better; the message shows it.
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
    """Finds the best permutation of the classes; a class keeps its name if no other is better."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (labels, predicted), 1)
    kept = 1e-3 * np.eye(num_classes)
    return np.asarray(linear_sum_assignment(counts + kept, maximize=True)[1])
