"""Grids for the search for optima: of sizes that a budget pays for, and of budgets."""

from __future__ import annotations

from collections.abc import Iterable

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

    is_affordable = cost.affordable_tokens(np.exp(grid), budget) > 0
    affordable = grid[is_affordable]
    if not len(affordable) or is_affordable[-1]:
        return affordable
    from scipy.optimize import bisect  # imported late: it takes a tenth of a second

    too_large = grid[np.flatnonzero(is_affordable)[-1] + 1]
    end = bisect(sign_of_tokens, affordable[-1], too_large, xtol=1e-12)
    near_end = end + np.log1p(-np.geomspace(*END_SHARES, END_SIZES))
    return np.concatenate([affordable[affordable < near_end[0]], near_end])


def anchor_budgets(budgets: np.ndarray, apart: float, others: Iterable[np.ndarray]) -> list[int]:
    """Return the indices of the budgets at which all draws are searched, the ends among them.

    Each is at most `apart` beyond the one before, or next to it where there is none so near. All
    budgets are anchors where further inputs of the law differ between them.

    Parameters
    ----------
    budgets, apart
        Rising budgets, and the largest step in decades.
    others
        Further inputs of the law, (budgets,) each.
    """
    if others_differ(others):
        return list(range(len(budgets)))
    decades = np.log10(budgets)
    chosen = [0]
    for i in range(1, len(decades)):
        is_last = i + 1 == len(decades)
        if is_last or decades[i + 1] - decades[chosen[-1]] > apart:
            chosen.append(i)
    return chosen


def others_differ(others: Iterable[np.ndarray]) -> bool:
    """Return whether further inputs differ between budgets: N* is then no function of C alone."""
    return any((values != values[0]).any() for values in others)
