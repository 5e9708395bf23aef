"""Intervals of a mean over few clusters, such as the share of covered runs over five tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

INTERVAL_PROB = 0.9
"""Probability of the intervals of means over clusters."""
BISECTIONS = 50
"""Halvings of an interval of length 1: beyond these the ends differ by rounding alone."""


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    r"""Return the 90% t interval of a mean over clusters, NaN with fewer than two.

    For k clusters of mean m and standard deviation s it is
    :math:`m \pm t_{k-1}(0.95)\, s / \sqrt{k}`, which is exact where the clusters are independent
    and their values Normal. A bootstrap of five or seven clusters would be too narrow.

    References
    ----------
    Cameron, Gelbach and Miller (2008), Bootstrap-based improvements for inference with clustered
    errors, doi:10.1162/rest.90.3.414.
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        return math.nan, math.nan
    standard_error = float(values.std(ddof=1) / np.sqrt(len(values)))
    half = _student_quantile(len(values) - 1) * standard_error
    mean = float(values.mean())
    return mean - half, mean + half


def share_interval(shares: Sequence[float] | np.ndarray, trials: int) -> tuple[float, float]:
    """Return the 90% interval of a mean share over clusters, NaN with fewer than two.

    It is the t interval of `mean_interval` within 0 and 1, widened to contain the exact binomial
    interval of Clopper and Pearson for as many independent trials. Where every cluster has the same
    share, such as 1, the t interval alone would have no width.

    Parameters
    ----------
    shares
        Share of each cluster, shape (clusters,).
    trials
        Number of independent units in all clusters: distinct trainings, however often each was
        forecast.
    """
    low, high = mean_interval(shares)
    if math.isnan(low):
        return low, high
    successes = round(float(np.mean(shares)) * trials)
    exact_low, exact_high = _clopper_pearson(successes, trials)
    return max(0.0, min(low, exact_low)), min(1.0, max(high, exact_high))


# SciPy has these quantiles, but every answer reports a measured coverage, and importing
# `scipy.special` for it takes three times as long as the answer.


def _student_quantile(degrees: int) -> float:
    """Return t such that Student's t with some degrees of freedom is within -t and t with 90%."""

    def probability(angle: float) -> float:
        return _student_probability(angle, degrees)

    angle = _increasing_root(probability, INTERVAL_PROB, 0.0, math.pi / 2)
    return math.sqrt(degrees) * math.tan(angle)


def _student_probability(angle: float, degrees: int) -> float:
    r"""Return the probability that \|t\| < sqrt(degrees) tan(angle), by a finite sum.

    References
    ----------
    Abramowitz and Stegun (1964), Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    cosine = math.cos(angle)
    is_odd = degrees % 2 == 1
    # The sum has the powers of the cosine up to degrees - 2, either the odd or the even ones. Each
    # term is the one before it by a ratio of neighbouring integers and two more powers.
    power = 1 if is_odd else 0
    term = cosine**power
    total = 0.0
    while power <= degrees - 2:
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
        power += 2
    if is_odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def _clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    """Return the exact 90% interval of a share, given its successes in independent trials."""
    tail = (1 - INTERVAL_PROB) / 2
    low, high = 0.0, 1.0
    if successes > 0:
        # The share at which so many successes or more have the probability of the tail.
        low = _increasing_root(_binomial_tail(successes, trials), tail, 0.0, 1.0)
    if successes < trials:
        # The share at which so many successes or fewer have it.
        high = _increasing_root(_binomial_tail(successes + 1, trials), 1 - tail, 0.0, 1.0)
    return low, high


def _binomial_tail(successes: int, trials: int) -> Callable[[float], float]:
    """Return the probability of at least so many successes, as a function of their share."""
    numbers = np.maximum(1, np.arange(trials + 1))
    log_factorials = np.log(numbers).cumsum()
    counts = np.arange(successes, trials + 1)
    log_choices = log_factorials[-1] - log_factorials[counts] - log_factorials[trials - counts]

    def probability(share: float) -> float:
        log_share, log_rest = math.log(share), math.log1p(-share)
        terms = np.exp(log_choices + counts * log_share + (trials - counts) * log_rest)
        return float(terms.sum())

    return probability


def _increasing_root(
    function: Callable[[float], float], value: float, low: float, high: float
) -> float:
    """Return where an increasing function has a value, by bisection to the last bits."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if function(middle) < value:
            low = middle
        else:
            high = middle
    return (low + high) / 2
