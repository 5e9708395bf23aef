"""N that minimises each draw's curve at a budget: in closed form, numerically, or on a grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.queries.curves import Curve
from scalebayes.queries.optima.drifting_optima import drifting_optima
from scalebayes.queries.optima.expected_optima import expected_optima
from scalebayes.queries.optima.many_budgets import numeric_optima
from scalebayes.queries.optima.newton import columns

SHARES = (0.0, 0.5, 1.0)
"""Budgets at which the optima of the law alone are found, as shares of all in their order."""


def optimal_sizes(curve: Curve, budgets: np.ndarray, cost: Cost, *others: np.ndarray) -> np.ndarray:
    """Return N that minimises each draw's curve at each budget, (S, budgets), for `frontier`.

    Parameters
    ----------
    curve
        The curves of S draws.
    budgets, cost
        Budgets, (budgets,), in units of the cost.
    others
        Further inputs of the law, each (budgets,).

    Raises
    ------
    QueryError
        When there is no interior optimum at a budget.
    """
    budgets = np.asarray(budgets, float)
    if curve.is_law:
        return _optima_of_law(curve, budgets, cost, *others)
    near = _near_optima_of_law(curve, budgets, cost, *others)
    if curve.drift is not None:
        searched = replace(curve, drift=curve.drift.of_inputs)
        return drifting_optima(searched, near, budgets, cost, *others)
    return expected_optima(curve, near, budgets, cost, *others)


def _optima_of_law(
    curve: Curve, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> np.ndarray:
    """Return N that minimises each draw's law alone at each budget, (S, budgets)."""
    if cost is SIX_ND and curve.law.optimal_N is not None:
        return curve.law.optimise(budgets / 6.0, columns(curve.parameters))
    return numeric_optima(curve.law, curve.parameters, budgets, cost, *others)


def _near_optima_of_law(
    curve: Curve, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> np.ndarray:
    """Return N near those of `_optima_of_law`, around which decades are searched.

    Where they are found numerically and the inputs do not differ between budgets, a few are found,
    and log N is linear in log C between these.
    """
    has_closed_form = cost is SIX_ND and curve.law.optimal_N is not None
    others_differ = any((values != values[0]).any() for values in others)
    some = np.unique(np.quantile(budgets, SHARES, method="nearest"))
    if has_closed_form or others_differ or len(budgets) <= len(SHARES) or len(some) == 1:
        return _optima_of_law(curve, budgets, cost, *others)
    from scipy.interpolate import make_interp_spline  # imported late: it takes a tenth of a second

    at_some = [values[: len(some)] for values in others]
    log_N = np.log(_optima_of_law(curve, some, cost, *at_some))
    return np.exp(make_interp_spline(np.log(some), log_N, k=1, axis=1)(np.log(budgets)))
