"""Sections on larger budgets: the compute-optimal frontier, and how reliable extrapolation is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scalebayes import plots
from scalebayes.datasets.measured import coverage, describe_choice
from scalebayes.errors import QueryError
from scalebayes.plots.names import for_people, name_in_words
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.posterior.provenance import HASH_DIGITS, keys_of_table
from scalebayes.queries.frontier import frontier
from scalebayes.reports.answers import as_cell
from scalebayes.reports.contract import Cell, Drawing, Section, Table
from scalebayes.reports.figures import DrawnFrontier, drawing
from scalebayes.summaries.intervals import intervals
from scalebayes.summaries.text import kind_of_interval
from scalebayes.units import format_quantity

SUBSTITUTES = ("chinchilla", "coupled")
"""Models whose coverage is shown when that of the fitted model was not measured."""


def frontier_section(
    fits: Mapping[str, Fit], budgets: np.ndarray, ci_prob: float, drawn: DrawnFrontier | None
) -> Section | None:
    """Return the section on compute-optimal N with published lines; None without an optimum.

    budgets : shape (budgets,), in FLOP. drawn : the figure, or None without an optimum.
    """
    if drawn is None:
        return None
    optima = {}
    try:
        for label, fit in fits.items():
            optima[label] = intervals(frontier(fit, C=budgets)[["N"]], ci_prob)
    except QueryError:
        return None
    published = plots.published_frontiers(budgets)
    table = _frontier_table(budgets, optima, published, ci_prob)

    at_largest = []
    for label, one in optima.items():
        at_largest.append(f"{label} {as_cell(one.iloc[-1], ci_prob, scale=True).text}")
    lines = [f"{label} {format_quantity(N[-1], 2)}" for label, N in published.items()]
    alt = (
        f"Compute-optimal N against compute. At {format_quantity(budgets[-1])} FLOP: "
        f"{'; '.join(at_largest)}. Published: {', '.join(lines)}."
    )
    sentence = (
        "The published lines come from other data, and some, where marked, from another way of "
        "counting parameters. They give the order of magnitude; they do not test these runs."
    )
    return Section(
        "frontier",
        "Compute-optimal frontier",
        (sentence,),
        (replace(drawn.drawing, alt=alt),),
        (table,),
    )


def _frontier_table(
    budgets: np.ndarray,
    optima: Mapping[str, pd.DataFrame],
    published: Mapping[str, np.ndarray],
    ci_prob: float,
) -> Table:
    """Return the compute-optimal N of each fit and of each published line, one budget a row."""
    rows = []
    for i, budget in enumerate(budgets):
        name = Cell(format_quantity(budget), float(budget))
        fitted = [as_cell(one.iloc[i], ci_prob, scale=True) for one in optima.values()]
        printed = [Cell(format_quantity(N[i], 2), float(N[i])) for N in published.values()]
        rows.append((name, *fitted, *printed))
    caption = (
        f"Compute-optimal parameters: medians with {kind_of_interval(ci_prob)} intervals, and "
        "published lines"
    )
    return Table(caption, ("FLOP", *optima, *published), tuple(rows))


def extrapolation_section(
    fits: Mapping[str, Fit], subject: Fit | Average, ci_prob: float
) -> Section:
    """Return the section on extrapolation: the curve beyond the runs and the measured coverage."""
    drawings = []
    figure = _extrapolation(fits, subject, ci_prob)
    if figure is not None:
        drawings.append(figure)
    subject_in_words = "this average"
    if isinstance(subject, Fit):
        subject_in_words = "this model"
    first = subject if isinstance(subject, Fit) else next(iter(subject.fits.values()))
    measured = coverage(keys_of_table(first))
    own = measured[measured["spec"] == _key_in_coverage(subject)]
    if len(own):
        sentence = (
            f"The table shows the share of the losses of held-out runs that intervals of "
            f"{subject_in_words} covered, by distance beyond the training runs."
        )
        name = next(iter(fits)) if isinstance(subject, Fit) else "average"
        table = _coverage_table(own.assign(method=name))
    else:
        sentence = (
            f"The coverage of intervals of {subject_in_words} beyond the runs was not measured. "
            "The table shows the coverage of two laws without a discrepancy instead. The command "
            "scalebayes backtest measures the coverage of models on these runs."
        )
        table = _coverage_table(measured[measured["method"].isin(SUBSTITUTES)])
    title = "Extrapolation and measured coverage"
    return Section("extrapolation", title, (sentence,), tuple(drawings), (table,))


def _extrapolation(
    fits: Mapping[str, Fit], subject: Fit | Average, ci_prob: float
) -> Drawing | None:
    """Return the figure of the loss beyond the runs, or None for a law without an optimum."""
    try:
        figure = plots.extrapolation(fits, ci_prob=ci_prob)
    except QueryError:
        return None
    compute = subject.runs.C
    decades = np.log10(compute.max() / compute.min())
    alt = (
        f"Loss along the compute-optimal frontier, from the runs, which span {decades:.1f} decades "
        "of compute, to 1e26 FLOP. The intervals widen beyond the largest run."
    )
    return drawing("extrapolation", figure, alt)


def _key_in_coverage(subject: Fit | Average) -> str:
    """Return the key of a model in the table of `coverage`.

    The key of an average joins those of its models. Only averages with equal weights were measured.
    """
    if isinstance(subject, Fit):
        return subject.spec.hash[:HASH_DIGITS]
    keys = [fit.spec.hash[:HASH_DIGITS] for fit in subject.fits.values()]
    return "+".join(sorted(keys))


def _coverage_table(measured: pd.DataFrame) -> Table:
    """Return measured coverage by model and distance, with intervals and numbers of runs."""
    rows = []
    for row in measured.to_dict("records"):
        distance = f"more than {row['low']:g}"
        if np.isfinite(row["high"]):
            distance = f"{row['low']:g} to {row['high']:g}"
        rows.append(
            (
                Cell(name_in_words(str(row["method"]))),
                Cell(distance),
                _share_with_interval(row, "cover90"),
                Cell(f"{row['cover90_worst']:.0%}", float(row["cover90_worst"])),
                _share_with_interval(row, "cover50"),
                Cell(f"{row['runs']} ({row['trainings']})", float(row["runs"])),
                Cell(f"{row['tables']}", float(row["tables"])),
            )
        )
    caption = "Share of held-out losses of public tables inside 90% and 50% equal-tailed intervals"
    shares = ("inside 90%", "worst table", "inside 50%")
    headings = ("model", "decades beyond", *shares, "runs (trainings)", "tables")
    note = (
        "Shares are means over tables, with 90% intervals between tables. Distinct runs and "
        "trainings are counted. Only losses were tested: no public table measures N* beyond its "
        "own runs."
    )
    if len(measured):
        choice = describe_choice(measured.iloc[0])
        note += f" {choice[0].upper()}{for_people(choice[1:], [])}."
    return Table(caption, headings, tuple(rows), (note,))


def _share_with_interval(row: Mapping[Hashable, Any], name: str) -> Cell:
    """Return a mean share over tables as a cell, with its interval where there is one."""
    share, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    text = f"{share:.0%}"
    if np.isfinite(low):
        text += f" ({low:.0%} to {high:.0%})"
    return Cell(text, float(share))
