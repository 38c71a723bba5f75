"""Estimates of accuracy that need no real images, from the probes of a student."""

import numpy as np
import pytest

from benchmarks import estimate_errors

PROBES = {
    "held_out": {"agreement": 0.9, "confidence": 0.8, "above_threshold": 0.9},
    "moved": {"agreement": 0.7, "confidence": 0.6, "above_threshold": 0.5},
}


@pytest.mark.parametrize(
    ("candidate", "wanted"),
    [("held_out", 0.9), ("held_out+moved", 0.8), ("atc:moved", 0.5), ("doc:moved", 0.7)],
)
def test_candidates(candidate, wanted):
    assert estimate_errors.estimate([{"probes": PROBES}], candidate) == pytest.approx([wanted])


def test_a_line_is_fitted_to_log_odds():
    x = np.array([0.2, 0.5, 0.9])
    y = 1 / (1 + np.exp(-(0.3 + 2 * np.log(x / (1 - x)))))
    assert estimate_errors.line(x, y) == pytest.approx((0.3, 2))
