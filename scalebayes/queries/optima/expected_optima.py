"""Sizes of least loss of curves with a discrepancy, at many budgets.

A discrepancy is smooth over about a decade, so most draws' optima move smoothly with the budget.
All draws are searched at budgets `APART`, and most optima between these are interpolated. Where a
draw's optimum does not move smoothly, as from one minimum to another, it is searched everywhere.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalebayes.costs.cost import Cost
from scalebayes.queries.curves import Curve
from scalebayes.queries.optima.expected_optimum import expected_optimum
from scalebayes.queries.optima.grids import evenly_apart
from scalebayes.utils.parallel import side_by_side

APART = 0.1
"""Most decades between the budgets at which all draws are searched."""
FEWEST = 8
"""Number of those budgets from which optima are interpolated between them."""
SMOOTH = 0.01
"""Largest error of log N* interpolated over twice `APART` for a draw to count as smooth there.

Over `APART` itself the error is at most about an eighth: that of a search.
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
        The optima of the law, (S, budgets).
    budgets, cost
        Budgets in units of the cost.
    others
        Further inputs of the law, (budgets,) each.

    Raises
    ------
    QueryError
        As `expected_optimum`.
    """
    order = np.argsort(budgets, kind="stable")
    rising, rising_start = budgets[order], start[:, order]
    further = [values[order] for values in others]
    N = np.empty(start.shape)
    is_known = np.zeros(start.shape, bool)

    def search(is_wanted: np.ndarray) -> None:
        """Search draws at budgets, (S, budgets)."""
        places = np.flatnonzero(is_wanted.any(axis=0))

        def search_at(i: int) -> np.ndarray:
            rows = np.flatnonzero(is_wanted[:, i])
            at = [float(values[i]) for values in further]
            some = curve if len(rows) == curve.draws else _of_draws(curve, rows)
            return expected_optimum(some, rising_start[rows, i], float(rising[i]), cost, *at)

        for i, found in zip(places, side_by_side(search_at, places), strict=True):
            N[is_wanted[:, i], i] = found
        is_known[is_wanted] = True

    anchors = evenly_apart(np.log10(rising), APART, further)
    is_anchor = np.isin(np.arange(len(rising)), anchors)
    if len(anchors) < FEWEST:
        is_anchor[:] = True
    search(np.broadcast_to(is_anchor, start.shape))
    if not is_anchor.all():
        log_N, is_smooth = _interpolated(np.log(rising), anchors, np.log(N[:, anchors]))
        between = is_smooth & ~is_anchor
        N[between] = np.exp(log_N[between])
        is_known |= between
        search(~is_known)
    in_order = np.empty_like(N)
    in_order[:, order] = N
    return in_order


def _of_draws(curve: Curve, rows: np.ndarray) -> Curve:
    """Return the expected curves of some of the draws."""
    own = {name: values[rows] for name, values in curve.parameters.items()}
    return replace(curve, parameters=own, pull=curve.pull[rows])


def _interpolated(
    log_C: np.ndarray, anchors: list[int], log_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log N* at all budgets, and whether it moves smoothly there, (S, budgets) each.

    log_C : rising, (budgets,). log_N : at the budgets numbered `anchors`, (S, anchors).
    """
    from scipy.interpolate import Akima1DInterpolator

    x = log_C[anchors]
    # Each inner anchor is predicted from every other one, those beside it among them.
    error = np.zeros(log_N.shape)
    for first in (0, 1):
        from_these, at = slice(first, None, 2), slice(1 - first, None, 2)
        predicted = Akima1DInterpolator(x[from_these], log_N[:, from_these], axis=1)(x[at])
        error[:, at] = np.abs(predicted - log_N[:, at])
    is_smooth = ~(error[:, 1:-1] > SMOOTH)
    # A draw is smooth between two anchors at which it is, and before the first and last of these.
    is_smooth = np.pad(is_smooth, ((0, 0), (1, 1)), mode="edge")
    right = np.searchsorted(x, log_C).clip(1, len(anchors) - 1)
    between = is_smooth[:, right - 1] & is_smooth[:, right]
    return Akima1DInterpolator(x, log_N, axis=1)(log_C), between
