"""The Pareto front of a search: architectures that no other one beats in score and cost at once."""

import numpy as np
from jaxtyping import Float, Int


def non_dominated(
    scores: Float[np.ndarray, "n"], costs: Float[np.ndarray, "n"]
) -> Int[np.ndarray, "m"]:
    """Finds the architectures that are not dominated.

    One dominates another if its score is no lower and its cost no higher, and one of them differs.
    Of several that are equal in both, the first one is kept; scores that are not finite are left
    out.

    Args:
        scores: score of each architecture, higher is better.
        costs: cost of each architecture.

    Returns:
        Their indices, by rising cost, and so by rising score.
    """
    finite = np.flatnonzero(np.isfinite(scores))
    by_cost = finite[np.lexsort((-scores[finite], costs[finite]))]
    best = np.maximum.accumulate(scores[by_cost])
    before = np.concatenate([[-np.inf], best])[: len(best)]
    return by_cost[scores[by_cost] > before]


def order(scores: Float[np.ndarray, "n"], costs: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Sorts architectures by the rule of NSGA-II (Deb et al. 2002), the best first.

    The front comes first, then the front of all others, and so on; within a front, those come first
    whose neighbours on it are farthest. Scores that are not finite come last.

    Args:
        scores: score of each architecture, higher is better.
        costs: cost of each architecture.

    Returns:
        The indices of all architectures.
    """
    left, found = np.arange(len(scores)), []
    while len(members := left[non_dominated(scores[left], costs[left])]):
        distances = _crowding(scores[members], costs[members])
        found.append(members[np.argsort(-distances, kind="stable")])
        left = np.setdiff1d(left, members)
    return np.concatenate([*found, left])


def _crowding(
    scores: Float[np.ndarray, "n"], costs: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """Computes how far the neighbours of each member of a front are apart; ends are infinitely far.

    The members are in the order of their costs.
    """
    distances = np.zeros(len(scores))
    for values in (scores, costs):
        distances[1:-1] += np.abs(values[2:] - values[:-2]) / (np.ptp(values) or 1.0)
    distances[[0, -1]] = np.inf
    return distances


def spread(costs: Float[np.ndarray, "n"], count: int, first: int) -> Int[np.ndarray, "count"]:
    """Chooses some architectures that are far from each other in the logarithm of their cost.

    Each next one is the one farthest from those chosen before, so that those of a smaller count are
    among those of a larger one.

    Args:
        costs: cost of each architecture of a front, all different and above 0.
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
