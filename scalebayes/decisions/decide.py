"""Choosing N and D when the optimum is not known: how flat it is, and the choice of least expected loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, as_cost
from scalebayes.decisions.regret import regret
from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average, over_average
from scalebayes.posterior.fit import Fit, law_parameters
from scalebayes.queries.answers import label
from scalebayes.queries.curves import Curve, crossing, curve_of
from scalebayes.queries.frontier import frontier
from scalebayes.queries.optimum import numeric_optimum
from scalebayes.queries.predict import predict

LEAST, MEDIAN = "least expected loss", "median of N*"
"""The choices that every answer of `decide` holds."""
REACH, NODE_STEP = 12.0, 0.05
"""How far from the draws' optima, in log N, the ends of the near-optimal range are looked for, and in which steps."""


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
    """Posterior of the sizes that are as good as optimal: those that reach the optimal loss for little more compute.

    N is near the optimum of C when N parameters and what (1 + within) C then leaves for data have a loss no higher than
    the optimum of C; or with ``nats``, when within C itself they lose no more than that. Each draw has a range of its
    own, from ``N_lower`` to ``N_upper``; the sizes that lie in the ranges of a share `prob` of the draws are safe to
    choose although the optimum is not known.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several. The curve is that of `regret`.
    C
        Budgets in the units of the cost.
    within
        Extra compute, as a share.
    nats
        Loss given away, in place of extra compute.
    prob
        Probability with which a size shall be near the optimum.
    cost
        What a run costs.
    seed
        Passed on to `frontier`.

    Returns
    -------
    xarray.Dataset
        ``N_lower``, ``N`` (the optimum) and ``N_upper`` with dims (chain, draw, budget); along budget ``C``, ``N_from``
        and ``N_to``, the safe sizes (NaN where none is), ``N_safest`` and ``chance``, the size in most ranges and the
        share of them, and ``decades_beyond``.

    Raises
    ------
    QueryError
        As `frontier`, or when `within`, `nats` or `prob` are out of range.
    """
    if (given := within if nats is None else nats) <= 0:
        raise QueryError(
            f"{'within, a share of compute,' if nats is None else 'nats'} must be positive; got {given}"
        )
    if not 0 < prob < 1:
        raise QueryError(f"prob must lie between 0 and 1; got {prob}")
    out = _near(
        fit,
        C=C,
        within=0.0 if nats is not None else within,
        nats=nats or 0.0,
        cost=as_cost(cost),
        seed=seed,
    )
    ends = [out[x].values.reshape(-1, out.sizes["budget"]).T for x in ("N_lower", "N_upper")]
    safe = np.array(
        [shared_range(lower, upper, prob) for lower, upper in zip(*ends, strict=True)]
    ).T
    names = ("N_from", "N_to", "N_safest", "chance")
    out.attrs |= {
        "prob": prob,
        "within": f"{nats:g} nats" if nats is not None else f"{100 * within:g}% more compute",
    }
    return out.assign_coords(
        {name: ("budget", values) for name, values in zip(names, safe, strict=True)}
    )


def shared_range(
    lower: np.ndarray, upper: np.ndarray, prob: float
) -> tuple[float, float, float, float]:
    """Of intervals [lower, upper], the stretch that lies in a share `prob` of them, the point in most, and its share.

    The stretch is the one around the point in most intervals; NaN where even that lies in fewer than `prob`.
    """
    places = np.unique(
        np.concatenate([lower, upper])
    )  # from each to the next, membership does not change
    share = _share(lower, upper, places)
    between = _share(lower, upper, np.sqrt(places[:-1]) * np.sqrt(places[1:]))
    plateau = np.flatnonzero(share == share.max())
    with np.errstate(all="ignore"):  # an end that was not found is 0 or infinite
        middle = float(np.exp(np.log(places[plateau[[0, -1]]]).mean()))
        most = int(plateau[np.abs(np.log(places[plateau] / middle)).argmin()])
    safest = (
        middle
        if _share(lower, upper, np.array([middle]))[0] == share[most]
        else float(places[most])
    )
    if share[most] < prob:
        return np.nan, np.nan, safest, float(share[most])
    left = np.flatnonzero((share[:most] < prob) | (between[:most] < prob))
    right = np.flatnonzero((share[most + 1 :] < prob) | (between[most:] < prob))
    first = int(left[-1]) + 1 if len(left) else 0
    last = most + int(right[0]) if len(right) else len(places) - 1
    return float(places[first]), float(places[last]), safest, float(share[most])


def _share(lower: np.ndarray, upper: np.ndarray, at: np.ndarray) -> np.ndarray:
    begun = np.searchsorted(np.sort(lower), at, side="right")
    ended = np.searchsorted(np.sort(upper), at, side="left")
    return (begun - ended) / len(lower)


@over_average
def _near(fit: Fit, *, C: Any, within: float, nats: float, cost: Cost, seed: int) -> xr.Dataset:
    curve = curve_of(fit, "expected", seed)
    best = frontier(fit, C=C, cost=cost, seed=seed)
    budgets = best["C"].values * (1.0 + within)
    widened = frontier(fit, C=budgets, cost=cost, seed=seed) if within else best
    shape = (curve.draws, len(budgets))
    N, D, centre = (x.values.reshape(shape) for x in (best["N"], best["D"], widened["N"]))
    allowed = np.log(np.exp(curve.log_loss_each(N, D)) + nats)
    where = zip(budgets, np.log(centre).T, allowed.T, strict=True)
    lower, upper = np.exp(np.stack([_ends(curve, cost, *one) for one in where], axis=-1))
    dims = ("chain", "draw", "budget")
    values = {"N_lower": lower, "N": N, "N_upper": upper}
    out = xr.Dataset(
        {name: (dims, value.reshape(best["N"].shape)) for name, value in values.items()}
    )
    coords = {name: best[name] for name in ("C", "decades_beyond", "chain", "draw")}
    return out.assign_coords(coords).assign_attrs(best.attrs)


def _ends(
    curve: Curve, cost: Cost, budget: float, centre: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Log sizes below and above a draw's optimum at which its loss within a budget passes what is allowed, (2, S)."""

    def inputs(log_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        N = np.exp(log_N)
        D = cost.affordable_tokens(N, budget)
        return N, np.where(np.isnan(D), 1.0, D), np.where(np.isnan(D), np.inf, 0.0)

    def over(rows: np.ndarray, log_N: np.ndarray) -> np.ndarray:
        N, D, unaffordable = inputs(log_N)
        return curve.log_loss(rows, N, D) + unaffordable - allowed[rows]

    nodes = np.arange(centre.min() - REACH, centre.max() + REACH, NODE_STEP)
    N, D, unaffordable = inputs(nodes)
    out = curve.log_loss_shared(N, D) + unaffordable > allowed[:, None]
    above, below = out & (nodes > centre[:, None]), out & (nodes < centre[:, None])
    ends = np.full((2, curve.draws), [[-np.inf], [np.inf]])
    rows = np.flatnonzero(below.any(axis=1))
    last = len(nodes) - 1 - below[rows, ::-1].argmax(axis=1)
    ends[0, rows] = crossing(
        over, rows, nodes[last], np.minimum(nodes[last] + NODE_STEP, centre[rows])
    )
    rows = np.flatnonzero(above.any(axis=1))
    first = above[rows].argmax(axis=1)
    ends[1, rows] = crossing(
        over, rows, np.maximum(nodes[first] - NODE_STEP, centre[rows]), nodes[first]
    )
    return ends


def decide(
    fit: Fit | Average, *, C: Any, cost: Cost | Callable[[Any, Any], Any] = SIX_ND, seed: int = 0
) -> xr.Dataset:
    """Choose N and D for a budget by least expected loss, and say what other choices would lose.

    One size must be chosen while the posterior holds many optima. The best choice minimises the loss averaged over
    the draws,

        min over N of  mean of L(N, D(N, C)),

    and with it the expected regret. Beside it stand the median of the draws' optima, and for each fit the plug-in
    optimum that a point estimate would give: that of its law at the posterior medians of the parameters. What the
    best choice is still expected to lose is what knowing the parameters would be worth. Where laws disagree, as in an
    average, the plug-in of a law that is wrong shows what trusting it alone would cost.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    C
        Budgets in the units of the cost.
    cost
        What a run costs.
    seed
        Of the discrepancy in ``loss``.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, option) ``loss``, of the curve as in `predict`, and ``nats_lost``, ``compute_factor``
        and ``data_ratio`` as in `regret`. Along option: ``C``, ``choice`` in words, ``N``, ``D``, ``expected_loss``,
        ``expected_nats_lost``, ``expected_waste``, the share of the compute that the optimum would save (means over the
        draws), and ``decades_beyond``.

    Raises
    ------
    QueryError
        As `frontier`.
    """
    rule = as_cost(cost)
    best = frontier(fit, C=C, cost=rule, seed=seed)
    rows = []
    for i, budget in enumerate(best["C"].values):
        N_best = best["N"].values[..., i]
        options = {
            LEAST: _least_expected(fit, float(budget), rule, N_best, seed),
            MEDIAN: float(np.median(N_best)),
        }
        options |= {
            f"plug-in {name}": _plug_in(one, float(budget), rule) for name, one in _fits(fit)
        }
        rows += [(float(budget), choice, N) for choice, N in options.items()]
    budgets, choices, sizes = (np.array(column) for column in zip(*rows, strict=True))
    tokens = rule.affordable_tokens(sizes, budgets)
    lost = regret(fit, N=sizes, D=tokens, cost=rule, seed=seed)
    expected = _expected(fit, N=sizes, D=tokens, seed=seed)["loss"].mean(("chain", "draw"))
    out = lost.assign(loss=predict(fit, N=sizes, D=tokens, new_run=False, seed=seed)["loss"])
    out = (
        out[["loss", "nats_lost", "compute_factor", "data_ratio"]]
        .drop_vars("C")
        .rename(target="option")
    )
    waste = (
        1.0 - 1.0 / lost["compute_factor"].values
    )  # its mean exists, where that of the factor may not
    means = {
        "expected_nats_lost": ("option", lost["nats_lost"].values.mean((0, 1))),
        "expected_waste": ("option", waste.mean((0, 1))),
    }
    coords = {
        "C": ("option", budgets),
        "choice": ("option", choices),
        "expected_loss": ("option", expected.values),
    }
    return out.assign_coords(coords | means)


def _fits(fit: Fit | Average) -> Iterator[tuple[str, Fit]]:
    yield from [(fit.spec.name, fit)] if isinstance(fit, Fit) else fit.fits.items()


@over_average
def _expected(fit: Fit, *, N: np.ndarray, D: np.ndarray, seed: int) -> xr.Dataset:
    """Loss of the expected curve at inputs that all draws share."""
    curve, sizes = curve_of(fit, "expected", seed), fit.tree["posterior"].sizes
    loss = np.exp(curve.log_loss_shared(N, D)).reshape(sizes["chain"], sizes["draw"], len(N))
    inputs = {"N": N, "D": D, "C": SIX_ND.flop(N, D)}
    return label(
        xr.Dataset({"loss": (("chain", "draw", "target"), loss)}), fit, "target", inputs, inputs
    )


def _least_expected(
    fit: Fit | Average, budget: float, cost: Cost, optima: np.ndarray, seed: int
) -> float:
    """N of least expected loss: it lies among the optima of the draws, on a grid that is made finer where it is."""
    low, high = np.log(optima.min()), np.log(optima.max())
    for _ in range(4):
        grid = np.linspace(low, high, 33)
        tokens = cost.affordable_tokens(np.exp(grid), budget)
        mean = (
            _expected(fit, N=np.exp(grid), D=tokens, seed=seed)["loss"]
            .mean(("chain", "draw"))
            .values
        )
        best = int(np.where(np.isnan(mean), np.inf, mean).argmin())
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(np.exp(grid[best]))


def _plug_in(fit: Fit, budget: float, cost: Cost) -> float:
    """Optimum of the law at the posterior medians of its parameters."""
    law = fit.spec.law_object
    middle = {name: np.median(values)[None] for name, values in law_parameters(fit).items()}
    if cost is SIX_ND and law.optimal_N is not None:
        return float(law.optimise(budget / 6.0, middle)[0])
    return float(numeric_optimum(law, middle, budget, cost)[0])
