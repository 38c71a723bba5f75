"""Measures how well scores order architectures whose true accuracies are known."""

import numpy as np
from scipy import stats

TOP = 0.1  # share of the architectures that are the best by true accuracy
RESAMPLES = 1000
Interval = tuple[float, float]


def measure(scores: np.ndarray, truth: np.ndarray, everyone: np.ndarray) -> dict[str, float]:
    """Computes all figures of one row of scores; of equal scores the first counts as better.

    Args:
        scores: scores of the architectures, `[n]`, higher is better.
        truth: true accuracies in per cent, `[n]`.
        everyone: true accuracies of the whole space in per cent, `[m]`.

    Returns:
        `tau` (Kendall's b) and `rho` (Spearman's). `tau_top`: tau within the tenth with the best
        true accuracies. `top_1`, `top_5`, `top_20`: the best true accuracy among the 1, 5 or 20
        architectures with the best scores. `regret`: true accuracy that the best-scored
        architecture lacks to the best of the space. `percentile`: per cent of the space with a
        lower true accuracy than the best-scored.
    """
    best_first = np.argsort(-scores, kind="stable")
    first = truth[best_first[0]]
    top = np.argsort(-truth, kind="stable")[: max(2, round(TOP * len(truth)))]
    return {
        "tau": stats.kendalltau(scores, truth).statistic,
        "rho": stats.spearmanr(scores, truth).statistic,
        "tau_top": stats.kendalltau(scores[top], truth[top]).statistic,
        **{f"top_{k}": truth[best_first[:k]].max() for k in (1, 5, 20)},
        "regret": everyone.max() - first,
        "percentile": 100 * np.mean(everyone < first),
    }


def tau_interval(scores: np.ndarray, truth: np.ndarray, seed: int = 0) -> Interval:
    """Computes a 95 % bootstrap interval of Kendall's tau: architectures drawn with replacement.

    Args:
        scores: scores of the architectures, `[n]`.
        truth: true accuracies of the architectures, `[n]`.
        seed: seed of the drawing.
    """
    generator, n = np.random.default_rng(seed), len(truth)
    drawn = (generator.integers(n, size=n) for _ in range(RESAMPLES))
    taus = [stats.kendalltau(scores[i], truth[i]).statistic for i in drawn]
    low, high = np.quantile(taus, (0.025, 0.975))
    return float(low), float(high)


def combine(*scores: np.ndarray) -> np.ndarray:
    """Combines several scores to one, `[n]`: the sum of the ranks that each gives."""
    return np.sum([stats.rankdata(each) for each in scores], axis=0)
