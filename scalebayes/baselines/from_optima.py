r"""Frontier from compute-optimal points at a few budgets: the common part of Approaches 1 and 2.

    log N* = intercept + a log C,      loss* = E + k C^-g,   E, k >= 0

by least squares over the budgets, each of which gives one optimum (C, N*, loss*). The approaches
state a law for N* only (Hoffmann et al. 2022, sections 3.1 and 3.2). The loss along the frontier is
a power of compute over a floor, as Henighan et al. (2020) fit it to the lower envelope; beyond the
budgets it is the less reliable of the two.

References
----------
Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556.
Henighan et al. (2020), Scaling laws for autoregressive generative modeling, arXiv:2010.14701.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND
from scalebayes.errors import QueryError
from scalebayes.queries.inputs import quantities

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs

FEWEST = 3
"""Budgets below which no line is fitted: two would leave no residual to estimate its error."""
FALLS = np.geomspace(0.02, 0.6, 69)
"""Exponents g that are tried; published ones for loss over a floor lie between 0.05 and 0.25."""


class Optima(NamedTuple):
    """Optimal points of each resample, shape (draws, points); `use` says which of them count."""

    log_C: np.ndarray
    log_N: np.ndarray
    loss: np.ndarray
    use: np.ndarray


def resample(rng: np.random.Generator, rows: int, draws: int) -> np.ndarray:
    """Return how often each row occurs in each bootstrap resample, shape (draws, rows).

    With no draws: every row once, shape (1, rows).
    """
    if draws == 0:
        return np.ones((1, rows))
    probabilities = np.full(rows, 1 / rows)
    return rng.multinomial(rows, probabilities, size=draws).astype(float)


def power_law(
    log_x: np.ndarray, log_y: np.ndarray, use: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return intercept and slope of log y against log x by least squares, shape (draws,) each.

    log_x, log_y, use: shape (draws, points); `use` is zero for points that do not count.
    """
    weights = use / use.sum(axis=-1, keepdims=True)
    mean_x = (weights * log_x).sum(axis=-1)
    mean_y = (weights * log_y).sum(axis=-1)
    offset = log_x - mean_x[:, None]
    covariance = (weights * offset * (log_y - mean_y[:, None])).sum(axis=-1)
    variance = (weights * offset**2).sum(axis=-1)
    slope = covariance / variance
    return mean_y - slope * mean_x, slope


def floor_law(
    log_x: np.ndarray, y: np.ndarray, use: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return E, log k and g of y = E + k x^-g, E and k not negative, shape (draws,) each.

    Least squares in E and k for each exponent g in `FALLS`, of which the best is kept.

    log_x, y, use: shape (draws, points); `use` is zero for points that do not count.
    """
    weights = use / use.sum(axis=-1, keepdims=True)
    centre = (weights * log_x).sum(axis=-1)
    draws = len(y)
    least_squares = np.full(draws, np.inf)
    best_floor = np.full(draws, np.inf)
    best_size = np.full(draws, np.inf)
    best_fall = np.full(draws, np.inf)
    for fall in FALLS:
        term = np.exp(-fall * (log_x - centre[:, None]))
        floor, size = _non_negative_line(term, y, weights)
        residual = y - floor[:, None] - size[:, None] * term
        squares = (weights * residual**2).sum(axis=-1)
        is_better = squares < least_squares
        least_squares = np.where(is_better, squares, least_squares)
        best_floor = np.where(is_better, floor, best_floor)
        best_size = np.where(is_better, size, best_size)
        best_fall = np.where(is_better, fall, best_fall)
    with np.errstate(divide="ignore"):  # the size is zero where the loss does not fall
        log_k = np.log(best_size) + best_fall * centre
    return best_floor, log_k, best_fall


def _non_negative_line(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return intercept and slope, neither negative, of y against x by weighted least squares.

    x, y, weights: shape (draws, points), y positive. Intercept and slope: shape (draws,).
    """
    mean_x = (weights * x).sum(axis=-1)
    mean_y = (weights * y).sum(axis=-1)
    offset = x - mean_x[:, None]
    slope = (weights * offset * y).sum(axis=-1) / (weights * offset**2).sum(axis=-1)
    intercept = mean_y - slope * mean_x
    # Where one of the two would be negative, it is zero and the other is fitted alone.
    slope_through_zero = (weights * x * y).sum(axis=-1) / (weights * x**2).sum(axis=-1)
    slope = np.where(intercept < 0, slope_through_zero, slope)
    intercept = np.where(intercept < 0, 0.0, intercept)
    intercept = np.where(slope < 0, mean_y, intercept)
    slope = np.where(slope < 0, 0.0, slope)
    return intercept, slope


def budgets(C: Any) -> np.ndarray:
    """Return budgets in FLOP as finite numbers, shape (budgets,).

    Raises
    ------
    QueryError
        When one is not a quantity, not positive, or infinite.
    """
    out = quantities(C, "C")
    if np.isinf(out).any():
        raise QueryError("C must be finite: an infinite budget has no optimum")
    return out


def extend(optima: Optima, runs: Runs, C: Any, **about: str) -> xr.Dataset:
    """Return the frontier through the optima of each resample, in the shape of `answer`."""
    C = budgets(C)
    log_C = np.log(C)
    intercept, slope = power_law(optima.log_C, optima.log_N, optima.use)
    floor, log_k, g = floor_law(optima.log_C, optima.loss, optima.use)
    N = np.exp(intercept[:, None] + slope[:, None] * log_C)
    loss = floor[:, None] + np.exp(log_k[:, None] - g[:, None] * log_C)
    return answer(runs, C, N, loss, slope, **about)


def answer(
    runs: Runs, C: np.ndarray, N: np.ndarray, loss: np.ndarray, a: np.ndarray, **about: str
) -> xr.Dataset:
    """Return a frontier in the shape of `scalebayes.frontier`: one chain, one draw a resample.

    Parameters
    ----------
    runs
        The table that was fitted.
    C
        Budgets, (budgets,).
    N, loss
        Optimum and its loss, (draws, budgets).
    a
        Exponent of N* ~ C^a, (draws,).
    **about
        Attributes.
    """
    D = SIX_ND.affordable_tokens(N, C)  # broadcasts over budgets
    values = {"N": N, "D": D, "loss": loss, "tokens_per_param": D / N}
    out = xr.Dataset(
        {name: (("chain", "draw", "budget"), value[None]) for name, value in values.items()}
    )
    out["loss"].attrs = {"long_name": "loss at the optimum", "units": runs.metric}
    out["a"] = ("chain", "draw"), a[None], {"long_name": "exponent of N* ~ C^a"}
    decades = np.maximum(0.0, np.log10(C / runs.max_compute))
    out.attrs = {
        "cost": SIX_ND.name,
        "runs": f"{runs.name} ({len(runs)} runs)",
    } | about
    return out.assign_coords(
        {
            "chain": [0],
            "draw": np.arange(len(N)),
            "C": ("budget", C),
            "decades_beyond": ("budget", decades, {"of": "C"}),
        }
    )
