import numpy as np
import pytest

from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.students.measure import divergence, measure

PREPROCESSING = Preprocessing((0.0,), (1.0,))
TEACHER = np.array([[3.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 5.0]], np.float32)
PIXELS = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)


def _network(variables, x):
    """Returns, for the image of number i, row i of the variables."""
    return variables[(x[:, 0, 0, 0] * 255 + 0.5).astype(int)]


def test_agreement_and_divergence_on_held_out_images():
    logits = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 5.0]], np.float32)
    held_out = ImageSet(PIXELS, np.zeros(4, np.int32), TEACHER)
    found = measure(Labeller(_network, logits, PREPROCESSING), held_out, None)
    assert found["agreement"] == 0.75
    assert found["held_out"] == 4
    assert found["test_accuracy"] is None
    p, q = (np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in (TEACHER, logits))
    assert found["kl"] == pytest.approx(np.mean(np.sum(p * np.log(p / q), -1)), rel=1e-5)


def test_the_teacher_agrees_with_itself():
    held_out = ImageSet(PIXELS, np.zeros(4, np.int32), TEACHER)
    found = measure(Labeller(_network, TEACHER, PREPROCESSING), held_out, None)
    assert found["agreement"] == 1
    assert found["kl"] == pytest.approx(0, abs=1e-6)


def test_test_images_alone():
    test = ImageSet(PIXELS, np.array([0, 1, 1, 1], np.int32))
    found = measure(Labeller(_network, TEACHER, PREPROCESSING), None, test)
    assert found == {"test_accuracy": 0.75, "agreement": None, "kl": None, "held_out": 0}


def test_divergence_of_extreme_logits_is_finite():
    assert divergence(np.array([[1e3, 0.0]]), np.array([[0.0, 1e3]])) == pytest.approx(1e3)
