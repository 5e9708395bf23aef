"""Sections on other models and assumptions: comparison, coupling of the terms, sensitivity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from scalebayes.comparison.compare import Comparison
from scalebayes.comparison.coupling import Coupling, coupling
from scalebayes.data.metrics import with_unit
from scalebayes.display.numbers import percent
from scalebayes.errors import QueryError
from scalebayes.messages import Message
from scalebayes.plots.names import for_people, in_sentence, table_name
from scalebayes.posterior.fit import Fit
from scalebayes.reports.answers import as_cell
from scalebayes.reports.contract import Cell, Section, Table
from scalebayes.summaries.intervals import intervals
from scalebayes.summaries.text import LABELS, kind_of_interval
from scalebayes.units import format_quantity
from scalebayes.validation.sensitivity import AS_FITTED, LOG_QUANTITIES, Sensitivity

DIFFERENCES = {
    "N_ratio": "ratio of N*",
    "loss_difference": "difference in loss at the optimum",
}
"""Quantities of `Comparison.difference`, in words."""


def comparison_section(
    fits: Mapping[str, Fit],
    name_of: Mapping[str, str],
    comparison: Comparison | None,
    budgets: np.ndarray,
    ci_prob: float,
) -> Section | None:
    """Return the section on scores and differences of models, and on kappa where it is free.

    None without a comparison and without a free kappa.

    Parameters
    ----------
    fits, name_of
        The fits, and the names of their models for people, by label.
    comparison
        Their comparison, if one was made.
    budgets
        In FLOP, shape (budgets,).
    ci_prob
        Probability of the intervals.
    """
    title = "How the terms of size and data combine"
    sentences: list[str] = []
    tables: list[Table] = []
    messages: tuple[Message, ...] = ()
    if comparison is not None:
        title = "Model comparison"
        sentences.append(for_people(comparison.sentence(), fits.values()))
        tables.append(_scores(comparison, name_of))
        differences = _differences(comparison, name_of, budgets, ci_prob)
        if differences is not None:
            tables.append(differences)
        messages = tuple(Message("COMPARISON", "note", note) for note in comparison.notes)
    for label, fit in fits.items():
        try:
            found = coupling(fit)
        except QueryError:  # the law has no free kappa
            continue
        name = in_sentence(name_of[label])
        kappa = replace(found, model=name, runs=table_name(fit.runs))
        # The probabilities, which end the text, are shown in a table.
        sentence, _, _ = kappa.sentence(ci_prob).partition(" Posterior probability")
        sentences.append(sentence)
        tables.append(_coupling_table(kappa))
    if not sentences:
        return None
    return Section("comparison", title, tuple(sentences), tables=tuple(tables), messages=messages)


def _coupling_table(kappa: Coupling) -> Table:
    """Return the posterior and prior probability that a fit is close to each named law."""
    rows = []
    for _, row in kappa.probabilities.iterrows():
        after, before = float(row["posterior"]), float(row["prior"])
        law = Cell(str(row["meaning"]))
        rows.append((law, Cell(percent(after), after), Cell(percent(before), before)))
    caption = f"Probability that {kappa.model} is close to a named law"
    return Table(caption, ("law", "posterior", "prior"), tuple(rows))


def _scores(comparison: Comparison, name_of: Mapping[str, str]) -> Table:
    """Return the leave-one-out scores of the models, best first."""
    rows = []
    for label, row in comparison.table.iterrows():
        behind = "-"
        if row["elpd_diff"] != 0:
            behind = f"{-row['elpd_diff']:.1f} (s.e. {row['dse']:.1f})"
        rows.append(
            (
                Cell(name_of.get(str(label), str(label))),
                Cell(f"{row['elpd']:.1f} (s.e. {row['se']:.1f})", float(row["elpd"])),
                Cell(behind, float(-row["elpd_diff"])),
                Cell(f"{row['stacking']:.2f}", float(row["stacking"])),
                Cell(f"{row['high_k_left']}", float(row["high_k_left"])),
            )
        )
    headings = (
        "model",
        "log score",
        "behind the best",
        "stacking weight",
        "runs with high Pareto k",
    )
    return Table("Leave-one-out scores (higher is better)", headings, tuple(rows))


def _differences(
    comparison: Comparison, name_of: Mapping[str, str], budgets: np.ndarray, ci_prob: float
) -> Table | None:
    """Return the differences of the decision between models; None where one has no optimum."""
    try:
        difference = comparison.difference(C=budgets)
        table = intervals(difference, ci_prob).reset_index()
    except QueryError:
        return None
    words = dict(DIFFERENCES)
    metric = difference["loss_difference"].attrs["units"]
    words["loss_difference"] = with_unit(words["loss_difference"], metric)
    rows = []
    for _, row in table.iterrows():
        rows.append(
            (
                Cell(f"{name_of[row['model']]} against {name_of[row['against']]}"),
                Cell(format_quantity(row["C"]), float(row["C"])),
                Cell(words[row["quantity"]]),
                as_cell(row, ci_prob),
            )
        )
    caption = (
        "Differences between the models' decisions: medians with "
        f"{kind_of_interval(ci_prob)} intervals"
    )
    return Table(caption, ("models", "FLOP", "quantity", "difference"), tuple(rows))


def sensitivity_section(moved: Sensitivity) -> Section:
    """Return the section on the decision under other assumptions."""
    ci_prob = moved.table.attrs["ci_prob"]
    rows = []
    for row in moved.table.reset_index().to_dict("records"):
        quantity = row["quantity"]
        shift = "-"
        if row["assumed"] != AS_FITTED:
            shift = f"{row['moved']:+z.1f}"
        rows.append(
            (
                Cell(f"{LABELS.get(quantity, quantity)} at {_target_in_words(row)}"),
                Cell(row["assumed"]),
                as_cell(row, ci_prob, quantity in LOG_QUANTITIES),
                Cell(shift, float(row["moved"])),
            )
        )
    caption = (
        f"Medians with {kind_of_interval(ci_prob)} intervals, and the shift of each median in half "
        "widths of the interval as fitted"
    )
    return Section(
        "sensitivity",
        "Sensitivity to assumptions",
        (_conclusion(moved),),
        tables=(Table(caption, ("quantity", "assumption", "answer", "shift"), tuple(rows)),),
        messages=moved.messages,
    )


def _target_in_words(row: Mapping[Any, Any]) -> str:
    """Return the inputs of a row, such as "N = 70B, D = 1.4T"."""
    inputs = [name for name in ("N", "D", "C") if name in row]
    return ", ".join(f"{name} = {format_quantity(float(row[name]))}" for name in inputs)


def _conclusion(moved: Sensitivity) -> str:
    """Return the sentence that says whether the decision depends on the assumptions."""
    if any(message.code == "DECISION_MOVES" for message in moved.messages):
        return (
            "The decision depends on the assumptions: under at least one of them, a median lies "
            "outside its interval as fitted."
        )
    return (
        "The decision is robust: under no other assumption does a median leave its interval as "
        "fitted."
    )
