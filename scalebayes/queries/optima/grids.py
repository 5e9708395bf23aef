"""Grids for the search for optima: of sizes that a budget pays for, and of budgets."""

from __future__ import annotations

import numpy as np

from scalebayes.costs.cost import Cost

END_SIZES = 129
"""Sizes added between the last one of an even grid and the size that uses up the budget."""
END_SHARES = (0.3, 1e-7)
"""Relative distances from that size, between which the added ones are spaced geometrically."""


def affordable_sizes(cost: Cost, budget: float, grid: np.ndarray) -> np.ndarray:
    """Return the log sizes of an even grid that leave something of the budget for data.

    Where a size within the grid uses up the budget, further ones approach it geometrically: if most
    of a budget pays for serving, the optimum lies within a hundredth of that end.

    Parameters
    ----------
    cost, budget
        The budget, in units of the cost.
    grid
        Log N, rising.
    """

    def sign_of_tokens(log_N: float) -> float:
        tokens = cost.affordable_tokens(np.array([np.exp(log_N)]), budget)[0]
        return 1.0 if tokens > 0 else -1.0

    affordable = grid[cost.affordable_tokens(np.exp(grid), budget) > 0]
    if len(affordable) in (0, len(grid)):
        return affordable
    from scipy.optimize import bisect  # imported late: it takes a tenth of a second

    end = bisect(sign_of_tokens, affordable[-1], grid[len(affordable)], xtol=1e-12)
    near_end = end + np.log1p(-np.geomspace(*END_SHARES, END_SIZES))
    return np.concatenate([affordable, near_end[near_end > affordable[-1]]])


def evenly_apart(decades: np.ndarray, apart: float, others: list[np.ndarray]) -> list[int]:
    """Return the numbers of budgets, the first and the last among them, that are `apart` at most.

    All are, where further inputs of the law differ between budgets: the optima then do not move
    steadily with the budget.

    Parameters
    ----------
    decades, apart
        Rising log10 of the budgets, and the largest step that is wanted.
    others
        Further inputs, as many values each as there are budgets.
    """
    numbers = range(len(decades))
    if any((values != values[0]).any() for values in others):
        return list(numbers)
    chosen = [0]
    for i in numbers[1:]:
        is_last = i + 1 == len(decades)
        if is_last or decades[i + 1] - decades[chosen[-1]] > apart:
            chosen.append(i)
    return chosen
