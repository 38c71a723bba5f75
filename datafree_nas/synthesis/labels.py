"""Targets: balanced classes in round 0, the teacher's own soft labels afterwards."""

import numpy as np
import scipy.special
from jaxtyping import Float, Int


def balanced(generator: np.random.Generator, count: int, num_classes: int) -> Int[np.ndarray, "n"]:
    """Every class equally often (up to one; which of them is random), in random order."""
    classes = generator.permutation(num_classes)
    return generator.permutation(classes[np.arange(count) % num_classes]).astype(np.int32)


def recalibrated(
    labels: Int[np.ndarray, "n"], logits: Float[np.ndarray, "n k"], temperature: float
) -> Float[np.ndarray, "n k"]:
    """Targets of the next round, from the teacher's logits on the stored images of this one.

    A label that left its class, so that the teacher sees another one in the image, starts again as
    one-hot: otherwise classes drift over the rounds and lose their balance.

    Args:
        labels: the classes that the images were made for.
        logits: the teacher's.
        temperature: of the softmax; 1 in the paper.
    """
    soft = scipy.special.softmax(logits / temperature, axis=-1)
    hard = np.eye(logits.shape[-1], dtype=np.float32)[labels]
    kept = logits.argmax(axis=-1) == labels
    return np.where(kept[:, None], soft, hard).astype(np.float32)
