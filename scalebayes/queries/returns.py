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
from scalebayes.queries.answers import to_dataset
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import (
    Budgets,
    Targets,
    has_frontier,
    quantities,
    read_inputs,
    read_question,
)
from scalebayes.queries.predict import predict
from scalebayes.utils.progress import shows_progress

GAINS = {
    "gain_N": "loss saved by growing N by the factor",
    "gain_D": "loss saved by growing D by the factor",
    "gain_C": "loss saved by growing compute by the factor, at its best split",
    "gain_all": "loss saved by infinite N and D",
}


@shows_progress("reduction in loss")
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
    """Return the posterior of the loss that `factor` times more N, D or compute saves.

    For N that is L(N, D) - L(f N, D), and so on. All losses are of the curve, with its discrepancy
    where the spec has one, drawn jointly (`predict`): the intervals include the error of the law
    between two places, and what both have in common cancels. More compute is spent at one split,
    the median of the draws' optima, because a user must choose one. Where (N, D) is not optimal for
    its own compute, ``gain_C`` includes what the better split saves.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    N, D, C
        The run to start from: any two of them as in `predict`; or C alone, for the median optimum
        of a budget.
    factor
        Factor above 1: one for all runs, one for each, or many for one run.
    cost
        What compute counts, for C alone and for ``gain_C``.
    seed
        Seed of the discrepancy.

    Returns
    -------
    xarray.Dataset
        In the metric of the runs, with dims (chain, draw, target): ``loss`` of the run; ``gain_N``,
        ``gain_D`` and ``gain_C``, the loss that the factor saves; ``gain_all``, the loss that
        infinite N and D would save. Coordinates along target: the inputs, ``factor``, and
        ``decades_beyond``, of the larger runs. With C alone ``N`` and ``D`` are variables, because
        the models of an average differ in them.

    Raises
    ------
    QueryError
        As `predict` and `frontier`, or when factors are not above 1 or differ in number from the
        inputs.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> answer = sb.returns(fit, N="70B", D="1.4T")
    >>> [f"{answer[name].median():.2f}" for name in ("gain_N", "gain_D", "gain_C")]
    ['0.05', '0.04', '0.05']
    """
    if not has_frontier(fit):
        raise QueryError(
            f"'{fit.spec.name}' is not a law of N and D: its returns to them are not defined"
        )
    rule = as_cost(cost)
    question = read_question(fit, N=N, D=D, C=C)
    start = _start(fit, question, rule, seed)
    factors = _read_factors(factor, len(start["N"]))
    *inputs, factors = np.broadcast_arrays(*start.values(), factors)
    start = dict(zip(start, inputs, strict=True))
    values = _gains(fit, start["N"], start["D"], factors, rule, seed)
    if isinstance(question, Budgets):
        along = {"C": start["C"]}
        values = {"N": start["N"], "D": start["D"]} | values
    else:
        along = {name: start[name] for name in ("N", "D", "C")}
    along["factor"] = factors
    metric = fit.runs.metric
    about = {name: {"units": metric, "long_name": words} for name, words in GAINS.items()}
    about["loss"] = {"units": metric}
    larger = {"N": factors * start["N"], "C": factors * SIX_ND.flop(start["N"], start["D"])}
    out = to_dataset(fit, values, "target", along, larger, about)
    return out.assign_attrs(cost=rule.name)


def _start(fit: Fit, question: Targets | Budgets, cost: Cost, seed: int) -> dict[str, np.ndarray]:
    """Return N, D and C of the runs to start from, (targets,) each."""
    if isinstance(question, Budgets):
        start = _median_optimum(fit, question.C, cost, seed)
    else:
        start = read_inputs(question.given, ("N", "D"), fit.spec.name)
    if np.isinf([start["N"], start["D"]]).any():
        raise QueryError("N and D must be finite: nothing is more than infinite")
    return start


def _read_factors(factor: Any, runs: int) -> np.ndarray:
    """Return one factor for all runs, one for each, or many for one run."""
    factors = quantities(factor, "factor")
    if not (np.isfinite(factors) & (factors > 1)).all():
        got = ", ".join(f"{one:g}" for one in factors)
        raise QueryError(f"factor must be finite and above 1; got {got}")
    if len(factors) != runs and 1 not in (len(factors), runs):
        raise QueryError(f"one factor for all, or one for each; got {len(factors)} for {runs}")
    return factors


def _gains(
    fit: Fit, N: np.ndarray, D: np.ndarray, factors: np.ndarray, cost: Cost, seed: int
) -> dict[str, np.ndarray]:
    """Return the loss of runs and what each kind of growth saves, all from joint draws."""
    best = _median_optimum(fit, factors * cost.flop(N, D), cost, seed)
    infinite = np.full(len(N), np.inf)
    # In the order of `GAINS`, after the run itself.
    sizes = np.concatenate([N, factors * N, N, best["N"], infinite])
    tokens = np.concatenate([D, D, factors * D, best["D"], infinite])
    losses = predict(fit, N=sizes, D=tokens, new_run=False, seed=seed)["loss"].values
    now, *grown = np.split(losses, 1 + len(GAINS), axis=-1)
    values = {"loss": now}
    for name, loss in zip(GAINS, grown, strict=True):
        values[name] = now - loss
    return values


def _median_optimum(fit: Fit, C: Any, cost: Cost, seed: int) -> dict[str, np.ndarray]:
    """Return the median of the draws' optimal N, the tokens that budgets leave for it, and C."""
    best = frontier(fit, C=C, cost=cost, seed=seed)
    budgets = best["C"].values
    N = np.median(best["N"].values, axis=(0, 1))
    return {"N": N, "D": cost.affordable_tokens(N, budgets), "C": budgets}
