"""Sections that look ahead: the frontier beside other laws and the literature, and the evidence on extrapolation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scalebayes import plots
from scalebayes.datasets import coverage
from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.frontier import frontier
from scalebayes.reports.answers import as_cell
from scalebayes.reports.contract import Cell, Section, Table
from scalebayes.reports.figures import drawing
from scalebayes.summaries.intervals import intervals
from scalebayes.summaries.text import kind_of_interval
from scalebayes.units import format_quantity

BESIDE = ("chinchilla", "coupled")
"""Methods whose coverage is told where that of a model was not measured."""


def frontier_section(
    fits: Mapping[str, Fit], budgets: np.ndarray, ci_prob: float
) -> Section | None:
    """Compute-optimal N of each fit beside published lines, at the budgets asked for; None without an optimum."""
    try:
        figure = plots.frontier(fits, ci_prob=ci_prob)
        answers = {
            label: intervals(frontier(fit, C=budgets)[["N"]], ci_prob)
            for label, fit in fits.items()
        }
    except QueryError:
        return None
    published = plots.published_frontiers(budgets)
    rows = []
    for i, budget in enumerate(budgets):
        ours = (as_cell(table.iloc[i], ci_prob, scale=True) for table in answers.values())
        theirs = (Cell(format_quantity(N[i], 2), float(N[i])) for N in published.values())
        rows.append((Cell(format_quantity(budget), float(budget)), *ours, *theirs))
    caption = f"Compute-optimal parameters: medians with {kind_of_interval(ci_prob)} intervals, and published lines"
    table = Table(caption, ("FLOP", *answers, *published), tuple(rows))
    far = {
        label: as_cell(table.iloc[-1], ci_prob, scale=True).text for label, table in answers.items()
    }
    lines = ", ".join(f"{label} {format_quantity(N[-1], 2)}" for label, N in published.items())
    told = "; ".join(f"{label} {text}" for label, text in far.items())
    alt = f"Compute-optimal N against compute. At {format_quantity(budgets[-1])} FLOP: {told}. Published: {lines}."
    sentence = (
        "Published lines are of other data, and where marked of other ways of counting: they give a scale, "
        "not a verdict on these runs."
    )
    return Section(
        "frontier",
        "Compute-optimal frontier",
        (sentence,),
        (drawing("frontier", figure, alt),),
        (table,),
    )


def extrapolation_section(fits: Mapping[str, Fit], whole: Fit | Average, ci_prob: float) -> Section:
    """The curve from the runs to far beyond them, and what intervals were measured to hold at such distances."""
    drawings = []
    try:
        figure = plots.extrapolation(fits, ci_prob=ci_prob)
    except QueryError:
        pass
    else:
        span = np.log10(fit_span(whole))
        what = f"Loss along the frontier from the runs, which span {span:.1f} decades of compute, to 1e26 FLOP"
        drawings.append(
            drawing("extrapolation", figure, f"{what}: the intervals widen beyond the largest run.")
        )
    measured = coverage()
    own = measured[measured["spec"] == _spec(whole)]
    if len(own):
        sentence = (
            "Share of held-out runs that intervals of this model covered, by distance beyond the "
            "training runs."
        )
        table = _coverage(own)
    else:
        sentence = (
            "The coverage of this model's intervals beyond the runs was not measured. The table "
            "shows that of two laws without a discrepancy. scalebayes backtest measures it on "
            "these runs."
        )
        table = _coverage(measured[measured["method"].isin(BESIDE)])
    title = "Extrapolation, and what was measured of it"
    return Section("extrapolation", title, (sentence,), tuple(drawings), (table,))


def fit_span(whole: Fit | Average) -> float:
    """Largest over smallest compute of the runs."""
    compute = whole.runs.C
    return float(compute.max() / compute.min())


def _spec(whole: Fit | Average) -> str:
    """The hash that `coverage` knows a model by: of an average, where all weigh the same, that of all its specs."""
    if isinstance(whole, Fit):
        return whole.spec.hash[:12]
    return "+".join(sorted(fit.spec.hash[:12] for fit in whole.fits.values()))


def _coverage(measured: pd.DataFrame) -> Table:
    rows = []
    for row in measured.to_dict("records"):
        far = (
            f"{row['low']:g} to {row['high']:g}"
            if np.isfinite(row["high"])
            else f"more than {row['low']:g}"
        )
        shares = (
            Cell(f"{row[name]:.0%} (s.e. {row[f'{name}_se']:.0%})", float(row[name]))
            for name in ("cover90", "cover50")
        )
        counts = (Cell(f"{row[name]:.0f}", float(row[name])) for name in ("forecasts", "tables"))
        rows.append((Cell(str(row["method"])), Cell(far), *shares, *counts))
    caption = "Share of held-out losses of public tables inside 90% and 50% equal-tailed intervals"
    headings = ("method", "decades beyond", "in 90%", "in 50%", "losses", "tables")
    notes = (
        "Standard errors are between tables. Losses only: no public table holds an N* beyond its own runs.",
    )
    return Table(caption, headings, tuple(rows), notes)
