"""Which runs to add: those that narrow a stated target most for their cost, and how many of them it takes."""

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
from scalebayes.planning.conditioning import after, best_batch, floor
from scalebayes.planning.plan import Plan, rows_as_text
from scalebayes.planning.target import Question, ask
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.inputs import quantities
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.table import Table
from scalebayes.units import format_quantity

NEGLIGIBLE = 0.01
"""Share of a variance that need not be mentioned."""
APPROXIMATE = (
    "widths are expected ones, by a linear-Gaussian update of the posterior draws under the fitted law: "
    "what the runs will say decides, and a law that is wrong stays wrong"
)


@dataclass(frozen=True)
class Need:
    """How many runs narrow a target to a width.

    Attributes
    ----------
    runs
        How many, or None where no number is enough.
    table
        Their kinds: N, D, how many ``runs``, their ``cost``.
    message, notes
        The answer, and what to know about it, in words.
    """

    runs: int | None
    table: Table
    message: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = ["", rows_as_text(self.table)] if len(self.table) else []
        notes = (paragraph(f"note: {note}") for note in self.notes)
        return "\n".join([paragraph(self.message), *rows, "", *notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = html.Html(self.table._repr_html_() if len(self.table) else "")
        return html.panel(self.message, rows, html.entries(self.notes))


def next_runs(
    fit: Fit | Average,
    *,
    budget: Any,
    target: Mapping[str, Any],
    candidates: pd.DataFrame | Mapping[str, Any] | None = None,
    batch: int = 5,
    cost: Cost = SIX_ND,
    ci_prob: float = CI_PROB,
    seed: int = 0,
) -> Plan:
    r"""Choose runs within a budget that narrow a target's interval most, in expectation.

    max sum of Var(t) - Var(t | runs) subject to cost(runs) <= budget: the covariances of the log of the target and of
    the curve's log at the candidates come from the posterior draws, a discrepancy drawn jointly over all of them; the
    noise of a run is added, and runs are added by linear-Gaussian conditioning (`scalebayes.planning.conditioning`).

    Parameters
    ----------
    fit
        A fit, or an average, whose models the runs then also help to tell apart.
    budget
        FLOP for all runs together.
    target
        ``{"N": ..., "D": ...}`` (any two of N, D, C): the loss of the curve there, discrepancy included; or
        ``{"C": ...}``: N* at that budget, the optimum of the law, as `frontier` gives it.
    candidates
        N and D of the runs that could be made; each may be made more than once. By default runs of the budget, its
        half, third, quarter ... at the tokens per parameter that the runs span, none below the cheapest of them.
    batch
        The most runs to make.
    cost
        What a run costs.

    Returns
    -------
    Plan
        One row a run in the order of worth per FLOP: ``N``, ``D``, ``tokens_per_param``, ``cost``, ``total_cost`` so
        far, the ``width`` of the interval expected after it (nats of a loss; upper over lower bound of N*), the share
        of the target's variance left, and ``decades_beyond`` the largest run. ``table.attrs`` hold ``width_now``,
        ``width_left``, which any number of runs among the candidates would leave, ``at``, the target's N and D or its
        C, ``ci_prob`` and ``ci_kind``.

    Raises
    ------
    QueryError
        When the target or the candidates cannot be read, or nothing can be paid for.
    """
    allowed = _finite(budget, "budget")
    if batch < 1:
        raise QueryError(f"batch is the most runs to make, 1 or more; got {batch}")
    question = ask(fit, target, candidates, allowed, cost, seed)
    chosen = best_batch(question.belief, question.table["cost"].to_numpy(), allowed, batch)
    table = question.table.iloc[chosen].reset_index(drop=True)
    left, belief = [], question.belief
    for candidate in chosen:
        belief = after(belief, candidate)
        left.append(belief.variance)
    table = Table(
        table.assign(
            total_cost=table["cost"].cumsum(),
            width=[question.width(v, ci_prob) for v in left],
            variance_left=np.array(left) / question.belief.variance,
        )[
            [
                "N",
                "D",
                "tokens_per_param",
                "cost",
                "total_cost",
                "width",
                "variance_left",
                "decades_beyond",
            ]
        ]
    ).set_axis(pd.RangeIndex(1, len(chosen) + 1, name="run"), axis=0)
    now = question.width(question.belief.variance, ci_prob)
    lowest = question.width(floor(question.belief), ci_prob)
    table.attrs = {"ci_prob": ci_prob, "ci_kind": "eti", "width_now": now, "width_left": lowest}
    table.attrs |= {"target": question.words, "at": question.at}
    title = (
        f"Runs for {question.words}: the {100 * ci_prob:g}% equal-tailed interval is {question.say(now)} now, "
        f"{question.say(table['width'].iloc[-1])} expected after {len(chosen)} run{'s' * (len(chosen) != 1)} "
        f"of {format_quantity(table['cost'].sum())} FLOP in all"
    )
    return Plan(table, title, (*_lasting(question, ci_prob), *_warnings(fit)))


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
    """Count the runs, each within a budget, after which a target's interval is expected to be so wide.

    One run after another is taken that lowers the target's variance most, by the same update as in `next_runs`.

    Parameters
    ----------
    fit, target, candidates, cost
        As in `next_runs`.
    width
        Width of the interval: nats of a loss; upper over lower bound of N*, above 1.
    run_budget
        FLOP that one run may cost.
    most
        Where counting ends.

    Returns
    -------
    Need
        ``runs`` is None where the width is never reached: `message` then says what keeps the interval wide.

    Raises
    ------
    QueryError
        As `next_runs`, and when the width is none.
    """
    allowed = _finite(run_budget, "run_budget")
    question = ask(fit, target, candidates, allowed, cost, seed)
    least = 1.0 if question.of_size else 0.0
    if not width > least:
        raise QueryError(f"width of this target is above {least:g}; got {width:g}")
    belief = question.belief
    chosen: list[int] = []
    payable = question.table["cost"].to_numpy() <= allowed * (1 + 1e-9)
    lowest = question.width(floor(belief), ci_prob)
    while lowest < width < question.width(belief.variance, ci_prob) and len(chosen) < most:
        chosen.append(int(np.where(payable, belief.gains, -1.0).argmax()))
        belief = after(belief, chosen[-1])
    end, notes = question.width(belief.variance, ci_prob), (APPROXIMATE, *_warnings(fit))
    asked = f"the {100 * ci_prob:g}% equal-tailed interval of {question.words}"
    now = f"now {question.say(question.width(question.belief.variance, ci_prob))}"
    each = f"of at most {format_quantity(allowed)} FLOP each"
    if end <= width:
        count = (
            f"{len(chosen)} run{'s' * (len(chosen) != 1)} {each}" if chosen else "No run is needed"
        )
        message = f"{count}: {asked}, {now}, is then expected to be {question.say(end)}"
        return Need(len(chosen), _kinds(question, chosen), message, notes)
    if lowest >= width:
        stays = f"{question.say(lowest)}{_why(question)}"
        message = f"Never: with any number of runs {each}, {asked}, {now}, stays {stays}"
    else:
        message = (
            f"Not with {most} runs {each}: {asked}, {now}, would still be {question.say(end)}; "
        )
        message += f"any number of them would leave it {question.say(lowest)}"
    return Need(None, _kinds(question, []), message, notes)


def _finite(value: Any, name: str) -> float:
    numbers = quantities(value, name)
    if len(numbers) != 1 or np.isinf(numbers[0]):
        raise QueryError(f"{name} is one finite number of FLOP; got {value}")
    return float(numbers[0])


def _lasting(question: Question, ci_prob: float) -> tuple[str, ...]:
    """What any number of runs at the candidates would leave, where that is much of what there is now."""
    left = floor(question.belief)
    if left < NEGLIGIBLE * question.belief.variance:
        return (APPROXIMATE,)
    lowest = question.say(question.width(left, ci_prob))
    return (
        f"any number of runs among the candidates would leave it {lowest}{_why(question)}",
        APPROXIMATE,
    )


def _why(question: Question) -> str:
    """What keeps an interval wide however many runs are made."""
    if question.off is None:
        return ", which is what they cannot tell of the law's parameters"
    alone = floor(question.off) / max(floor(question.belief), 1e-300)
    if alone < 0.5:
        return ", mostly for what they cannot tell of the law's parameters"
    return ", mostly for the discrepancy at the target, which runs so far from it cannot tell"


def _warnings(fit: Fit | Average) -> tuple[str, ...]:
    failed = ", ".join(fit.gate_failures)
    return (f"this fit failed the gate ({failed}); do not rely on it",) if failed else ()


def _kinds(question: Question, chosen: list[int]) -> Table:
    """How many runs of each kind, in order of first use."""
    kinds, first, counts = np.unique(np.array(chosen, int), return_index=True, return_counts=True)
    order = np.argsort(first)
    table = question.table.iloc[kinds[order]].assign(runs=counts[order]).reset_index(drop=True)
    table["cost"] *= table["runs"]
    return Table(table[["N", "D", "tokens_per_param", "runs", "cost", "decades_beyond"]])
