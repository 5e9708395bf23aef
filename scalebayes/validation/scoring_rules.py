r"""Proper scores of a forecast given as draws, and the coverage of its intervals.

For an observation y and draws x_1 ... x_S, both in nats, the fair continuous ranked probability
score, whose expectation does not depend on S, is

    CRPS = mean |x_i - y| - sum_{i<j} |x_i - x_j| / (S (S - 1)).

The score of the interval [l, u] of probability 1 - a is

    interval score = (u - l) + (2/a) max(l - y, 0) + (2/a) max(y - u, 0).

Both are proper: a forecaster's expected score is best when the forecast is what the forecaster
believes.

References
----------
Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation,
doi:10.1198/016214506000001437.
Ferro (2014), Fair scores for ensemble forecasts, doi:10.1002/qj.2270.
"""

import numpy as np

LEVELS = (50, 80, 90)
"""Probabilities, in percent, of the equal-tailed intervals whose coverage is recorded."""
SCORED_LEVEL = 90
"""Probability, in percent, of the interval of `interval_score`."""


def score(draws: np.ndarray, observed: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of forecasts by name, each of shape (targets,): columns of a backtest.

    draws : shape (draws, targets).
    observed : shape (targets,).
    """
    median = np.median(draws, axis=0)
    inside = {}
    for level in LEVELS:
        lower, upper = _bounds(draws, level)
        inside[f"inside{level}"] = (lower <= observed) & (observed <= upper)
    lower, upper = _bounds(draws, SCORED_LEVEL)
    return {
        "median": median,
        **inside,
        "crps": crps(draws, observed),
        "interval_score": interval_score(lower, upper, observed, SCORED_LEVEL / 100),
        "bias": median - observed,
        "abs_error": np.abs(median - observed),
        "z": (observed - draws.mean(axis=0)) / draws.std(axis=0, ddof=1),
    }


def _bounds(draws: np.ndarray, level: int) -> np.ndarray:
    """Return the bounds of the equal-tailed interval of a level in percent, shape (2, targets)."""
    return np.quantile(draws, [0.5 - level / 200, 0.5 + level / 200], axis=0)


def crps(draws: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return the fair continuous ranked probability score, shape (targets,), in the draws' unit.

    draws : shape (draws, targets).
    observed : shape (targets,).
    """
    import scoringrules

    # By probability weighted moments it is the fair score, without the distances of all pairs.
    return scoringrules.crps_ensemble(observed, draws, m_axis=0, estimator="pwm")


def interval_score(
    lower: np.ndarray, upper: np.ndarray, observed: np.ndarray, prob: float
) -> np.ndarray:
    """Return the score u - l + 2 / (1 - prob) times the distance of y from [l, u], (targets,)."""
    import scoringrules

    return scoringrules.interval_score(observed, lower, upper, 1 - prob)
