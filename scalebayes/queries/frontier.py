"""Posterior of the compute-optimal frontier: N*, D* and the loss at a budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, as_cost
from scalebayes.errors import QueryError
from scalebayes.posterior.average import over_average
from scalebayes.posterior.fit import Fit, law_parameters
from scalebayes.queries.answers import LONG_NAMES, label
from scalebayes.queries.curves import Curve, curve_of
from scalebayes.queries.inputs import quantities
from scalebayes.queries.optimum import optimal_sizes
from scalebayes.queries.predict import predict
from scalebayes.utils.parallel import side_by_side

FLAT = 1e-9
"""Share of the loss below which half or twice the size changes nothing: there is no optimal size to speak of."""


@over_average
def frontier(
    fit: Fit,
    *,
    C: Any,
    cost: Cost | Callable[[Any, Any], Any] = SIX_ND,
    seed: int = 0,
    U: Any = None,
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
    cost = as_cost(cost)
    budgets, unique = _asked(fit, C, U)
    curve = curve_of(fit, "expected", seed)
    N = optimal_sizes(curve, budgets, cost, *unique)
    D = cost.affordable_tokens(N, budgets)
    loss = curve.law_each(N, D, *unique)
    values = {"N": N, "D": D, "loss": loss, "tokens_per_param": D / N} | (
        {"epochs": D / unique[0]} if unique else {}
    )
    if curve.known is not None:
        rngs = np.random.default_rng([seed, 1]).spawn(
            len(budgets)
        )  # beyond the runs; `seed` is of delta at them
        drawn = side_by_side(
            lambda n, c, *at: curve.drawn_at(n, c, cost, *at), np.log(N.T), budgets, rngs, *unique
        )
        values |= {"law": loss, "loss": loss * np.exp(np.stack(drawn, axis=-1))}
    attributes: dict[str, Any] = {
        "cost": cost.name,
        "optimised": "law" if curve.known is None else "expected curve",
    }
    if unique:
        attributes["flat"] = _flatness(curve, N, loss, budgets, cost, *unique)
    shape = *next(iter(law_parameters(fit).values())).shape, len(budgets)
    out = xr.Dataset(
        {k: (("chain", "draw", "budget"), v.reshape(shape)) for k, v in values.items()},
        attrs=attributes,
    )
    for name in ("loss", "law")[: 1 + (curve.known is not None)]:
        out[name].attrs = {
            "long_name": f"{LONG_NAMES[name]} at the optimum",
            "units": "nats per token",
        }
    training = {"N": np.median(N, axis=0), "C": np.median(SIX_ND.flop(N, D), axis=0)}
    return label(
        out, fit, "budget", {"C": budgets} | dict(zip("U", unique, strict=False)), training
    )


def _asked(fit: Fit, C: Any, U: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Budgets, and the unique tokens of each where the law takes them: U is refused where it does not."""
    inputs, name = fit.spec.law_object.inputs, fit.spec.name
    if inputs[:2] != ("N", "D") or not set(inputs) <= {"N", "D", "U"}:
        of = (
            f"{inputs[0]} alone"
            if len(inputs) == 1
            else f"{' and '.join(inputs)}, not of N and D alone"
        )
        raise QueryError(f"'{name}' is a law of {of}: it has no optimal N and D")
    budgets = quantities(C, "C")
    if np.isinf(budgets).any():
        raise QueryError("C must be finite: without a budget nothing is optimal")
    if (U is not None) != ("U" in inputs):
        needs = (
            "knows of repeated data: say how many tokens are unique, U="
            if U is None
            else "knows nothing of U"
        )
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
    curve: Curve,
    N: np.ndarray,
    loss: np.ndarray,
    budgets: np.ndarray,
    cost: Cost,
    *others: np.ndarray,
) -> float:
    """Largest share of draws, of any budget, in which half or twice the optimal size is as good to rounding."""
    sides = (
        curve.law_each(size, cost.affordable_tokens(size, budgets), *others)
        for size in (N / 2, 2 * N)
    )
    return float(np.any([side <= loss * (1 + FLAT) for side in sides], axis=0).mean(axis=0).max())


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
