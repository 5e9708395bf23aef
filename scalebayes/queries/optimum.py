"""N that minimises each draw's curve at a budget: in closed form, numerically, or along a discrepancy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.errors import QueryError
from scalebayes.laws import Law
from scalebayes.queries.curves import Curve, Shared
from scalebayes.units import format_quantity, share_in_words
from scalebayes.utils.parallel import parts_of, side_by_side

GRID = 129
"""Sizes tried to bracket the optimum, spaced evenly in log N."""
LARGEST = 1e30
"""Where the search for an optimal N ends; it begins at one parameter."""
SHIFT, STRIDE = 3e-4, 0.5
"""Newton's method in log N takes differences over this shift, and goes no further than this at once; where data are
about to run out both are of log D."""
CLOSE, NEAR = 1e-7, 1e-3
"""Newton's last step: where a curve may have a kink, which differences would hide, and where none was met at other
budgets; what is left after it is about its square, and a share of it where the curvature jumps."""
STEPS = 12
"""Steps of Newton's method before it is given up."""
SPARSE, ANCHORS = 0.5, 4
"""Of many budgets so many a decade, and four more, are solved from scratch, and so many from a spline through those."""
FEW = 16
"""Budgets up to which each is solved from scratch: a spline would save little."""
FAR, FLAT = 0.1, 1e-12
"""Newton's method has found another minimum than it was led to when it ends so far from there in log N, or higher than
it began by so large a share of the loss."""
REACH, STEP, WIDE = 3.0 * np.log(10), 0.025 * np.log(10), 6
"""With a discrepancy: how far from the law's optima, in what steps of log N, and at first at every which of these, the
least loss is sought."""
CLOSER = 129
"""Sizes tried between the last of such a grid and where nothing is left for data."""

type Parameters = Mapping[str, np.ndarray]


def optimal_sizes(curve: Curve, budgets: np.ndarray, cost: Cost, *others: np.ndarray) -> np.ndarray:
    """N that minimises each draw's curve at each budget, (S, budgets): what `frontier` finds, without its labels.

    Others are further inputs of the law, one value a budget.

    Raises
    ------
    QueryError
        When there is no interior optimum at a budget.
    """
    law, budgets = curve.law, np.asarray(budgets, float)
    if cost is SIX_ND and law.optimal_N is not None:
        N = law.optimise(
            budgets / 6.0, {name: values[:, None] for name, values in curve.parameters.items()}
        )
    else:
        N = numeric_optima(law, curve.parameters, budgets, cost, *others)
    if curve.known is None:
        return N
    found = side_by_side(
        lambda start, c, *held: expected_optimum(curve, start, c, cost, *held),
        N.T,
        budgets,
        *others,
    )
    return np.stack(found, axis=-1)


def expected_optimum(
    curve: Shared, start: np.ndarray, budget: float, cost: Cost, *others: float
) -> np.ndarray:
    """N that minimises each draw's curve with cost(N, D) = budget, near where it starts; others are further inputs.

    The least of a grid around the starts, looked over in wide steps and then in fine ones where it lies, and the vertex
    of the parabola through it and its neighbours, in log(D/N), in which the curve is smooth up to where N uses the
    budget up: right to a few tenths of a percent, which is far inside any posterior of N*.

    Raises
    ------
    QueryError
        When the least lies at an end of the grid.
    """
    low, high = np.log(start.min()) - REACH, np.log(start.max()) + REACH
    log_N = _affordable_sizes(cost, budget, np.linspace(low, high, int((high - low) / STEP) + 2))
    D = cost.affordable_tokens(np.exp(log_N), budget)

    def loss(places: np.ndarray | slice) -> np.ndarray:
        held = (np.full_like(D[places], x) for x in others)
        return curve.log_loss_shared(np.exp(log_N[places]), D[places], *held)

    rough = np.unique([*range(0, len(log_N), WIDE), len(log_N) - 1])
    near = loss(rough).argmin(axis=1)
    first, last = (
        int(rough[max(int(near.min()) - 1, 0)]),
        int(rough[min(int(near.max()) + 1, len(rough) - 1)]),
    )
    values = np.full((len(near), len(log_N)), np.inf)
    values[:, first : last + 1] = loss(
        slice(first, last + 1)
    )  # no draw's least lies at an end, but of the whole grid
    best = values.argmin(axis=1)
    if not (inside := (best > 0) & (best < len(log_N) - 1)).all():
        raise QueryError(
            f"no compute-optimal point within {REACH / np.log(10):.0f} decades of the law's own at "
            f"C = {format_quantity(budget)} in {share_in_words(np.mean(~inside))} of the draws, discrepancy included"
        )
    left, middle, right = (
        np.take_along_axis(values, best[:, None] + i, axis=1)[:, 0] for i in (-1, 0, 1)
    )
    ratio = np.log(D) - log_N
    before, after = ratio[best] - ratio[best - 1], ratio[best + 1] - ratio[best]
    fall, rise = (left - middle) * after, (right - middle) * before
    flat = fall + rise == 0  # to rounding
    shift = 0.5 * (fall * after - rise * before) / np.where(flat, np.inf, fall + rise)
    slope, further = (
        (log_N[best] - log_N[best - 1]) / before,
        (log_N[best + 1] - log_N[best]) / after,
    )
    at = (
        log_N[best]
        + shift * slope
        + shift * (shift + before) * (further - slope) / (before + after)
    )
    return np.exp(at).reshape(start.shape)


def numeric_optimum(
    law: Law, parameters: Parameters, budget: float, cost: Cost = SIX_ND, *others: float
) -> np.ndarray:
    """N that minimises L(N, D) with cost(N, D) = budget, for every draw: a grid, and Newton's method from its least.

    Where that does not settle, at a kink, Chandrupatla's method narrows the bracket that the grid gives. Others are
    further inputs of the law, held as they are.

    Raises
    ------
    QueryError
        When the loss has no minimum between the smallest and the largest size the budget allows.
    """
    flat = {name: values.ravel() for name, values in parameters.items()}
    held = tuple(np.array([x]) for x in others)
    log_N, _ = _from_scratch(law, flat, budget, cost, *held)
    return np.exp(log_N).reshape(next(iter(parameters.values())).shape)


def _from_scratch(
    law: Law, parameters: Parameters, budget: float, cost: Cost, *others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log N of least loss, (S,), and where Newton's method found it."""
    from scipy.optimize import elementwise

    grid = _affordable_sizes(cost, budget, np.linspace(0.0, np.log(LARGEST), GRID))
    if len(grid) < 3:
        raise QueryError(
            f"a budget of {format_quantity(budget)} in units of '{cost.name}' pays for no run worth the name"
        )
    sizes, draws = np.exp(grid), len(next(iter(parameters.values())))
    D = cost.affordable_tokens(sizes, budget)

    def least(part: slice) -> np.ndarray:
        loss = law(
            sizes, D, *others, **{name: values[part, None] for name, values in parameters.items()}
        )
        return np.where(np.isnan(loss), np.inf, loss).argmin(axis=1)

    best = np.concatenate(side_by_side(least, parts_of(draws, len(grid))))
    inside = (best > 0) & (best < len(grid) - 1)
    if not inside.all():
        raise QueryError(
            f"law '{law.name}' has no compute-optimal point at C = {format_quantity(budget)} "
            f"in {share_in_words(np.mean(~inside))} of the draws: its loss falls all the way to one end of what the "
            "budget pays for"
        )
    bracket = grid[best - 1], grid[best], grid[best + 1]
    line = _Line(law, np.array([budget]), cost, others)
    own = {name: values[:, None] for name, values in parameters.items()}
    log_N, settled = line.newton(parameters, bracket[1][:, None], np.full(draws, CLOSE))
    log_N, settled = (
        log_N[:, 0],
        settled[:, 0] & (bracket[0] < log_N[:, 0]) & (log_N[:, 0] < bracket[2]),
    )
    here, there = (
        line.loss(np.exp(at)[:, None], line.tokens(np.exp(at)[:, None]), own)
        for at in (bracket[1], log_N)
    )
    settled &= (there <= here * (1 + FLAT))[:, 0]
    if (rest := np.flatnonzero(~settled)).size:
        names = list(parameters)

        def loss(log_N: np.ndarray, *values: np.ndarray) -> np.ndarray:
            N = np.exp(log_N)
            curve = law(
                N,
                cost.affordable_tokens(N, budget),
                *others,
                **dict(zip(names, values, strict=True)),
            )
            return np.where(np.isnan(curve), np.inf, curve)

        held = tuple(parameters[name][rest] for name in names)
        found = elementwise.find_minimum(loss, tuple(side[rest] for side in bracket), args=held)
        log_N[rest] = np.where(
            found.success, found.x, bracket[1][rest]
        )  # on a plateau no bracket can be narrowed
    return log_N, settled


def numeric_optima(
    law: Law, parameters: Parameters, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> np.ndarray:
    """`numeric_optimum` at many budgets, parameters (S,) -> (S, budgets), on the premise that N* moves smoothly with C.

    Some budgets are solved from scratch, more from a cubic spline in log C through those, and all from a spline through
    these. Draws for which the premise fails, because Newton's method does not settle, at a kink, or ends far from where
    the spline led it, at a jump from one minimum to another, are solved from scratch at every budget, as is everything
    where further inputs differ from budget to budget.

    Raises
    ------
    QueryError
        As `numeric_optimum`.
    """
    from scipy.interpolate import CubicSpline

    log_C = np.log(np.unique(budgets))
    decades = (log_C[-1] - log_C[0]) / np.log(10)
    sparse, dense = (
        np.linspace(log_C[0], log_C[-1], int(decades * each) + 4) for each in (SPARSE, ANCHORS)
    )
    few = len(log_C) <= max(FEW, 2 * len(sparse))
    if few or any((x != x[0]).any() for x in others):
        asked = zip(budgets, *others, strict=True)
        return np.stack(
            [numeric_optimum(law, parameters, c, cost, *held) for c, *held in asked], axis=-1
        )
    held = tuple(x[:1] for x in others)
    solved = [_from_scratch(law, parameters, c, cost, *held) for c in np.exp(sparse)]
    log_N, smooth = (np.stack(each, axis=-1) for each in zip(*solved, strict=True))
    start = CubicSpline(sparse, log_N, axis=1)(dense)
    log_N, settled = _Line(law, np.exp(dense), cost, held).newton(
        parameters, start, np.full(len(start), CLOSE)
    )
    smooth = smooth.all(axis=1) & settled.all(axis=1)
    led = (np.abs(log_N - start) < FAR).all(axis=1)
    start = CubicSpline(dense, log_N, axis=1)(np.log(budgets))
    log_N, settled = _Line(law, budgets, cost, held).newton(
        parameters, start, np.where(smooth, NEAR, CLOSE)
    )
    settled &= led[:, None] & (np.abs(log_N - start) < FAR)
    for i in np.flatnonzero(~settled.all(axis=0)):
        rest = ~settled[:, i]
        some = {name: values[rest] for name, values in parameters.items()}
        log_N[rest, i], _ = _from_scratch(law, some, float(budgets[i]), cost, *held)
    return np.exp(log_N)


@dataclass(frozen=True)
class _Line:
    """The loss of a law along budgets (B,), further inputs held, as a function of sizes (S, B)."""

    law: Law
    budgets: np.ndarray
    cost: Cost
    held: tuple[np.ndarray, ...]

    def tokens(self, N: np.ndarray) -> np.ndarray:
        return self.cost.affordable_tokens(N, self.budgets)

    def loss(self, N: np.ndarray, D: np.ndarray, own: Parameters) -> np.ndarray:
        return self.law(N, D, *self.held, **own)

    def fall(self, N: np.ndarray, D: np.ndarray) -> np.ndarray | float:
        """-d log D / d log N: 1 where the cost is 6 N D, more where data are about to run out."""
        if self.cost is SIX_ND:
            return 1.0
        return (1.0 - self.tokens(N * (1 + SHIFT**2)) / D) / SHIFT**2

    def newton(
        self, parameters: Parameters, log_N: np.ndarray, close: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Newton's method in log N from nearby, (S, B), and where its last step was close (S,) enough.

        That is a minimum, if perhaps not the least, or a plateau, where rounding decides.
        """

        def settle(part: slice) -> tuple[np.ndarray, np.ndarray]:
            at, settled = log_N[part].copy(), np.zeros_like(log_N[part], bool)
            left = np.arange(len(at))
            for step in range(STEPS):
                own = {name: values[part][left, None] for name, values in parameters.items()}
                shift = SHIFT / (
                    1 + step % 2
                )  # a kink has its least elsewhere over every shift: no step gets small
                moved, settled[left] = self.step(at[left], own, shift, close[part][left, None])
                at[left] += moved
                left = left[~settled[left].all(axis=1)]
                if not left.size:
                    break
            return at, settled

        with np.errstate(all="ignore"):
            found = side_by_side(settle, parts_of(*log_N.shape))
        return np.concatenate([at for at, _ in found]), np.concatenate(
            [settled for _, settled in found]
        )

    def step(
        self, log_N: np.ndarray, own: Parameters, shift: float, close: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """One step of it, and where it is close enough to be the last."""
        N = np.exp(log_N)
        D = self.tokens(N)
        unit = shift / np.maximum(1.0, self.fall(N, D))
        down, up = N * np.exp(-unit), N * np.exp(unit)
        left, middle, right = (
            self.loss(*at, own) for at in ((down, self.tokens(down)), (N, D), (up, self.tokens(up)))
        )
        bend = left - 2 * middle + right
        steps = 0.5 * (left - right) / bend  # in these units
        last = (np.abs(steps) < close / shift) & (bend > 0)
        return unit * np.nan_to_num(steps.clip(-STRIDE / shift, STRIDE / shift)), last


def _affordable_sizes(cost: Cost, budget: float, grid: np.ndarray) -> np.ndarray:
    """Log N to try: an even grid, and closer and closer to where nothing is left for data, if that comes first.

    Where most of a budget goes into serving, the optimum lies within a hundredth of that end.
    """
    from scipy.optimize import bisect

    def left(log_N: float) -> float:
        return 1.0 if cost.affordable_tokens(np.array([np.exp(log_N)]), budget)[0] > 0 else -1.0

    within = grid[cost.affordable_tokens(np.exp(grid), budget) > 0]
    if len(within) in (0, len(grid)):
        return within
    end = bisect(left, within[-1], grid[len(within)], xtol=1e-12)
    closer = end + np.log1p(-np.geomspace(0.3, 1e-7, CLOSER))
    return np.concatenate([within, closer[closer > within[-1]]])
