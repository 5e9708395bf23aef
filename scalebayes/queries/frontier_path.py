"""Every draw's compute-optimal frontier at budgets of its own, and the least budget at which it is at a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import xarray as xr

from scalebayes.costs.cost import Cost
from scalebayes.errors import QueryError
from scalebayes.queries.curves import Curve, first_place
from scalebayes.queries.optimum import optimal_sizes

CEILING = 1e40
"""What takes more parameters, tokens or FLOP than this counts as out of reach."""
LOWEST, STEP, NODES = 3.0, 2.0, 12
"""The frontier is looked for from 1e3 FLOP on, outwards in steps of two decades, and kept at so many budgets more."""
APART = 0.05
"""Decades between two budgets that are both kept."""
CLOSE = 3.0
"""Decades on either side of the runs' largest budget within which a discrepancy may bend the frontier's loss."""


@dataclass(frozen=True)
class Path:
    """Every draw's compute-optimal frontier, kept at some budgets: log N* (S, budgets), a cubic between two.

    The loss is flat around N*, so what the cubics miss of N* costs the loss its square.
    """

    cost: Cost
    decades: np.ndarray
    log_N: np.ndarray

    def inputs(self, rows: np.ndarray, log_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """N and D of the draws `rows` (n,) at log budgets of their own (n,)."""
        nodes = self.decades * np.log(10.0)
        i = np.clip(np.searchsorted(nodes, log_C) - 1, 0, len(nodes) - 2)
        step = nodes[i + 1] - nodes[i]
        t = (log_C - nodes[i]) / step
        left, right = self.log_N[rows, i], self.log_N[rows, i + 1]
        rise, fall = self._slopes[rows, i] * step, self._slopes[rows, i + 1] * step
        N = np.exp(
            left + t**2 * (3 - 2 * t) * (right - left) + t * (1 - t) * ((1 - t) * rise - t * fall)
        )
        return N, self.cost.affordable_tokens(N, np.exp(log_C))

    @cached_property
    def _slopes(self) -> np.ndarray:
        return np.gradient(self.log_N, self.decades * np.log(10.0), axis=1)

    def inputs_on(self, log_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """N and D at log budgets of every draw, (S, targets); infinite where the budget is."""
        N, D = np.full((2, *log_C.shape), np.inf)
        rows, columns = np.nonzero(np.isfinite(log_C))
        N[rows, columns], D[rows, columns] = self.inputs(rows, log_C[rows, columns])
        return N, D

    def least(
        self, curve: Curve, targets: np.ndarray, around: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log of the least budget at which each draw's curve is at its log loss, (S, targets), as `first_place`.

        Near the budget `around`, where runs may have bent the curve, it is looked at four times a decade.
        """
        close = np.arange(np.log10(around) - CLOSE, np.log10(around) + CLOSE, 0.25)
        low, high = self.decades[0], self.decades[-1]
        nodes = np.log(10.0) * np.unique([*self.decades, *close[(close > low) & (close < high)]])
        rows = np.arange(curve.draws)
        sizes = (np.log(self.inputs(rows, np.full(curve.draws, node))[0]) for node in nodes)
        at_nodes = zip(sizes, np.exp(nodes), strict=True)
        loss = np.column_stack(
            [curve.log_loss_at(log_N, budget, self.cost) for log_N, budget in at_nodes]
        )

        def solve(target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            def excess(rows: np.ndarray, x: np.ndarray) -> np.ndarray:
                return curve.log_loss(rows, *self.inputs(rows, x)) - target[rows]

            return first_place(excess, nodes, loss - target[:, None])

        found = [solve(target) for target in targets.T]
        return np.column_stack([f[0] for f in found]), np.column_stack([f[1] for f in found])


def optimal_path(
    curve: Curve,
    followed: Curve,
    cost: Cost,
    targets: np.ndarray,
    start: float,
    known: xr.Dataset | None = None,
) -> Path:
    """The frontier from where no draw is at its highest target to where all are at their lowest, if they ever are.

    Parameters
    ----------
    curve
        Whose loss is compared with the targets, log losses of shape (S, targets).
    followed
        Whose optima make the frontier: the ``expected`` reading, as in `scalebayes.frontier`.
    start
        A budget to begin with; the search goes on from there as far as budgets have an optimum, to 1e40 at most.
    known
        An answer of `frontier` to add.
    """
    sizes: dict[float, np.ndarray] = {}

    @cache
    def log_loss(decade: float) -> np.ndarray:
        sizes[decade] = np.log(optimal_sizes(followed, np.array([10.0**decade]), cost)[:, 0])
        return curve.log_loss_at(sizes[decade], 10.0**decade, cost)

    def go(decade: float, step: float, on: Callable[[np.ndarray], bool]) -> float:
        """Go on while there is need and budgets have an optimum."""
        loss = log_loss(decade)
        while on(loss) and LOWEST <= decade + step <= np.log10(CEILING):
            try:
                loss = log_loss(decade + step)
            except QueryError:
                break
            decade += step
        return decade

    limit = curve.log_loss(np.arange(curve.draws), *np.full((2, curve.draws), np.inf))
    lowest, highest = targets.min(axis=1), targets.max(axis=1)
    begin = float(round(np.log10(start)))
    low = go(begin, -STEP, lambda loss: bool((loss <= highest).any()))
    high = go(begin, STEP, lambda loss: bool(((loss > lowest) & (limit < lowest)).any()))
    if low == high:  # the start is where all cross
        high = go(high, STEP, lambda _: len(sizes) < 2)
    for decade in np.linspace(low, high, NODES + 1).tolist():
        sizes[decade] = np.log(optimal_sizes(followed, np.array([10.0**decade]), cost)[:, 0])
    kept: dict[float, np.ndarray] = {}
    if known is not None:
        at = zip(
            np.log10(known["C"].values).tolist(),
            known["N"].values.reshape(curve.draws, -1).T,
            strict=True,
        )
        sizes = {decade: np.log(N) for decade, N in at} | sizes
    for (
        decade,
        log_N,
    ) in sizes.items():  # slopes between budgets that are all but one would be noise
        if all(abs(decade - other) > APART for other in kept):
            kept[decade] = log_N
    decades = np.array(sorted(kept))
    return Path(cost, decades, np.column_stack([kept[decade] for decade in sorted(kept)]))
