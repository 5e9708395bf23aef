r"""R-hat, effective sample sizes and Monte Carlo errors of draws, as ArviZ computes them.

They are arviz-stats' own estimators, which tests compare with these. Importing arviz-stats takes
longer than a fit, a summary or a diagnosis, since it imports `scipy.stats` and `scipy.signal`.

References
----------
.. [1] Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Rank-normalization, folding, and
   localization: an improved R-hat, doi:10.1214/20-BA1221.
.. [2] Geyer (1992), Practical Markov chain Monte Carlo, doi:10.1214/ss/1177011137.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

LEAST_DRAWS = 4
"""Draws of a chain from which its statistics are known."""
TAILS = (0.11, 0.89)
"""Quantiles whose effective sample sizes are those of the tails, ArviZ's default."""
BLOM = 3 / 8
"""Offset of ranks in normal scores (Blom 1958)."""


@dataclass(frozen=True)
class ChainStatistics:
    """Statistics of the draws of one quantity; NaN where they cannot be computed.

    Attributes
    ----------
    r_hat
        Rank-normalised R-hat, the larger one of bulk and tails.
    ess_bulk, ess_tail
        Effective sample sizes.
    """

    r_hat: float
    ess_bulk: float
    ess_tail: float


def chain_statistics(draws: np.ndarray) -> ChainStatistics:
    """Return R-hat and effective sample sizes of draws of one quantity, (chains, draws)."""
    chains, length = draws.shape
    if length < LEAST_DRAWS or np.isnan(draws).any():
        return ChainStatistics(math.nan, math.nan, math.nan)
    halves = split_chains(draws)
    scores = _normal_scores(halves)
    r_hat = math.nan
    if chains > 1:
        folded = np.abs(halves - np.median(halves))
        r_hat = max(_r_hat(scores), _r_hat(_normal_scores(folded)))
    tails = []
    for quantile in np.quantile(draws, TAILS):
        is_below = (draws <= quantile).astype(float)
        tails.append(effective_size(split_chains(is_below)))
    return ChainStatistics(r_hat, effective_size(scores), min(tails))


def monte_carlo_errors(draws: np.ndarray) -> tuple[float, float]:
    """Return the Monte Carlo errors of mean and standard deviation, of draws (chains, draws)."""
    if draws.shape[1] < LEAST_DRAWS or np.isnan(draws).any():
        return math.nan, math.nan
    error_of_mean = np.std(draws, ddof=1) / np.sqrt(effective_size(split_chains(draws)))
    squares = (draws - draws.mean()) ** 2
    variance = squares.mean()
    # Delta method: the error of a variance, carried over to its square root.
    variance_of_squares = (squares**2).mean() - variance**2
    error_of_variance = variance_of_squares / effective_size(split_chains(squares))
    return float(error_of_mean), float(np.sqrt(error_of_variance / variance / 4))


def energy_information(energy: np.ndarray) -> np.ndarray:
    """Return the Bayesian fraction of missing information of each chain's energy, (chains,).

    References
    ----------
    Betancourt (2016), arXiv:1604.00695.
    """
    steps = np.square(np.diff(energy, axis=1)).mean(axis=1)
    return steps / np.var(energy, axis=1, ddof=1)


def split_chains(draws: np.ndarray) -> np.ndarray:
    """Return the first and second halves of chains as chains of their own."""
    half = draws.shape[1] // 2
    return np.vstack([draws[:, :half], draws[:, -half:]])


def _normal_scores(draws: np.ndarray) -> np.ndarray:
    """Return the Normal quantiles of the ranks of draws, of the same shape."""
    _, place, counts = np.unique(draws, return_inverse=True, return_counts=True)
    # Equal draws have the mean of their ranks: whole numbers and halves.
    ranks = counts.cumsum() - (counts - 1) / 2
    number = np.rint(2 * ranks).astype(int) - 2
    return _scores_of_ranks(draws.size)[number][place].reshape(draws.shape)


@lru_cache(maxsize=4)
def _scores_of_ranks(size: int) -> np.ndarray:
    """Return the Normal quantiles of the ranks 1, 1.5, 2 ... size."""
    ranks = np.arange(2, 2 * size + 1) / 2
    shares = (ranks - BLOM) / (size - 2 * BLOM + 1)
    normal = NormalDist()
    return np.array([normal.inv_cdf(share) for share in shares.tolist()])


def _r_hat(draws: np.ndarray) -> float:
    """Return the potential scale reduction of chains, (chains, draws)."""
    length = draws.shape[1]
    between = length * np.var(draws.mean(axis=1), ddof=1)
    within = np.var(draws, axis=1, ddof=1).mean()
    return float(np.sqrt((between / within + length - 1) / length))


def effective_size(draws: np.ndarray) -> float:
    """Return the effective sample size of the mean of chains, (chains, draws)."""
    chains, length = draws.shape
    if np.ptp(draws) < np.finfo(float).resolution:
        return draws.size
    covariances = _autocovariances(draws)
    within = covariances[0] * length / (length - 1)
    variance = covariances[0]
    if chains > 1:
        variance += np.var(draws.mean(axis=1), ddof=1)
    correlations = 1 - (within - covariances) / variance
    correlations[0] = 1.0
    if np.isnan(correlations).any():
        return math.nan
    time = _autocorrelation_time(correlations.tolist())
    return draws.size / max(time, 1 / math.log10(draws.size))


def _autocovariances(draws: np.ndarray) -> np.ndarray:
    """Return the autocovariances at every lag, averaged over chains, (draws,)."""
    length = draws.shape[1]
    # Zeros behind a chain keep its end from being correlated with its beginning, and a power of
    # two makes the transform fast.
    padded = 2 ** math.ceil(math.log2(2 * length))
    transform = np.fft.rfft(draws - draws.mean(axis=1, keepdims=True), n=padded, axis=1)
    power = (transform.real**2 + transform.imag**2).mean(axis=0)
    return np.fft.irfft(power, n=padded)[:length] / length


def _autocorrelation_time(correlations: list[float]) -> float:
    """Return the integrated autocorrelation time, given correlations at lags 0, 1, 2 ...

    Sums of the correlations at two neighbouring lags are positive and fall in theory, so the sum
    ends before the first pair that is negative, and no pair counts more than the one before it
    (Geyer's initial monotone sequence).
    """
    length = len(correlations)
    kept = [correlations[0], correlations[1]]
    even, odd = kept
    lag = 1
    while lag < length - 3 and even + odd > 0:
        even, odd = correlations[lag + 1], correlations[lag + 2]
        if even + odd >= 0:
            kept += [even, odd]
        lag += 2
    # The even lag of the pair that ended the sum counts too, if positive.
    end = lag - 1
    following = kept[end] if end < len(kept) else 0.0
    if even > 0:
        following = even
    kept = kept[:end]
    for i in range(2, end - 1, 2):
        before = kept[i - 2] + kept[i - 1]
        if kept[i] + kept[i + 1] > before:
            kept[i] = kept[i + 1] = before / 2
    return -1.0 + 2.0 * sum(kept) + following
