"""N that minimises each draw's law at one budget, found numerically."""

from __future__ import annotations

import numpy as np

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.errors import QueryError
from scalebayes.laws import Law
from scalebayes.queries.optima.grids import affordable_sizes
from scalebayes.queries.optima.newton import LossAlongBudgets, Minima, Parameters, columns
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
NARROWED = 1e-7
"""Width in log N to which a bracket around a kink is narrowed."""
ROUNDING = 1e-12
"""Relative rise of the loss over the grid's least above which Newton's method has found another
minimum."""


def numeric_optimum(
    law: Law, parameters: Parameters, budget: float, cost: Cost = SIX_ND, *others: float
) -> np.ndarray:
    """Return N that minimises L(N, D) subject to cost(N, D) = budget, in the parameters' shape.

    Newton's method starts from the least of a grid. Where it does not converge, at a kink,
    Chandrupatla's method narrows the bracket that the grid gives. Where a cost jumps at a size, the
    loss can have a minimum just below it that is narrower than the steps of the grid, which are
    half an e-fold of N; it is then missed.

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
    return np.exp(from_scratch(law, flat, budget, cost, *further).log_N).reshape(shape)


def from_scratch(
    law: Law,
    parameters: Parameters,
    budget: float,
    cost: Cost,
    *others: np.ndarray,
    all_draws: int | None = None,
) -> Minima:
    """Return the least minima at one budget, (S,), as `numeric_optimum` finds them.

    all_draws : number of all draws, of which S are solved; all of them if None. Errors name shares.
    """
    line = LossAlongBudgets(law, np.array([budget]), cost, others)
    bracket = _bracket(line, parameters, all_draws)
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
    some = {name: values[rest] for name, values in parameters.items()}
    log_N[rest] = narrow(line, some, bracket[:, rest]).log_N
    return Minima(log_N, converged)


def _bracket(line: LossAlongBudgets, parameters: Parameters, all_draws: int | None) -> np.ndarray:
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
        share = np.sum(~is_inside) / (all_draws or draws)
        raise QueryError(
            f"law '{law.name}' has no compute-optimal point at C = {format_quantity(budget)} "
            f"in {share_in_words(share)} of the draws: its loss falls all the way to "
            "one end of what the budget pays for"
        )
    return grid[np.stack([least - 1, least, least + 1])]


def narrow(line: LossAlongBudgets, parameters: Parameters, bracket: np.ndarray) -> Minima:
    """Return the log sizes of least loss within brackets (3, n), by Chandrupatla's method.

    Where the loss in the middle of a bracket is not below that at its ends, as on a plateau, no
    minimum is found and the middle is returned.

    Parameters
    ----------
    line, parameters
        The loss along n budgets, or along one, and parameters, (n,).
    bracket
        Three log sizes each.
    """
    count = bracket.shape[1]
    if not count:
        return Minima(bracket[1], np.zeros(0, bool))
    from scipy.optimize import elementwise  # imported late: it takes a tenth of a second

    names = list(parameters)

    def loss(log_N: np.ndarray, place: np.ndarray, *values: np.ndarray) -> np.ndarray:
        N = np.exp(log_N)
        own = dict(zip(names, values, strict=True))
        here = line.at(place.astype(int))  # SciPy passes all arguments as floats
        return _nan_as_infinite(here.loss(N, here.tokens(N), own))

    budgets = np.broadcast_to(np.arange(len(line.budgets)), count)
    found = elementwise.find_minimum(
        loss,
        tuple(bracket),
        args=(budgets, *parameters.values()),
        tolerances={"xatol": NARROWED, "xrtol": 0.0},
    )
    return Minima(np.where(found.success, found.x, bracket[1]), found.success)


def _nan_as_infinite(loss: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(loss), np.inf, loss)
