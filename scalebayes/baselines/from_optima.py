r"""From compute-optimal points at a few budgets to a frontier: what the field's Approaches 1 and 2 have in common.

    log N* = intercept + a log C,      loss* = E + k C^-g,   E, k >= 0

by least squares over the budgets, each of which gives one optimum (C, N*, loss*). The approaches state a law for N*
only (Hoffmann et al. 2022, sections 3.1 and 3.2). The loss along the frontier is a power of compute over a floor, as
Henighan et al. (2020) fit it to the lower envelope; beyond the budgets it is the weaker of the two.

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
"""Budgets below which no line is drawn: two would fit it exactly, and say nothing of its error."""
FALLS = np.geomspace(0.02, 0.6, 69)
"""Exponents g that are tried; published ones of loss against compute over a floor run from 0.05 to 0.25."""


class Optima(NamedTuple):
    """Optimal points of each resample, (draws, points): log C, log N*, the loss there, and whether the point counts."""

    log_C: np.ndarray
    log_N: np.ndarray
    loss: np.ndarray
    use: np.ndarray


def resample(rng: np.random.Generator, rows: int, draws: int) -> np.ndarray:
    """How often each row is in each resample, (draws, rows); with no draws, every row once, (1, rows)."""
    if draws == 0:
        return np.ones((1, rows))
    return rng.multinomial(rows, np.full(rows, 1 / rows), size=draws).astype(float)


def power_law(
    log_x: np.ndarray, log_y: np.ndarray, use: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and slope of a straight line by least squares, over the last axis, (draws, points) -> (draws,)."""
    weights = use / use.sum(axis=-1, keepdims=True)
    mean_x, mean_y = (weights * log_x).sum(axis=-1), (weights * log_y).sum(axis=-1)
    off = log_x - mean_x[:, None]
    slope = (weights * off * (log_y - mean_y[:, None])).sum(axis=-1) / (weights * off**2).sum(
        axis=-1
    )
    return mean_y - slope * mean_x, slope


def floor_law(
    log_x: np.ndarray, y: np.ndarray, use: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E, log k and g of y = E + k x^-g with E, k >= 0, by least squares; (draws, points) -> (draws,).

    The exponent g is the best of `FALLS`.
    """
    weights = use / use.sum(axis=-1, keepdims=True)
    centre = (weights * log_x).sum(axis=-1)
    best = np.full((4, len(y)), np.inf)  # squares, E, k at the centre, g
    for g in FALLS:
        term = np.exp(-g * (log_x - centre[:, None]))
        mean_t, mean_y = (weights * term).sum(axis=-1), (weights * y).sum(axis=-1)
        off = term - mean_t[:, None]
        k = (weights * off * y).sum(axis=-1) / (weights * off**2).sum(axis=-1)
        floor = mean_y - k * mean_t
        through_zero = (weights * term * y).sum(axis=-1) / (weights * term**2).sum(axis=-1)
        k, floor = np.where(floor < 0, through_zero, k), np.maximum(floor, 0.0)
        k, floor = np.where(k < 0, 0.0, k), np.where(k < 0, mean_y, floor)
        squares = (weights * (y - floor[:, None] - k[:, None] * term) ** 2).sum(axis=-1)
        best = np.where(squares < best[0], [squares, floor, k, np.full_like(k, g)], best)
    _, floor, k, fall = best
    with np.errstate(divide="ignore"):  # a loss that does not fall has no power term
        return floor, np.log(k) + fall * centre, fall


def budgets(C: Any) -> np.ndarray:
    """Budgets in FLOP as finite numbers.

    Raises
    ------
    QueryError
        When one is not a quantity, not positive, or infinite.
    """
    out = quantities(C, "C")
    if np.isinf(out).any():
        raise QueryError("C must be finite: without a budget nothing is optimal")
    return out


def extend(optima: Optima, runs: Runs, C: Any, **about: str) -> xr.Dataset:
    """Frontier through the optima of each resample, in the shape of `answer`."""
    C = budgets(C)
    at = np.log(C)
    intercept, slope = power_law(optima.log_C, optima.log_N, optima.use)
    floor, log_k, g = floor_law(optima.log_C, optima.loss, optima.use)
    N = np.exp(intercept[:, None] + slope[:, None] * at)
    loss = floor[:, None] + np.exp(log_k[:, None] - g[:, None] * at)
    return answer(runs, C, N, loss, slope, **about)


def answer(
    runs: Runs, C: np.ndarray, N: np.ndarray, loss: np.ndarray, a: np.ndarray, **about: str
) -> xr.Dataset:
    """Lay out a point method's frontier as `scalebayes.frontier` does: one chain, a resample a draw.

    Parameters
    ----------
    runs
        What was fitted.
    C
        Budgets, (budgets,).
    N, loss
        Optimum and its loss in nats, (draws, budgets).
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
    out["loss"].attrs = {"long_name": "loss at the optimum", "units": "nats per token"}
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
