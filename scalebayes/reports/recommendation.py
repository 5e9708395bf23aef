"""The recommendation that opens a report: what to train for a budget, in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from scalebayes.costs.cost import SIX_ND, Price
from scalebayes.decisions.decide import LEAST, decide, near_optimum
from scalebayes.display.numbers import percent
from scalebayes.errors import QueryError
from scalebayes.planning.next_runs import next_runs
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.inputs import has_frontier, quantities
from scalebayes.reports.answers import NOT_BEYOND, UNITS, as_cell, spoken_loss
from scalebayes.reports.contract import Recommendation
from scalebayes.summaries.intervals import intervals
from scalebayes.units import format_quantity
from scalebayes.validation.sensitivity import AS_FITTED, Sensitivity

WITHIN = 0.1
"""Further compute, as a share, that a near-optimal size may need."""
PROB = 0.9
"""Probability with which sizes are near-optimal."""
PILOTS = 0.1
"""Share of the budget for runs that would make the choice more certain."""
MOST_PILOTS = 3
"""Most such runs."""
QUANTITIES = {"N": "the best size", "D": "the best amount of data", "new_run": "loss"}
"""Quantities of a decision in words; others are their own."""
DIGITS = 2
"""Digits of a size to train: the loss is too flat around its minimum for more."""


def recommendation(
    whole: Fit | Average,
    budget: float,
    ci_prob: float,
    price: Price | None = None,
    sensitivity: Sensitivity | None = None,
) -> Recommendation | None:
    """Return what to train for a budget, or None for a law without a compute-optimal point.

    Parameters
    ----------
    whole
        The fit or the average that answers.
    budget
        Training compute in FLOP, counted as 6 N D.
    ci_prob
        Probability of the intervals.
    price
        Price of compute, by which the budget costs money.
    sensitivity
        Refits under other assumptions, if they were made.
    """
    try:
        choices = decide(whole, C=budget, price=price)
        near = near_optimum(whole, C=budget, within=WITHIN, prob=PROB)
    except QueryError:  # no optimum among the sizes that the budget allows
        return None
    choice = choices.isel(option=choices["choice"].values == LEAST)
    size, tokens = (format_quantity(choice[x].item(), DIGITS) for x in ("N", "D"))
    return Recommendation(
        budget=budget,
        train=f"Train {size} parameters on {tokens} tokens",
        reaches=_reached(choice, ci_prob),
        costs=_cost(budget, choice, price),
        how_sure=_how_sure(near, choice, ci_prob),
        would_change=_would_change(whole, budget, sensitivity),
    )


def recommended_budget(
    whole: Fit | Average, asked: dict[str, Any], budgets: np.ndarray
) -> float | None:
    """Return the budget to recommend for, in FLOP; None for a law without a frontier.

    It is the first budget asked for, or the compute of the first run asked for. By default it is
    the second of the default budgets, ten times the compute of the largest run.
    """
    if not has_frontier(whole):
        return None
    if "C" in asked:
        return float(quantities(asked["C"], "C")[0])
    if {"N", "D"} <= set(asked):
        first = [float(quantities(asked[x], x)[0]) for x in ("N", "D")]
        return float(SIX_ND.flop(*first))
    return float(budgets[min(1, len(budgets) - 1)])


def _reached(choice: xr.Dataset, ci_prob: float) -> str:
    """Return the loss that the choice is expected to reach."""
    row = intervals(choice[["loss"]], ci_prob).iloc[0]
    metric = choice["loss"].attrs["units"]
    loss = spoken_loss(as_cell(row, ci_prob), metric, f"{100 * ci_prob:g}% interval")
    decades = choice["decades_beyond"].item()
    if decades < NOT_BEYOND:
        return f"It is expected to reach {loss}"
    return (
        f"It is expected to reach {loss}, with {10**decades:.2g} times the compute of the largest "
        "run so far"
    )


def _cost(budget: float, choice: xr.Dataset, price: Price | None) -> str:
    """Return what the training costs in FLOP and, with a price, in money."""
    flop = f"It costs {format_quantity(budget)} FLOP"
    if price is None:
        return f"{flop} (6 N D)"
    hours = format_quantity(choice["hours"].item(), DIGITS)
    money = format_quantity(choice["money"].item(), DIGITS)
    return (
        f"{flop} (6 N D), {hours} accelerator-hours or {price.currency}{money} at "
        f"{price.currency}{price.per_hour:g} an hour"
    )


def _how_sure(near: xr.Dataset, choice: xr.Dataset, ci_prob: float) -> str:
    """Return which sizes do as well, and what the choice is expected to waste."""
    row = intervals(near[["N"]], ci_prob).iloc[0]
    _, _, optimal = as_cell(row, ci_prob, scale=True).text.partition("[")
    ends = optimal.removesuffix("]").replace(", ", " and ")
    best = f"The best size lies between {ends} parameters with probability {100 * ci_prob:g}%"
    low, high = near["N_from"].item(), near["N_to"].item()
    if np.isfinite(low) and np.isfinite(high):
        sizes = f"{format_quantity(low, DIGITS)} to {format_quantity(high, DIGITS)}"
        near_best = (
            f"sizes from {sizes} need at most {100 * WITHIN:g}% more compute than the best with "
            f"probability {100 * PROB:g}%"
        )
    else:
        safest = format_quantity(near["N_safest"].item(), DIGITS)
        chance = percent(near["probability"].item())
        near_best = (
            f"the safest size is {safest}: with probability {chance} it needs at most "
            f"{100 * WITHIN:g}% more compute than the best"
        )
    waste = percent(choice["expected_waste"].item())
    saved = f"On average, the best size would reach the same loss for {waste} less compute"
    return f"{best}; {near_best}. {saved}"


def _would_change(whole: Fit | Average, budget: float, sensitivity: Sensitivity | None) -> str:
    """Return the assumption that moves the answer most, and the runs that would narrow it."""
    parts = [_pilots(whole, budget)]
    if sensitivity is not None:
        parts.insert(0, _largest_move(sensitivity))
    return " ".join(part for part in parts if part)


def _largest_move(sensitivity: Sensitivity) -> str:
    """Return the assumption under which a median moves furthest."""
    records = sensitivity.table.reset_index().to_dict("records")
    furthest = max(records, key=lambda record: abs(record["moved"]))
    quantity = furthest["quantity"]
    fitted = next(
        record
        for record in records
        if record["assumed"] == AS_FITTED and record["quantity"] == quantity
    )
    before, after = (
        format_quantity(record["median"], DIGITS)
        if quantity in UNITS
        else f"{record['median']:.3g}"
        for record in (fitted, furthest)
    )
    return (
        f"Of the assumptions tried, '{furthest['assumed']}' changes the answer most: "
        f"{QUANTITIES.get(quantity, quantity)} is then {after} in place of {before}."
    )


def _pilots(whole: Fit | Average, budget: float) -> str:
    """Return the runs for a part of the budget that would narrow the interval of N* most."""
    spent = PILOTS * budget
    try:
        chosen = next_runs(whole, target={"C": budget}, budget=spent, batch=MOST_PILOTS)
    except QueryError:  # the part pays for no run
        return ""
    table = chosen.table
    if not len(table):
        return ""
    now, then = table.attrs["width_now"], float(table["width"].iloc[-1])
    narrower = f"{1 - np.log(then) / np.log(now):.0%}"  # as `next_runs` says it
    runs = "; ".join(
        f"{format_quantity(run['N'], DIGITS)} parameters on {format_quantity(run['D'], DIGITS)} "
        "tokens"
        for run in table.to_dict("records")
    )
    return (
        f"Runs for {100 * PILOTS:g}% of the budget ({runs}) are expected to make the interval of "
        f"the best size {narrower} narrower on a logarithmic scale. Their losses may confirm the "
        "choice or change it."
    )
