"""Runs to add to a fit: those that narrow a target most, and how many of them it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.display import html
from scalebayes.display.terminal import paragraph
from scalebayes.errors import QueryError
from scalebayes.planning.conditioning import ROUNDING, Belief, after, best_batch, floor
from scalebayes.planning.plan import Plan, rows_as_text
from scalebayes.planning.target import Question, ask, shape_range
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.inputs import quantities
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.table import Table
from scalebayes.units import format_quantity
from scalebayes.utils.progress import shows_progress

NEGLIGIBLE = 0.01
"""Share of the target's variance below which the variance that remains is not mentioned."""
APPROXIMATE = (
    "widths are expectations by a linear-Gaussian update of the posterior draws under the fitted "
    "model: the actual widths depend on the losses of the new runs, and an error of the model "
    "itself is not reduced"
)
COLUMNS = [
    "N",
    "D",
    "tokens_per_param",
    "cost",
    "total_cost",
    "width",
    "variance_left",
    "decades_beyond",
]
"""Columns of the table of `next_runs`."""


@dataclass(frozen=True)
class Need:
    """Number of runs that narrow a target to a width.

    Attributes
    ----------
    runs
        Number of runs, or None if no number of runs, or none up to the limit, is enough.
    table
        One row for each kind of run: N, D, the number of ``runs`` and their ``cost`` in FLOP.
    message, notes
        The answer in a sentence, and its assumptions and caveats.
    """

    runs: int | None
    table: Table
    message: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [paragraph(self.message)]
        if len(self.table):
            lines += ["", rows_as_text(self.table)]
        lines.append("")
        lines += [paragraph(f"note: {note}") for note in self.notes]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = html.Html(self.table._repr_html_() if len(self.table) else "")
        return html.panel(self.message, rows, html.entries(self.notes))


@shows_progress("choosing runs")
def next_runs(
    fit: Fit | Average,
    *,
    budget: Any,
    target: Mapping[str, Any],
    candidates: pd.DataFrame | Mapping[str, Any] | None = None,
    batch: int = 5,
    distinct: bool = False,
    cost: Cost = SIX_ND,
    ci_prob: float = CI_PROB,
    seed: int = 0,
) -> Plan:
    r"""Return the runs within a budget that are expected to narrow a target's interval most.

    They maximise Var(t) - Var(t | runs) subject to cost(runs) <= budget. The covariances of the log
    of the target and of the log of the curve at the candidates come from the posterior draws, with
    a discrepancy drawn jointly for all of them. Runs, with their noise, are added by
    linear-Gaussian conditioning (`scalebayes.planning.conditioning`).

    Parameters
    ----------
    fit
        A fit, or an average. The spread between the models of an average is part of the target's
        variance, so runs that tell the models apart count as informative.
    budget
        FLOP for all runs together.
    target
        ``{"N": ..., "D": ...}`` (any two of N, D, C): the loss of the curve there, discrepancy
        included; or ``{"C": ...}``: N* at that budget, the optimum of the law, as `frontier` gives
        it.
    candidates
        N and D of the runs that could be made; each may be made more than once. By default runs
        that cost the whole budget, a half, a third, a quarter ..., at tokens per parameter within
        the range of the fit's runs, and none cheaper than the cheapest of those. If that range is
        narrower than a factor of 16, as on one ray D = k N, it is widened to 16 on both sides
        alike.
    batch
        Largest number of runs.
    distinct
        Whether each candidate may be chosen once only.
    cost
        What a run costs.
    ci_prob
        Probability of the interval.
    seed
        Seed of the discrepancy's draws.

    Returns
    -------
    Plan
        One row for each run in the order of gain per FLOP.

        - ``N``, ``D``, ``tokens_per_param`` and ``cost`` (FLOP) of the run.
        - ``total_cost``: FLOP of all runs up to this one.
        - ``width``: expected width of the interval after this run: the difference of its bounds for
          a loss, the ratio of the upper to the lower bound for N*.
        - ``variance_left``: share of the target's variance that remains.
        - ``decades_beyond``: decades of compute beyond the largest run of the fit.

        ``table.attrs`` hold ``width_now``; ``width_left``, the width after arbitrarily many runs
        among the candidates; ``target`` and ``at``, the target's name and its N and D, or its C;
        ``ci_prob`` and ``ci_kind``.

    Raises
    ------
    QueryError
        When the target or the candidates cannot be read, or the budget pays for no run.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> plan = sb.next_runs(fit, budget="3e22", target={"N": "70B", "D": "1.4T"}, batch=2)
    >>> plan.table[["N", "D", "width"]]
    90% equal-tailed intervals
    run      N      D   width
      1 7.304B 342.3B  0.0237
      2 7.304B 342.3B 0.02241
    """
    allowed = _finite(budget, "budget")
    if batch < 1:
        raise QueryError(f"batch is the largest number of runs, at least 1; got {batch}")
    question = ask(fit, target, candidates, allowed, cost, seed)
    chosen = best_batch(
        question.belief, question.table["cost"].to_numpy(), allowed, batch, distinct
    )
    table = _runs_in_order(question, chosen, ci_prob)
    now = question.width(question.belief.variance, ci_prob)
    table.attrs = {
        "ci_prob": ci_prob,
        "ci_kind": "eti",
        "width_now": now,
        "width_left": question.width(floor(question.belief), ci_prob),
        "target": question.words,
        "at": question.at,
    }
    in_the_end = table["width"].iloc[-1]
    spent = format_quantity(table["cost"].sum())
    title = (
        f"Runs for {question.words}: the {100 * ci_prob:g}% equal-tailed interval is "
        f"{question.say(now)} now, {question.say(in_the_end)} expected after "
        f"{_count_runs(len(chosen))} of {spent} FLOP in all: "
        f"{_narrower(now, in_the_end, question.of_size)}"
    )
    notes = list(_remaining_width(question, ci_prob))
    if candidates is None:
        notes = [*_ray_notes(fit), *notes]
    return Plan(table, title, (*notes, *_gate_notes(fit)))


def _narrower(now: float, then: float, of_size: bool) -> str:
    """Return in words by how much the interval becomes narrower, of N* on a logarithmic scale."""
    if of_size:
        return f"{1 - np.log(then) / np.log(now):.0%} narrower on a logarithmic scale"
    return f"{1 - then / now:.0%} narrower"


def _runs_in_order(question: Question, chosen: list[int], ci_prob: float) -> Table:
    """Return the chosen runs, one row each, with the width expected after each of them."""
    belief = question.belief
    variances = []
    for candidate in chosen:
        belief = after(belief, candidate)
        variances.append(belief.variance)
    runs = question.table.iloc[chosen].reset_index(drop=True)
    runs["total_cost"] = runs["cost"].cumsum()
    runs["width"] = [question.width(variance, ci_prob) for variance in variances]
    runs["variance_left"] = np.array(variances) / question.belief.variance
    runs.index = pd.RangeIndex(1, len(chosen) + 1, name="run")
    return Table(runs[COLUMNS])


@shows_progress("number of runs")
def runs_needed(
    fit: Fit | Average,
    *,
    target: Mapping[str, Any],
    width: float,
    run_budget: Any,
    candidates: pd.DataFrame | Mapping[str, Any] | None = None,
    most: int = 1000,
    cost: Cost = SIX_ND,
    ci_prob: float = CI_PROB,
    seed: int = 0,
) -> Need:
    """Return the number of runs, each within a budget, that narrow a target's interval to a width.

    Runs are added one after another, each time the one that lowers the target's variance most, by
    the same update as in `next_runs`.

    Parameters
    ----------
    fit, target, candidates, cost, ci_prob, seed
        As in `next_runs`.
    width
        Width of the interval: the difference of its bounds for a loss; upper over lower bound of
        N*, above 1.
    run_budget
        FLOP that one run may cost.
    most
        Largest number of runs to consider.

    Returns
    -------
    Need
        ``runs`` is None if the width is not reached; `message` then gives the reason.

    Raises
    ------
    QueryError
        As `next_runs`, and if the width is not above 0 (for a loss) or 1 (for N*).

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> need = sb.runs_needed(fit, target={"N": "70B", "D": "1.4T"}, width=0.02, run_budget="1e22")
    >>> need.runs
    6
    """
    allowed = _finite(run_budget, "run_budget")
    question = ask(fit, target, candidates, allowed, cost, seed)
    least = 1.0 if question.of_size else 0.0
    if not width > least:
        raise QueryError(f"width of this target must be above {least:g}; got {width:g}")

    lowest = question.width(floor(question.belief), ci_prob)
    chosen: list[int] = []
    belief = question.belief
    if lowest < width:
        chosen, belief = _add_until(question, width, allowed, most, ci_prob)
    end = question.width(belief.variance, ci_prob)

    now = question.say(question.width(question.belief.variance, ci_prob))
    interval = f"the {100 * ci_prob:g}% equal-tailed interval of {question.words}, now {now},"
    each = f"of at most {format_quantity(allowed)} FLOP each"
    notes = (APPROXIMATE, *_gate_notes(fit))
    if end <= width:
        count = f"{_count_runs(len(chosen))} {each}" if chosen else "No run is needed"
        message = f"{count}: {interval} is then expected to be {question.say(end)}"
        return Need(len(chosen), _kinds(question, chosen), message, notes)
    if lowest >= width:
        message = (
            f"Never: with any number of runs {each}, {interval} "
            f"stays {question.say_missed(lowest, width)}{_reason(question)}"
        )
    else:
        message = (
            f"Not with {most} runs {each}: {interval} would still be "
            f"{question.say_missed(end, width)}; any number of them would leave it "
            f"{question.say(lowest)}"
        )
    return Need(None, _kinds(question, []), message, notes)


def _add_until(
    question: Question, width: float, allowed: float, most: int, ci_prob: float
) -> tuple[list[int], Belief]:
    """Return the runs, at most `most`, that bring the interval to a width, and the belief then."""
    payable = question.table["cost"].to_numpy() <= allowed * ROUNDING
    chosen: list[int] = []
    belief = question.belief
    while width < question.width(belief.variance, ci_prob) and len(chosen) < most:
        # Gains are never negative, so -1 excludes the runs that cost too much.
        best = int(np.where(payable, belief.gains, -1.0).argmax())
        chosen.append(best)
        belief = after(belief, best)
    return chosen, belief


def _finite(value: Any, name: str) -> float:
    """Return one finite number of FLOP."""
    numbers = quantities(value, name)
    if len(numbers) != 1 or np.isinf(numbers[0]):
        raise QueryError(f"{name} is one finite number of FLOP; got {value}")
    return float(numbers[0])


def _count_runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def _remaining_width(question: Question, ci_prob: float) -> tuple[str, ...]:
    """Return notes on the approximation, and on the width that any number of runs would leave."""
    left = floor(question.belief)
    if left < NEGLIGIBLE * question.belief.variance:
        return (APPROXIMATE,)
    lowest = question.say(question.width(left, ci_prob))
    note = f"any number of runs among the candidates would leave it {lowest}{_reason(question)}"
    return (note, APPROXIMATE)


def _reason(question: Question) -> str:
    """Say what keeps an interval wide, however many runs are made."""
    share = question.share_of_discrepancy()
    if share == 0.0:
        return ", because these runs cannot determine the law's parameters fully"
    if share < 0.5:
        return ", mostly because these runs cannot determine the law's parameters fully"
    cause = "how far the law is off at the target, about which such distant runs say little"
    return f", mostly because of {cause}"


def _ray_notes(fit: Fit | Average) -> tuple[str, ...]:
    """Say that the candidates leave the range of D/N of the runs, where this is narrow."""
    ratio = fit.runs.D / fit.runs.N
    least, most = shape_range(fit)
    if least >= ratio.min():
        return ()
    return (
        f"the runs of the fit have nearly one D/N (within a factor of "
        f"{ratio.max() / ratio.min():.2g}), which tells the effects of N and D apart poorly: the "
        f"candidates have {least:.2g} to {most:.2g} tokens per parameter",
    )


def _gate_notes(fit: Fit | Average) -> tuple[str, ...]:
    if not fit.gate_failures:
        return ()
    failed = ", ".join(fit.gate_failures)
    return (f"this fit failed the convergence checks ({failed}); do not rely on it",)


def _kinds(question: Question, chosen: list[int]) -> Table:
    """Return the number of runs of each kind, in the order of first use."""
    kinds, first, counts = np.unique(np.array(chosen, int), return_index=True, return_counts=True)
    order = np.argsort(first)
    table = question.table.iloc[kinds[order]].assign(runs=counts[order]).reset_index(drop=True)
    table["cost"] *= table["runs"]
    return Table(table[["N", "D", "tokens_per_param", "runs", "cost", "decades_beyond"]])
