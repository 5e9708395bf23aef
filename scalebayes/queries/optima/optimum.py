"""N that minimises each draw's curve at a budget: in closed form, numerically, or on a grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.errors import QueryError
from scalebayes.laws import Law
from scalebayes.queries.curves import Curve
from scalebayes.queries.optima.drifting_optima import drifting_optima
from scalebayes.queries.optima.expected_optimum import expected_optimum
from scalebayes.queries.optima.newton import LossAlongBudgets, Minima, Parameters, columns
from scalebayes.queries.optima.size_grid import affordable_sizes
from scalebayes.units import format_quantity, share_in_words
from scalebayes.utils.parallel import parts_of, side_by_side

GRID_SIZES = 129
"""Sizes tried to bracket the optimum, evenly spaced in log N."""
LARGEST_SIZE = 1e30
"""Size at which the search for an optimum ends; it begins at one parameter."""
TOLERANCE = 1e-7
"""Last step of Newton's method in log N, where the curve may have a kink.

Central differences hide a kink, so only a short step shows that there is none.
"""
SMOOTH_TOLERANCE = 1e-3
"""Last step where no kink was met at other budgets: its square is about the error that is left."""
SPARSE_PER_DECADE = 0.5
"""Budgets per decade that are solved from scratch when many are asked, besides `EXTRA_BUDGETS`."""
DENSE_PER_DECADE = 4
"""Budgets per decade that are solved from a spline through those, besides `EXTRA_BUDGETS`."""
EXTRA_BUDGETS = 4
"""Budgets added to those per decade: a cubic spline needs four."""
FEW_BUDGETS = 16
"""Budgets up to which each is solved from scratch: splines would save little."""
FARTHEST = 0.1
"""Distance in log N from its start beyond which Newton's method has found another minimum."""
ROUNDING = 1e-12
"""Relative rise of the loss over the grid's least above which it has found another minimum too."""


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


def numeric_optimum(
    law: Law, parameters: Parameters, budget: float, cost: Cost = SIX_ND, *others: float
) -> np.ndarray:
    """Return N that minimises L(N, D) subject to cost(N, D) = budget, in the parameters' shape.

    Newton's method starts from the least of a grid. Where it does not converge, at a kink,
    Chandrupatla's method narrows the bracket that the grid gives.

    Parameters
    ----------
    law, parameters
        The law and draws of its parameters.
    budget, cost
        The budget, in units of the cost.
    others
        Further inputs of the law, one value each.

    Raises
    ------
    QueryError
        When the loss has no minimum between the smallest and the largest size that the budget
        pays for.
    """
    shape = next(iter(parameters.values())).shape
    flat = {name: values.ravel() for name, values in parameters.items()}
    further = [np.array([value]) for value in others]
    return np.exp(_from_scratch(law, flat, budget, cost, *further).log_N).reshape(shape)


def _from_scratch(
    law: Law, parameters: Parameters, budget: float, cost: Cost, *others: np.ndarray
) -> Minima:
    """Return the least minima at one budget, (S,), as `numeric_optimum` finds them."""
    line = LossAlongBudgets(law, np.array([budget]), cost, others)
    bracket = _bracket(line, parameters)
    start, low, high = bracket[1], bracket[0], bracket[2]
    found = line.minimise(parameters, start[:, None], np.full(len(start), TOLERANCE))
    log_N = found.log_N[:, 0]
    own = columns(parameters)

    def loss(log_N: np.ndarray) -> np.ndarray:
        N = np.exp(log_N)[:, None]
        return line.loss(N, line.tokens(N), own)[:, 0]

    converged = found.converged[:, 0] & (low < log_N) & (log_N < high)
    converged &= loss(log_N) <= loss(start) * (1 + ROUNDING)
    rest = np.flatnonzero(~converged)
    if rest.size:
        some = {name: values[rest] for name, values in parameters.items()}
        log_N[rest] = _narrow(line, some, bracket[:, rest])
    return Minima(log_N, converged)


def _bracket(line: LossAlongBudgets, parameters: Parameters) -> np.ndarray:
    """Return the log size of least loss on a grid between its neighbours, (3, S), at one budget."""
    law, cost, budget = line.law, line.cost, float(line.budgets[0])
    grid = affordable_sizes(cost, budget, np.linspace(0.0, np.log(LARGEST_SIZE), GRID_SIZES))
    if len(grid) < 3:
        raise QueryError(
            f"a budget of {format_quantity(budget)} in units of '{cost.name}' is too small: it "
            "pays for no run of more than one parameter"
        )
    N = np.exp(grid)
    D = cost.affordable_tokens(N, budget)

    def least_of(part: slice) -> np.ndarray:
        own = {name: values[part, None] for name, values in parameters.items()}
        return _nan_as_infinite(law(N, D, *line.others, **own)).argmin(axis=1)

    draws = len(next(iter(parameters.values())))
    least = np.concatenate(side_by_side(least_of, parts_of(draws, len(grid))))
    is_inside = (least > 0) & (least < len(grid) - 1)
    if not is_inside.all():
        raise QueryError(
            f"law '{law.name}' has no compute-optimal point at C = {format_quantity(budget)} "
            f"in {share_in_words(np.mean(~is_inside))} of the draws: its loss falls all the way to "
            "one end of what the budget pays for"
        )
    return grid[np.stack([least - 1, least, least + 1])]


def _narrow(line: LossAlongBudgets, parameters: Parameters, bracket: np.ndarray) -> np.ndarray:
    """Return the log sizes of least loss within brackets (3, S), by Chandrupatla's method."""
    from scipy.optimize import elementwise

    names = list(parameters)

    def loss(log_N: np.ndarray, *values: np.ndarray) -> np.ndarray:
        N = np.exp(log_N)
        own = dict(zip(names, values, strict=True))
        return _nan_as_infinite(line.loss(N, line.tokens(N), own))

    found = elementwise.find_minimum(loss, tuple(bracket), args=tuple(parameters.values()))
    # On a plateau no bracket can be narrowed: the least of the grid stands.
    return np.where(found.success, found.x, bracket[1])


def _nan_as_infinite(loss: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(loss), np.inf, loss)


def numeric_optima(
    law: Law, parameters: Parameters, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> np.ndarray:
    """Return `numeric_optimum` at many budgets, (S, budgets), given parameters (S,).

    N* is assumed to move smoothly with C. Some budgets are solved from scratch, more by Newton's
    method from a cubic spline in log C through those, and all from a spline through these. Draws
    for which the assumption fails are solved from scratch at every budget. There Newton's method
    does not converge (at a kink), or ends far from where the spline led (at a jump from one minimum
    to another). Everything is solved from scratch where further inputs differ between budgets.

    Raises
    ------
    QueryError
        As `numeric_optimum`.
    """
    from scipy.interpolate import CubicSpline

    log_C = np.log(np.unique(budgets))
    sparse = _even_budgets(log_C, SPARSE_PER_DECADE)
    dense = _even_budgets(log_C, DENSE_PER_DECADE)
    others_differ = any((x != x[0]).any() for x in others)
    if others_differ or len(log_C) <= max(FEW_BUDGETS, 2 * len(sparse)):
        columns_found = []
        for budget, *at in zip(budgets, *others, strict=True):
            columns_found.append(numeric_optimum(law, parameters, budget, cost, *at))
        return np.stack(columns_found, axis=-1)
    further = tuple(x[:1] for x in others)

    solved = [_from_scratch(law, parameters, c, cost, *further) for c in np.exp(sparse)]
    sparse_log_N = np.stack([one.log_N for one in solved], axis=-1)
    is_smooth = np.stack([one.converged for one in solved], axis=-1).all(axis=1)

    start = CubicSpline(sparse, sparse_log_N, axis=1)(dense)
    line = LossAlongBudgets(law, np.exp(dense), cost, further)
    at_dense = line.minimise(parameters, start, np.full(len(start), TOLERANCE))
    is_smooth &= at_dense.converged.all(axis=1)
    stays_near = (np.abs(at_dense.log_N - start) < FARTHEST).all(axis=1)

    start = CubicSpline(dense, at_dense.log_N, axis=1)(np.log(budgets))
    line = LossAlongBudgets(law, budgets, cost, further)
    tolerance = np.where(is_smooth, SMOOTH_TOLERANCE, TOLERANCE)
    log_N, converged = line.minimise(parameters, start, tolerance)
    converged &= stays_near[:, None] & (np.abs(log_N - start) < FARTHEST)

    for i in np.flatnonzero(~converged.all(axis=0)):
        rest = ~converged[:, i]
        some = {name: values[rest] for name, values in parameters.items()}
        log_N[rest, i] = _from_scratch(law, some, float(budgets[i]), cost, *further).log_N
    return np.exp(log_N)


def _even_budgets(log_C: np.ndarray, per_decade: float) -> np.ndarray:
    """Return log budgets evenly spaced between the first and the last."""
    decades = (log_C[-1] - log_C[0]) / np.log(10)
    return np.linspace(log_C[0], log_C[-1], int(decades * per_decade) + EXTRA_BUDGETS)
