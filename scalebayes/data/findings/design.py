r"""What the N and D of a table can tell of the compute-optimal size, whatever its losses will be.

If all runs have nearly the same ratio D/N (one ray), or D follows N along one curve, the effects of
N and D on the loss cannot be told apart, and neither can the compute-optimal N. How well they can
is known before any loss is measured, from the information matrix of the additive law

    log L = log(E + A/N^alpha + B/D^beta)

at typical parameters. With J the derivatives of log L by the parameters (in logs) at the runs and
sigma the noise scale, their covariance is about

    (J'J / sigma^2 + 1)^-1

where the 1 stands for a prior of one unit of log for each. The delta method carries it to the log
of the compute-optimal N at the largest compute,

    log N* = (log(alpha A / (beta B)) + beta log(C/6)) / (alpha + beta).

References
----------
Atkinson and Donev (1992), Optimum experimental designs, chapters 2 and 10.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scalebayes.data.findings.trainings import replicate_scale
from scalebayes.data.runs import Runs
from scalebayes.messages import Message
from scalebayes.units import format_quantity

FLOOR_SHARE = 0.6
"""Share of the floor E in the loss at the centre of a table; both terms have half of the rest."""
EXPONENTS = (0.34, 0.28)
"""Exponents alpha and beta, of Hoffmann et al. (2022)."""
NOISE_SCALE = 0.005
"""Noise scale of log loss where no runs of equal inputs show it: half a percent."""
LEAST_NOISE = 1e-4
"""Noise scale of log loss at least, where equal runs agree by rounding."""
ENOUGH = 2.0
"""Factor within which a table should determine the compute-optimal N, at 90%, to be no concern."""
NINETY = 1.645
"""Half width of a 90% interval, in standard deviations of a Normal variable."""
SPREADS = np.arange(0.0, 4.01, 0.1)
"""Spreads of D/N in decades that are tried for the advice."""
NARROW = 0.3
"""Spread of D/N at each compute, in decades, up to which the runs lie on one ray or curve."""
SAME_INPUT = 0.05
"""Range of the log of N or D within which it is the same in all runs; a fit says so (ONE_N)."""
SAME_COMPUTE = 0.1
"""Range of log compute within which a table is one sweep, and D/N has no trend."""
FEWEST_RUNS = 4
"""Fewest runs about whose design something is said."""


def design_messages(runs: Runs) -> Iterator[Message]:
    """Yield the warning ONE_RAY of a table whose N and D hardly determine the optimal N."""
    has_both = {"N", "D"} <= set(runs.table.columns)
    if not has_both or len(runs) < FEWEST_RUNS:
        return
    log_N, log_D = np.log(runs.N), np.log(runs.D)
    if np.ptp(log_N) < SAME_INPUT or np.ptp(log_D) < SAME_INPUT:
        return
    replicates = replicate_scale(runs)
    sigma = NOISE_SCALE if replicates is None else max(replicates[0], LEAST_NOISE)
    factor = optimum_factor(log_N, log_D, sigma)
    needed = needed_spread(log_N, log_D, sigma)
    spread = _spread_at_each_compute(log_N, log_D)
    if factor <= ENOUGH or spread > NARROW or needed is None:
        return
    varies = f"varies by a factor of {10**spread:.2g} only" if spread > 0.01 else "does not vary"
    text = (
        f"at equal compute, D/N {varies}: whatever the losses, these runs can determine the "
        f"compute-optimal N at {format_quantity(runs.max_compute)} FLOP within a factor of "
        f"{_factor_in_words(factor)} (90%). As many runs whose D/N varies by a factor of "
        f"{10**needed:.2g} at each compute would determine it within a factor of {ENOUGH:g}"
    )
    yield Message("ONE_RAY", "warning", text)


def _spread_at_each_compute(log_N: np.ndarray, log_D: np.ndarray) -> float:
    """Return the spread of D/N around its trend with compute, in decades."""
    compute, ratio = log_N + log_D, log_D - log_N
    if np.ptp(compute) < SAME_COMPUTE:
        return float(np.ptp(ratio)) / np.log(10)
    slope, intercept = np.polyfit(compute, ratio, 1)
    return float(np.ptp(ratio - slope * compute - intercept)) / np.log(10)


def _factor_in_words(factor: float) -> str:
    return f"{factor:.2g}" if factor < 100 else "more than 100"


def optimum_factor(log_N: np.ndarray, log_D: np.ndarray, sigma: float) -> float:
    """Return the factor within which runs determine the compute-optimal N, at 90%.

    Parameters
    ----------
    log_N, log_D
        Natural logs of the sizes and tokens of the runs, (runs,).
    sigma
        Noise scale of log loss.
    """
    n, d = log_N - log_N.mean(), log_D - log_D.mean()
    alpha, beta = EXPONENTS
    share = (1 - FLOOR_SHARE) / 2
    size_term = share * np.exp(-alpha * n)
    data_term = share * np.exp(-beta * d)
    loss = FLOOR_SHARE + size_term + data_term
    # Derivatives of log L by log E, log A, log B, log alpha and log beta, (runs, 5).
    by_exponents = [-alpha * n * size_term, -beta * d * data_term]
    by_parameters = [np.full_like(n, FLOOR_SHARE), size_term, data_term, *by_exponents]
    jacobian = np.column_stack(by_parameters) / loss[:, None]
    precision = jacobian.T @ jacobian / sigma**2 + np.eye(5)
    # log N* at the centre's compute plus c, with A and B at the centre: see the module.
    c = float((n + d).max())
    log_optimum = (np.log(alpha / beta) + beta * c) / (alpha + beta)
    by_alpha = (1 - alpha * log_optimum) / (alpha + beta)
    by_beta = (-1 + beta * (c - log_optimum)) / (alpha + beta)
    slope = np.array([0.0, 1 / (alpha + beta), -1 / (alpha + beta), by_alpha, by_beta])
    variance = slope @ np.linalg.solve(precision, slope)
    return float(np.exp(NINETY * np.sqrt(variance)))


def needed_spread(log_N: np.ndarray, log_D: np.ndarray, sigma: float) -> float | None:
    """Return the spread of D/N at each compute, in decades, that as many runs need; None if over 4.

    The runs keep their compute. Their D/N alternates between both ends of the spread and its
    middle, around the D/N that they have.
    """
    places = np.resize([-0.5, 0.5, 0.0], len(log_N))
    order = np.argsort(log_N + log_D, kind="stable")
    shift = np.empty(len(log_N))
    shift[order] = places
    for spread in SPREADS:
        half = 0.5 * spread * np.log(10) * shift
        if optimum_factor(log_N - half, log_D + half, sigma) <= ENOUGH:
            return float(spread)
    return None
