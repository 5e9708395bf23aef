r"""Proper scores of a forecast given as draws, and whether its intervals held what came.

For an observation y and draws x_1 ... x_S, both in nats:

    CRPS = mean |x_i - y| - sum_{i<j} |x_i - x_j| / (S (S - 1))            fair: its expectation does not depend on S
    interval score = (u - l) + (2/a) max(l - y, 0) + (2/a) max(y - u, 0)   of the interval [l, u] of probability 1 - a

No forecast gains by saying other than it believes.

References
----------
Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation, doi:10.1198/016214506000001437.
Ferro (2014), Fair scores for ensemble forecasts, doi:10.1002/qj.2270.
"""

import numpy as np

LEVELS = (50, 80, 90)
"""Intervals that are scored, in percent, equal-tailed."""


def score(draws: np.ndarray, observed: np.ndarray) -> dict[str, np.ndarray]:
    """Score forecasts (draws, targets) against what was observed, (targets,): the columns of a backtest."""
    median = np.median(draws, axis=0)
    bounds = {
        level: np.quantile(draws, [0.5 - level / 200, 0.5 + level / 200], axis=0)
        for level in LEVELS
    }
    inside = {
        f"inside{k}": (low <= observed) & (observed <= high) for k, (low, high) in bounds.items()
    }
    return (
        {"median": median}
        | inside
        | {
            "crps": crps(draws, observed),
            "interval_score": interval_score(bounds[90][0], bounds[90][1], observed, 0.9),
            "bias": median - observed,
            "abs_error": np.abs(median - observed),
            "z": (observed - draws.mean(axis=0)) / draws.std(axis=0, ddof=1),
        }
    )


def crps(draws: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score, fair, of draws (draws, targets), in the unit of the draws."""
    size = len(draws)
    ranks = 2 * np.arange(1, size + 1) - size - 1
    spread = ranks @ np.sort(draws, axis=0) / (size * (size - 1))
    return np.abs(draws - observed).mean(axis=0) - spread


def interval_score(
    lower: np.ndarray, upper: np.ndarray, observed: np.ndarray, prob: float
) -> np.ndarray:
    """Width of an interval, and 2 / (1 - prob) times how far outside it the observation fell."""
    missed = np.maximum(lower - observed, 0.0) + np.maximum(observed - upper, 0.0)
    return upper - lower + 2 / (1 - prob) * missed
