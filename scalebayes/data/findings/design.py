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

    log N* = (log(alpha A / (beta B)) + beta log(C/6)) / (alpha + beta),

to alpha/beta, and to log L at ten times the largest compute and ten times the D/N. On one ray
D = k N the matrix J'J is singular where alpha = beta: the variance of alpha/beta there grows as
(alpha - beta)^-2, so that spread of D/N, and not more runs, determines the exponents.

References
----------
Atkinson and Donev (1992), Optimum experimental designs, chapters 2 and 10.
Kricheli et al. (2026), Tokens-per-parameter coverage is critical for robust LLM scaling law
extrapolation, arXiv:2605.08541.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
FURTHER = 10.0
"""Factor in compute, and in D/N, from the runs to the run whose loss is forecast."""
LARGEST_STATED = 100.0
"""Largest factor that is stated with a number; larger ones are no knowledge at all."""


@dataclass(frozen=True)
class Precision:
    """What runs at some N and D can tell, whatever their losses will be.

    Attributes
    ----------
    factor
        Factor within which they determine the compute-optimal N at their largest compute, at 90%.
    ratio_error
        Standard error of the ratio of the exponents, alpha_N / alpha_D.
    loss_error
        Relative error, at 90%, of the loss at `FURTHER` times their largest compute and D/N.
    """

    factor: float
    ratio_error: float
    loss_error: float

    @property
    def factor_in_words(self) -> str:
        """The factor, as a number or as "more than 100"."""
        return _factor_in_words(self.factor)


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
    now = design_precision(log_N, log_D, sigma)
    needed = needed_spread(log_N, log_D, sigma)
    spread = spread_at_each_compute(log_N, log_D)
    if now.factor <= ENOUGH or spread > NARROW or needed is None:
        return
    varies = f"varies by a factor of {10**spread:.2g} only" if spread > 0.01 else "does not vary"
    better = design_precision(*spread_out(log_N, log_D, needed), sigma)
    text = (
        f"at equal compute, D/N {varies}: whatever the losses, these runs can determine the "
        f"compute-optimal N at {format_quantity(runs.max_compute)} FLOP within a factor of "
        f"{now.factor_in_words} (90%). As many runs whose D/N varies by a factor of "
        f"{10**needed:.2g} at each compute would determine it, at the same cost, within a factor "
        f"of {ENOUGH:g}, alpha_N/alpha_D with a standard error of {better.ratio_error:.2g} in "
        f"place of {now.ratio_error:.2g}, and the loss at {FURTHER:g} times the compute and D/N "
        f"within {better.loss_error:.1%} in place of {now.loss_error:.1%}"
    )
    yield Message("ONE_RAY", "warning", text)


def spread_at_each_compute(log_N: np.ndarray, log_D: np.ndarray) -> float:
    """Return the spread of D/N around its trend with compute, in decades."""
    compute, ratio = log_N + log_D, log_D - log_N
    if np.ptp(compute) < SAME_COMPUTE:
        return float(np.ptp(ratio)) / np.log(10)
    slope, intercept = np.polyfit(compute, ratio, 1)
    return float(np.ptp(ratio - slope * compute - intercept)) / np.log(10)


def _factor_in_words(factor: float) -> str:
    return f"{factor:.2g}" if factor < LARGEST_STATED else "more than 100"


def design_precision(log_N: np.ndarray, log_D: np.ndarray, sigma: float) -> Precision:
    """Return what runs at these N and D can tell of the optimum, the exponents and a larger run.

    Parameters
    ----------
    log_N, log_D
        Natural logs of the sizes and tokens of the runs, (runs,).
    sigma
        Noise scale of log loss.
    """
    n, d = log_N - log_N.mean(), log_D - log_D.mean()
    covariance = np.linalg.inv(information(n, d, sigma) + np.eye(5))
    alpha, beta = EXPONENTS

    def standard_error(slope: np.ndarray) -> float:
        """Return the standard error of a function with this slope by the log parameters, (5,)."""
        return float(np.sqrt(slope @ covariance @ slope))

    of_optimum = standard_error(_slope_of_optimum(float((n + d).max())))
    of_ratio = alpha / beta * standard_error(np.array([0.0, 0.0, 0.0, 1.0, -1.0]))
    # The larger run: log N + log D and log D - log N are both larger by log(FURTHER).
    compute, ratio = (n + d).max() + np.log(FURTHER), np.log(FURTHER)
    larger = log_loss_slopes(
        np.array([0.5 * (compute - ratio)]), np.array([0.5 * (compute + ratio)]), EXPONENTS
    )
    of_loss = standard_error(larger[0])
    return Precision(
        factor=float(np.exp(NINETY * of_optimum)),
        ratio_error=of_ratio,
        loss_error=float(np.expm1(NINETY * of_loss)),
    )


def information(
    n: np.ndarray, d: np.ndarray, sigma: float, exponents: tuple[float, float] = EXPONENTS
) -> np.ndarray:
    """Return the information matrix of the logs of E, A, B, alpha and beta, (5, 5), no prior.

    n, d: logs of N and D relative to the centre of the table, (runs,).
    """
    jacobian = log_loss_slopes(n, d, exponents)
    return jacobian.T @ jacobian / sigma**2


def log_loss_slopes(n: np.ndarray, d: np.ndarray, exponents: tuple[float, float]) -> np.ndarray:
    """Return the derivatives of log L by the logs of E, A, B, alpha and beta, (runs, 5).

    n, d: logs of N and D relative to the centre of the table, (runs,).
    """
    alpha, beta = exponents
    share = (1 - FLOOR_SHARE) / 2
    size_term = share * np.exp(-alpha * n)
    data_term = share * np.exp(-beta * d)
    loss = FLOOR_SHARE + size_term + data_term
    by_exponents = [-alpha * n * size_term, -beta * d * data_term]
    by_parameters = [np.full_like(n, FLOOR_SHARE), size_term, data_term, *by_exponents]
    return np.column_stack(by_parameters) / loss[:, None]


def _slope_of_optimum(c: float) -> np.ndarray:
    """Return the derivatives of log N*, at the centre's compute plus c, as `log_loss_slopes`."""
    alpha, beta = EXPONENTS
    # log N* with A and B at the centre, where both terms have the same share: see the module.
    log_optimum = (np.log(alpha / beta) + beta * c) / (alpha + beta)
    by_alpha = (1 - alpha * log_optimum) / (alpha + beta)
    by_beta = (-1 + beta * (c - log_optimum)) / (alpha + beta)
    return np.array([0.0, 1 / (alpha + beta), -1 / (alpha + beta), by_alpha, by_beta])


def needed_spread(log_N: np.ndarray, log_D: np.ndarray, sigma: float) -> float | None:
    """Return the spread of D/N at each compute, in decades, that as many runs need; None if over 4.

    The runs are spread by `spread_out`.
    """
    for spread in SPREADS:
        moved = spread_out(log_N, log_D, float(spread))
        if design_precision(*moved, sigma).factor <= ENOUGH:
            return float(spread)
    return None


def spread_out(
    log_N: np.ndarray, log_D: np.ndarray, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return log N and log D of runs of the same compute whose D/N varies by `spread` decades.

    In the order of compute, D/N alternates between both ends of the spread and its middle, around
    the D/N that the runs have.
    """
    places = np.resize([-0.5, 0.5, 0.0], len(log_N))
    order = np.argsort(log_N + log_D, kind="stable")
    shift = np.empty(len(log_N))
    shift[order] = places
    half = 0.5 * spread * np.log(10) * shift
    return log_N - half, log_D + half


def on_one_ray(log_N: np.ndarray, log_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log N and log D of runs of the same compute that all have the mean log D/N."""
    compute = log_N + log_D
    ratio = float(np.mean(log_D - log_N))
    return 0.5 * (compute - ratio), 0.5 * (compute + ratio)
