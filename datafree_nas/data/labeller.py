"""A classifier with its weights, ready to label images of bytes."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array

from datafree_nas.data.preprocessing import Preprocessing

# (variables, normalized images [b h w c]) -> logits [b k], in the type of the images
LogitsFn = Callable[[Any, Array], Array]


class Labeller(NamedTuple):
    """A classifier that gives logits to images; mostly the teacher.

    Attributes:
        logits_fn: `(variables, normalized images [b h w c]) -> logits [b k]`.
        variables: weights and statistics of the classifier, or their shapes where nothing is run.
        preprocessing: normalization of the images.
    """

    logits_fn: LogitsFn
    variables: Any
    preprocessing: Preprocessing


def without_labels(preprocessing: Preprocessing) -> Labeller:
    """Builds what stands for a labeller where the labels of the data are used.

    Args:
        preprocessing: normalization of the images.
    """

    def logits(variables: Any, x: Array) -> Array:
        raise ValueError("a recipe with labels='teacher' needs a labeller")

    return Labeller(logits, None, preprocessing)
