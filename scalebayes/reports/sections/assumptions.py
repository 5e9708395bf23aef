"""Sections on other models and other assumptions: comparison, the coupling of the terms, sensitivity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from scalebayes.comparison.compare import Comparison
from scalebayes.comparison.coupling import coupling
from scalebayes.errors import QueryError
from scalebayes.messages import Message
from scalebayes.posterior.fit import Fit
from scalebayes.reports.answers import as_cell
from scalebayes.reports.contract import Cell, Section, Table
from scalebayes.summaries.intervals import intervals
from scalebayes.summaries.text import LABELS, kind_of_interval
from scalebayes.units import format_quantity
from scalebayes.validation.sensitivity import AS_FITTED, Sensitivity


def comparison_section(
    fits: Mapping[str, Fit], comparison: Comparison | None, budgets: np.ndarray, ci_prob: float
) -> Section | None:
    """How the models do on runs left out, whether the decision changes between them, and kappa where it is free."""
    kappa = [*_couplings(fits, ci_prob)]
    sentences = [sentence for sentence, _ in kappa]
    tables = [table for _, table in kappa]
    messages: tuple[Message, ...] = ()
    if comparison is not None:
        sentences.insert(0, comparison.sentence())
        tables = [_scores(comparison), *_differences(comparison, budgets, ci_prob), *tables]
        messages = tuple(Message("COMPARISON", "note", note) for note in comparison.notes)
    if not sentences:
        return None
    title = "Models side by side" if comparison is not None else "How the terms combine"
    return Section("comparison", title, tuple(sentences), tables=tuple(tables), messages=messages)


def _couplings(fits: Mapping[str, Fit], ci_prob: float) -> Iterator[tuple[str, Table]]:
    for fit in fits.values():
        try:
            read = coupling(fit)
        except QueryError:  # no free kappa
            continue
        sentence = read.sentence(ci_prob).partition(" Posterior probability")[0]
        rows = tuple(
            (
                Cell(str(row["meaning"])),
                *(Cell(f"{row[of]:.3f}", float(row[of])) for of in ("posterior", "prior")),
            )
            for _, row in read.chances.iterrows()
        )
        yield (
            sentence,
            Table(
                f"Probability that {fit.spec.name} is close to", ("law", "posterior", "prior"), rows
            ),
        )


def _scores(comparison: Comparison) -> Table:
    rows = []
    for label, row in comparison.table.iterrows():
        behind = (
            "-" if row["elpd_diff"] == 0 else f"{-row['elpd_diff']:.1f} (s.e. {row['dse']:.1f})"
        )
        elpd = Cell(f"{row['elpd']:.1f} (s.e. {row['se']:.1f})", float(row["elpd"]))
        weight = Cell(f"{row['stacking']:.2f}", float(row["stacking"]))
        left = Cell(f"{row['high_k_left']}", float(row["high_k_left"]))
        rows.append((Cell(str(label)), elpd, Cell(behind, float(-row["elpd_diff"])), weight, left))
    headings = (
        "model",
        "log score",
        "behind the best",
        "stacking weight",
        "runs with high Pareto k",
    )
    return Table("Leaving out one run at a time", headings, tuple(rows))


def _differences(comparison: Comparison, budgets: np.ndarray, ci_prob: float) -> Iterator[Table]:
    try:
        table = intervals(comparison.difference(C=budgets), ci_prob).reset_index()
    except QueryError:  # a model without an optimum
        return
    words = {"N_ratio": "N* over N*", "loss_difference": "loss less loss at the optimum, nats"}
    rows = tuple(
        (
            Cell(f"{row['model']} against {row['against']}"),
            Cell(format_quantity(row["C"]), float(row["C"])),
            Cell(words[row["quantity"]]),
            as_cell(row, ci_prob),
        )
        for _, row in table.iterrows()
    )
    caption = f"Does the decision change? Medians with {kind_of_interval(ci_prob)} intervals"
    yield Table(caption, ("models", "FLOP", "what", "difference"), rows)


def sensitivity_section(moved: Sensitivity) -> Section:
    """The decision refitted under other assumptions, as `scalebayes.sensitivity` found it."""
    ci_prob = moved.table.attrs["ci_prob"]
    rows = []
    for row in moved.table.reset_index().to_dict("records"):
        where = ", ".join(
            f"{x} = {format_quantity(float(row[x]))}" for x in ("N", "D", "C") if x in row
        )
        what = f"{LABELS.get(row['quantity'], row['quantity'])} at {where}"
        shift = Cell(
            "-" if row["assumed"] == AS_FITTED else f"{row['moved']:+.1f}", float(row["moved"])
        )
        rows.append(
            (
                Cell(what),
                Cell(row["assumed"]),
                as_cell(row, ci_prob, row["quantity"] in "ND"),
                shift,
            )
        )
    caption = f"Medians with {kind_of_interval(ci_prob)} intervals; moved: in half widths of the interval as fitted"
    sentence = (
        "The decision is robust: no median leaves its interval as fitted."
        if not any(message.code == "DECISION_MOVES" for message in moved.messages)
        else "The decision rests on what was assumed: a median leaves its interval as fitted."
    )
    table = Table(caption, ("what", "assumed", "answer", "moved"), tuple(rows))
    return Section(
        "sensitivity",
        "Under other assumptions",
        (sentence,),
        tables=(table,),
        messages=moved.messages,
    )
