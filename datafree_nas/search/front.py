"""The Pareto front of a search: architectures that no other one beats in score and cost at once."""

import numpy as np
from jaxtyping import Float, Int


def front(scores: Float[np.ndarray, "n"], costs: Float[np.ndarray, "n"]) -> Int[np.ndarray, "m"]:
    """Finds the architectures that are not dominated, in the order of their costs.

    One dominates another if it has no lower score and no higher cost, and differs in one of them.
    Of several that are equal in both, the first one is kept.

    Args:
        scores: score of each architecture, higher is better.
        costs: cost of each architecture.

    Returns:
        Their indices.
    """
    order = np.lexsort((np.arange(len(scores)), -scores, costs))
    best = np.maximum.accumulate(scores[order])
    before = np.concatenate([[-np.inf], best[:-1]])
    return order[scores[order] > before]


def order(scores: Float[np.ndarray, "n"], costs: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Sorts architectures by the rule of NSGA-II (Deb et al. 2002), the best first.

    The front comes first, then the front of all others, and so on; within a front, those come first
    whose neighbours on it are farthest.

    Args:
        scores: score of each architecture, higher is better.
        costs: cost of each architecture.
    """
    left, found = np.arange(len(scores)), []
    while len(left):
        members = left[front(scores[left], costs[left])]
        distances = _crowding(scores[members], costs[members])
        found.append(members[np.argsort(-distances, kind="stable")])
        left = np.setdiff1d(left, members)
    return np.concatenate(found) if found else left


def _crowding(
    scores: Float[np.ndarray, "n"], costs: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """Computes how far the neighbours of each member of a front are apart; ends are infinitely far.

    The members are in the order of their costs.
    """
    distances = np.full(len(scores), np.inf)
    for values in (scores, costs):
        extent = np.ptp(values) or 1.0
        distances[1:-1] = np.where(np.isinf(distances[1:-1]), 0.0, distances[1:-1])
        distances[1:-1] += np.abs(values[2:] - values[:-2]) / extent
    return distances


def spread(costs: Float[np.ndarray, "n"], count: int, first: int) -> Int[np.ndarray, "count"]:
    """Chooses some architectures that are far from each other in the logarithm of their cost.

    Args:
        costs: cost of each architecture of a front, all different.
        count: number of architectures, at most n.
        first: index of the architecture that is chosen in any case.

    Returns:
        Their indices, in the order of their costs.
    """
    places, chosen = np.log(costs), [first]
    while len(chosen) < count:
        gaps = np.abs(places[:, None] - places[chosen]).min(axis=1)
        chosen.append(int(np.argmax(gaps)))
    return np.array(sorted(chosen, key=lambda index: costs[index]))
