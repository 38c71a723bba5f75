import itertools

import numpy as np
import pytest

from datafree_nas.search import front


def dominated(i, scores, costs):
    """Whether another one is better in one respect and no worse in the other."""
    no_worse = (scores >= scores[i]) & (costs <= costs[i])
    return np.any(no_worse & ((scores > scores[i]) | (costs < costs[i])))


@pytest.mark.parametrize("seed", range(5))
def test_front_is_what_no_other_one_dominates(seed):
    generator = np.random.default_rng(seed)
    scores, costs = generator.integers(0, 20, (2, 60)).astype(float)
    found = front.non_dominated(scores, costs)
    values = {(scores[i], costs[i]) for i in range(60) if not dominated(i, scores, costs)}
    assert [(scores[i], costs[i]) for i in found] == sorted(values, key=lambda v: v[1])


def test_order_goes_from_front_to_front_and_from_the_ends_inwards():
    scores = np.array([1.0, 2.0, 2.1, 5.0, 0.5, 4.0])
    costs = np.array([1.0, 2.0, 2.2, 9.0, 1.5, 9.5])
    assert front.order(scores, costs).tolist() == [0, 3, 2, 1, 4, 5]
    assert front.order(np.array([]), np.array([])).tolist() == []


def test_scores_that_are_not_finite_come_last():
    scores, costs = np.array([np.nan, 1.0, -np.inf, 2.0]), np.array([1.0, 2.0, 3.0, 4.0])
    assert front.non_dominated(scores, costs).tolist() == [1, 3]
    assert front.order(scores, costs).tolist() == [1, 3, 0, 2]


def test_spread_takes_the_ends_and_fills_the_widest_gap():
    costs = np.array([1.0, 1.1, 10.0, 90.0, 100.0])
    assert front.spread(costs, 1, 4).tolist() == [4]
    assert front.spread(costs, 2, 4).tolist() == [0, 4]
    assert front.spread(costs, 3, 4).tolist() == [0, 2, 4]
    assert front.spread(costs, 5, 2).tolist() == [0, 1, 2, 3, 4]


def test_a_larger_count_only_adds():
    costs = np.random.default_rng(0).uniform(1, 100, 30)
    chosen = [set(front.spread(costs, count, 7).tolist()) for count in range(1, 31)]
    assert all(few < more for few, more in itertools.pairwise(chosen))
    assert chosen[0] == {7}
