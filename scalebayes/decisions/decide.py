"""The choice of N and D when the optimum is uncertain: near-optimal sizes, least expected loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, Price, as_cost
from scalebayes.data.metrics import NATS_PER_TOKEN, short_amount
from scalebayes.decisions.regret import regret_at_budgets
from scalebayes.errors import QueryError
from scalebayes.posterior.answer import Answer
from scalebayes.posterior.average import Average, over_average
from scalebayes.posterior.fit import Fit, law_parameters
from scalebayes.queries.answers import to_dataset
from scalebayes.queries.curves import Curve, crossing, curve_of
from scalebayes.queries.frontier import frontier
from scalebayes.queries.optima.one_budget import numeric_optimum
from scalebayes.queries.predict import predict
from scalebayes.summaries.monte_carlo import mean_error
from scalebayes.utils.progress import shows_progress
from scalebayes.utils.shares import check_probability, check_share

LEAST = "least expected loss"
"""Name of the choice that minimises the loss averaged over the draws."""
MEDIAN = "median of N*"
"""Name of the choice at the median of the draws' optima."""
REACH = 12.0
"""Distance in log N from the draws' optima within which ends of ranges are sought."""
NODE_STEP = 0.05
"""Step in log N of that search."""
REFINEMENTS, GRID = 4, 33
"""Passes of the search for the least expected loss, and sizes tried in each."""


@shows_progress("sizes near the optimum")
def near_optimum(
    fit: Fit | Average,
    *,
    C: Any,
    within: float = 0.1,
    nats: float | None = None,
    prob: float = 0.9,
    cost: Cost | Callable[[Any, Any], Any] = SIX_ND,
    seed: int = 0,
) -> xr.Dataset:
    """Return the posterior of the near-optimal sizes: those that are optimal to within a tolerance.

    N is near the optimum of C when N parameters, with the data that (1 + within) C then pays for,
    have a loss no higher than the optimum of C; or with ``nats``, when at C itself their loss is
    higher by at most that. Each draw has a range of its own, from ``N_lower`` to ``N_upper``. The
    sizes within the ranges of a share `prob` of the draws are safe to choose although the optimum
    is uncertain.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several. The curve is that of `regret`.
    C
        Budgets in the units of the cost.
    within
        Extra compute, as a share.
    nats
        Excess loss allowed, in the metric of the runs, instead of extra compute.
    prob
        Probability with which a size shall be near the optimum.
    cost
        What a run costs.
    seed
        Passed on to `frontier`.

    Returns
    -------
    xarray.Dataset
        ``N_lower``, ``N`` (the optimum) and ``N_upper`` with dims (chain, draw, budget).
        Coordinates along budget: ``C``; ``N_from`` and ``N_to``, the safe sizes (NaN where there is
        none); ``N_safest``, the size in most ranges, and ``probability``, the share of ranges that
        contain it; and ``decades_beyond``.

    Raises
    ------
    QueryError
        As `frontier`, or when `within`, `nats` or `prob` are out of range.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> sizes = sb.near_optimum(fit, C="1e22")
    >>> f"{sizes['N_from'].item():.2g} to {sizes['N_to'].item():.2g} parameters"
    '6.1e+09 to 1.5e+10 parameters'
    """
    if nats is not None and nats <= 0:
        raise QueryError(f"nats must be positive; got {nats}")
    if nats is None:
        check_share("within", within, "a share of compute", " (twice the compute)")
    check_probability("prob", prob)
    if nats is None:
        tolerance = f"{100 * within:g}% more compute"
        out = _near(fit, C=C, within=within, nats=0.0, cost=as_cost(cost), seed=seed)
    else:
        metric = fit.runs.metric
        tolerance = short_amount(f"{nats:g}", metric)
        if metric != NATS_PER_TOKEN:
            tolerance += f" in {metric}"
        out = _near(fit, C=C, within=0.0, nats=nats, cost=as_cost(cost), seed=seed)
    lower = out["N_lower"].values.reshape(-1, out.sizes["budget"])
    upper = out["N_upper"].values.reshape(-1, out.sizes["budget"])
    safe = [shared_range(*ends, prob) for ends in zip(lower.T, upper.T, strict=True)]
    N_from, N_to, N_safest, share = (
        ("budget", np.array(column)) for column in zip(*safe, strict=True)
    )
    out = out.assign_coords(N_from=N_from, N_to=N_to, N_safest=N_safest, probability=share)
    return out.assign_attrs(prob=prob, within=tolerance)


class SharedRange(NamedTuple):
    """Where intervals overlap: a range in enough of them, the point in most, and its share."""

    start: float
    end: float
    safest: float
    share: float


def shared_range(lower: np.ndarray, upper: np.ndarray, prob: float) -> SharedRange:
    """Return the range that lies in a share `prob` of the intervals [lower, upper], (S,) each.

    It is the range around the point in most intervals; NaN when even that point lies in fewer than
    `prob`.
    """
    # Membership changes only at the ends of intervals: it suffices to look at and between them.
    places = np.unique(np.concatenate([lower, upper]))
    share = _share(lower, upper, places)
    with np.errstate(invalid="ignore"):  # 0 times infinity, between two ends that were not found
        middles = np.sqrt(places[:-1]) * np.sqrt(places[1:])
    # Every size lies between those two ends; the one that is tried does not matter.
    middles[np.isnan(middles)] = 1.0
    between = _share(lower, upper, middles)
    most = share.max()
    plateau = np.flatnonzero(share == most)
    with np.errstate(all="ignore"):  # an end that was not found is 0 or infinite
        middle = float(np.exp(np.log(places[plateau[[0, -1]]]).mean()))
        peak = int(plateau[np.abs(np.log(places[plateau] / middle)).argmin()])
    safest = float(places[peak])
    if _share(lower, upper, np.array([middle]))[0] == most:
        safest = middle
    if most < prob:
        return SharedRange(np.nan, np.nan, safest, float(most))
    too_few = share < prob
    gap_too_few = between < prob
    left = np.flatnonzero(too_few[:peak] | gap_too_few[:peak])
    right = np.flatnonzero(too_few[peak + 1 :] | gap_too_few[peak:])
    first, last = 0, len(places) - 1
    if len(left):
        first = int(left[-1]) + 1
    if len(right):
        last = peak + int(right[0])
    return SharedRange(float(places[first]), float(places[last]), safest, float(most))


def _share(lower: np.ndarray, upper: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the share of intervals that contain each place, (places,)."""
    begun = np.searchsorted(np.sort(lower), at, side="right")
    ended = np.searchsorted(np.sort(upper), at, side="left")
    return (begun - ended) / len(lower)


@over_average
def _near(fit: Fit, *, C: Any, within: float, nats: float, cost: Cost, seed: int) -> xr.Dataset:
    """Return the ends of each draw's near-optimal range, and its optimum, (chain, draw, budget)."""
    curve = curve_of(fit, "expected", seed)
    best = frontier(fit, C=C, cost=cost, seed=seed)
    budgets = best["C"].values * (1.0 + within)
    # With more compute the range lies around the optimum of that larger budget.
    widened = frontier(fit, C=budgets, cost=cost, seed=seed) if within else best
    shape = (curve.draws, len(budgets))
    N, D = best["N"].values.reshape(shape), best["D"].values.reshape(shape)
    centre = np.log(widened["N"].values.reshape(shape))
    allowed = np.log(np.exp(curve.log_loss_each(N, D)) + nats)
    lower, upper = np.empty(shape), np.empty(shape)
    for i, budget in enumerate(budgets):
        along = _Budget(curve, cost, budget, allowed[:, i])
        lower[:, i], upper[:, i] = np.exp(_ends(along, centre[:, i]))
    variables = {}
    for name, values in {"N_lower": lower, "N": N, "N_upper": upper}.items():
        variables[name] = (("chain", "draw", "budget"), values.reshape(best["N"].shape))
    coords = {name: best[name] for name in ("C", "decades_beyond", "chain", "draw")}
    return Answer(variables).assign_coords(coords).assign_attrs(best.attrs)


@dataclass(frozen=True)
class _Budget:
    """The curves along one budget as functions of log N, and the log loss allowed to each, (S,)."""

    curve: Curve
    cost: Cost
    budget: float
    allowed: np.ndarray

    def _inputs(self, log_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return N, D and a penalty: infinite (and D = 1) where N alone exceeds the budget."""
        N = np.exp(log_N)
        D = self.cost.affordable_tokens(N, self.budget)
        too_large = np.isnan(D)
        return N, np.where(too_large, 1.0, D), np.where(too_large, np.inf, 0.0)

    def excess(self, rows: np.ndarray, log_N: np.ndarray) -> np.ndarray:
        """Return log loss minus what is allowed, of the draws `rows` (n,) at sizes of their own."""
        N, D, penalty = self._inputs(log_N)
        return self.curve.log_loss(rows, N, D) + penalty - self.allowed[rows]

    def is_above(self, log_N: np.ndarray) -> np.ndarray:
        """Return whether the loss is above what is allowed, at shared sizes: (S, sizes)."""
        N, D, penalty = self._inputs(log_N)
        return self.curve.log_loss_shared(N, D) + penalty > self.allowed[:, None]


def _ends(along: _Budget, centre: np.ndarray) -> np.ndarray:
    """Return the log sizes around each draw's optimum beyond which it loses too much, (2, S).

    centre : log N of the optima, (S,). An end that is not found is -inf or inf.
    """
    nodes = np.arange(centre.min() - REACH, centre.max() + REACH, NODE_STEP)
    is_above = along.is_above(nodes)
    below = is_above & (nodes < centre[:, None])
    above = is_above & (nodes > centre[:, None])
    ends = np.full((2, len(centre)), [[-np.inf], [np.inf]])
    # Below: the last node before the optimum with too high a loss, and the node behind it (or the
    # optimum, if that is closer), bracket the end.
    rows = np.flatnonzero(below.any(axis=1))
    last = len(nodes) - 1 - below[rows, ::-1].argmax(axis=1)
    inner = np.minimum(nodes[last] + NODE_STEP, centre[rows])
    ends[0, rows] = crossing(along.excess, rows, nodes[last], inner)
    # Above: the first such node behind the optimum, and the one before it.
    rows = np.flatnonzero(above.any(axis=1))
    first = above[rows].argmax(axis=1)
    inner = np.maximum(nodes[first] - NODE_STEP, centre[rows])
    ends[1, rows] = crossing(along.excess, rows, inner, nodes[first])
    return ends


@shows_progress("choosing N and D")
def decide(
    fit: Fit | Average,
    *,
    C: Any,
    cost: Cost | Callable[[Any, Any], Any] = SIX_ND,
    price: Price | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Return what choices of N and D for a budget are expected to lose, the best choice among them.

    One size must be chosen although each draw has its own optimum. The best choice minimises the
    loss averaged over the draws,

        min over N of  mean of L(N, D(N, C)),

    and with it the expected regret. Two other choices are reported for comparison: the median of
    the draws' optima, and for each fit the plug-in optimum that a point estimate would give, which
    is the optimum of the law at the posterior medians of the parameters. The expected regret of the
    best choice is the value of knowing the parameters. In an average of laws that disagree, the
    regret of one law's plug-in optimum is the price of trusting that law alone.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    C
        Budgets in the units of the cost.
    cost
        What a run costs.
    price
        Price of compute. What the cost counts besides training, such as inference, is paid at the
        same price.
    seed
        Seed of the discrepancy in ``loss``.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, option): ``loss`` of the curve as in `predict`, and ``excess_loss``,
        ``compute_factor`` and ``data_ratio`` as in `regret`. Coordinates along option: ``C``;
        ``choice`` in words; ``N``; ``D``; ``decades_beyond``; and the means over the draws
        ``expected_loss``, ``expected_excess_loss`` and ``expected_waste``, the share of the compute
        that the optimum would save. With a price also ``hours`` of one accelerator, ``money`` for
        the budget, and ``expected_money_wasted``. The attribute ``mcse`` of a mean is its largest
        Monte Carlo standard error.

    Raises
    ------
    QueryError
        As `frontier`.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> answer = sb.decide(fit, C="5.76e23")
    >>> best = answer.isel(option=0)
    >>> print(f"{best['choice'].item()}: {best['N']:.2g} parameters, {best['D']:.2g} tokens")
    least expected loss: 7.1e+10 parameters, 1.3e+12 tokens
    """
    rule = as_cost(cost)
    best = frontier(fit, C=C, cost=rule, seed=seed)
    budgets: list[float] = []
    choices: list[str] = []
    sizes: list[float] = []
    for i, budget in enumerate(best["C"].values.tolist()):
        options = _options(fit, budget, rule, best["N"].values[..., i], seed)
        budgets.extend([budget] * len(options))
        choices.extend(options)
        sizes.extend(options.values())
    C_option, N_option = np.array(budgets), np.array(sizes)
    inputs = {"N": N_option, "D": rule.affordable_tokens(N_option, C_option)}
    lost = regret_at_budgets(fit, **inputs, budgets=C_option, cost=rule, seed=seed)
    expected = _expected(fit, **inputs, seed=seed)["loss"].transpose("chain", "draw", ...).values
    out = lost.assign(loss=predict(fit, **inputs, new_run=False, seed=seed)["loss"])
    out = out[["loss", "excess_loss", "compute_factor", "data_ratio"]]
    out = out.drop_vars("C").rename(target="option")
    # The share that the optimum would save: its mean exists, where that of the factor may not.
    waste = 1.0 - 1.0 / lost["compute_factor"].values
    means = {
        "expected_loss": expected,
        "expected_excess_loss": lost["excess_loss"].values,
        "expected_waste": waste,
    }
    out = out.assign_coords(C=("option", C_option), choice=("option", np.array(choices)))
    if price is not None:
        money = price.of(C_option)
        out = out.assign_coords(hours=("option", price.hours(C_option)), money=("option", money))
        means["expected_money_wasted"] = money * waste
    for name, draws in means.items():
        error = float(mean_error(draws).max())
        out = out.assign_coords({name: ("option", draws.mean((0, 1)), {"mcse": error})})
    return out


def _options(
    fit: Fit | Average, budget: float, cost: Cost, optima: np.ndarray, seed: int
) -> dict[str, float]:
    """Return the sizes N to choose from at one budget, by name."""
    options = {
        LEAST: _least_expected(fit, budget, cost, optima, seed),
        MEDIAN: float(np.median(optima)),
    }
    fits = {fit.spec.name: fit} if isinstance(fit, Fit) else fit.fits
    for name, one in fits.items():
        options[f"plug-in {name}"] = _plug_in(one, budget, cost)
    return options


@over_average
def _expected(fit: Fit, *, N: np.ndarray, D: np.ndarray, seed: int) -> xr.Dataset:
    """Return the loss of the expected curve at shared inputs, (chain, draw, target)."""
    curve = curve_of(fit, "expected", seed)
    loss = np.exp(curve.log_loss_shared(N, D))
    inputs = {"N": N, "D": D, "C": SIX_ND.flop(N, D)}
    return to_dataset(fit, {"loss": loss}, "target", inputs, inputs)


def _least_expected(
    fit: Fit | Average, budget: float, cost: Cost, optima: np.ndarray, seed: int
) -> float:
    """Return the N of least expected loss. It lies among the draws' optima."""
    low, high = np.log(optima.min()), np.log(optima.max())
    best = low
    for _ in range(REFINEMENTS):
        grid = np.linspace(low, high, GRID)
        sizes = np.exp(grid)
        tokens = cost.affordable_tokens(sizes, budget)
        loss = _expected(fit, N=sizes, D=tokens, seed=seed)["loss"]
        mean = loss.mean(("chain", "draw")).values
        least = int(np.where(np.isnan(mean), np.inf, mean).argmin())
        # The next pass looks between the neighbours of the least.
        best = grid[least]
        low, high = grid[max(least - 1, 0)], grid[min(least + 1, GRID - 1)]
    return float(np.exp(best))


def _plug_in(fit: Fit, budget: float, cost: Cost) -> float:
    """Return the optimal N of the law at the posterior medians of its parameters."""
    law = fit.tuned_runs.spec.law_object
    middle = {name: np.median(values)[None] for name, values in law_parameters(fit).items()}
    if cost is SIX_ND and law.optimal_N is not None:
        return float(law.optimise(budget / 6.0, middle)[0])
    return float(numeric_optimum(law, middle, budget, cost)[0])
