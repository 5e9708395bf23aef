"""The law read backwards: the compute, tokens or parameters at which a loss is reached, as a posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Cost, Price, as_cost
from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average, over_average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.answers import UNITS, to_dataset
from scalebayes.queries.curves import Curve, curve_of, first_place
from scalebayes.queries.frontier_path import CEILING, optimal_path
from scalebayes.queries.inputs import quantities
from scalebayes.units import format_quantity, share_in_words


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
    """Posterior of what it takes to reach a loss: least compute, or tokens at fixed N, or parameters at fixed D.

    Each draw's curve is inverted: with neither N nor D given along that draw's compute-optimal frontier, so that the
    share of draws within a budget is the probability of reaching the loss with it. Where the spec carries a
    discrepancy, each draw keeps one level of it all along (`scalebayes.queries.curves.Curve`): at every single place that is
    an ordinary draw of the curve, so the law's own error is in the answer; a curve that falls below the loss more than
    once counts from the first. Noise is not in it: ask `probability` for one run. Closed forms are used where a law
    declares them, and roots are found numerically elsewhere.

    Parameters
    ----------
    fit
        A fit, or an average of several; a law of one input is inverted in that.
    loss
        Nats per token: numbers, or a sequence.
    N, D
        One of them to hold fixed, as many values as losses (or one).
    cost
        What is to be least along the frontier: 6 N D, `scalebayes.with_inference`, or a function of (N, D).
    price
        Adds ``hours``, of one accelerator, and ``money``.
    of
        ``"curve"``, or ``"law"``, which leaves a discrepancy out.
    seed
        Of the levels of the discrepancy.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, target) what was sought (``D``, ``N``, or both) and training compute ``C``, all ``inf``
        in draws where the loss is out of reach, or takes more than 1e40; ``total`` where the cost is not 6 N D,
        ``hours`` and ``money``. Along target: ``loss``, what was held fixed, ``reachable``, the share of draws that
        reach it, and ``decades_beyond``, of the median compute. ``attrs["note"]`` says in words what is out of reach.

    Raises
    ------
    QueryError
        When inputs do not fit the law, or a loss is so high that no training is needed.
    """
    found = _reach(fit, loss=loss, N=N, D=D, cost=as_cost(cost), price=price, of=of, seed=seed)
    sought = next(iter(found.data_vars))
    reachable = np.isfinite(found[sought].values).mean(axis=(0, 1))
    out = found.assign_coords(reachable=("target", reachable))
    beyond = found["decades_beyond"]
    if (
        isinstance(fit, Average) and (of_what := beyond.attrs["of"]) in found
    ):  # of the mixture's median, not a model's
        middle = np.quantile(found[of_what].values, 0.5, axis=(0, 1), method="higher")
        decades = np.maximum(0.0, np.log10(middle / getattr(fit.runs, of_what).max()))
        out = out.assign_coords(decades_beyond=beyond.copy(data=decades))
    losses = zip(out["loss"].values, out["reachable"].values, strict=True)
    out.attrs["note"] = "; ".join(
        _out_of_reach(value, share, out) for value, share in losses if share < 1
    )
    return out


def _out_of_reach(loss: float, share: float, answer: xr.Dataset) -> str:
    held = next((x for x in ("N", "D") if x in answer.coords), "")
    limit = f"the limit at that {held}" if held else "L_inf"
    where = f"it lies at or below {limit} or takes more than {format_quantity(CEILING)}"
    return f"{loss:.4g} nats: not reachable in {share_in_words(1 - share)} of draws, where {where}"


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
    losses, held = _asked(fit, loss, {"N": N, "D": D})
    curve = curve_of(fit, of, seed)
    inputs = fit.spec.law_object.inputs
    if inputs == ("N", "D") and not held:
        values = _along_frontier(fit, curve, losses, cost, seed)
    else:
        (sought,) = set(inputs) - set(held)
        values = {sought: along_input(curve, losses, sought, held)}
    have = held | values
    if "C" not in have and {"N", "D"} <= set(have):
        values["C"] = np.asarray(SIX_ND.flop(have["N"], have["D"]))
    if cost is not SIX_ND and {"N", "D"} <= set(have):
        values["total"] = np.asarray(cost.flop(have["N"], have["D"]))
    if price is not None:
        if not {"C", "total"} & set(values):
            raise QueryError(f"'{fit.spec.name}' says nothing of compute, so nothing of money")
        flop = values.get("total", values.get("C"))
        values |= {"hours": price.hours(flop), "money": price.of(flop)}
    return _answer(fit, values, {"loss": losses} | held, cost)


def _asked(fit: Fit, loss: Any, given: dict[str, Any]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Losses and what is held fixed, of one length."""
    losses = quantities(loss, "loss")
    held = {x: quantities(value, x) for x, value in given.items() if value is not None}
    if not np.isfinite(losses).all():
        raise QueryError("loss must be finite")
    if len(held) == 2:
        raise QueryError(
            "give N or D or neither: with both nothing is left to find (`predict` says their loss)"
        )
    inputs = fit.spec.law_object.inputs
    if held and inputs != ("N", "D"):
        raise QueryError(
            f"'{fit.spec.name}' is a law of {' and '.join(inputs)} alone: give the loss alone"
        )
    lengths = {len(values) for values in (losses, *held.values())} - {1}
    if len(lengths) > 1:
        raise QueryError(
            f"loss, N and D must have one length; got {', '.join(map(str, sorted(lengths)))}"
        )
    losses, *rest = np.broadcast_arrays(losses, *held.values())
    return losses, dict(zip(held, rest, strict=True))


def _answer(
    fit: Fit, values: dict[str, np.ndarray], along: dict[str, np.ndarray], cost: Cost
) -> xr.Dataset:
    medians, about = {}, {}
    for name in UNITS:
        if name not in values:
            continue
        # "higher" keeps the median infinite where half of the draws never reach the loss.
        by_draw = np.atleast_2d(values[name])
        medians[name] = np.quantile(by_draw, 0.5, axis=0, method="higher")
        about[name] = {"units": UNITS[name]}
    out = to_dataset(fit, values, "target", along, along | medians, about)
    return out.assign_attrs(cost=cost.name)


def along_input(
    curve: Curve, losses: np.ndarray, sought: str, held: dict[str, np.ndarray]
) -> np.ndarray:
    """Values of one input at which every draw's curve is at a loss, (S, targets), the other input held.

    Parameters
    ----------
    losses
        Nats per token, (targets,), or of each draw, (S, 1) or (S, targets).
    """
    law = curve.law
    losses = np.broadcast_to(
        losses, (curve.draws, max(np.shape(losses)[-1], *(len(v) for v in held.values()), 1))
    )
    if curve.known is None and sought in law.inverses:
        parameters = {name: values[:, None] for name, values in curve.parameters.items()}
        x = law.inverses[sought](losses, *held.values(), **parameters)
        easy = x <= 1.0
    else:
        nodes = np.linspace(0.0, np.log(CEILING), 161)
        columns = [
            _first_on_input(curve, sought, {k: v[i] for k, v in held.items()}, loss, nodes)
            for i, loss in enumerate(losses.T)
        ]
        x, easy = (
            np.exp(np.column_stack([c[0] for c in columns])),
            np.column_stack([c[1] for c in columns]),
        )
    _refuse_easy(np.median(losses, axis=0), easy, f"one of {UNITS[sought]}")
    return np.where(x > CEILING, np.inf, x)


def _first_on_input(
    curve: Curve, sought: str, held: dict[str, float], loss: np.ndarray, nodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    def inputs(x: np.ndarray) -> list[np.ndarray]:
        values = {sought: np.exp(x)} | {
            name: np.full(len(x), value) for name, value in held.items()
        }
        return [values[name] for name in curve.law.inputs]

    def excess(rows: np.ndarray, x: np.ndarray) -> np.ndarray:
        return curve.log_loss(rows, *inputs(x)) - np.log(loss[rows])

    return first_place(excess, nodes, curve.log_loss_shared(*inputs(nodes)) - np.log(loss)[:, None])


def _refuse_easy(losses: np.ndarray, easy: np.ndarray, start: str) -> None:
    for loss, share in zip(losses, easy.mean(axis=0), strict=True):
        if share > 0:
            begins = f"is reached before the search begins, with {start}"
            raise QueryError(f"a loss of {loss:.4g} {begins}, in {share_in_words(share)} of draws")


def _along_frontier(
    fit: Fit, curve: Curve, losses: np.ndarray, cost: Cost, seed: int
) -> dict[str, np.ndarray]:
    targets = np.broadcast_to(np.log(losses), (curve.draws, len(losses)))
    start = float(np.max(cost.flop(fit.runs.N, fit.runs.D)))
    path = optimal_path(curve, curve_of(fit, "expected", seed), cost, targets, start)
    log_C, easy = path.least(curve, targets, start)
    _refuse_easy(losses, easy, f"{format_quantity(10 ** path.decades[0])} FLOP")
    N, D = path.inputs_on(log_C)
    return {"C": np.where(np.isinf(log_C), np.inf, SIX_ND.flop(N, D)), "N": N, "D": D}
