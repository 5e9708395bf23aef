"""Posterior of the compute, tokens or parameters at which a loss is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, Price, as_cost
from scalebayes.data.metrics import short_amount
from scalebayes.display.numbers import percent
from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average, over_average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.answers import UNITS, to_dataset
from scalebayes.queries.curves import Curve, curve_of, first_place
from scalebayes.queries.inputs import has_frontier, quantities, refuse_scores
from scalebayes.queries.optima.frontier_path import CEILING, optimal_path
from scalebayes.queries.optima.newton import columns
from scalebayes.units import format_quantity, share_in_words
from scalebayes.utils.progress import shows_progress

NODES = 161
"""Values of an input, evenly spaced in its log up to `CEILING`, that bracket a root: 4 a decade."""


@shows_progress("reaching a loss")
def reach(
    fit: Fit | Average,
    *,
    loss: Any,
    N: Any = None,
    D: Any = None,
    cost: Cost | Callable[[Any, Any], Any] = SIX_ND,
    price: Price | None = None,
    of: Literal["curve", "law"] = "curve",
    seed: int = 0,
) -> xr.Dataset:
    """Return the posterior of the least compute for a loss, or of D at fixed N, or N at fixed D.

    Each draw's curve is inverted, along that draw's compute-optimal frontier if neither N nor D is
    given. The share of draws within a budget is then the probability of reaching the loss with it.
    With a discrepancy each draw keeps one level of it (`scalebayes.queries.curves.Curve`): at every
    single place that is an ordinary draw of the curve, so the answer includes the law's own error.
    A curve that falls below the loss more than once counts from the first time. Noise is not
    included: `probability` answers for one run. Closed forms are used where a law declares them;
    elsewhere roots are found numerically.

    Parameters
    ----------
    fit
        A fit, or an average of several. A law of one input is inverted in that input.
    loss
        In the metric of the runs: a number or a sequence.
    N, D
        One of them to keep fixed, as many values as losses (or one).
    cost
        Cost to minimise along the frontier: 6 N D, `scalebayes.with_inference`, or a function of
        (N, D).
    price
        Adds ``hours``, of one accelerator, and ``money``.
    of
        ``"curve"``, or ``"law"``, which omits a discrepancy.
    seed
        Seed of the levels of the discrepancy.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, target) what was sought (``D``, ``N``, or both) and the training
        compute ``C``, all ``inf`` in draws where the loss is out of reach or takes more than 1e40;
        ``total`` where the cost is not 6 N D; ``hours`` and ``money``. Coordinates along target:
        ``loss``; the input that was fixed; ``reachable``, the share of draws that reach the loss;
        and ``decades_beyond``, of the median compute. ``attrs["note"]`` says in words what is out
        of reach.

    Raises
    ------
    QueryError
        When inputs do not fit the law, or a loss is so high that no training is needed.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> answer = sb.reach(fit, loss=2.0)
    >>> f"{answer['C'].median():.1e} FLOP"
    '2.2e+23 FLOP'
    """
    out = _reach(fit, loss=loss, N=N, D=D, cost=as_cost(cost), price=price, of=of, seed=seed)
    sought = next(iter(out.data_vars))
    reachable = np.isfinite(out[sought].values).mean(axis=(0, 1))
    beyond = out["decades_beyond"]
    furthest = beyond.attrs["of"]
    if isinstance(fit, Average) and furthest in out:
        # The distance of the mixture's median: no model's own median is it.
        median = _median(out[furthest].values, axis=(0, 1))
        decades = np.maximum(0.0, np.log10(median / getattr(fit.runs, furthest).max()))
        out = out.assign_coords(decades_beyond=beyond.copy(data=decades))
    out = out.assign_coords(reachable=("target", reachable))
    notes = []
    for value, share in zip(out["loss"].values, reachable, strict=True):
        if share < 1:
            notes.append(_out_of_reach(value, share, out, fit.runs.metric))
    return out.assign_attrs(note="; ".join(notes))


def _median(values: np.ndarray, axis: int | tuple[int, int]) -> np.ndarray:
    """Return the median of draws, infinite where half of them never reach the loss."""
    # The default method would interpolate between a finite and an infinite value.
    return np.quantile(values, 0.5, axis=axis, method="higher")


def _out_of_reach(loss: float, share: float, answer: xr.Dataset, metric: str) -> str:
    """Return a note on a loss that only a share of the draws reach."""
    limit, unit = "L_inf", UNITS["C"]
    solved_for = {"N": "D", "D": "N"}
    for x, other in solved_for.items():
        if x in answer.coords:
            limit, unit = f"the limit at that {x}", UNITS[other]
    draws = percent(1 - share)
    goal = short_amount(f"{loss:.4g}", metric)
    return (
        f"a loss of {goal} is not reachable in {draws} of draws: it is at or below "
        f"{limit}, or would take more than {format_quantity(CEILING)} {unit}"
    )


@over_average
def _reach(
    fit: Fit,
    *,
    loss: Any,
    N: Any,
    D: Any,
    cost: Cost,
    price: Price | None,
    of: Literal["curve", "law"],
    seed: int,
) -> xr.Dataset:
    if of not in ("curve", "law"):
        raise QueryError(f"of is 'curve' or 'law'; got {of!r}")
    refuse_scores(fit)
    losses, fixed = _read(fit, loss, {"N": N, "D": D})
    _refuse_several(fit, fixed)
    curve = curve_of(fit, of, seed)
    if has_frontier(fit) and not fixed:
        values = _along_frontier(fit, curve, losses, cost, seed)
    else:
        (sought,) = _sought(fit, fixed)
        values = {sought: along_input(curve, losses, sought, fixed)}
    inputs = fixed | values
    if "N" in inputs and "D" in inputs:
        if "C" not in inputs:
            values["C"] = np.asarray(SIX_ND.flop(inputs["N"], inputs["D"]))
        if cost is not SIX_ND:
            values["total"] = np.asarray(cost.flop(inputs["N"], inputs["D"]))
    if price is not None:
        if "C" not in values:
            raise QueryError(
                f"'{fit.spec.name}' does not determine the compute, so there is no price: price "
                "needs a law of N and D, or of C"
            )
        flop = values.get("total", values["C"])
        values["hours"] = price.hours(flop)
        values["money"] = price.of(flop)
    return _answer(fit, values, {"loss": losses} | fixed, cost)


def _read(fit: Fit, loss: Any, given: dict[str, Any]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the losses and the inputs that are fixed, each (targets,)."""
    losses = quantities(loss, "loss")
    fixed = {x: quantities(value, x) for x, value in given.items() if value is not None}
    if not np.isfinite(losses).all():
        raise QueryError("loss must be finite")
    if len(fixed) == 2:
        raise QueryError(
            "give N or D or neither: with both nothing is left to find (`predict` gives their loss)"
        )
    if fixed and not has_frontier(fit):
        inputs = " and ".join(fit.spec.law_object.inputs)
        raise QueryError(f"'{fit.spec.name}' is a law of {inputs} alone: give the loss alone")
    lengths = {len(values) for values in (losses, *fixed.values())} - {1}
    if len(lengths) > 1:
        got = ", ".join(map(str, sorted(lengths)))
        raise QueryError(f"loss, N and D must have one length; got {got}")
    losses, *rest = np.broadcast_arrays(losses, *fixed.values())
    return losses, dict(zip(fixed, rest, strict=True))


def _answer(
    fit: Fit, values: dict[str, np.ndarray], along: dict[str, np.ndarray], cost: Cost
) -> xr.Dataset:
    medians, about = {}, {}
    for name, unit in UNITS.items():
        if name in values:
            medians[name] = _median(np.atleast_2d(values[name]), axis=0)
            about[name] = {"units": unit}
    out = to_dataset(fit, values, "target", along, along | medians, about)
    return out.assign_attrs(cost=cost.name)


def along_input(
    curve: Curve, losses: np.ndarray, sought: str, fixed: dict[str, np.ndarray]
) -> np.ndarray:
    """Return the input at which every draw's curve is at a loss, (S, targets), the other one fixed.

    Parameters
    ----------
    curve
        The curves of S draws.
    losses
        In the metric of the runs, (targets,), or of each draw, (S, 1) or (S, targets).
    sought
        Name of the input.
    fixed
        Values of the other input, (targets,), if there is one.

    Raises
    ------
    QueryError
        When a loss is so high that no training is needed.
    """
    targets = max([np.shape(losses)[-1], *map(len, fixed.values())])
    losses = np.broadcast_to(losses, (curve.draws, targets))
    if curve.is_law and sought in curve.law.inverses:
        inverse = curve.law.inverses[sought]
        x = inverse(losses, *fixed.values(), **columns(curve.parameters))
        easy = x <= 1.0
    else:
        x, easy = _search_input(curve, losses, sought, fixed)
    _refuse_easy(np.median(losses, axis=0), easy, f"one of {UNITS[sought]}")
    return np.where(x > CEILING, np.inf, x)


def _search_input(
    curve: Curve, losses: np.ndarray, sought: str, fixed: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the input sought, and whether the loss is reached at its least value, (S, targets)."""
    nodes = np.linspace(0.0, np.log(CEILING), NODES)
    log_x, easy = [], []
    for i, loss in enumerate(losses.T):
        others = {name: values[i] for name, values in fixed.items()}
        place, is_easy = _first_on_input(curve, sought, others, loss, nodes)
        log_x.append(place)
        easy.append(is_easy)
    return np.exp(np.column_stack(log_x)), np.column_stack(easy)


def _first_on_input(
    curve: Curve, sought: str, fixed: dict[str, float], loss: np.ndarray, nodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return `first_place` of each draw's loss (S,) along the log of an input."""

    def inputs(log_x: np.ndarray) -> list[np.ndarray]:
        values = {name: np.full(len(log_x), value) for name, value in fixed.items()}
        values[sought] = np.exp(log_x)
        return [values[name] for name in curve.law.inputs]

    def excess(rows: np.ndarray, log_x: np.ndarray) -> np.ndarray:
        return curve.log_loss(rows, *inputs(log_x)) - np.log(loss[rows])

    at_nodes = curve.log_loss_shared(*inputs(nodes)) - np.log(loss)[:, None]
    return first_place(excess, nodes, at_nodes)


def _refuse_easy(losses: np.ndarray, easy: np.ndarray, start: str) -> None:
    """Raise an error when a draw is at a loss where the search begins."""
    for loss, share in zip(losses, easy.mean(axis=0), strict=True):
        if share > 0:
            begins = f"is reached before the search begins, with {start}"
            raise QueryError(f"a loss of {loss:.4g} {begins}, in {share_in_words(share)} of draws")


def _sought(fit: Fit, fixed: Mapping[str, Any]) -> list[str]:
    """Return the inputs of the law that are not given."""
    return [x for x in fit.spec.law_object.inputs if x not in fixed]


def _refuse_several(fit: Fit, fixed: Mapping[str, Any]) -> None:
    """Refuse a law with several unknown inputs, unless their best split of compute is sought."""
    sought = _sought(fit, fixed)
    if len(sought) > 1 and not (has_frontier(fit) and not fixed):
        raise QueryError(
            f"'{fit.spec.name}' is a law of {', '.join(fit.spec.law_object.inputs)}: reach finds "
            f"one input, and {', '.join(sought)} are not given. For its optimum at a budget ask "
            "frontier"
        )


def _along_frontier(
    fit: Fit, curve: Curve, losses: np.ndarray, cost: Cost, seed: int
) -> dict[str, np.ndarray]:
    """Return C, N and D, (S, targets), at the least budget with which each draw reaches a loss."""
    targets = np.broadcast_to(np.log(losses), (curve.draws, len(losses)))
    start = float(np.max(cost.flop(fit.runs.N, fit.runs.D)))
    path = optimal_path(curve, curve_of(fit, "expected", seed), cost, targets, start)
    log_C, easy = path.least(curve, targets, start)
    _refuse_easy(losses, easy, f"{format_quantity(10 ** path.decades[0])} FLOP")
    N, D = path.inputs_on(log_C)
    C = np.where(np.isinf(log_C), np.inf, SIX_ND.flop(N, D))
    return {"C": C, "N": N, "D": D}
