"""What it costs not to train at the optimum: in loss, in compute, and when a longer training pays for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, as_cost
from scalebayes.errors import QueryError
from scalebayes.posterior.average import over_average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.answers import label
from scalebayes.queries.curves import Curve, curve_of
from scalebayes.queries.frontier import frontier
from scalebayes.queries.frontier_path import optimal_path
from scalebayes.queries.inputs import read_inputs
from scalebayes.queries.predict import predict

UNITS = {
    "nats_lost": "nats per token",
    "next_tenfold": "nats per token",
    "pays_from": "tokens served",
}


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
    """Posterior of what a run loses against the compute-optimal run of the same cost.

    Each draw's curve is compared with itself: at (N, D) and at that draw's optimum. Where the spec carries a
    discrepancy, the curve is the law times what the draw expects of it, as in `frontier`. So the interval is about
    where the optimum lies and how sharp it is; how the law may be off between two nearby points that no run has
    seen is left out, and `prefer` puts it in.

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
        With dims (chain, draw, target): ``nats_lost``, loss at (N, D) minus loss at the optimum of the same cost;
        ``compute_factor``, its cost over the least that reaches the same loss, 1 at the optimum; ``data_ratio``, D over
        the optimal D of the same cost, above 1 for an overtrained run and below 1 for an undertrained one.

    Raises
    ------
    QueryError
        As `predict` and `frontier`.
    """
    asked = read_inputs({"N": N, "D": D, "C": C}, fit.spec.law_object.inputs, fit.spec.name)
    values = _against_frontier(fit, asked, as_cost(cost), seed)
    kept = ("nats_lost", "compute_factor", "data_ratio")
    return _answer(fit, {name: values[name] for name in kept}, asked, as_cost(cost))


@over_average
def nats_lost(fit: Fit, *, N: np.ndarray, D: np.ndarray, cost: Cost, seed: int = 0) -> xr.Dataset:
    """Posterior of ``nats_lost`` alone, as `regret` gives it at (N, D), without the compute that would do as well.

    That compute takes most of the time of `regret`; a curve through many sizes has no need of it.
    """
    asked = read_inputs({"N": N, "D": D, "C": None}, fit.spec.law_object.inputs, fit.spec.name)
    _, _, here, there = _on_curve(fit, asked, cost, seed)
    return _answer(fit, {"nats_lost": _lost(here, there)}, asked, cost)


@over_average
def overtrain(
    fit: Fit, *, N: Any = None, D: Any = None, C: Any = None, seed: int = 0
) -> xr.Dataset:
    """Posterior of what training a fixed N for longer brings, what it wastes, and the serving that pays for it.

    A run of (N, D) past the optimum is compared with the compute-optimal run (N_o, D_o) of the same loss: it is
    smaller and took more compute. With T tokens served at 2 N each it is the cheaper one from

        T = (6 N D - 6 N_o D_o) / (2 (N_o - N))

    on (after Sardana et al. 2023), and never where N is not below N_o.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average of several.
    N, D, C
        Any two of them, as in `predict`; one N with many D follows a training.
    seed
        Of the discrepancy in ``loss``.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, target): ``loss``, of the curve as in `predict` (and ``law``); ``next_tenfold``, nats
        that ten times the data would still gain; those of `regret` at 6 N D; ``pays_from``, tokens served from which
        the run is cheaper over its life, ``inf`` where never.

    Raises
    ------
    QueryError
        As `predict` and `frontier`.

    References
    ----------
    Sardana, Portes, Doubov and Frankle (2023), Beyond Chinchilla-optimal: accounting for inference in language model
    scaling laws, arXiv:2401.00448.
    """
    asked = read_inputs({"N": N, "D": D, "C": C}, fit.spec.law_object.inputs, fit.spec.name)
    values = _against_frontier(fit, asked, SIX_ND, seed)
    N_, D_, N_same = asked["N"], asked["D"], values.pop("N_same")
    with np.errstate(divide="ignore", invalid="ignore"):
        extra = np.maximum(SIX_ND.flop(N_, D_) * (1.0 - 1.0 / values["compute_factor"]), 0.0)
        pays = np.where(N_same > N_, extra / (2.0 * (N_same - N_)), np.inf)
    curve = curve_of(fit, "expected", seed)
    gain = np.exp(curve.log_loss_shared(N_, D_)) - np.exp(curve.log_loss_shared(N_, 10.0 * D_))
    losses = predict(fit, N=N_, D=D_, new_run=False, seed=seed)
    return losses.assign(
        _answer(fit, {"next_tenfold": gain} | values | {"pays_from": pays}, asked, SIX_ND).data_vars
    )


def _against_frontier(
    fit: Fit, asked: dict[str, np.ndarray], cost: Cost, seed: int
) -> dict[str, np.ndarray]:
    """Loss and compute against the frontier, each (S, targets); ``N_same`` is the optimal N of the same loss."""
    curve, best, here, there = _on_curve(fit, asked, cost, seed)
    budgets = np.asarray(cost.flop(asked["N"], asked["D"]), float)
    path = optimal_path(curve, curve, cost, here, float(budgets.max()), known=best)
    log_C, easy = path.least(curve, here, float(np.max(cost.flop(fit.runs.N, fit.runs.D))))
    if easy.any():
        raise QueryError(
            "a run this far from the optimum is no better than almost no training at all"
        )
    # With a discrepancy the optimum is found to 0.1% of N: a run that hits it is neither better than it nor cheaper.
    log_C = np.minimum(log_C, np.log(budgets))
    return {
        "nats_lost": _lost(here, there),
        "compute_factor": budgets / np.exp(log_C),
        "data_ratio": asked["D"] / best["D"].values.reshape(here.shape),
        "N_same": path.inputs_on(log_C)[0],
    }


def _on_curve(
    fit: Fit, asked: dict[str, np.ndarray], cost: Cost, seed: int
) -> tuple[Curve, xr.Dataset, np.ndarray, np.ndarray]:
    """The draws' curves, their optima at the costs of the inputs, and log losses (S, targets): there, and at those."""
    if fit.spec.law_object.inputs != ("N", "D"):
        raise QueryError(
            f"'{fit.spec.name}' is not a law of N and D: it has no optimum to be away from"
        )
    if np.isinf([asked["N"], asked["D"]]).any():
        raise QueryError("N and D must be finite: an infinite run has no cost to compare at")
    curve = curve_of(fit, "expected", seed)
    budgets = np.asarray(cost.flop(asked["N"], asked["D"]), float)
    best = frontier(fit, C=budgets, cost=cost, seed=seed)
    N_best, D_best = (best[x].values.reshape(curve.draws, len(budgets)) for x in ("N", "D"))
    return (
        curve,
        best,
        curve.log_loss_shared(asked["N"], asked["D"]),
        curve.log_loss_each(N_best, D_best),
    )


def _lost(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    return np.maximum(np.exp(here) - np.exp(there), 0.0)


def _answer(
    fit: Fit, values: dict[str, np.ndarray], asked: dict[str, np.ndarray], cost: Cost
) -> xr.Dataset:
    sizes = fit.tree["posterior"].sizes
    shape = (sizes["chain"], sizes["draw"], len(asked["N"]))
    out = xr.Dataset(
        {
            name: (("chain", "draw", "target"), value.reshape(shape))
            for name, value in values.items()
        }
    )
    for name in set(UNITS) & set(values):
        out[name].attrs["units"] = UNITS[name]
    out.attrs["cost"] = cost.name
    return label(out, fit, "target", asked, asked)
