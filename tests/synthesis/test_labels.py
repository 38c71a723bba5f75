import numpy as np

from datafree_nas.synthesis import labels


def test_balanced_classes_in_random_order():
    made = labels.balanced(np.random.default_rng(0), 103, 10)
    counts = np.bincount(made)
    assert counts.min() == 10
    assert counts.max() == 11
    assert not np.array_equal(made, np.arange(103) % 10)


def test_recalibrated_targets_are_soft_labels():
    logits = np.array([[2.0, 1.0, 0.0]])
    soft = labels.recalibrated(np.array([0]), logits)
    np.testing.assert_allclose(soft, np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)


def test_a_class_that_was_lost_changes_places_with_the_top_one():
    made = labels.recalibrated(np.array([2]), np.array([[2.0, 1.0, 0.0]]))
    kept = labels.recalibrated(np.array([0]), np.array([[2.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(made, kept[:, [2, 1, 0]])


def test_where_images_are_fewer_classes_are_drawn_at_random():
    made = labels.balanced(np.random.default_rng(0), 20, 1000)
    assert len(np.unique(made)) == 20
    assert made.max() > 500
