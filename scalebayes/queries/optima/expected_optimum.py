"""Size of least loss of curves with a discrepancy: a shared grid, and a parabola for each draw."""

from __future__ import annotations

import numpy as np

from scalebayes.costs.cost import Cost
from scalebayes.errors import QueryError
from scalebayes.queries.curves import SharedCurve
from scalebayes.queries.optima.grids import affordable_sizes
from scalebayes.units import format_quantity, share_in_words

DISTANCE = 3.0 * np.log(10)
"""Distance in log N from the law's optima within which the optimum is sought: three decades."""
DISTANCE_OF_DRIFT = 10.0 * np.log(10)
"""The same for laws that drift, whose exponents may have become almost any in a few draws."""
STEP = 0.025 * np.log(10)
"""Step of that grid in log N: a discrepancy is smooth over a decade or so."""
FEW = 0.01
"""Share of draws whose optimum may lie at an end of the grid: it moves no 90% interval."""
PASSES = (24, 6)
"""Steps of the grid from one size to the next in the coarse passes, which come before the fine one.

The first, of .6 decades, is for the wide grid of laws that drift: their loss along a budget falls
and rises over decades, since the exponents of both terms are below one. A discrepancy can bend a
curve within fewer decades.
"""


def expected_optimum(
    curve: SharedCurve,
    start: np.ndarray,
    budget: float,
    cost: Cost,
    *others: float,
    distance: float = DISTANCE,
) -> np.ndarray:
    """Return N that minimises each draw's curve subject to cost(N, D) = budget, shape of `start`.

    Parameters
    ----------
    curve
        The curves of S draws.
    start
        Sizes to search around, (S,): near the optima of the law.
    budget, cost
        The budget, in units of the cost.
    others
        Further inputs of the law, one value each.
    distance
        How far around, in log N.

    The optimum of a draw that lies beyond the grid is its end.

    Raises
    ------
    QueryError
        When that is so for more than `FEW` of the draws.
    """
    N, is_inside = optimum_and_whether_inside(
        curve, start, budget, cost, *others, distance=distance
    )
    check_shares_inside(is_inside[:, None], np.array([budget]), distance)
    return N.reshape(start.shape)


def optimum_and_whether_inside(
    curve: SharedCurve,
    start: np.ndarray,
    budget: float,
    cost: Cost,
    *others: float,
    distance: float = DISTANCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the N of `expected_optimum`, (S,), and whether each is not an end of the grid, (S,).

    A grid that all draws share is evaluated coarsely, then finely where the draws' minima lie. The
    optimum is the vertex of the parabola in log(D/N) through the least loss and its neighbours: in
    this coordinate the curve is smooth up to the size that uses up the budget. The result is right
    to a few tenths of a percent, far less than the width of any posterior of N*.
    """
    log_N, D = sizes_around(start, budget, cost, distance)
    passes = PASSES if distance > DISTANCE else PASSES[1:]
    first, values = _log_loss_near_minima(curve, log_N, D, others, passes)
    least = first + values.argmin(axis=1)
    last = len(log_N) - 1
    neighbours = np.stack([least - 1, least, least + 1])
    # Of a draw whose minimum is an end of the whole grid, no parabola is used.
    evaluated = (neighbours - first).clip(0, values.shape[1] - 1)
    losses = np.take_along_axis(values, evaluated.T, axis=1).T
    return np.exp(size_at_vertex(log_N, D, least, losses)), (least > 0) & (least < last)


def sizes_around(
    start: np.ndarray, budget: float, cost: Cost, distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log sizes of the grid of one budget, and the tokens that it leaves for each.

    Parameters are those of `expected_optimum`.
    """
    low = np.log(start.min()) - distance
    high = np.log(start.max()) + distance
    even = np.linspace(low, high, int((high - low) / STEP) + 2)
    log_N = affordable_sizes(cost, budget, even)
    return log_N, cost.affordable_tokens(np.exp(log_N), budget)


def check_shares_inside(is_inside: np.ndarray, budgets: np.ndarray, distance: float) -> None:
    """Raise an error if at a budget more than `FEW` of the optima are at an end of the grid.

    is_inside : whether each optimum is not at an end, (S, budgets).
    """
    for budget, share in zip(budgets, np.mean(~is_inside, axis=0), strict=True):
        if share > FEW:
            raise QueryError(
                f"no compute-optimal point within {distance / np.log(10):.0f} decades of the law's "
                f"own at C = {format_quantity(float(budget))} in {share_in_words(share)} of the "
                "draws, drift or discrepancy included"
            )


def size_at_vertex(
    log_N: np.ndarray, D: np.ndarray, least: np.ndarray, losses: np.ndarray
) -> np.ndarray:
    """Return log N at the vertex of the parabola through the least loss of each draw, (S,).

    Parameters
    ----------
    log_N, D
        The sizes of a grid and their tokens, (sizes,).
    least
        The number of the least loss of each draw, (S,). At an end of the grid that end is returned.
    losses
        Log losses before, at and after it, (3, S).
    """
    last = len(log_N) - 1
    is_inside = (least > 0) & (least < last)
    ratio = np.log(D) - log_N
    middle = least.clip(1, last - 1)
    neighbours = np.stack([middle - 1, middle, middle + 1])
    shift = vertex_shift(ratio[neighbours], losses)
    at_vertex = _quadratic(ratio[neighbours], log_N[neighbours], shift)
    return np.where(is_inside, at_vertex, log_N[least])


def _log_loss_near_minima(
    curve: SharedCurve,
    log_N: np.ndarray,
    D: np.ndarray,
    others: tuple[float, ...],
    passes: tuple[int, ...],
) -> tuple[int, np.ndarray]:
    """Return the log loss at the sizes among which all draws' minima lie, and where these begin.

    The losses are those at consecutive sizes, (S, sizes), from the returned index on.

    passes : steps between the sizes of each coarse pass.
    """

    def log_loss(places: np.ndarray) -> np.ndarray:
        further = [np.full(len(places), value) for value in others]
        return curve.log_loss_shared(np.exp(log_N[places]), D[places], *further)

    begin, end = 0, len(log_N) - 1
    for steps in passes:
        coarse = np.unique([*range(begin, end, steps), end])
        least = log_loss(coarse).argmin(axis=1)
        # The next grid runs from the size before the first minimum to that after the last. A
        # minimum at an end of it is one at an end of the whole grid.
        begin = int(coarse[max(int(least.min()) - 1, 0)])
        end = int(coarse[min(int(least.max()) + 1, len(coarse) - 1)])
    return begin, log_loss(np.arange(begin, end + 1))


def vertex_shift(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the vertex of the parabola through three points, as a distance from the middle one.

    x, y : shape (3, draws), x monotonic along the first axis. Three points of equal y return 0.
    """
    step_left = x[1] - x[0]
    step_right = x[2] - x[1]
    # Differences from the middle, with the steps multiplied out: the sum is proportional to the
    # second divided difference, the weighted difference to the slope at the middle point.
    left = (y[0] - y[1]) * step_right
    right = (y[2] - y[1]) * step_left
    curvature = left + right
    slope = left * step_right - right * step_left
    is_flat = curvature == 0
    return 0.5 * slope / np.where(is_flat, np.inf, curvature)


def _quadratic(x: np.ndarray, y: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the parabola through three points, (3, draws) each, at a shift from the middle."""
    step_left = x[1] - x[0]
    step_right = x[2] - x[1]
    # Newton's form, with divided differences.
    slope_left = (y[1] - y[0]) / step_left
    slope_right = (y[2] - y[1]) / step_right
    bend = shift * (shift + step_left) * (slope_right - slope_left) / (step_left + step_right)
    return y[1] + shift * slope_left + bend
