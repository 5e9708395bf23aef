"""Sections on what a report rests on: the data, the posterior beside prior and published values, and the fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from scalebayes import plots
from scalebayes.data.columns import QUANTITIES
from scalebayes.data.runs import Runs
from scalebayes.data.subsets import isoflop_sets
from scalebayes.display.numbers import number
from scalebayes.errors import QueryError
from scalebayes.plots import posterior
from scalebayes.posterior.diagnostics import diagnose
from scalebayes.posterior.fit import Fit, draws
from scalebayes.reports.answers import as_cell
from scalebayes.reports.contract import Cell, Drawing, Section, Table
from scalebayes.reports.figures import drawing
from scalebayes.summaries.intervals import interval_columns
from scalebayes.summaries.summary import summary
from scalebayes.summaries.text import kind_of_interval
from scalebayes.units import format_quantity, share_in_words

WORST = 3
"""Runs furthest from the curve that are named."""
MEANINGS = {
    "sigma": "scatter of a run's log loss",
    "nu": "weight of the scatter's tails: the smaller, the heavier",
    "eta": "size of the discrepancy on log loss",
    "a_opt": "exponent of N* ~ C^a",
    "b_opt": "exponent of D* ~ C^b",
}


def data_section(runs: Runs, fits: Mapping[str, Fit]) -> Section:
    """What the runs are, where they come from, and what was assumed, left out or looks weak."""
    sentences = [f"{len(runs)} runs of {runs.name}{_groups(runs)}."]
    sentences += [f"Source: {runs.source}."] if runs.source else []
    sentences += (
        [f"Assumed or left out when the table was read: {'; '.join(runs.notes)}."]
        if runs.notes
        else []
    )
    rows = []
    for role in (role for role in QUANTITIES if role in runs.table):
        values = runs.table[role].to_numpy(float)
        numbers = [values.min(), np.median(values), values.max()]
        cells = (Cell(number(value, role != "loss"), float(value)) for value in numbers)
        rows.append((Cell(f"{role}, {QUANTITY_WORDS.get(role, role)}"), *cells))
    table = Table("The runs", ("quantity", "lowest", "median", "highest"), tuple(rows))
    found = {
        message: None
        for fit in fits.values()
        for message in diagnose(fit).messages
        if message.level != "failed"
    }
    return Section(
        "data",
        "Data, and what was left out",
        tuple(sentences),
        tables=(table,),
        messages=tuple(found),
    )


QUANTITY_WORDS = {
    "N": "parameters",
    "D": "tokens",
    "C": "training FLOP",
    "loss": "nats per token",
    "S": "steps",
    "U": "unique tokens",
    "E": "experts",
}


def _groups(runs: Runs) -> str:
    return f" in {runs.table['group'].nunique()} groups" if "group" in runs.table else ""


def posterior_section(fits: Mapping[str, Fit], main: str, ci_prob: float) -> Section:
    """Posterior of every parameter beside its prior and the published values, and exponents beside the literature."""
    summaries = {label: summary(fit, ci_prob) for label, fit in fits.items()}
    tables = []
    for label, fit in fits.items():
        caption = f"Medians with {kind_of_interval(ci_prob)} intervals"
        if len(fits) > 1:
            caption += f", {label}"
        tables.append(_parameters(caption, fit, summaries[label], ci_prob))
    drawings = [_densities(fits[main], summaries[main], ci_prob)]
    with_exponent = {x: fit for x, fit in fits.items() if "a_opt" in summaries[x].index}
    if with_exponent:
        drawings.append(_exponents(with_exponent, summaries, ci_prob))
    law = fits[main].spec.law_object
    sentence = f"{main} is L = {law.formula}."
    return Section(
        "posterior",
        "Posterior, prior and published values",
        (sentence,),
        tuple(drawings),
        tuple(tables),
    )


def _derived(fit: Fit, group: str = "posterior") -> dict[str, np.ndarray]:
    chosen = draws(fit, group)
    names = fit.spec.law_object.parameter_names
    return fit.spec.law_object.derive({name: chosen[name].values for name in names})


def _parameters(caption: str, fit: Fit, table: pd.DataFrame, ci_prob: float) -> Table:
    """Return the summary of a fit beside the prior and the published values."""
    law = fit.spec.law_object
    scales = {p.name for p in law.parameters if p.scale_of}
    meanings = MEANINGS | {p.name: p.meaning for p in law.parameters}
    prior = _prior_rows(fit, ci_prob)
    entries = fit.spec.published
    rows = []
    for row in table.reset_index().to_dict("records"):
        name = str(row["parameter"])
        scale = name in scales
        before = as_cell(prior[name], ci_prob, scale) if name in prior else Cell("-")
        ess = min(row["ess_bulk"], row["ess_tail"])
        checks = (Cell(f"{row['r_hat']:.3f}", float(row["r_hat"])), Cell(f"{ess:.0f}", float(ess)))
        theirs = (Cell(number(row[e.label], scale), _known(row[e.label])) for e in entries)
        rows.append((Cell(name), before, as_cell(row, ci_prob, scale), *theirs, *checks))
    told = "; ".join(f"{name}: {meanings[name]}" for name in table.index if name in meanings)
    counted = tuple(
        f"{e.label} counts {e.counting}"
        for e in entries
        if e.counting not in ("", "total parameters")
    )
    headings = ("parameter", "prior", "posterior", *(e.label for e in entries), "R-hat", "ESS")
    return Table(caption, headings, tuple(rows), (told, *counted))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _prior_rows(fit: Fit, ci_prob: float) -> dict[str, dict[str, float]]:
    """Median and bounds of each parameter, and of what is derived, under the prior."""
    prior, tail = draws(fit, "prior"), (1 - ci_prob) / 2
    values = {str(name): prior[name].values for name in prior.data_vars}
    with np.errstate(all="ignore"):  # a prior may hold scales that are infinite for every purpose
        values |= _derived(fit, "prior")
        ends = {
            name: np.quantile(draw, [0.5, tail, 1 - tail], method="inverted_cdf")
            for name, draw in values.items()
            if not np.isnan(draw).any()
        }
    columns = ("median", *interval_columns(ci_prob))
    return {name: dict(zip(columns, map(float, end), strict=True)) for name, end in ends.items()}


def _densities(fit: Fit, table: pd.DataFrame, ci_prob: float) -> Drawing:
    prior = _prior_rows(fit, ci_prob)
    lower, upper = interval_columns(ci_prob)
    widths = (table[upper] - table[lower]).to_dict()
    told = []
    for name in fit.spec.law_object.parameter_names:
        before = prior[name][upper] - prior[name][lower] if name in prior else np.inf
        told.append(
            f"{name} to {share_in_words(widths[name] / before)}" if np.isfinite(before) else name
        )
    alt = f"Densities of each parameter: the runs narrow the prior's intervals of {', '.join(told)} of their width."
    return drawing("parameters", posterior.parameters(fit), alt)


def _exponents(
    fits: Mapping[str, Fit], summaries: Mapping[str, pd.DataFrame], ci_prob: float
) -> Drawing:
    lower, upper = interval_columns(ci_prob)
    told = []
    for label in fits:
        row: Any = summaries[label].loc["a_opt"]
        told.append(f"{label} {row['median']:.2f}, from {row[lower]:.2f} to {row[upper]:.2f}")
    alt = f"Exponent of the compute-optimal frontier: {'; '.join(told)}; Kaplan printed 0.73, Hoffmann 0.46 to 0.50."
    return drawing("exponents", posterior.frontier_exponents(fits, ci_prob), alt)


def fit_section(label: str, fit: Fit, ci_prob: float) -> Section:
    """How the curve lies among the runs: loss at equal compute where the law has an optimum, and residuals."""
    answer = posterior.at_runs(fit)
    tail = (1 - ci_prob) / 2
    low, high = answer["new_run"].quantile([tail, 1 - tail], ("chain", "draw")).values
    off = fit.runs.loss / answer["loss"].median(("chain", "draw")).values - 1
    inside = int(((low <= fit.runs.loss) & (fit.runs.loss <= high)).sum())
    usual, worst = float(np.median(np.abs(off))), np.argsort(-np.abs(off))[:WORST]
    named = ", ".join(f"{fit.runs.table.index[i]} ({off[i]:+.1%})" for i in worst)
    share = share_in_words(inside / len(fit.runs))
    held = f"{inside} of {len(fit.runs)} runs ({share}) lie inside the {kind_of_interval(ci_prob)} interval of a new run"
    sentences = (
        f"{held} at their inputs; these are the runs that were fitted, so this says that the fit is not too tight, "
        "not that it foresees others.",
        f"Half of the runs lie within {usual:.2%} of the curve of {label}. Furthest off: {named}.",
    )
    drawings = [*_isoflop(fit, ci_prob)]
    alt = f"Residuals against compute: half within {usual:.2%}, the furthest {off[worst[0]]:+.1%}; {share} inside."
    drawings.append(drawing("residuals", posterior.residuals(fit, ci_prob, answer=answer), alt))
    return Section("fit", "Fit and residuals", sentences, tuple(drawings))


def _isoflop(fit: Fit, ci_prob: float) -> Iterator[Drawing]:
    try:
        figure = plots.isoflop(fit, ci_prob)
    except QueryError:  # a law without an optimum
        return
    sets: list[Any] = isoflop_sets(fit.runs.C, fit.runs.N)
    at = f"at {len(sets)} budgets that several runs share" if sets else "at budgets among the runs"
    budgets = [float(np.median(fit.runs.C[s])) for s in sets] if sets else fit.runs.C
    span = f"{format_quantity(min(budgets), 2)} to {format_quantity(max(budgets), 2)} FLOP"
    alt = f"Loss against parameters {at}, {span}: at each the curve falls to a compute-optimal size and rises again."
    yield drawing("isoflop", figure, alt)
