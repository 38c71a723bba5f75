"""Targets of the synthesis: balanced classes in round 0, the teacher's soft labels afterwards."""

import numpy as np
import scipy.special
from jaxtyping import Float, Int


def balanced(generator: np.random.Generator, count: int, num_classes: int) -> Int[np.ndarray, "n"]:
    """Draws labels in random order, with every class equally often.

    If `count` is not a multiple of `num_classes`, some classes, chosen at random, get one more.
    """
    classes = generator.permutation(num_classes)
    return generator.permutation(classes[np.arange(count) % num_classes]).astype(np.int32)


def recalibrated(
    labels: Int[np.ndarray, "n"], logits: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "n k"]:
    """Returns the targets of the next round, given the teacher's logits on the images of this one.

    The target of an image is the teacher's softmax at temperature 1, as in the paper. Where the
    teacher's top class is not the class that the image was made for, the two classes change places:
    otherwise images would drift to other classes over the rounds, and the classes would lose their
    balance.

    Args:
        labels: class that each image was made for.
        logits: the teacher's logits on the images as they are stored.
    """
    logits = np.array(logits, np.float64)
    rows, top = np.arange(len(labels)), logits.argmax(axis=-1)
    logits[rows, top], logits[rows, labels] = logits[rows, labels], logits[rows, top].copy()
    return scipy.special.softmax(logits, axis=-1).astype(np.float32)
