"""N that minimises each draw's curve at a budget: in closed form, numerically, or on a grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.queries.curves import Curve
from scalebayes.queries.optima.drifting_optima import drifting_optima
from scalebayes.queries.optima.expected_optimum import expected_optimum
from scalebayes.queries.optima.many_budgets import numeric_optima
from scalebayes.queries.optima.newton import columns
from scalebayes.utils.parallel import side_by_side


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
    law = curve.law
    budgets = np.asarray(budgets, float)
    if cost is SIX_ND and law.optimal_N is not None:
        N = law.optimise(budgets / 6.0, columns(curve.parameters))
    else:
        N = numeric_optima(law, curve.parameters, budgets, cost, *others)
    if curve.is_law:
        return N

    if curve.drift is not None:
        searched = replace(curve, drift=curve.drift.of_inputs)
        return drifting_optima(searched, N, budgets, cost, *others)

    def optimum_at(start: np.ndarray, budget: float, *at: float) -> np.ndarray:
        return expected_optimum(curve, start, budget, cost, *at)

    return np.stack(side_by_side(optimum_at, N.T, budgets, *others), axis=-1)
