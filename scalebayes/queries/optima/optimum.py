"""N that minimises each draw's curve at a budget: in closed form, numerically, or on a grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.queries.curves import Curve
from scalebayes.queries.optima.drifting_optima import drifting_optima
from scalebayes.queries.optima.expected_optima import expected_optima
from scalebayes.queries.optima.grids import others_differ
from scalebayes.queries.optima.many_budgets import numeric_optima
from scalebayes.queries.optima.newton import columns

FEW_QUANTILES = (0.0, 0.5, 1.0)
"""Quantiles of the budgets at which the optima of the law alone are found, for a rough idea."""


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
    # The searches take rising budgets, each once. Those whose logs are equal are one.
    asked = np.column_stack([np.log(budgets), *others])
    _, first, back = np.unique(asked, axis=0, return_index=True, return_inverse=True)
    rising = np.asarray(budgets, float)[first]
    N = _at_rising_budgets(curve, rising, cost, *[values[first] for values in others])
    return N[:, back]


def _at_rising_budgets(
    curve: Curve, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> np.ndarray:
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
    """Return approximate optima of the law alone, (S, budgets), to search the curves around.

    Where the law has no closed form, it is solved at a few budgets, and log N is taken as linear in
    log C between these.
    """
    has_closed_form = cost is SIX_ND and curve.law.optimal_N is not None
    is_few = len(budgets) <= len(FEW_QUANTILES)
    if has_closed_form or is_few or others_differ(others):
        return _optima_of_law(curve, budgets, cost, *others)
    from scipy.interpolate import make_interp_spline  # imported late: it takes a tenth of a second

    few = np.quantile(budgets, FEW_QUANTILES, method="nearest")
    at_few = [values[: len(few)] for values in others]  # all of an input's values are equal
    log_N = np.log(_optima_of_law(curve, few, cost, *at_few))
    return np.exp(make_interp_spline(np.log(few), log_N, k=1, axis=1)(np.log(budgets)))
