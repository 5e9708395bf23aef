"""Regret of a run away from the optimum, in loss and compute, and when longer training pays off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, as_cost
from scalebayes.errors import QueryError
from scalebayes.posterior.average import over_average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.answers import to_dataset
from scalebayes.queries.curves import Curve, curve_of
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import has_frontier, read_inputs
from scalebayes.queries.optima.frontier_path import optimal_path
from scalebayes.queries.predict import predict
from scalebayes.utils.progress import shows_progress

IN_METRIC = ("excess_loss", "next_tenfold")
"""Quantities in the metric of the runs."""


@shows_progress("excess loss of a run")
@over_average
def regret(
    fit: Fit,
    *,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    cost: Cost | Callable[[Any, Any], Any] = SIX_ND,
    seed: int = 0,
) -> xr.Dataset:
    """Return the posterior of a run's excess loss over the compute-optimal run of equal cost.

    Each draw's curve at (N, D) is compared with the same curve at that draw's optimum. With a
    discrepancy the curve is the law times the discrepancy that the draw expects, as in `frontier`.
    So the interval tells where the optimum lies and how sharp it is. It leaves out the error of the
    law between nearby points without runs; `prefer` includes it.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    N, D, C
        Any two of them, as in `predict`.
    cost
        What a run costs; of (N, D), even where C = 6 N D is given.
    seed
        Passed on to `frontier`.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, target): ``excess_loss``, loss at (N, D) minus loss at the optimum
        of the same cost; ``compute_factor``, its cost over the least that reaches the same loss, 1
        at the optimum; ``data_ratio``, D over the optimal D of the same cost, above 1 for an
        overtrained run and below 1 for an undertrained one.

    Raises
    ------
    QueryError
        As `predict` and `frontier`.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> answer = sb.regret(fit, N="280B", C="5.76e23")
    >>> f"{answer['compute_factor'].median():.1f} times the compute that was needed"
    '1.9 times the compute that was needed'
    """
    rule = as_cost(cost)
    inputs = _read(fit, N, D, C)
    against = _against_frontier(fit, inputs, _cost_of(inputs, rule), rule, seed)
    return _answer(fit, against.regret, inputs, rule)


@over_average
def regret_at_budgets(
    fit: Fit, *, N: np.ndarray, D: np.ndarray, budgets: np.ndarray, cost: Cost, seed: int = 0
) -> xr.Dataset:
    """Return `regret` of runs that use up given budgets, (targets,), so that optima are shared."""
    inputs = _read(fit, N, D, None)
    against = _against_frontier(fit, inputs, budgets, cost, seed)
    return _answer(fit, against.regret, inputs, cost)


@over_average
def excess_loss(fit: Fit, *, N: np.ndarray, D: np.ndarray, cost: Cost, seed: int = 0) -> xr.Dataset:
    """Return the excess loss alone, ``excess_loss`` of `regret`, in a fraction of its time."""
    inputs = _read(fit, N, D, None)
    compared = _compare(fit, inputs, _cost_of(inputs, cost), cost, seed)
    return _answer(fit, {"excess_loss": compared.excess_loss}, inputs, cost)


@shows_progress("gain and cost of more data")
@over_average
def overtrain(
    fit: Fit, *, N: Any = None, D: Any = None, C: Any = None, seed: int = 0
) -> xr.Dataset:
    """Return the gain and the waste of training N for longer, and the serving that pays for it.

    A run of (N, D) past the optimum is compared with the compute-optimal run (N_o, D_o) of equal
    loss, which is larger and took less compute. A token served costs 2 N FLOP, so the run (N, D) is
    cheaper over its life when it serves more tokens than

        T = (6 N D - 6 N_o D_o) / (2 (N_o - N))

    (after Sardana et al. 2023), and never cheaper when N is not below N_o.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    N, D, C
        Any two of them, as in `predict`; one N with many D follows a training run.
    seed
        Seed of the discrepancy in ``loss``.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, target): ``loss``, of the curve as in `predict` (and ``law``);
        ``next_tenfold``, the loss that ten times the data would still save; the variables
        of `regret` at 6 N D; ``pays_from``, the tokens served from which the run is cheaper over
        its life, ``inf`` where never.

    Raises
    ------
    QueryError
        As `predict` and `frontier`.

    References
    ----------
    Sardana, Portes, Doubov and Frankle (2023), Beyond Chinchilla-optimal: accounting for inference
    in language model scaling laws, arXiv:2401.00448.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> answer = sb.overtrain(fit, N="8B", D="15T")
    >>> f"pays from {answer['pays_from'].median():.2g} tokens served"
    'pays from 1.1e+13 tokens served'
    """
    inputs = _read(fit, N, D, C)
    N_run, D_run = inputs["N"], inputs["D"]
    against = _against_frontier(fit, inputs, _cost_of(inputs, SIX_ND), SIX_ND, seed)
    N_optimal = against.N_same_loss
    share_wasted = 1.0 - 1.0 / against.regret["compute_factor"]
    extra_flop = np.maximum(SIX_ND.flop(N_run, D_run) * share_wasted, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        saved_per_token = 2.0 * (N_optimal - N_run)
        pays_from = np.where(N_optimal > N_run, extra_flop / saved_per_token, np.inf)
    curve = curve_of(fit, "expected", seed)
    loss_now = np.exp(curve.log_loss_shared(N_run, D_run))
    loss_tenfold = np.exp(curve.log_loss_shared(N_run, 10.0 * D_run))
    values = {
        "next_tenfold": loss_now - loss_tenfold,
        **against.regret,
        "pays_from": pays_from,
    }
    losses = predict(fit, N=N_run, D=D_run, new_run=False, seed=seed)
    return losses.assign(_answer(fit, values, inputs, SIX_ND).data_vars)


@dataclass(frozen=True)
class _Compared:
    """The curves of the draws at some runs and at their optima of equal cost.

    Attributes
    ----------
    curve
        The expected curves.
    best
        Their optima, as `frontier` returns them.
    here, optimal
        Log loss at the runs and at the optima, (S, targets).
    """

    curve: Curve
    best: xr.Dataset
    here: np.ndarray
    optimal: np.ndarray

    @property
    def excess_loss(self) -> np.ndarray:
        """Excess loss of the runs, (S, targets)."""
        return np.maximum(np.exp(self.here) - np.exp(self.optimal), 0.0)


@dataclass(frozen=True)
class _AgainstFrontier:
    """The variables of `regret`, and the optimal N of equal loss, each (S, targets)."""

    regret: dict[str, np.ndarray]
    N_same_loss: np.ndarray


def _read(fit: Fit, N: Any, D: Any, C: Any) -> dict[str, np.ndarray]:
    """Return the inputs of runs, (targets,) each, which must have an optimum of equal cost."""
    inputs = read_inputs({"N": N, "D": D, "C": C}, fit.spec.law_object.inputs, fit.spec.name)
    if not has_frontier(fit):
        raise QueryError(
            f"'{fit.spec.name}' is not a law of N and D: it has no optimum to compare with"
        )
    if np.isinf([inputs["N"], inputs["D"]]).any():
        raise QueryError("N and D must be finite: an infinite run has no cost to compare at")
    return inputs


def _cost_of(inputs: dict[str, np.ndarray], cost: Cost) -> np.ndarray:
    return np.asarray(cost.flop(inputs["N"], inputs["D"]), float)


def _compare(
    fit: Fit, inputs: dict[str, np.ndarray], budgets: np.ndarray, cost: Cost, seed: int
) -> _Compared:
    """Compare runs with the optima of their budgets, (targets,)."""
    curve = curve_of(fit, "expected", seed)
    # Several runs may share a budget, whose optimum is then found once.
    distinct, place = _distinct(budgets)
    best = frontier(fit, C=distinct, cost=cost, seed=seed).isel(budget=place)
    shape = (curve.draws, len(budgets))
    N_best, D_best = best["N"].values.reshape(shape), best["D"].values.reshape(shape)
    here = curve.log_loss_shared(inputs["N"], inputs["D"])
    return _Compared(curve, best, here, curve.log_loss_each(N_best, D_best))


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values in the order given, and the place of each value among them."""
    distinct = list(dict.fromkeys(values.tolist()))
    place = {value: i for i, value in enumerate(distinct)}
    return np.array(distinct), np.array([place[value] for value in values.tolist()])


def _against_frontier(
    fit: Fit, inputs: dict[str, np.ndarray], budgets: np.ndarray, cost: Cost, seed: int
) -> _AgainstFrontier:
    """Compare runs with the frontier in loss, at equal cost, and in compute, at equal loss."""
    compared = _compare(fit, inputs, budgets, cost, seed)
    curve, here = compared.curve, compared.here
    start = float(budgets.max())
    path = optimal_path(curve, curve, cost, here, start, known=compared.best)
    largest_run = float(np.max(cost.flop(fit.runs.N, fit.runs.D)))
    log_C, easy = path.least(curve, here, largest_run)
    if easy.any():
        raise QueryError(
            "a run this far from the optimum is no better than almost no training at all"
        )
    # With a discrepancy the optimum is found to 0.1% of N, so a run at the optimum may seem cheaper
    # than it. It is not.
    log_C = np.minimum(log_C, np.log(budgets))
    values = {
        "excess_loss": compared.excess_loss,
        "compute_factor": budgets / np.exp(log_C),
        "data_ratio": inputs["D"] / compared.best["D"].values.reshape(here.shape),
    }
    return _AgainstFrontier(values, path.inputs_on(log_C)[0])


def _answer(
    fit: Fit, values: dict[str, np.ndarray], inputs: dict[str, np.ndarray], cost: Cost
) -> xr.Dataset:
    """Return values (S, targets) as a labelled answer with dims (chain, draw, target)."""
    about = {name: {"units": fit.runs.metric} for name in IN_METRIC}
    about["pays_from"] = {"units": "tokens served"}
    out = to_dataset(fit, values, "target", inputs, inputs, about)
    return out.assign_attrs(cost=cost.name)
