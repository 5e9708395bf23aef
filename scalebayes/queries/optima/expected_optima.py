"""Sizes of least loss of curves with a discrepancy, at many budgets.

A discrepancy is smooth over about a decade, so most draws' optima move smoothly with the budget.
All draws are searched at some of the budgets, and between these most optima are interpolated. Where
a draw's optimum does not move smoothly, as from one minimum to another, each budget is searched.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalebayes.costs.cost import Cost
from scalebayes.queries.curves import Curve
from scalebayes.queries.optima.expected_optimum import (
    DISTANCE,
    check_shares_inside,
    optimum_and_whether_inside,
)
from scalebayes.queries.optima.grids import anchor_budgets
from scalebayes.utils.parallel import side_by_side

APART = 0.1
"""Largest step in decades between the budgets at which all draws are searched, the anchors."""
FEWEST_ANCHORS = 8
"""Least number of anchors to interpolate between. With fewer, all budgets are searched."""
SMOOTH = 0.01
"""Largest error of log N* and log D* at an anchor, predicted from every other anchor, for a draw to
count as smooth there.

From all anchors, twice as close, the error is about an eighth of that, which is that of a search.
"""


def expected_optima(
    curve: Curve, start: np.ndarray, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> np.ndarray:
    """Return N that minimises each draw's curve at each budget, (S, budgets).

    Parameters
    ----------
    curve
        The expected curves of S draws.
    start
        Sizes near the optima of the law, (S, budgets).
    budgets, cost
        Rising budgets in units of the cost.
    others
        Further inputs of the law, (budgets,) each.

    Raises
    ------
    QueryError
        As `expected_optimum`.
    """
    anchors = anchor_budgets(budgets, APART, others)
    if len(anchors) < FEWEST_ANCHORS:
        anchors = list(range(len(budgets)))
    is_anchor = np.isin(np.arange(len(budgets)), anchors)
    is_searched = np.broadcast_to(is_anchor, start.shape)
    N, is_inside = _searched(curve, start, budgets, cost, others, is_searched)
    if not is_anchor.all():
        between, is_smooth = _interpolated(N[:, anchors], anchors, budgets, cost)
        is_left = ~is_anchor & ~is_smooth
        left, left_is_inside = _searched(curve, start, budgets, cost, others, is_left)
        N = np.where(is_anchor, N, np.where(is_smooth, between, left))
        is_inside &= left_is_inside
    check_shares_inside(is_inside, budgets, DISTANCE)
    return N


def _searched(
    curve: Curve,
    start: np.ndarray,
    budgets: np.ndarray,
    cost: Cost,
    others: tuple[np.ndarray, ...],
    is_wanted: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return optima of the draws and budgets that are wanted, and whether each is inside its grid.

    Both are (S, budgets), as is `is_wanted`. Where it is false they are NaN and true.
    """
    N, is_inside = np.full(start.shape, np.nan), np.ones(start.shape, bool)

    def search(i: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(is_wanted[:, i])
        some = curve if len(rows) == curve.draws else _of_draws(curve, rows)
        at = [float(values[i]) for values in others]
        return optimum_and_whether_inside(some, start[rows, i], float(budgets[i]), cost, *at)

    places = np.flatnonzero(is_wanted.any(axis=0))
    for i, found in zip(places, side_by_side(search, places), strict=True):
        N[is_wanted[:, i], i], is_inside[is_wanted[:, i], i] = found
    return N, is_inside


def _of_draws(curve: Curve, rows: np.ndarray) -> Curve:
    """Return the expected curves of some of the draws."""
    own = {name: values[rows] for name, values in curve.parameters.items()}
    return replace(curve, parameters=own, pull=curve.pull[rows])


def _interpolated(
    N: np.ndarray, anchors: list[int], budgets: np.ndarray, cost: Cost
) -> tuple[np.ndarray, np.ndarray]:
    """Return N* at all budgets, and whether it moves smoothly there, (S, budgets) each.

    Parameters
    ----------
    N, anchors
        N* at some budgets, (S, anchors), and the indices of these budgets.
    budgets, cost
        All budgets, rising, in units of the cost.
    """
    from scipy.interpolate import Akima1DInterpolator  # imported late: it takes a tenth of a second

    log_N, log_C = np.log(N), np.log(budgets)
    x = log_C[anchors]
    predicted = np.full(N.shape, np.nan)
    for first in (0, 1):
        known, at = slice(first, None, 2), slice(1 - first, None, 2)
        predicted[:, at] = Akima1DInterpolator(x[known], log_N[:, known], axis=1)(x[at])
    # Where serving takes most of the budget, log D changes much faster than log N.
    D = cost.affordable_tokens(N, budgets[anchors])
    D_predicted = cost.affordable_tokens(np.exp(predicted), budgets[anchors])
    error = np.maximum(np.abs(predicted - log_N), np.abs(np.log(D_predicted / D)))
    is_smooth = error <= SMOOTH
    # The outermost anchors are not predicted: they count as smooth if their neighbours are.
    is_smooth = np.pad(is_smooth[:, 1:-1], ((0, 0), (1, 1)), mode="edge")
    right = np.searchsorted(x, log_C).clip(1, len(anchors) - 1)
    is_smooth_between = is_smooth[:, right - 1] & is_smooth[:, right]
    return np.exp(Akima1DInterpolator(x, log_N, axis=1)(log_C)), is_smooth_between
