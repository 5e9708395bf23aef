"""Posterior of the compute-optimal frontier: N*, D* and the loss at a budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.cost import SIX_ND, Cost, as_cost
from scalebayes.curves import Curve, Shared, curve_of
from scalebayes.errors import QueryError
from scalebayes.laws import Law
from scalebayes.parts import side_by_side
from scalebayes.posterior import Fit, law_parameters, over_average
from scalebayes.prediction import LONG_NAMES, label, predict, quantities
from scalebayes.units import format_quantity, share_in_words

GRID = 129
"""Sizes tried to bracket the optimum, spaced evenly in log N."""
LARGEST = 1e30
"""Where the search for an optimal N ends; it begins at one parameter."""
FLAT = 1e-9
"""Share of the loss below which half or twice the size changes nothing: there is no optimal size to speak of."""
REACH, STEP, WIDE = 3.0 * np.log(10), 0.025 * np.log(10), 6
"""With a discrepancy: how far from the law's optima, in what steps of log N, and at first at every which of these, the
least loss is sought."""
CLOSER = 129
"""Sizes tried between the last of such a grid and where nothing is left for data."""
ANCHORS, SHIFT, CLOSE = 2, 3e-4, 1e-7
"""With many budgets: so many a decade are solved from scratch; the others by Newton's method on differences over this
shift of log N, until no step is larger than the last."""
TOGETHER = 64
"""Budgets solved at once."""


@over_average
def frontier(
    fit: Fit, *, C: Any, cost: Cost | Callable[[Any, Any], Any] = SIX_ND, seed: int = 0, U: Any = None
) -> xr.Dataset:
    """Posterior of N and D that minimise the loss at a budget: min L(N, D) subject to cost(N, D) = C.

    Without a discrepancy it is the law that each draw minimises: in closed form at C = 6 N D where the law declares
    one, else numerically. With a discrepancy each draw minimises the law times the discrepancy that it *expects* given
    a draw of the discrepancy at the runs. Among the runs that curve follows them, as far as their scatter lets it be
    known, so N* is where they show it; far from them it is the law. Minimising the law alone would ignore what the runs
    show, and minimising curves with random bends beyond the runs would place N* at dips that no run has shown. The loss
    at N* holds a drawn discrepancy, whose part that no run has shown is drawn for each budget on its own (`predict`
    draws it jointly); ``attrs["optimised"]`` says what was minimised.

    Parameters
    ----------
    fit
        A fit of a law of N and D, perhaps with U, or an average of several.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    cost
        What a run costs; a plain function of (N, D) will do.
    seed
        Of the discrepancy beyond the table.
    U
        Unique tokens, of which D may be many epochs, for a law that knows of them (``data-constrained``), and only for
        such: one number, or one for each budget. Infinite, nothing needs repeating, and the optimum is that of the law
        without repetition.

    Returns
    -------
    xarray.Dataset
        ``N``, ``D``, ``loss`` (nats per token) and ``tokens_per_param`` with dims (chain, draw, budget), and ``law``,
        the loss of the law alone, where ``loss`` holds a discrepancy; with U also ``epochs`` = D/U, below 1 where the
        optimum leaves data unread; along budget ``C``, ``U`` and ``decades_beyond``, orders of magnitude of training
        compute beyond the largest run. ``attrs["flat"]`` is the share of draws in which half or twice N* is as good.

    Raises
    ------
    QueryError
        When the law has no N or no D, or no interior optimum at a budget; when U is missing, or not for this law.
    """
    law, cost = fit.spec.law_object, as_cost(cost)
    budgets, unique = _asked(fit, C, U)
    curve = curve_of(fit, "expected", seed)
    parameters = law_parameters(fit)
    log_N = np.log(optimal_sizes(curve, budgets, cost, *unique))
    N = np.exp(log_N).reshape(*next(iter(parameters.values())).shape, -1)
    D = np.stack([cost.affordable_tokens(N[..., i], budget) for i, budget in enumerate(budgets)], axis=-1)
    per_draw = {k: v[..., None] for k, v in parameters.items()}
    loss = law(N, D, *unique, **per_draw)
    values = {"N": N, "D": D, "loss": loss, "tokens_per_param": D / N} | ({"epochs": D / unique[0]} if unique else {})
    if curve.known is not None:
        rngs = np.random.default_rng([seed, 1]).spawn(len(budgets))  # beyond the runs; `seed` is of delta at them
        drawn = side_by_side(lambda n, c, *at: curve.drawn_at(n, c, cost, *at), log_N.T, budgets, rngs, *unique)
        off = np.stack(drawn, axis=-1)
        values |= {"law": loss, "loss": loss * np.exp(off.reshape(loss.shape))}
    attributes: dict[str, Any] = {"cost": cost.name, "optimised": "law" if curve.known is None else "expected curve"}
    if unique:
        attributes["flat"] = _flatness(law, per_draw, N, budgets, cost, *unique)
    out = xr.Dataset({k: (("chain", "draw", "budget"), v) for k, v in values.items()}, attrs=attributes)
    for name in ("loss", "law")[: 1 + (curve.known is not None)]:
        out[name].attrs = {"long_name": f"{LONG_NAMES[name]} at the optimum", "units": "nats per token"}
    training = {"N": np.median(N, (0, 1)), "C": np.median(SIX_ND.flop(N, D), (0, 1))}
    return label(out, fit, "budget", {"C": budgets} | dict(zip("U", unique, strict=False)), training)


def _asked(fit: Fit, C: Any, U: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Budgets, and the unique tokens of each where the law takes them: U is refused where it does not."""
    inputs, name = fit.spec.law_object.inputs, fit.spec.name
    if inputs[:2] != ("N", "D") or not set(inputs) <= {"N", "D", "U"}:
        of = f"{inputs[0]} alone" if len(inputs) == 1 else f"{' and '.join(inputs)}, not of N and D alone"
        raise QueryError(f"'{name}' is a law of {of}: it has no optimal N and D")
    budgets = quantities(C, "C")
    if np.isinf(budgets).any():
        raise QueryError("C must be finite: without a budget nothing is optimal")
    if (U is not None) != ("U" in inputs):
        needs = "knows of repeated data: say how many tokens are unique, U=" if U is None else "knows nothing of U"
        raise QueryError(f"'{name}' {needs}" + (" (infinity for no limit)" if U is None else ""))
    if U is None:
        return budgets, ()
    unique = quantities(U, "U")
    if len(budgets) != len(unique) and 1 not in (len(budgets), len(unique)):
        raise QueryError(
            f"C and U must have one length, or one of them one value; got {len(budgets)} and {len(unique)}"
        )
    both = np.broadcast_arrays(budgets, unique)
    return both[0], (both[1],)


def _flatness(
    law: Law, parameters: dict[str, np.ndarray], N: np.ndarray, budgets: np.ndarray, cost: Cost, *others: np.ndarray
) -> float:
    """Largest share of draws, of any budget, in which half or twice the optimal size is as good to rounding."""
    best, *rest = (
        law(
            N * factor,
            np.stack([cost.affordable_tokens(N[..., i] * factor, c) for i, c in enumerate(budgets)], axis=-1),
            *others,
            **parameters,
        )
        for factor in (1.0, 0.5, 2.0)
    )
    return float(np.any([side <= best * (1 + FLAT) for side in rest], axis=0).mean((0, 1)).max())


def at_budget(fit: Fit, *, C: Any, seed: int = 0) -> xr.Dataset:
    """What a fit says of a budget alone: its `frontier`, or of a law of C the loss there, without N and D.

    Raises
    ------
    QueryError
        When the law is neither of N and D nor of C.
    """
    if fit.spec.law_object.inputs == ("C",):
        return predict(fit, C=C, new_run=False, seed=seed).rename(target="budget")
    return frontier(fit, C=C, seed=seed)


@over_average
def loss_at_budget(fit: Fit, *, C: Any, seed: int = 0) -> xr.Dataset:
    """The losses alone of `at_budget`, which fits of both kinds of law have, so that they mix."""
    answer = at_budget(fit, C=C, seed=seed)
    return answer[[name for name in ("loss", "law") if name in answer]]


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
        N = law.optimise(budgets / 6.0, {name: values[:, None] for name, values in curve.parameters.items()})
    elif others:
        asked = zip(budgets, *others, strict=True)
        N = np.stack([numeric_optimum(law, dict(curve.parameters), c, cost, *held) for c, *held in asked], axis=-1)
    else:
        N = numeric_optima(law, dict(curve.parameters), budgets, cost)
    if curve.known is None:
        return N
    found = side_by_side(lambda start, c, *held: expected_optimum(curve, start, c, cost, *held), N.T, budgets, *others)
    return np.stack(found, axis=-1)


def expected_optimum(curve: Shared, start: np.ndarray, budget: float, cost: Cost, *others: float) -> np.ndarray:
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
    first, last = int(rough[max(int(near.min()) - 1, 0)]), int(rough[min(int(near.max()) + 1, len(rough) - 1)])
    values = np.full((len(near), len(log_N)), np.inf)
    values[:, first : last + 1] = loss(slice(first, last + 1))  # no draw's least lies at an end, but of the whole grid
    best = values.argmin(axis=1)
    if not (inside := (best > 0) & (best < len(log_N) - 1)).all():
        raise QueryError(
            f"no compute-optimal point within {REACH / np.log(10):.0f} decades of the law's own at "
            f"C = {format_quantity(budget)} in {share_in_words(np.mean(~inside))} of the draws, discrepancy included"
        )
    left, middle, right = (np.take_along_axis(values, best[:, None] + i, axis=1)[:, 0] for i in (-1, 0, 1))
    ratio = np.log(D) - log_N
    before, after = ratio[best] - ratio[best - 1], ratio[best + 1] - ratio[best]
    fall, rise = (left - middle) * after, (right - middle) * before
    flat = fall + rise == 0  # to rounding
    shift = 0.5 * (fall * after - rise * before) / np.where(flat, np.inf, fall + rise)
    slope, further = (log_N[best] - log_N[best - 1]) / before, (log_N[best + 1] - log_N[best]) / after
    at = log_N[best] + shift * slope + shift * (shift + before) * (further - slope) / (before + after)
    return np.exp(at).reshape(start.shape)


def numeric_optimum(
    law: Law, parameters: dict[str, np.ndarray], budget: float, cost: Cost = SIX_ND, *others: float
) -> np.ndarray:
    """N that minimises L(N, D) with cost(N, D) = budget, for every draw, by bracketing and Chandrupatla's method.

    Others are further inputs of the law, held as they are.

    Raises
    ------
    QueryError
        When the loss has no minimum between the smallest and the largest size the budget allows.
    """
    from scipy.optimize import elementwise

    names = list(parameters)
    draws = [parameters[name].ravel() for name in names]

    def loss(log_N: np.ndarray, *values: np.ndarray) -> np.ndarray:
        N = np.exp(log_N)
        held = dict(zip(names, values, strict=True))
        curve = law(N, cost.affordable_tokens(N, budget), *others, **held)
        return np.where(np.isnan(curve), np.inf, curve)

    grid = _affordable_sizes(cost, budget, np.linspace(0.0, np.log(LARGEST), GRID))
    if len(grid) < 3:
        raise QueryError(
            f"a budget of {format_quantity(budget)} in units of '{cost.name}' pays for no run worth the name"
        )
    on_grid = np.stack([loss(np.full(len(draws[0]), x), *draws) for x in grid])
    best = on_grid.argmin(axis=0)
    inside = (best > 0) & (best < len(grid) - 1)
    if not inside.all():
        raise QueryError(
            f"law '{law.name}' has no compute-optimal point at C = {format_quantity(budget)} "
            f"in {share_in_words(np.mean(~inside))} of the draws: its loss falls all the way to one end of what the "
            "budget pays for"
        )
    bracket = (grid[best - 1], grid[best], grid[best + 1])
    found = elementwise.find_minimum(loss, bracket, args=tuple(draws))
    return np.exp(found.x).reshape(next(iter(parameters.values())).shape)


def numeric_optima(law: Law, parameters: dict[str, np.ndarray], budgets: np.ndarray, cost: Cost) -> np.ndarray:
    """`numeric_optimum` at many budgets, parameters (S,) -> (S, budgets): the least loss moves smoothly with a budget.

    Some budgets are solved from scratch, and a cubic spline in log C through them is where Newton's method begins at
    the others. A budget at which it does not settle is solved from scratch too.

    Raises
    ------
    QueryError
        As `numeric_optimum`.
    """
    from scipy.interpolate import CubicSpline

    log_C = np.log(np.unique(budgets))
    anchors = np.linspace(log_C[0], log_C[-1], int((log_C[-1] - log_C[0]) / np.log(10) * ANCHORS) + 4)
    if len(log_C) <= len(anchors):
        return np.stack([numeric_optimum(law, parameters, budget, cost) for budget in budgets], axis=-1)
    solved = np.stack([np.log(numeric_optimum(law, parameters, c, cost)) for c in np.exp(anchors)])
    start = CubicSpline(anchors, solved)
    parts = [budgets[i : i + TOGETHER] for i in range(0, len(budgets), TOGETHER)]
    return np.hstack([_settle(law, parameters, part, cost, start(np.log(part)).T) for part in parts])


def _settle(
    law: Law, parameters: dict[str, np.ndarray], budgets: np.ndarray, cost: Cost, log_N: np.ndarray
) -> np.ndarray:
    """Newton's method on the loss in log N, from nearby, (S, budgets) -> N."""
    own = {name: values[:, None] for name, values in parameters.items()}

    def tokens(log_N: np.ndarray) -> np.ndarray:
        return cost.affordable_tokens(np.exp(log_N), budgets)

    for _ in range(6):
        sizes = [log_N + shift for shift in (-SHIFT, 0.0, SHIFT)]
        left, middle, right = (law.function(np.exp(x), tokens(x), **own) for x in sizes)
        with np.errstate(all="ignore"):
            steps = 0.5 * SHIFT * (left - right) / (left - 2 * middle + right)
        log_N = log_N + np.where(np.abs(steps) < 0.5, steps, 0.0)
        if (settled := ((np.abs(steps) < CLOSE) & (left + right > 2 * middle)).all(axis=0)).all():
            break
    # Where data are about to run out, so near that the differences themselves are too wide, nothing has settled.
    settled &= (tokens(sizes[0]) < (1 + 10 * SHIFT) * tokens(sizes[2])).all(axis=0)
    N = np.exp(log_N)
    for i in np.flatnonzero(~settled):
        N[:, i] = numeric_optimum(law, parameters, float(budgets[i]), cost)
    return N


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
