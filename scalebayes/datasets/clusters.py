"""Intervals of a mean over few clusters, such as the share of covered runs over five tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

INTERVAL_PROB = 0.9
"""Probability of the intervals of means over clusters."""


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
    from scipy import special  # SciPy's distributions take half a second to import

    values = np.asarray(values, float)
    if len(values) < 2:
        return math.nan, math.nan
    # Quantile of Student's t, and the standard error of the mean.
    quantile = float(special.stdtrit(len(values) - 1, 0.5 + INTERVAL_PROB / 2))
    half = quantile * float(values.std(ddof=1) / np.sqrt(len(values)))
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
    from scipy import special

    low, high = mean_interval(shares)
    if math.isnan(low):
        return low, high
    successes = round(float(np.mean(shares)) * trials)
    failures = trials - successes
    tail = (1 - INTERVAL_PROB) / 2
    # Clopper and Pearson's ends as quantiles of Beta distributions: `binomtest` searches for them,
    # which takes fifty times as long.
    exact_low = float(special.betaincinv(successes, failures + 1, tail)) if successes else 0.0
    exact_high = float(special.betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0
    return max(0.0, min(low, exact_low)), min(1.0, max(high, exact_high))
