"""What a report is asked: questions, the answers in draws, and the sentences that say them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.laws import INPUTS
from scalebayes.messages import Message
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.ahead import ahead
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import Budgets, has_frontier, read_question
from scalebayes.queries.predict import predict
from scalebayes.reports.contract import Answer, Cell
from scalebayes.summaries.caveats import caveats
from scalebayes.summaries.intervals import interval_columns, intervals
from scalebayes.summaries.text import cell
from scalebayes.units import format_quantity

UNITS = {"N": "parameters", "D": "tokens", "C": "FLOP"}
FURTHER = (1.0, 10.0, 100.0)
"""Budgets asked about by default, in those of the largest run."""
NOT_BEYOND = 0.005
"""Decades beyond the largest run that count as none."""


def ask(fit: Fit | Average, *, N: Any = None, D: Any = None, C: Any = None) -> list[xr.Dataset]:
    """Answers in draws: the loss at N and D (or one of them and C), the optimum at budgets C.

    With N and D both given, C are further questions, of budgets. Without any question: the optimum at the compute of
    the largest run, ten and a hundred times that; where the law has none, what `scalebayes.queries.ahead.ahead` asks.

    Raises
    ------
    QueryError
        As `predict` and `frontier`.
    """
    if N is None and D is None and C is None:
        return [_by_default(fit)]
    if N is not None and D is not None and C is not None:
        # Targets and, as a question of its own, budgets.
        return [predict(fit, N=N, D=D), frontier(fit, C=C)]
    question = read_question(fit, N=N, D=D, C=C)
    if isinstance(question, Budgets):
        return [frontier(fit, C=question.C)]
    return [predict(fit, **question.given)]


def default_budgets(fit: Fit | Average) -> np.ndarray:
    """Budgets asked about where none is given, in FLOP, of two digits."""
    return np.array([float(f"{times * fit.runs.max_compute:.1e}") for times in FURTHER])


def _by_default(fit: Fit | Average) -> xr.Dataset:
    if has_frontier(fit):
        try:
            return frontier(fit, C=default_budgets(fit))
        except QueryError:  # no optimum inside what the budget pays for
            pass
    return ahead(fit)


def answers(dataset: xr.Dataset, ci_prob: float) -> Iterator[Answer]:
    """Sentences of an answer in draws, one a target or budget."""
    table = intervals(dataset, ci_prob).reset_index()
    along = [x for x in INPUTS if x in table]
    kind = f"{100 * ci_prob:g}% interval"
    for _, rows in table.groupby(along, sort=False):
        asked = {x: float(rows[x].iloc[0]) for x in along}
        numbers = {
            row["quantity"]: as_cell(row, ci_prob, row["quantity"] in UNITS)
            for _, row in rows.iterrows()
        }
        decades = float(rows["decades_beyond"].iloc[0])
        of = {"C": "compute"}.get(dataset["decades_beyond"].attrs["of"], "its largest input")
        loss = f"loss {spoken(numbers['loss'], ' nats per token')}"
        if "N" in numbers:
            question = f"{format_quantity(asked['C'])} FLOP"
            sizes = (
                f"{spoken(numbers['N'], ' parameters', kind)} on {spoken(numbers['D'], ' tokens')}"
            )
            text = f"best spent on {sizes}, {spoken(numbers['tokens_per_param'], ' tokens per parameter')}: {loss}"
        else:
            question = _inputs_in_words(asked)
            loss = spoken(numbers["loss"], " nats per token", kind)
            text = f"{loss}, a single run {spoken(numbers['new_run'])}"
        yield Answer(asked, question, f"{text}; {distance(decades, of)}", numbers, decades)


def as_cell(row: Any, ci_prob: float, scale: bool = False) -> Cell:
    """A row of `intervals` as a cell."""
    lower, upper = interval_columns(ci_prob)
    numbers = [float(row[name]) for name in ("median", lower, upper)]
    kept = [value if np.isfinite(value) else None for value in numbers]
    return Cell(cell(row, ci_prob, scale), *kept)


def spoken(value: Cell, unit: str = "", kind: str = "") -> str:
    """Say ``1.94 [1.80, 2.08]`` as ``1.94 nats (90% interval 1.80 to 2.08)``, unit and kind where they are given."""
    median, bracket, ends = value.text.partition(" [")
    interval = f" ({kind}{' ' * bool(kind)}{ends.removesuffix(']').replace(', ', ' to ')})"
    return f"{median}{unit}{interval * bool(bracket)}"


def _inputs_in_words(asked: dict[str, float]) -> str:
    if {"N", "D"} <= asked.keys():
        return f"{format_quantity(asked['N'])} parameters on {format_quantity(asked['D'])} tokens"
    return ", ".join(
        f"{format_quantity(value)} {UNITS.get(x, INPUTS[x])}" for x, value in asked.items()
    )


def distance(decades: float, of: str) -> str:
    """How far beyond the largest run, in words."""
    if not np.isfinite(decades):
        return "a limit, beyond all runs"
    if decades < NOT_BEYOND:
        return (
            f"no more {of} than the largest run" if of == "compute" else "no further than the runs"
        )
    return f"{decades:.2f} orders of magnitude of {of} beyond the largest run".replace(
        "of its", "in its"
    )


def cautions(datasets: list[xr.Dataset]) -> tuple[Message, ...]:
    """What to keep in mind with several answers, each thing once, warnings first."""
    found = {message: None for dataset in datasets for message in caveats(dataset)}
    order = {"failed": 0, "warning": 1, "note": 2}
    return tuple(sorted(found, key=lambda message: order[message.level]))
