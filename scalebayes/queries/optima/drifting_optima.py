"""Sizes of least loss of laws that drift, at many budgets: each draw follows its own optimum.

At a few budgets the optimum is looked for on a grid over all sizes (`expected_optimum`). From there
it is followed to the other budgets. It is expected near the line between those at two budgets, and
a descent on the grid leads to it. Draws whose optimum jumps between two budgets, from one minimum
to another, are not followed but searched again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scalebayes.costs.cost import Cost
from scalebayes.queries.curves import Curve
from scalebayes.queries.optima.expected_optimum import (
    DISTANCE_OF_DRIFT,
    PASSES,
    STEP,
    check_shares_inside,
    size_at_vertex,
    sizes_around,
)
from scalebayes.queries.optima.grids import anchor_budgets

ANCHORS_APART = 1.0
"""Most decades between the budgets at which all sizes are tried."""
FAST = 1.5
"""Change of log N* over that of log C above which an optimum has jumped: it is below 1 where the
loss has one minimum, since then the optimal N and D both rise with C."""
SLACK = 4 * STEP
"""Change of log N* that is never taken for a jump."""
CLOSE = 0.15 * np.log(10)
"""Distance in log C of two budgets between which N* is nearly linear: one step leads to it."""
WIDE_STEPS, CLOSE_STEPS = (3, 1), (1,)
"""Steps on the grid of a descent from a guess, without and with close budgets on both sides."""
COARSE = PASSES[0] // 2
"""Steps from one size to the next where all sizes are tried, so that few deep valleys are missed.

Against a grid of all sizes, 9 of 60,000 searches of a default fit (4,000 draws at 15 budgets) ended
in another minimum, with at most 1.9e-4 nats more. Followed through the 15 budgets, 13 did, with at
most 6.8e-3 (``benchmarks/optima.py``).
"""
REFINING_STEPS = (COARSE // 2, COARSE // 4, COARSE // 8, 1)
"""Steps of the descent from the least of those."""


def drifting_optima(
    curve: Curve, start: np.ndarray, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> np.ndarray:
    """Return N that minimises each draw's bent law at each budget, (S, budgets).

    They are those of `expected_optimum` at each budget, as long as each draw's optimum moves
    steadily between budgets `ANCHORS_APART`.

    Parameters
    ----------
    curve
        The curves of S draws; their law drifts.
    start
        Sizes near the optima of the law, (S, budgets).
    budgets, cost
        Rising budgets in units of the cost.
    others
        Further inputs of the law, (budgets,) each.

    Raises
    ------
    QueryError
        As `expected_optimum`.
    """
    anchors = anchor_budgets(budgets, ANCHORS_APART, others)
    grids = _Grids.around(start, budgets, cost, list(others))
    log_N, is_inside = _Followed(curve, grids, np.log(budgets)).sizes(anchors)
    check_shares_inside(is_inside, budgets, DISTANCE_OF_DRIFT)
    return np.exp(log_N)


@dataclass(frozen=True)
class _Grids:
    """The sizes that are tried at each budget.

    Attributes
    ----------
    log_N, D
        The sizes, and the tokens that the budget leaves for each, (budgets, sizes). The last size
        of a budget is repeated to the end.
    last
        The number of the last size of each budget, (budgets,).
    others
        Further inputs of the law, (budgets,) each.
    """

    log_N: np.ndarray
    D: np.ndarray
    last: np.ndarray
    others: list[np.ndarray]

    @classmethod
    def around(
        cls, start: np.ndarray, budgets: np.ndarray, cost: Cost, others: list[np.ndarray]
    ) -> _Grids:
        """Return the grids of `expected_optimum` around sizes `start`, (S, budgets)."""
        each = []
        for sizes, budget in zip(start.T, budgets, strict=True):
            each.append(sizes_around(sizes, float(budget), cost, DISTANCE_OF_DRIFT))
        last = np.array([len(log_N) - 1 for log_N, _ in each])
        log_N, D = np.empty((2, len(budgets), last.max() + 1))
        for i, (sizes, tokens) in enumerate(each):
            log_N[i, : len(sizes)], log_N[i, len(sizes) :] = sizes, sizes[-1]
            D[i, : len(sizes)], D[i, len(sizes) :] = tokens, tokens[-1]
        return cls(log_N, D, last, others)

    def coarse(self, budgets: np.ndarray) -> np.ndarray:
        """Return the numbers of every `COARSE`-th size of budgets, and of the last, (n, sizes).

        The last size of a budget with fewer sizes than others is repeated.
        """
        last = self.last[budgets]
        steps = np.arange(0, last.max() + COARSE, COARSE)
        return np.minimum(steps, last[:, None])

    def inputs(self, budget: np.ndarray | int, place: np.ndarray) -> list[np.ndarray]:
        """Return the inputs of the law at sizes given by their budget and number, (n,)."""
        further = [np.broadcast_to(values[budget], place.shape) for values in self.others]
        return [np.exp(self.log_N[budget, place]), self.D[budget, place], *further]

    def nearest(self, budget: np.ndarray, log_N: np.ndarray) -> np.ndarray:
        """Return the numbers of the sizes nearest to those given, (n,), where the grid is even."""
        low = self.log_N[budget, 0]
        step = self.log_N[budget, 1] - low
        place = np.rint((log_N - low) / step).astype(int)
        return place.clip(0, self.last[budget])


class _Followed:
    """The least loss of each of S draws on the grids of the budgets that were visited.

    Attributes
    ----------
    curve
        The curves of the draws.
    grids, log_C
        The sizes of each budget, and its log, rising.
    place
        The number of the size of least loss, (S, budgets).
    losses
        Log losses before it, there, and after it, (3, S, budgets). At an end of the grid the end
        stands for the missing size.
    log_N
        Log N* at the budgets that were visited, (S, budgets).
    """

    def __init__(self, curve: Curve, grids: _Grids, log_C: np.ndarray) -> None:
        self.curve = curve
        self.grids = grids
        self.log_C = log_C
        self.place = np.zeros((curve.draws, len(log_C)), int)
        self.losses = np.empty((3, *self.place.shape))
        self.log_N = np.empty(self.place.shape)

    def sizes(self, anchors: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return log N*, and whether it lies within the grid, (S, budgets) each."""
        for budget in anchors:
            self._search_all(budget)
        self._finish(anchors)
        pairs = np.array([anchors[:-1], anchors[1:]])
        while (pairs[1] - pairs[0] > 1).any():
            pairs = pairs[:, pairs[1] - pairs[0] > 1]
            middle = pairs.sum(axis=0) // 2
            self._follow(pairs[0], middle, pairs[1])
            pairs = np.hstack([[pairs[0], middle], [middle, pairs[1]]])
        return self.log_N, (self.place > 0) & (self.place < self.grids.last)

    def _finish(self, budgets: Iterable[int]) -> None:
        """Set log N* at budgets, whose losses were found."""
        for i in budgets:
            last = self.grids.last[i]
            log_N, D = self.grids.log_N[i, : last + 1], self.grids.D[i, : last + 1]
            self.log_N[:, i] = size_at_vertex(log_N, D, self.place[:, i], self.losses[:, :, i])

    def _search_all(self, budget: int) -> None:
        """Find the least loss of all draws on the whole grid of a budget."""
        rows = np.arange(self.curve.draws)
        budgets = np.full(len(rows), budget)
        places = self.grids.coarse(budgets[:1])
        losses = self.curve.log_loss_shared(*self.grids.inputs(budget, places[0]))
        self._refine(rows, budgets, np.broadcast_to(places, losses.shape), losses)

    def _search(self, rows: np.ndarray, budgets: np.ndarray) -> None:
        """Find the least loss of draws on the whole grid, each of a budget of its own, (n,)."""
        if not len(rows):
            return
        places = self.grids.coarse(budgets)
        count = places.shape[1]
        losses = self._losses(np.repeat(rows, count), np.repeat(budgets, count), places.ravel())
        self._refine(rows, budgets, places, losses.reshape(places.shape))

    def _refine(
        self, rows: np.ndarray, budgets: np.ndarray, places: np.ndarray, losses: np.ndarray
    ) -> None:
        """Find the least loss of draws, given those at coarse sizes, (n, sizes)."""
        each = np.arange(len(rows))
        least = losses.argmin(axis=1)
        self._descend(rows, budgets, places[each, least], REFINING_STEPS)
        # Of a draw with further valleys any may turn out to be the deepest.
        is_valley = _valleys(losses)
        is_valley[each, least] = False
        while is_valley.any():
            some = np.flatnonzero(is_valley.any(axis=1))
            next_valley = is_valley[some].argmax(axis=1)
            is_valley[some, next_valley] = False
            best_place, best = self._kept(rows[some], budgets[some])
            self._descend(rows[some], budgets[some], places[some, next_valley], REFINING_STEPS)
            _, found = self._kept(rows[some], budgets[some])
            back = found[1] >= best[1]
            self._keep(rows[some][back], budgets[some][back], best_place[back], best[:, back])

    def _follow(self, left: np.ndarray, middle: np.ndarray, right: np.ndarray) -> None:
        """Find the optima at budgets between two others each, all (budgets,)."""
        rows = np.arange(self.curve.draws)[:, None]
        change = self.log_N[:, right] - self.log_N[:, left]
        distance = self.log_C[right] - self.log_C[left]
        passed = self.log_C[middle] - self.log_C[left]
        expected = self.log_N[:, left] + passed / distance * change
        steps = CLOSE_STEPS if distance.max() < CLOSE else WIDE_STEPS
        rows, budgets = np.broadcast_arrays(rows, middle)
        rows, budgets = rows.ravel(), budgets.ravel()
        guess = self.grids.nearest(budgets, expected.ravel())
        self._descend(rows, budgets, guess, steps)

        has_jumped = np.abs(change) > FAST * distance + SLACK
        place = self.place[:, middle]
        is_at_end = (place == 0) | (place == self.grids.last[middle])
        again = np.flatnonzero(has_jumped | is_at_end)
        self._search(rows[again], budgets[again])
        self._finish(middle)

    def _descend(
        self, rows: np.ndarray, budgets: np.ndarray, place: np.ndarray, steps: tuple[int, ...]
    ) -> None:
        """Follow losses down to a minimum, with ever smaller steps, and keep what is found.

        Parameters
        ----------
        rows, budgets
            Draws, and a budget of each, (n,).
        place
            Where each begins, (n,).
        steps
            Numbers of sizes that are passed over at once.
        """
        place = place.copy()
        last = self.grids.last[budgets]
        middle = self._losses(rows, budgets, place)
        for step in steps:
            left = self._losses(rows, budgets, np.maximum(place - step, 0))
            right = self._losses(rows, budgets, np.minimum(place + step, last))
            # A draw keeps its direction: the loss behind it is higher.
            goes_left = left <= right
            direction = np.where(goes_left, -step, step)
            ahead, behind = np.minimum(left, right), np.maximum(left, right)
            moving = np.flatnonzero(ahead < middle)
            while len(moving):
                behind[moving], middle[moving] = middle[moving], ahead[moving]
                place[moving] = (place[moving] + direction[moving]).clip(0, last[moving])
                next_place = (place[moving] + direction[moving]).clip(0, last[moving])
                ahead[moving] = self._losses(rows[moving], budgets[moving], next_place)
                moving = moving[ahead[moving] < middle[moving]]
            left, right = np.where(goes_left, ahead, behind), np.where(goes_left, behind, ahead)
        self._keep(rows, budgets, place, np.stack([left, middle, right]))

    def _keep(
        self, rows: np.ndarray, budgets: np.ndarray, place: np.ndarray, losses: np.ndarray
    ) -> None:
        self.place[rows, budgets] = place
        self.losses[:, rows, budgets] = losses

    def _kept(self, rows: np.ndarray, budgets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.place[rows, budgets], self.losses[:, rows, budgets]

    def _losses(self, rows: np.ndarray, budgets: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return log losses of draws, each at a budget and size of its own, (n,)."""
        return self.curve.log_loss(rows, *self.grids.inputs(budgets, places))


def _valleys(losses: np.ndarray) -> np.ndarray:
    """Return whether each loss is below that before it and not above that after it, (S, sizes)."""
    falls = np.diff(losses, axis=1) < 0
    is_below_left = np.pad(falls, ((0, 0), (1, 0)), constant_values=True)
    is_below_right = np.pad(~falls, ((0, 0), (0, 1)), constant_values=True)
    return is_below_left & is_below_right
