"""N that minimises each draw's law at many budgets, found numerically."""

from __future__ import annotations

import numpy as np

from scalebayes.costs.cost import Cost
from scalebayes.laws import Law
from scalebayes.queries.optima.newton import LossAlongBudgets, Minima, Parameters
from scalebayes.queries.optima.one_budget import TOLERANCE, from_scratch, narrow, numeric_optimum

SMOOTH_TOLERANCE = 3e-4
"""Last step where no kink was met at other budgets: its square is about the error that is left."""
SPARSE_PER_DECADE = 0.5
"""Budgets per decade that are solved from scratch when many are asked, besides `EXTRA_BUDGETS`."""
DENSE_PER_DECADE = 4
"""Budgets per decade that are solved from a curve through those, besides `EXTRA_BUDGETS`."""
EXTRA_BUDGETS = 4
"""Budgets added to those per decade: a curve of a narrow range needs some too."""
FEW_BUDGETS = 16
"""Budgets up to which each is solved from scratch: curves would save little."""
BRACKET = 0.2
"""Half width in log N of the bracket around the expected size in which a kink is looked for.

It is twice `FARTHEST`: a minimum so far from the middle is still below both ends.
"""
BESIDE = 1e-4
"""Distance in log N from a kink at which the loss is compared with that at the kink."""
LEAST_STEP = 1e-3
"""Relative difference of the two above which the loss changes at once."""
FARTHEST = 0.1
"""Distance in log N from its start beyond which Newton's method has found another minimum."""


def numeric_optima(
    law: Law, parameters: Parameters, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> np.ndarray:
    """Return `numeric_optimum` at many budgets, (S, budgets), given parameters (S,).

    Some budgets are solved from scratch, more by Newton's method from a curve in log C through
    those, and all from a curve through these. N* is assumed to move steadily with C: draws of which
    it jumps are solved from scratch at every budget. Everything is where further inputs differ
    between budgets.

    Raises
    ------
    QueryError
        As `numeric_optimum`.
    """
    from scipy.interpolate import Akima1DInterpolator

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

    solved = [from_scratch(law, parameters, c, cost, *further) for c in np.exp(sparse)]
    log_N = np.stack([one.log_N for one in solved], axis=-1)
    is_smooth = np.stack([one.converged for one in solved], axis=-1).all(axis=1)
    for known, wanted in ((sparse, dense), (dense, log_C)):
        # Akima's curve is bent by a kink near it alone; a spline would swing along all budgets.
        start = Akima1DInterpolator(known, log_N, axis=1)(wanted)
        line = LossAlongBudgets(law, np.exp(wanted), cost, further)
        tolerance = np.where(is_smooth, SMOOTH_TOLERANCE, TOLERANCE)
        log_N, converged = _near(line, parameters, start, tolerance)
        is_smooth &= converged.all(axis=1)
    return np.exp(log_N[:, np.searchsorted(log_C, np.log(budgets))])


def _near(
    line: LossAlongBudgets, parameters: Parameters, start: np.ndarray, tolerance: np.ndarray
) -> Minima:
    """Return the least minima along rising budgets, (S, B), most of which are near `start`.

    Parameters
    ----------
    line, parameters, start, tolerance
        As `LossAlongBudgets.minimise` takes them.
    """
    log_N, converged = line.minimise(parameters, start, tolerance)
    is_near = converged.copy()
    # At a kink Newton's method does not converge.
    rows, places = np.nonzero(~converged)
    some = {name: values[rows] for name, values in parameters.items()}
    here = line.at(places)
    bracket = start[rows, places] + BRACKET * np.array([[-1], [0], [1]])
    with np.errstate(all="ignore"):  # a bracket may pass the size that uses up the budget
        narrowed = narrow(here, some, bracket)
        is_at_step = _is_at_step(here, some, narrowed.log_N)
    log_N[rows, places], is_near[rows, places] = narrowed

    is_near &= np.abs(log_N - start) < FARTHEST
    log_N = _solved_again(line, parameters, log_N, ~is_near)
    # N* and D* both rise with C, unless N* jumps from one minimum to another. It may jump where the
    # loss does too.
    change, distance = np.diff(log_N, axis=1), np.diff(np.log(line.budgets))
    has_jumped = (change < -FARTHEST) | (change > distance + FARTHEST)
    jumps = has_jumped.any(axis=1)
    jumps[rows[is_at_step]] = True
    log_N = _solved_again(line, parameters, log_N, is_near & jumps[:, None])
    return Minima(log_N, converged)


def _solved_again(
    line: LossAlongBudgets, parameters: Parameters, log_N: np.ndarray, is_wrong: np.ndarray
) -> np.ndarray:
    """Return minima, (S, B), of which those that may be wrong are solved from scratch."""
    log_N = log_N.copy()
    for i in np.flatnonzero(is_wrong.any(axis=0)):
        rows = np.flatnonzero(is_wrong[:, i])
        own = {name: values[rows] for name, values in parameters.items()}
        solved = from_scratch(line.law, own, float(line.budgets[i]), line.cost, *line.others)
        log_N[rows, i] = solved.log_N
    return log_N


def _is_at_step(line: LossAlongBudgets, parameters: Parameters, log_N: np.ndarray) -> np.ndarray:
    """Return whether the loss changes at once at sizes (n,), as where a cost does.

    Parameters are those of `_narrow`.
    """
    losses = []
    for distance in (-BESIDE, 0.0, BESIDE):
        N = np.exp(log_N + distance)
        losses.append(line.loss(N, line.tokens(N), parameters))
    change = np.abs(np.diff(losses, axis=0)).max(axis=0)
    return change > LEAST_STEP * np.abs(losses[1])


def _even_budgets(log_C: np.ndarray, per_decade: float) -> np.ndarray:
    """Return log budgets evenly spaced between the first and the last."""
    decades = (log_C[-1] - log_C[0]) / np.log(10)
    return np.linspace(log_C[0], log_C[-1], int(decades * per_decade) + EXTRA_BUDGETS)
