"""The frontier of every draw as a curve in log C, and the budget at which it reaches a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.errors import QueryError
from scalebayes.queries.curves import Curve, first_place
from scalebayes.queries.optima.optimum import optimal_sizes

CEILING = 1e40
"""Parameters, tokens or FLOP beyond which a target counts as out of reach."""
LOWEST = 3.0
"""log10 of the least budget considered: 1e3 FLOP are no training at all."""
STRIDE = 2.0
"""Decades from one budget to the next while the ends of the frontier are looked for."""
INTERVALS = 12
"""Even intervals between those ends, at whose borders the frontier is found too."""
APART = 0.05
"""Least distance in decades of two budgets kept: closer ones would make the slopes noise."""
CLOSE = 3.0
"""Decades around the largest run within which a discrepancy may bend the loss."""
CLOSE_STEP = 0.25
"""Decades between the budgets looked at there."""


@dataclass(frozen=True)
class Path:
    """Every draw's frontier: log N* (S, budgets) at some budgets, cubic in log C between them.

    The loss is flat around N*, so an error of the cubics in N* enters the loss squared.
    """

    cost: Cost
    decades: np.ndarray
    log_N: np.ndarray

    @property
    def _nodes(self) -> np.ndarray:
        """Log budgets at which the frontier is known."""
        return self.decades * np.log(10.0)

    @cached_property
    def _slopes(self) -> np.ndarray:
        """Slopes d log N* / d log C at the nodes, (S, budgets)."""
        return np.gradient(self.log_N, self._nodes, axis=1)

    def inputs(self, rows: np.ndarray, log_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return N and D of the draws numbered `rows` (n,), each at its own log budget (n,)."""
        nodes = self._nodes
        i = np.clip(np.searchsorted(nodes, log_C) - 1, 0, len(nodes) - 2)
        step = nodes[i + 1] - nodes[i]
        t = (log_C - nodes[i]) / step
        # A cubic Hermite segment on [0, 1], with values and slopes of the nodes on either side.
        left, right = self.log_N[rows, i], self.log_N[rows, i + 1]
        slope_left, slope_right = self._slopes[rows, i] * step, self._slopes[rows, i + 1] * step
        chord = t**2 * (3 - 2 * t) * (right - left)
        bend = t * (1 - t) * ((1 - t) * slope_left - t * slope_right)
        N = np.exp(left + chord + bend)
        return N, self.cost.affordable_tokens(N, np.exp(log_C))

    def inputs_on(self, log_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return N and D at log budgets (S, targets) of every draw; infinite where these are."""
        N, D = np.full((2, *log_C.shape), np.inf)
        rows, columns = np.nonzero(np.isfinite(log_C))
        N[rows, columns], D[rows, columns] = self.inputs(rows, log_C[rows, columns])
        return N, D

    def least(
        self, curve: Curve, targets: np.ndarray, around: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the log of the least budget at which each draw reaches its loss (`first_place`).

        Parameters
        ----------
        curve
            The curves whose loss is compared.
        targets
            Log losses, (S, targets).
        around
            A budget near which runs may have bent the curve, so that it is looked at more closely.
        """
        nodes = self._nodes_around(around)
        losses = [self._log_loss(curve, node) for node in nodes]
        loss = np.column_stack(losses)
        places, easy = [], []
        for target in targets.T:

            def excess(rows: np.ndarray, x: np.ndarray, target: np.ndarray = target) -> np.ndarray:
                return curve.log_loss(rows, *self.inputs(rows, x)) - target[rows]

            place, is_easy = first_place(excess, nodes, loss - target[:, None])
            places.append(place)
            easy.append(is_easy)
        return np.column_stack(places), np.column_stack(easy)

    def _nodes_around(self, budget: float) -> np.ndarray:
        """Return rising log budgets: the path's own, and closer ones around a budget."""
        middle = np.log10(budget)
        close = np.arange(middle - CLOSE, middle + CLOSE, CLOSE_STEP)
        within = (close > self.decades[0]) & (close < self.decades[-1])
        return np.log(10.0) * np.unique([*self.decades, *close[within]])

    def _log_loss(self, curve: Curve, log_C: float) -> np.ndarray:
        """Return the log loss of every draw, (S,), on the path at one log budget."""
        N, _ = self.inputs(np.arange(curve.draws), np.full(curve.draws, log_C))
        return curve.log_loss_at(np.log(N), float(np.exp(log_C)), self.cost)


@dataclass
class _Search:
    """Optimal sizes at budgets 10**decade, each found once.

    Attributes
    ----------
    curve
        The curves whose loss is compared with the targets.
    followed
        The curves that are minimised.
    cost
        What a run costs.
    found
        log N* (S,) by decade, whether the walk came there or not.
    visited
        log N* (S,) by decade, where the walk came or the path was asked for.
    """

    curve: Curve
    followed: Curve
    cost: Cost
    found: dict[float, np.ndarray] = field(default_factory=dict)
    visited: dict[float, np.ndarray] = field(default_factory=dict)

    def fill(self, decades: list[float]) -> None:
        """Find the sizes at all these decades in one search."""
        missing = [decade for decade in dict.fromkeys(decades) if decade not in self.found]
        if not missing:
            return
        budgets = np.array([10.0**decade for decade in missing])
        sizes = np.log(optimal_sizes(self.followed, budgets, self.cost))
        self.found |= dict(zip(missing, sizes.T, strict=True))

    def log_loss(self, decade: float) -> np.ndarray:
        """Return the log loss of every draw, (S,), at its optimal size."""
        self.fill([decade])
        self.visited[decade] = self.found[decade]
        return self.curve.log_loss_at(self.found[decade], 10.0**decade, self.cost)

    def rough_log_loss(self, decade: float) -> np.ndarray:
        """Return the log loss at the law's optimum in closed form: near `log_loss`, no search."""
        law, budget = self.followed.law, np.array(10.0**decade)
        N = law.optimise(budget / 6.0, self.followed.parameters)
        return self.curve.log_loss_at(np.log(N), 10.0**decade, self.cost)


@dataclass(frozen=True)
class _Span:
    """The decades from where no draw is at its highest target to where all are at their lowest.

    Attributes
    ----------
    lowest, highest
        Log losses, (S,).
    limit
        Log loss of each draw with infinite N and D: lower targets are never reached.
    begin
        Decade to start from.
    """

    lowest: np.ndarray
    highest: np.ndarray
    limit: np.ndarray
    begin: float

    def down(self, loss: np.ndarray) -> bool:
        """Return whether lower budgets are needed."""
        return bool((loss <= self.highest).any())

    def up(self, loss: np.ndarray) -> bool:
        """Return whether higher budgets are needed."""
        return bool(((loss > self.lowest) & (self.limit < self.lowest)).any())

    def ends(self, log_loss: Callable[[float], np.ndarray]) -> tuple[float, float]:
        """Return the lowest and highest decade, given the log loss (S,) at a decade's optimum."""
        low = _walk(self.begin, -STRIDE, log_loss, self.down)
        high = _walk(self.begin, STRIDE, log_loss, self.up)
        return low, high


def _walk(
    decade: float,
    step: float,
    log_loss: Callable[[float], np.ndarray],
    needed: Callable[[np.ndarray], bool],
) -> float:
    """Return the decade to which steps lead while they are needed and budgets have an optimum."""
    loss = log_loss(decade)
    while needed(loss) and LOWEST <= decade + step <= np.log10(CEILING):
        try:
            loss = log_loss(decade + step)
        except QueryError:
            break
        decade += step
    return decade


def optimal_path(
    curve: Curve,
    followed: Curve,
    cost: Cost,
    targets: np.ndarray,
    start: float,
    known: xr.Dataset | None = None,
) -> Path:
    """Return the frontier over the budgets between which all draws reach their targets.

    Parameters
    ----------
    curve
        The curves whose loss is compared with the targets, log losses of shape (S, targets).
    followed
        The curves whose optima make the frontier: the ``expected`` reading, as in
        `scalebayes.frontier`.
    cost
        What a run costs.
    targets
        Log losses, (S, targets). Those that no budget reaches are left out.
    start
        A budget to begin with; the search goes on from there as far as budgets have an optimum, to
        1e40 at most.
    known
        An answer of `frontier` to add.

    Raises
    ------
    QueryError
        When the start has no interior optimum.
    """
    limit = curve.log_loss(np.arange(curve.draws), *np.full((2, curve.draws), np.inf))
    begin = float(round(np.log10(start)))
    span = _Span(targets.min(axis=1), targets.max(axis=1), limit, begin)
    search = _Search(curve, followed, cost)
    _fill_ahead(search, span)
    low, high = span.ends(search.log_loss)
    if low == high:  # every draw crosses its targets at the start; a path needs two budgets
        high = _walk(high, STRIDE, search.log_loss, lambda _: len(search.visited) < 2)
    between = np.linspace(low, high, INTERVALS + 1).tolist()
    search.fill(between)
    sizes = search.visited | {decade: search.found[decade] for decade in between}
    if known is not None:
        sizes = _sizes_of(known, curve.draws) | sizes
    return _path(cost, sizes)


def _fill_ahead(search: _Search, span: _Span) -> None:
    """Find at once the sizes that the walk will probably ask for one by one.

    The law's optimum in closed form tells how far the walk will go. Should it be wrong, or a budget
    have no optimum, the walk searches by itself: this saves time and changes nothing else.
    """
    if search.cost is not SIX_ND or search.followed.law.optimal_N is None:
        return
    ahead: list[float] = []

    def log_loss(decade: float) -> np.ndarray:
        ahead.append(decade)
        return search.rough_log_loss(decade)

    span.ends(log_loss)
    try:
        search.fill(ahead)
    except QueryError:
        return


def _sizes_of(known: xr.Dataset, draws: int) -> dict[float, np.ndarray]:
    """Return log N* (S,) by decade of an answer of `frontier`."""
    decades = np.log10(known["C"].values).tolist()
    log_N = np.log(known["N"].values.reshape(draws, -1))
    return dict(zip(decades, log_N.T, strict=True))


def _path(cost: Cost, sizes: dict[float, np.ndarray]) -> Path:
    """Return the path through these sizes; of budgets closer than `APART` the first is kept."""
    kept: dict[float, np.ndarray] = {}
    for decade, log_N in sizes.items():
        if all(abs(decade - other) > APART for other in kept):
            kept[decade] = log_N
    decades = sorted(kept)
    return Path(cost, np.array(decades), np.column_stack([kept[decade] for decade in decades]))
