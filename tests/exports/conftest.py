"""Networks to export: those of tests/students."""

import numpy as np
import pytest

from datafree_nas.exports.network import Network
from tests.students.conftest import any_student, images, one_student

__all__ = ["any_student", "images", "one_student"]


@pytest.fixture
def as_network():
    """`student -> network`."""

    def build(student):
        space = student.space
        return Network(
            "synthetic",
            "student 'synthetic'",
            student.logits,
            space.image_size,
            space.num_classes,
            [],
        )

    return build


@pytest.fixture
def many():
    """Random images in an amount on which int8 can be calibrated, `[b h w c]`."""
    return np.random.default_rng(2).integers(0, 256, (70, 8, 8, 1)).astype(np.uint8)
