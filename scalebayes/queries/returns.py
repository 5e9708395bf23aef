"""Diminishing returns: what more parameters, data or compute still buy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, as_cost
from scalebayes.errors import QueryError
from scalebayes.posterior.average import over_average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.answers import NATS, to_dataset
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import quantities, read_inputs
from scalebayes.queries.predict import predict

GAINS = {
    "gain_N": "loss less, with that much more N",
    "gain_D": "loss less, with that much more D",
    "gain_C": "loss less, with that much more compute at its best split",
    "gain_all": "loss less, with N and D without end",
}


@over_average
def returns(
    fit: Fit,
    *,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    factor: Any = 10.0,
    cost: Cost | Callable[[Any, Any], Any] = SIX_ND,
    seed: int = 0,
) -> xr.Dataset:
    """Posterior of what `factor` times more parameters, data or compute buy: L(N, D) - L(f N, D), and its like.

    All losses are of the curve, discrepancy included where the spec carries one, drawn jointly (`predict`): so that
    intervals know how far the law may be off between two places, and what is off at both cancels. More compute is
    spent at one split of it, the median of the draws' optima, which is a choice that one can make; where (N, D) is off
    the optimum of its own compute, what `gain_C` says holds the repair of that too.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    N, D, C
        Where one stands: any two of them as in `predict`; or C alone, the median optimum of a budget.
    factor
        How much more, above 1: one number for all, or many for one place, the table of diminishing returns.
    cost
        What compute counts, for C alone and for ``gain_C``.
    seed
        Of the discrepancy.

    Returns
    -------
    xarray.Dataset
        In nats with dims (chain, draw, target): ``loss`` where one stands; ``gain_N``, ``gain_D`` and ``gain_C``, what
        the factor takes off it; ``gain_all``, what is left to gain at all. Along target the inputs and ``factor``;
        with C alone ``N`` and ``D`` are among the values, each model's own. ``decades_beyond`` is of the larger runs.

    Raises
    ------
    QueryError
        As `predict` and `frontier`, or when factors are not above 1 or differ in number from the inputs.
    """
    if fit.spec.law_object.inputs != ("N", "D"):
        raise QueryError(
            f"'{fit.spec.name}' is not a law of N and D: nothing trades against anything"
        )
    rule = as_cost(cost)
    alone = C is not None and N is None and D is None
    here = (
        _optimum(fit, C, rule, seed)
        if alone
        else read_inputs({"N": N, "D": D, "C": C}, ("N", "D"), fit.spec.name)
    )
    if np.isinf([here["N"], here["D"]]).any():
        raise QueryError("N and D must be finite: there is no more than infinitely much")
    steps = quantities(factor, "factor")
    if not (np.isfinite(steps) & (steps > 1)).all():
        raise QueryError(
            f"factor is how much more, above 1; got {', '.join(f'{step:g}' for step in steps)}"
        )
    if len(steps) > 1 < len(here["N"]) and len(steps) != len(here["N"]):
        raise QueryError(
            f"one factor for all, or one for each; got {len(steps)} for {len(here['N'])}"
        )
    *places, steps = np.broadcast_arrays(*here.values(), steps)
    here = dict(zip(here, places, strict=True))
    values = _gains(fit, here["N"], here["D"], steps, rule, seed)
    given = {name: here[name] for name in (["C"] if alone else ["N", "D", "C"])}
    if alone:
        shape = values["loss"].shape
        values = {name: np.broadcast_to(here[name], shape) for name in ("N", "D")} | values
    about = {name: {"units": NATS, "long_name": words} for name, words in GAINS.items()}
    about["loss"] = {"units": NATS}
    larger = {"N": steps * here["N"], "C": steps * SIX_ND.flop(here["N"], here["D"])}
    out = to_dataset(fit, values, "target", given | {"factor": steps}, larger, about)
    return out.assign_attrs(cost=rule.name)


def _gains(
    fit: Fit, N: np.ndarray, D: np.ndarray, steps: np.ndarray, cost: Cost, seed: int
) -> dict[str, np.ndarray]:
    """Losses of the curve where one stands and what each step takes off, all from joint draws."""
    best = _optimum(fit, steps * cost.flop(N, D), cost, seed)
    endless = np.full(len(N), np.inf)
    sizes = np.concatenate([N, steps * N, N, best["N"], endless])
    tokens = np.concatenate([D, D, steps * D, best["D"], endless])
    losses = predict(fit, N=sizes, D=tokens, new_run=False, seed=seed)["loss"].values
    start, *after = np.split(losses, 5, axis=-1)
    return {"loss": start} | {name: start - loss for name, loss in zip(GAINS, after, strict=True)}


def _optimum(fit: Fit, C: Any, cost: Cost, seed: int) -> dict[str, np.ndarray]:
    """Medians of the draws' optimal N, with all that a budget leaves for data."""
    best = frontier(fit, C=C, cost=cost, seed=seed)
    N, budgets = np.median(best["N"].values, axis=(0, 1)), best["C"].values
    tokens = [
        cost.affordable_tokens(np.array([n]), float(c))[0] for n, c in zip(N, budgets, strict=True)
    ]
    return {"N": N, "D": np.array(tokens), "C": budgets}
