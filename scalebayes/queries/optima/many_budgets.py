"""N that minimises each draw's law at many budgets, found numerically."""

from __future__ import annotations

import numpy as np

from scalebayes.costs.cost import Cost
from scalebayes.laws import Law
from scalebayes.queries.optima.grids import others_differ
from scalebayes.queries.optima.newton import LossAlongBudgets, Parameters
from scalebayes.queries.optima.one_budget import TOLERANCE, from_scratch, narrow, numeric_optimum

SMOOTH_TOLERANCE = 3e-4
"""Last step of Newton's method of a draw that met no kink at other budgets: its square is about the
error that is left."""
SPARSE_PER_DECADE = 0.5
"""Budgets per decade that are solved from scratch, besides `EXTRA_BUDGETS`: log N* is nearly linear
in log C along a decade and more, but for kinks and jumps."""
DENSE_PER_DECADE = 4
"""Budgets per decade that are solved from a curve through those, besides `EXTRA_BUDGETS`. A curve
through these is right to about 1e-5 in log N*, so that one step of Newton's method suffices."""
EXTRA_BUDGETS = 4
"""Budgets added to those per decade, so that there is a curve for less than a decade too."""
FEW_BUDGETS = 16
"""Budgets up to which each is solved from scratch: there would be little to save."""
LARGEST_SHARE = 0.75
"""Share of all budgets that the dense ones may be. Above it each is solved from scratch as well."""
BRACKET = 0.2
"""Half width in log N of the bracket around the expected size in which a kink is looked for.

It is twice `FARTHEST`: where the minimum is that far from the middle, the loss at the middle is
still below that at both ends, as the method requires.
"""
BESIDE = 1e-4
"""Distance in log N from a minimum at which the loss is compared with that at the minimum."""
DISCONTINUITY = 1e-3
"""Relative difference of these losses above which the loss is discontinuous: no exponent is 10."""
FARTHEST = 0.1
"""Distance in log N from where a minimum was expected above which it is another one, and the same
for the change of log N* between budgets, beyond what one minimum allows."""


def numeric_optima(
    law: Law, parameters: Parameters, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> np.ndarray:
    """Return `numeric_optimum` at many budgets, (S, budgets), given parameters (S,).

    Some budgets are solved from scratch, more of them by Newton's method from a curve in log C
    through those, and all from a curve through these. This assumes that N* moves steadily with C. A
    draw whose N* jumps is solved from scratch at every budget, and so are all draws where further
    inputs differ between budgets.

    Parameters
    ----------
    law, parameters
        The law, and draws of its parameters.
    budgets, cost
        Rising budgets, each of them once, in units of the cost.
    others
        Further inputs of the law, (budgets,) each.

    Raises
    ------
    QueryError
        As `numeric_optimum`.
    """
    log_C = np.log(budgets)
    sparse = _evenly_chosen(log_C, SPARSE_PER_DECADE)
    dense = _evenly_chosen(log_C, DENSE_PER_DECADE)
    is_few = len(log_C) <= FEW_BUDGETS or len(dense) > LARGEST_SHARE * len(log_C)
    if is_few or others_differ(others):
        columns_found = []
        for budget, *at in zip(budgets, *others, strict=True):
            columns_found.append(numeric_optimum(law, parameters, budget, cost, *at))
        return np.stack(columns_found, axis=-1)
    from scipy.interpolate import Akima1DInterpolator  # imported late: it takes a tenth of a second

    further = tuple(x[:1] for x in others)  # all values of an input are equal
    solved = [from_scratch(law, parameters, c, cost, *further) for c in budgets[sparse]]
    log_N = np.stack([one.log_N for one in solved], axis=-1)
    is_smooth = np.stack([one.converged for one in solved], axis=-1).all(axis=1)
    jumps = np.zeros(len(log_N), bool)
    for known, wanted in ((sparse, dense), (dense, np.arange(len(log_C)))):
        # Akima's curve is bent by a kink near it alone; a spline would swing along all budgets.
        start = Akima1DInterpolator(log_C[known], log_N, axis=1)(log_C[wanted])
        line = LossAlongBudgets(law, budgets[wanted], cost, further)
        tolerance = np.where(is_smooth, SMOOTH_TOLERANCE, TOLERANCE)
        log_N, converged, jumps = _near(line, parameters, start, tolerance, jumps)
        is_smooth &= converged.all(axis=1)
    return np.exp(log_N)


def _near(
    line: LossAlongBudgets,
    parameters: Parameters,
    start: np.ndarray,
    tolerance: np.ndarray,
    jumps: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the logs of the sizes of least loss along rising budgets, most of them near `start`.

    Parameters
    ----------
    line, parameters, start, tolerance
        As `LossAlongBudgets.minimise` takes them.
    jumps
        Whether N* of a draw is known to jump between budgets, (S,).

    Returns
    -------
    tuple of numpy.ndarray
        The log sizes, and whether Newton's method found each of them, (S, B) each; and whether N*
        of a draw jumps, (S,).
    """
    log_N, converged = line.minimise(parameters, start, tolerance)
    # At a kink Newton's method does not converge.
    rows, places = np.nonzero(~converged)
    some = {name: values[rows] for name, values in parameters.items()}
    bracket = start[rows, places] + BRACKET * np.array([[-1], [0], [1]])
    is_near = converged.copy()
    with np.errstate(all="ignore"):  # a bracket may pass the size that uses up the budget
        log_N[rows, places], is_near[rows, places] = narrow(line.at(places), some, bracket)
    is_near &= np.abs(log_N - start) < FARTHEST
    log_N = _solved_again(line, parameters, log_N, ~is_near)

    # N* and D* both rise with C, unless N* jumps from one minimum to another. It also may where the
    # loss is discontinuous.
    change, distance = np.diff(log_N, axis=1), np.diff(np.log(line.budgets))
    has_jumped = (change < -FARTHEST) | (change > distance + FARTHEST)
    rows, places = np.nonzero(~converged | ~is_near)
    some = {name: values[rows] for name, values in parameters.items()}
    is_discontinuous = _is_discontinuous(line.at(places), some, log_N[rows, places])
    jumps = jumps | has_jumped.any(axis=1)
    jumps[rows[is_discontinuous]] = True
    log_N = _solved_again(line, parameters, log_N, is_near & jumps[:, None])
    return log_N, converged, jumps


def _solved_again(
    line: LossAlongBudgets, parameters: Parameters, log_N: np.ndarray, is_wrong: np.ndarray
) -> np.ndarray:
    """Return log sizes, (S, B), after solving from scratch where `is_wrong`, (S, B)."""
    log_N = log_N.copy()
    for i in np.flatnonzero(is_wrong.any(axis=0)):
        rows = np.flatnonzero(is_wrong[:, i])
        own = {name: values[rows] for name, values in parameters.items()}
        budget = float(line.budgets[i])
        solved = from_scratch(line.law, own, budget, line.cost, *line.others, all_draws=len(log_N))
        log_N[rows, i] = solved.log_N
    return log_N


def _is_discontinuous(
    line: LossAlongBudgets, parameters: Parameters, log_N: np.ndarray
) -> np.ndarray:
    """Return whether the loss is discontinuous at sizes (n,), as where a cost is.

    Parameters are those of `narrow`.
    """
    losses = []
    for distance in (-BESIDE, 0.0, BESIDE):
        N = np.exp(log_N + distance)
        losses.append(line.loss(N, line.tokens(N), parameters))
    change = np.abs(np.diff(losses, axis=0)).max(axis=0)
    return change > DISCONTINUITY * np.abs(losses[1])


def _evenly_chosen(log_C: np.ndarray, per_decade: float) -> np.ndarray:
    """Return the indices of the budgets nearest to evenly spaced ones, the ends among them."""
    decades = (log_C[-1] - log_C[0]) / np.log(10)
    even = np.linspace(log_C[0], log_C[-1], int(decades * per_decade) + EXTRA_BUDGETS)
    return np.unique(np.abs(log_C[:, None] - even).argmin(axis=0))
