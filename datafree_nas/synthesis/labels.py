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
    labels: Int[np.ndarray, "n"], logits: Float[np.ndarray, "n k"], temperature: float
) -> Float[np.ndarray, "n k"]:
    """Returns the targets of the next round, given the teacher's logits on the images of this one.

    The target of an image is the teacher's softmax. Where the teacher's top class is not the class
    that the image was made for, the target is that class as one-hot: otherwise images would drift
    to other classes over the rounds, and the classes would lose their balance.

    Args:
        labels: class that each image was made for.
        logits: the teacher's logits on the images as they are stored.
        temperature: temperature of the softmax; 1 in the paper.
    """
    soft = scipy.special.softmax(logits / temperature, axis=-1)
    hard = np.eye(logits.shape[-1], dtype=np.float32)[labels]
    kept = logits.argmax(axis=-1) == labels
    return np.where(kept[:, None], soft, hard).astype(np.float32)
