"""Posterior of the compute-optimal frontier: N*, D* and the loss at a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, as_cost
from scalebayes.costs.memory import Memory, as_memory
from scalebayes.errors import QueryError
from scalebayes.posterior.average import over_average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.answers import LONG_NAMES, to_dataset
from scalebayes.queries.curves import Curve, curve_of
from scalebayes.queries.inputs import has_frontier, quantities
from scalebayes.queries.optima.kept_optima import kept_optimal_sizes
from scalebayes.queries.optima.memory_limit import best_experts, sizes_within
from scalebayes.queries.predict import predict
from scalebayes.utils.parallel import side_by_side
from scalebayes.utils.progress import shows_progress

FLAT = 1e-9
"""Relative change of the loss at half or twice the size below which a draw counts as flat."""
FURTHER = ("U", "E")
"""Inputs besides N and D that a law may have and still have optimal N and D, given their values."""


@shows_progress("compute-optimal N and D")
@over_average
def frontier(
    fit: Fit,
    *,
    C: Any,
    cost: Cost | Callable[[Any, Any], Any] = SIX_ND,
    seed: int = 0,
    U: Any = None,
    E: Any = None,
    memory: Memory | float | str | None = None,
) -> xr.Dataset:
    """Return the posterior of the optimal N and D: min L(N, D) subject to cost(N, D) = C.

    Each draw minimises its own curve. For a law alone that is in closed form at C = 6 N D where the
    law declares one, else numerically. Of a law whose exponents drift it is the bent law of the
    draw, also beyond the runs, so N* is a posterior of the minimiser; the least is found on a grid
    of sizes, refined by a parabola.

    With a discrepancy each draw minimises the law times the discrepancy that it *expects* given a
    draw of the discrepancy at the runs. Among the runs that curve follows them, as closely as the
    noise allows; far from them it is the law. The loss at N* includes a drawn discrepancy; the part
    of it that no run has shown is drawn for each budget independently (`predict` draws it jointly).
    ``attrs["optimised"]`` says which curve was minimised.

    Parameters
    ----------
    fit
        A fit of a law of N and D, perhaps with U or E, or an average of several.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    cost
        What a run costs; a plain function of (N, D) is accepted.
    seed
        Seed of a discrepancy beyond the table; drift is fixed by the fit.
    U
        Unique tokens, of which D may be many epochs: one number, or one for each budget. Required
        by a law with input U (``data-constrained``) and refused by others. With infinity the
        optimum is that of the law without repetition.
    E
        Experts over those that one token passes through, 1 for a dense model: one number, or one
        for each budget. For a law with input E (``mixture-of-experts``), whose N are the parameters
        active for one token.
    memory
        Most parameters in all, such as "30B", or a `Memory` that also says how they follow from N
        and E. With a law of experts N, D and E are then optimised together, each draw by itself;
        if E is given, N and D under that limit.

    Returns
    -------
    xarray.Dataset
        ``N``, ``D``, ``loss`` (in the metric of the runs) and ``tokens_per_param`` with dims
        (chain, draw, budget); with drift or a discrepancy ``law``, the loss of the law alone; with
        U ``epochs`` = D/U, below 1 where the optimum leaves data unread; with a memory limit
        ``N_total``, the parameters in all, and ``E``, unless it was given. Coordinates along
        budget: ``C``, ``U`` or ``E``, and ``decades_beyond``, orders of magnitude of training
        compute beyond the largest run. ``attrs["flat"]``, with U, is the share of draws in which
        half or twice N* is as good.

    Raises
    ------
    QueryError
        When the law has no N or no D, or no interior optimum at a budget; when U is missing, or
        both E and memory are, or the law has no such input.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> best = sb.frontier(fit, C="5.76e23")
    >>> f"{best['N'].median():.2g} parameters, {best['D'].median():.2g} tokens"
    '7.1e+10 parameters, 1.3e+12 tokens'
    """
    rule = as_cost(cost)
    limit = None if memory is None else as_memory(memory)
    budgets, others = _read(fit, C, {"U": U, "E": E}, limit)
    along = {"C": budgets, **others}
    curve = curve_of(fit, "expected", seed)
    values: dict[str, np.ndarray] = {}
    attributes: dict[str, Any] = {"cost": rule.name, "optimised": _optimised(curve)}
    if limit is None:
        N = kept_optimal_sizes(fit, curve, budgets, rule, *others.values())
    elif "E" in others:
        N = sizes_within(curve, budgets, rule, limit, others["E"])
    else:
        N, others["E"] = best_experts(curve, budgets, rule, limit)
        values["E"] = others["E"]
    at = tuple(others.values())
    D = rule.affordable_tokens(N, budgets)
    law = None if curve.is_law else curve.law_each(N, D, *at)
    if curve.known is None or law is None:
        loss = curve.loss_each(N, D, *at)
    else:
        loss = law * np.exp(_drawn(curve, N, budgets, rule, seed, *at))
    values |= {"N": N, "D": D, "loss": loss, "tokens_per_param": D / N}
    if limit is not None:
        values["N_total"] = limit.total(N, others["E"])
        attributes["memory"] = limit.parameters
    if "U" in others:
        values["epochs"] = D / others["U"]
        expected = loss if curve.known is None else curve.loss_each(N, D, *at)
        attributes["flat"] = _flatness(curve, N, expected, budgets, rule, *at)
    if law is not None:
        values["law"] = law
    training = {"N": np.median(N, axis=0), "C": np.median(SIX_ND.flop(N, D), axis=0)}
    about = {}
    for name in ("loss", "law"):
        long_name = f"{LONG_NAMES[name]} at the optimum"
        about[name] = {"long_name": long_name, "units": fit.runs.metric}
    return to_dataset(fit, values, "budget", along, training, about).assign_attrs(attributes)


def _read(
    fit: Fit, C: Any, given: Mapping[str, Any], limit: Memory | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the budgets, and the further inputs of the law at each, all checked.

    E is not among them where a memory limit is given in place of it.
    """
    inputs, name = fit.spec.law_object.inputs, fit.spec.name
    if inputs[:2] != ("N", "D") or not set(inputs[2:]) <= set(FURTHER):
        kind = f"{inputs[0]} alone"
        if len(inputs) > 1:
            kind = f"{' and '.join(inputs)}, not of N and D alone"
        raise QueryError(f"'{name}' is a law of {kind}: it has no optimal N and D")
    budgets = quantities(C, "C")
    if np.isinf(budgets).any():
        raise QueryError("C must be finite: without a budget nothing is optimal")
    _check_limit(fit, limit)
    others = {}
    for x in FURTHER:
        value = given[x]
        if x not in inputs and value is not None:
            raise QueryError(f"'{name}' has no input {x}, the number of {COUNTED[x]}")
        if x not in inputs or (x == "E" and value is None and limit is not None):
            continue
        if value is None:
            raise QueryError(f"'{name}' is a law of {MISSING[x]}")
        others[x] = _each_budget(x, value, len(budgets))
    longest = max(len(budgets), *[len(value) for value in others.values()], 1)
    for x, value in others.items():
        others[x] = np.broadcast_to(value, longest)
    return np.broadcast_to(budgets, longest), others


COUNTED = {"U": "unique tokens", "E": "experts"}
"""What each further input counts, for errors."""
MISSING = {
    "U": "repeated data: give the number of unique tokens, U= (infinity for no limit)",
    "E": "experts: give their number, E= (1 for a dense model), or memory=, the most parameters in "
    "all, to find it",
}
"""End of the error where an input is missing, by input."""


def _each_budget(x: str, value: Any, budgets: int) -> np.ndarray:
    """Return the values of an input, one or as many as there are budgets unless that is one."""
    values = quantities(value, x)
    if x == "E" and ((values < 1).any() or np.isinf(values).any()):
        raise QueryError(f"E is a number of experts, at least 1; got {value}")
    if budgets != len(values) and 1 not in (budgets, len(values)):
        raise QueryError(
            f"C and {x} must have one length, or one of them one value; "
            f"got {budgets} and {len(values)}"
        )
    return values


def _check_limit(fit: Fit, limit: Memory | None) -> None:
    """Refuse a memory limit where the law has no experts, or is not the curve."""
    if limit is None:
        return
    name = fit.spec.name
    if "E" not in fit.spec.law_object.inputs:
        raise QueryError(f"'{name}' has no input E, the number of experts, so it takes no memory=")
    if fit.spec.has_discrepancy:
        raise QueryError(
            f"'{name}' drifts or has a discrepancy; memory= takes a law alone, such as "
            "'mixture-of-experts'"
        )


def _optimised(curve: Curve) -> str:
    """Return the name of the loss that the optimum minimises."""
    if curve.is_law:
        return "law"
    return "curve" if curve.known is None else "expected curve"


def _drawn(
    curve: Curve, N: np.ndarray, budgets: np.ndarray, cost: Cost, seed: int, *others: np.ndarray
) -> np.ndarray:
    """Return a drawn discrepancy of log loss at each draw's optimum, (S, budgets)."""
    # `seed` itself draws the discrepancy at the runs; this stream draws what lies beyond them.
    rngs = np.random.default_rng([seed, 1]).spawn(len(budgets))

    def draw(log_N: np.ndarray, budget: float, rng: np.random.Generator, *at: float) -> np.ndarray:
        return curve.drawn_at(log_N, budget, cost, rng, *at)

    return np.stack(side_by_side(draw, np.log(N.T), budgets, rngs, *others), axis=-1)


def _flatness(
    curve: Curve,
    N: np.ndarray,
    loss: np.ndarray,
    budgets: np.ndarray,
    cost: Cost,
    *others: np.ndarray,
) -> float:
    """Return the share of draws in which half or twice N* is as good, at the budget with most."""
    flat = np.zeros(loss.shape, bool)
    D_of_N = cost.affordable_tokens(N, budgets)
    for size in (N / 2, 2 * N):
        D = cost.affordable_tokens(size, budgets)
        is_affordable = D > 0
        # The loss is asked at N* itself where the budget does not pay for the other size.
        at = np.where(is_affordable, size, N), np.where(is_affordable, D, D_of_N)
        beside = curve.loss_each(*at, *others)
        flat |= is_affordable & (beside <= loss * (1 + FLAT))
    return float(flat.mean(axis=0).max())


def at_budget(fit: Fit, *, C: Any, seed: int = 0) -> xr.Dataset:
    """Return the answer to a budget alone: `frontier`, or for a law of C its loss there.

    Raises
    ------
    QueryError
        When the law is neither of N and D nor of C.
    """
    if has_frontier(fit):
        return frontier(fit, C=C, seed=seed)
    return predict(fit, C=C, new_run=False, seed=seed).rename(target="budget")


@over_average
def loss_at_budget(fit: Fit, *, C: Any, seed: int = 0) -> xr.Dataset:
    """Return the losses of `at_budget`: laws of both kinds have them, so averages can mix them."""
    answer = at_budget(fit, C=C, seed=seed)
    return answer[[name for name in ("loss", "law") if name in answer]]
