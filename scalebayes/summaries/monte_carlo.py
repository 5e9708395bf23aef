r"""Monte Carlo errors of quantiles and means of draws: how far another seed would move them.

The error of a quantile at level p follows from that of the share of draws below it. The draws form
K batches of consecutive draws of a chain, and s is the standard deviation of the batches' shares.
The share is then known to a standard error of :math:`s / \sqrt{K}`, and the quantiles at p plus and
minus that error lie two standard errors apart. With some forty batches the error is known to a
tenth, enough to choose the digits of a number. ArviZ's ``mcse(method="quantile")`` estimates the
same from autocorrelations, but importing it takes longer than most commands.

References
----------
Flegal and Jones (2010), Batch means and spectral variance estimators in Markov chain Monte Carlo,
arXiv:0811.1729.
Vehtari et al. (2021), Rank-normalization, folding, and localization, doi:10.1214/20-BA1221.
"""

from __future__ import annotations

import numpy as np

BATCHES = 40
"""Number of batches over all chains, at most one a draw."""


def quantile_errors(draws: np.ndarray, quantiles: np.ndarray, levels: list[float]) -> np.ndarray:
    """Return Monte Carlo standard errors of quantiles, (levels, ...).

    Parameters
    ----------
    draws
        Shape (chains, draws, ...).
    quantiles
        The quantiles of all draws at the levels, (levels, ...).
    levels
        Probabilities of the quantiles.

    Returns
    -------
    numpy.ndarray
        Infinite or NaN where draws next to a quantile are.
    """
    ordered = np.sort(draws.reshape(-1, *draws.shape[2:]), axis=0)
    errors = []
    for level, quantile in zip(levels, quantiles, strict=True):
        error = share_error(draws <= quantile)
        below = _quantile(ordered, level - error)
        above = _quantile(ordered, level + error)
        with np.errstate(invalid="ignore"):
            errors.append((above - below) / 2)
    return np.stack(errors)


def share_error(is_in: np.ndarray) -> np.ndarray:
    """Return the Monte Carlo standard error of the share of draws, (...), of (chains, draws, ...).

    It is at least that of one draw, because a share of 0 or 1 among the draws is none of the
    posterior.
    """
    chains, draws = is_in.shape[:2]
    return np.fmax(mean_error(is_in), 1 / (chains * draws))


def mean_error(draws: np.ndarray) -> np.ndarray:
    """Return the Monte Carlo standard error of the mean of draws, (...), of (chains, draws, ...).

    It is at least that of independent draws.
    """
    chains, length = draws.shape[:2]
    each = max(1, BATCHES // chains)
    size = max(1, length // each)
    whole = draws[:, : length // size * size]
    batches = whole.reshape(-1, size, *draws.shape[2:]).mean(axis=1)
    count = len(batches)
    of_batches = batches.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.nan
    independent = draws.std(axis=(0, 1)) / np.sqrt(chains * length)
    return np.fmax(of_batches, independent)


def _quantile(ordered: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the quantile of ordered draws (S, ...) at a level for each column, (...)."""
    places = np.clip(level, 0, 1) * (len(ordered) - 1)
    nearest = places.round().astype(int)
    return np.take_along_axis(ordered, nearest[None], axis=0)[0]
