"""Answers of a report: the default questions, the queries that answer them, and their sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from scalebayes.data.metrics import NATS_PER_TOKEN
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
"""Default budgets, as multiples of the compute of the largest run."""
NOT_BEYOND = 0.005
"""Decades beyond the largest run that print as 0.00, so the text says that there are none."""


def ask(fit: Fit | Average, *, N: Any = None, D: Any = None, C: Any = None) -> list[xr.Dataset]:
    """Return posterior draws of the answers: losses at targets, or optima at budgets.

    N and D, or one of them with C, ask for the loss; C alone asks for the optimum. If N, D and C
    are all given, C is a separate question about budgets. The default is the optimum at the
    compute of the largest run, at ten and at a hundred times that compute. For a law without an
    optimum the default is the forecast of `scalebayes.queries.ahead.ahead`.

    Raises
    ------
    QueryError
        Under the same conditions as `predict` and `frontier`.
    """
    if N is None and D is None and C is None:
        return [_by_default(fit)]
    if N is not None and D is not None and C is not None:
        # Two questions: the loss of a run, and the optimum at budgets.
        return [predict(fit, N=N, D=D), frontier(fit, C=C)]
    question = read_question(fit, N=N, D=D, C=C)
    if isinstance(question, Budgets):
        return [frontier(fit, C=question.C)]
    return [predict(fit, **question.given)]


def default_budgets(fit: Fit | Average) -> np.ndarray:
    """Return the default budgets in FLOP, rounded to two significant digits."""
    budgets = []
    for times in FURTHER:
        budget = times * fit.runs.max_compute
        budgets.append(float(f"{budget:.1e}"))
    return np.array(budgets)


def _by_default(fit: Fit | Average) -> xr.Dataset:
    """Return the optima at the default budgets, or the forecast of `ahead` without an optimum."""
    if has_frontier(fit):
        try:
            return frontier(fit, C=default_budgets(fit))
        except QueryError:  # no optimum among the sizes that the budget allows
            pass
    return ahead(fit)


def answers(dataset: xr.Dataset, ci_prob: float) -> list[Answer]:
    """Return one answer for each target or budget of a query's result."""
    table = intervals(dataset, ci_prob).reset_index()
    along = [name for name in INPUTS if name in table]
    metric = dataset["loss"].attrs["units"]
    beyond_of = dataset["decades_beyond"].attrs["of"]
    told = []
    for _, rows in table.groupby(along, sort=False):
        asked = {name: float(rows[name].iloc[0]) for name in along}
        numbers = {}
        for _, row in rows.iterrows():
            quantity = row["quantity"]
            numbers[quantity] = as_cell(row, ci_prob, quantity in UNITS)
        decades = float(rows["decades_beyond"].iloc[0])
        question, text = _sentence(asked, numbers, ci_prob, metric)
        text = f"{text}; {distance(decades, beyond_of == 'C')}"
        told.append(Answer(asked, question, text, numbers, decades))
    return told


def _sentence(
    asked: dict[str, float], numbers: dict[str, Cell], ci_prob: float, metric: str
) -> tuple[str, str]:
    """Return the question and its answer in words; the first interval names its probability."""
    kind = f"{100 * ci_prob:g}% interval"
    if "N" not in numbers:
        loss = spoken_loss(numbers["loss"], metric, kind)
        return _inputs_in_words(asked), f"{loss}, a single run {spoken(numbers['new_run'])}"
    N = spoken(numbers["N"], " parameters", kind)
    D = spoken(numbers["D"], " tokens")
    ratio = spoken(numbers["tokens_per_param"], " tokens per parameter")
    loss = spoken_loss(numbers["loss"], metric)
    if metric == NATS_PER_TOKEN:
        loss = f"loss {loss}"
    question = f"{format_quantity(asked['C'])} FLOP"
    return question, f"best spent on {N} on {D}, {ratio}: {loss}"


def as_cell(row: Any, ci_prob: float, scale: bool = False) -> Cell:
    """Return a row of `intervals` as a cell; numbers that are not finite become None.

    ``scale`` selects the notation for sizes, such as 70B.
    """
    lower, upper = interval_columns(ci_prob)
    numbers: list[float | None] = []
    for name in ("median", lower, upper):
        value = float(row[name])
        numbers.append(value if np.isfinite(value) else None)
    return Cell(cell(row, ci_prob, scale), *numbers)


def spoken(value: Cell, unit: str = "", kind: str = "") -> str:
    """Return a cell in words: ``1.94 [1.80, 2.08]`` as ``1.94 nats (90% interval 1.80 to 2.08)``.

    A cell without an interval returns the number and the unit.
    """
    median, bracket, ends = value.text.partition(" [")
    if not bracket:
        return f"{median}{unit}"
    interval = ends.removesuffix("]").replace(", ", " to ")
    if kind:
        interval = f"{kind} {interval}"
    return f"{median}{unit} ({interval})"


def spoken_loss(value: Cell, metric: str, kind: str = "") -> str:
    """Return a loss in words: "1.94 nats per token (...)", or "word error rate 0.12 (...)"."""
    if metric == NATS_PER_TOKEN:
        return spoken(value, f" {metric}", kind)
    return f"{metric} {spoken(value, kind=kind)}"


def _inputs_in_words(asked: dict[str, float]) -> str:
    """Return the inputs of a target with their units."""
    if "N" in asked and "D" in asked:
        return f"{format_quantity(asked['N'])} parameters on {format_quantity(asked['D'])} tokens"
    parts = []
    for name, value in asked.items():
        unit = UNITS.get(name, INPUTS[name])
        parts.append(f"{format_quantity(value)} {unit}")
    return ", ".join(parts)


def distance(decades: float, in_compute: bool) -> str:
    """Return the distance beyond the largest run in words, in compute or in the largest input."""
    if not np.isfinite(decades):
        return "a limit, beyond all runs"
    if decades < NOT_BEYOND:
        if in_compute:
            return "no more compute than the largest run"
        return "within the range of the runs"
    quantity = "of compute" if in_compute else "in its largest input"
    return f"{decades:.2f} orders of magnitude {quantity} beyond the largest run"


def cautions(datasets: list[xr.Dataset]) -> tuple[Message, ...]:
    """Return the caveats of all answers, without duplicates, failures and warnings first."""
    order = {"failed": 0, "warning": 1, "note": 2}
    found: list[Message] = []
    for dataset in datasets:
        for message in caveats(dataset):
            if message not in found:
                found.append(message)
    return tuple(sorted(found, key=lambda message: order[message.level]))
