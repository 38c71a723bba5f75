"""A teacher knows its classes: images in another order are told of, and no others."""

import numpy as np
import pytest

from datafree_nas import class_order
from datafree_nas.runtime.errors import UserError

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
NAMES = sorted(DIGITS)


def _predicted(truth, wrong, classes, seed=0):
    """The truth, and another class for a share of the images."""
    generator = np.random.default_rng(seed)
    mistaken = generator.random(len(truth)) < wrong
    return np.where(mistaken, generator.integers(classes, size=len(truth)), truth)


def test_names_in_alphabetical_order():
    truth = np.arange(500) * 7 % 10
    labels = np.array([NAMES.index(name) for name in DIGITS])[truth]
    order = class_order.compare(labels, _predicted(truth, 0.1, 10), 10)
    assert order.accuracy < 0.2
    assert order.renamed > 0.85
    assert [DIGITS.index(name) for name in NAMES] == order.names.tolist()
    with pytest.raises(UserError, match=r"right on .*renamed \(eight is class 8, five is class 5"):
        class_order.check(order, NAMES, "folder:digits")


def test_two_classes_that_are_exchanged():
    truth = np.arange(60) % 2
    order = class_order.compare(1 - truth, truth, 2)
    assert order[:3] == (0, 1, 30)
    with pytest.raises(UserError, match=r"0 is class 1, 1 is class 0\)"):
        class_order.check(order, [], "npz:a.npz")


@pytest.mark.parametrize("wrong", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize(("images", "classes"), [(500, 10), (1000, 1000), (40, 10), (7, 2), (1, 2)])
def test_a_teacher_that_is_bad_is_no_other_order(wrong, images, classes):
    for seed in range(20):
        truth = np.random.default_rng(100 + seed).integers(classes, size=images)
        order = class_order.compare(truth, _predicted(truth, wrong, classes, seed), classes)
        class_order.check(order, [], "digits")
