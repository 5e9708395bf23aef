"""Posterior of the compute-optimal frontier: N*, D* and the loss at a budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.cost import SIX_ND, Cost, as_cost
from scalebayes.curves import Shared, curve_of
from scalebayes.errors import QueryError
from scalebayes.laws import Law
from scalebayes.posterior import Fit, discrepancy, law_parameters, over_average
from scalebayes.prediction import LONG_NAMES, label, quantities
from scalebayes.units import format_quantity, share_in_words

GRID = 129
"""Sizes tried to bracket the optimum, spaced evenly in log N."""
LARGEST = 1e30
"""Where the search for an optimal N ends; it begins at one parameter."""
REACH, FINE = 3.0 * np.log(10), 0.025 * np.log(10)
"""With a discrepancy: how far from the law's optima, and in what steps of log N, the least loss is sought."""
CLOSER = 129
"""Sizes tried between the last of such a grid and where nothing is left for data."""


@over_average
def frontier(fit: Fit, *, C: Any, cost: Cost | Callable[[Any, Any], Any] = SIX_ND, seed: int = 0) -> xr.Dataset:
    """Posterior of N and D that minimise the loss at a budget: min L(N, D) subject to cost(N, D) = C.

    Without a discrepancy it is the law that each draw minimises: in closed form at C = 6 N D where the law declares
    one, else numerically. With a discrepancy each draw minimises the law times the discrepancy that it *expects* given
    a draw of the discrepancy at the runs. Among the runs that curve follows them, as far as their scatter lets it be
    known, so N* is where they show it; far from them it is the law. Minimising the law alone would ignore what the runs
    show, and minimising curves with random bends beyond the runs would place N* at dips that no run has shown. The loss
    at N* holds a drawn discrepancy, whose part that no run has shown is drawn for each budget on its own (`predict`
    draws it jointly); ``attrs["optimised"]`` says what was minimised.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    cost
        What a run costs; a plain function of (N, D) will do.
    seed
        Of the discrepancy beyond the table.

    Returns
    -------
    xarray.Dataset
        ``N``, ``D``, ``loss`` (nats per token) and ``tokens_per_param`` with dims (chain, draw, budget), and ``law``,
        the loss of the law alone, where ``loss`` holds a discrepancy; along budget ``C`` and ``decades_beyond``,
        orders of magnitude of training compute beyond the largest run.

    Raises
    ------
    QueryError
        When the law has no N or no D, or no interior optimum at a budget.
    """
    law = fit.spec.law_object
    if law.inputs != ("N", "D"):
        of = f"{law.inputs[0]} alone" if len(law.inputs) == 1 else f"{' and '.join(law.inputs)}, not of N and D alone"
        raise QueryError(f"'{fit.spec.name}' is a law of {of}: it has no optimal N and D")
    cost = as_cost(cost)
    budgets = quantities(C, "C")
    if np.isinf(budgets).any():
        raise QueryError("C must be finite: without a budget nothing is optimal")
    parameters = law_parameters(fit)
    if cost is SIX_ND and law.optimal_N is not None:
        N = law.optimise(budgets / 6.0, {k: v[..., None] for k, v in parameters.items()})
    else:
        N = np.stack([numeric_optimum(law, parameters, budget, cost) for budget in budgets], axis=-1)
    delta = discrepancy(fit)
    if delta is not None:
        curve = curve_of(fit, "expected", seed)
        N = np.stack([expected_optimum(curve, N[..., i], budget, cost) for i, budget in enumerate(budgets)], axis=-1)
    D = np.stack([cost.affordable_tokens(N[..., i], budget) for i, budget in enumerate(budgets)], axis=-1)
    loss = law.function(N, D, **{k: v[..., None] for k, v in parameters.items()})
    values = {"N": N, "D": D, "loss": loss, "tokens_per_param": D / N}
    if delta is not None:
        points = (delta.basis.scale(x) for x in zip(_flat(N), _flat(D), strict=True))
        rng = np.random.default_rng([seed, 1])  # of what lies beyond the runs; `seed` is that of delta at them
        budget_last = [delta.draw_each(at, curve.pull, rng) for at in points]
        values |= {"law": loss, "loss": loss * np.exp(np.stack(budget_last, axis=-1).reshape(loss.shape))}
    attributes = {"cost": cost.name, "optimised": "law" if delta is None else "expected curve"}
    out = xr.Dataset({k: (("chain", "draw", "budget"), v) for k, v in values.items()}, attrs=attributes)
    for name in ("loss", "law")[: 1 + (delta is not None)]:
        out[name].attrs = {"long_name": f"{LONG_NAMES[name]} at the optimum", "units": "nats per token"}
    training = {"N": np.median(N, (0, 1)), "C": np.median(SIX_ND.flop(N, D), (0, 1))}
    return label(out, fit, "budget", {"C": budgets}, training)


def _flat(values: np.ndarray) -> np.ndarray:
    """Draws of each budget, (budgets, chains x draws)."""
    return values.reshape(-1, values.shape[-1]).T


def expected_optimum(curve: Shared, start: np.ndarray, budget: float, cost: Cost) -> np.ndarray:
    """N that minimises each draw's curve with cost(N, D) = budget, near where it starts.

    The least of a grid around the starts, then the vertex of the parabola through it and its neighbours, in log(D/N),
    in which the curve is smooth up to where N uses the budget up: right to a few tenths of a percent, which is far
    inside any posterior of N*.

    Raises
    ------
    QueryError
        When the least lies at an end of the grid.
    """
    low, high = np.log(start.min()) - REACH, np.log(start.max()) + REACH
    log_N = _affordable_sizes(cost, budget, np.linspace(low, high, int((high - low) / FINE) + 2))
    D = cost.affordable_tokens(np.exp(log_N), budget)
    values = curve.log_loss_shared(np.exp(log_N), D)
    best = values.argmin(axis=1)
    if not (inside := (best > 0) & (best < len(log_N) - 1)).all():
        raise QueryError(
            f"no compute-optimal point within {REACH / np.log(10):.0f} decades of the law's own at "
            f"C = {format_quantity(budget)} in {share_in_words(np.mean(~inside))} of the draws, discrepancy included"
        )
    left, middle, right = (np.take_along_axis(values, best[:, None] + i, axis=1)[:, 0] for i in (-1, 0, 1))
    ratio = np.log(D) - log_N
    before, after = ratio[best] - ratio[best - 1], ratio[best + 1] - ratio[best]
    fall, rise = (left - middle) * after, (right - middle) * before
    flat = fall + rise == 0  # to rounding
    shift = 0.5 * (fall * after - rise * before) / np.where(flat, np.inf, fall + rise)
    slope, further = (log_N[best] - log_N[best - 1]) / before, (log_N[best + 1] - log_N[best]) / after
    at = log_N[best] + shift * slope + shift * (shift + before) * (further - slope) / (before + after)
    return np.exp(at).reshape(start.shape)


def numeric_optimum(law: Law, parameters: dict[str, np.ndarray], budget: float, cost: Cost = SIX_ND) -> np.ndarray:
    """N that minimises L(N, D) with cost(N, D) = budget, for every draw, by bracketing and Chandrupatla's method.

    Raises
    ------
    QueryError
        When the loss has no minimum between the smallest and the largest size the budget allows.
    """
    from scipy.optimize import elementwise

    names = list(parameters)
    draws = [parameters[name].ravel() for name in names]

    def loss(log_N: np.ndarray, *values: np.ndarray) -> np.ndarray:
        N = np.exp(log_N)
        curve = law.function(N, cost.affordable_tokens(N, budget), **dict(zip(names, values, strict=True)))
        return np.where(np.isnan(curve), np.inf, curve)

    grid = _affordable_sizes(cost, budget, np.linspace(0.0, np.log(LARGEST), GRID))
    if len(grid) < 3:
        raise QueryError(
            f"a budget of {format_quantity(budget)} in units of '{cost.name}' pays for no run worth the name"
        )
    on_grid = np.stack([loss(np.full(len(draws[0]), x), *draws) for x in grid])
    best = on_grid.argmin(axis=0)
    inside = (best > 0) & (best < len(grid) - 1)
    if not inside.all():
        raise QueryError(
            f"law '{law.name}' has no compute-optimal point at C = {format_quantity(budget)} "
            f"in {share_in_words(np.mean(~inside))} of the draws: its loss falls all the way to one end of what the "
            "budget pays for"
        )
    bracket = (grid[best - 1], grid[best], grid[best + 1])
    found = elementwise.find_minimum(loss, bracket, args=tuple(draws))
    return np.exp(found.x).reshape(next(iter(parameters.values())).shape)


def _affordable_sizes(cost: Cost, budget: float, grid: np.ndarray) -> np.ndarray:
    """Log N to try: an even grid, and closer and closer to where nothing is left for data, if that comes first.

    Where most of a budget goes into serving, the optimum lies within a hundredth of that end.
    """
    from scipy.optimize import bisect

    def left(log_N: float) -> float:
        return 1.0 if cost.affordable_tokens(np.array([np.exp(log_N)]), budget)[0] > 0 else -1.0

    within = grid[cost.affordable_tokens(np.exp(grid), budget) > 0]
    if len(within) in (0, len(grid)):
        return within
    end = bisect(left, within[-1], grid[len(within)], xtol=1e-12)
    closer = end + np.log1p(-np.geomspace(0.3, 1e-7, CLOSER))
    return np.concatenate([within, closer[closer > within[-1]]])
