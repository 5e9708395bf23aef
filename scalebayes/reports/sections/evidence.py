"""Sections on the evidence: the data, the parameters (prior, posterior, published), and the fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scalebayes import plots
from scalebayes.data.metrics import with_unit
from scalebayes.data.runs import Runs
from scalebayes.data.subsets import isoflop_sets
from scalebayes.data.tables.columns import QUANTITIES
from scalebayes.display.numbers import number
from scalebayes.errors import QueryError
from scalebayes.messages import Message
from scalebayes.plots import posterior
from scalebayes.plots.names import in_sentence, runs_in_words
from scalebayes.posterior.diagnostics import Diagnosis
from scalebayes.posterior.fit import Fit, draws
from scalebayes.reports.answers import as_cell, spoken
from scalebayes.reports.contract import Cell, Drawing, Section, Table
from scalebayes.reports.figures import drawing
from scalebayes.summaries.intervals import interval_columns
from scalebayes.summaries.summary import summary
from scalebayes.summaries.text import kind_of_interval
from scalebayes.units import format_quantity, share_in_words
from scalebayes.utils.shares import tail_probability

LARGEST_RESIDUALS = 3
"""Number of runs with the largest residuals that are named."""
MEANINGS = {
    "sigma": "noise scale of the log loss of a run",
    "nu": "degrees of freedom of the noise (smaller means heavier tails)",
    "eta": "size of the discrepancy on log loss",
    "tau": "how far local exponents drift over a decade of an input (s.d. of their log)",
    "tau_loss": "the same for the exponent of the loss, over a decade of the reducible loss",
    "a_opt": "exponent of N* ~ C^a",
    "b_opt": "exponent of D* ~ C^b",
}
"""Meanings of the parameters that belong to no law, and of derived quantities."""
QUANTITY_WORDS = {
    "N": "parameters",
    "D": "tokens",
    "C": "training FLOP",
    "S": "steps",
    "U": "unique tokens",
    "E": "experts",
}
"""Meaning or unit of the columns of the runs."""

Interval = dict[str, float]
"""Median and ends of an interval, under the names of `interval_columns`."""


def data_section(runs: Runs, diagnoses: Iterable[Diagnosis]) -> Section:
    """Return the section on the runs: their number, source and ranges, and remarks about them.

    diagnoses : of the fits (`diagnose`), whose warnings and notes are the remarks.
    """
    sentence = runs_in_words(runs)
    if "group" in runs.table:
        sentence += f" in {runs.table['group'].nunique()} groups"
    sentences = [f"{sentence}."]
    if runs.source:
        sentences.append(f"Source: {runs.source}.")
    if runs.notes:
        sentences.append(f"Notes from reading the table: {'; '.join(runs.notes)}.")
    return Section(
        "data",
        "Data",
        tuple(sentences),
        tables=(_ranges(runs),),
        messages=_remarks(diagnoses),
    )


def _ranges(runs: Runs) -> Table:
    """Return the minimum, median and maximum of each quantity of the runs."""
    rows = []
    for role in QUANTITIES:
        if role not in runs.table:
            continue
        values = runs.table[role].to_numpy(float)
        name = f"{role}, {QUANTITY_WORDS.get(role, role)}"
        if role == "loss":
            name = with_unit(role, runs.metric)
        statistics = (values.min(), np.median(values), values.max())
        cells = [Cell(number(value, role != "loss"), float(value)) for value in statistics]
        rows.append((Cell(name), *cells))
    return Table("Range of the runs", ("quantity", "minimum", "median", "maximum"), tuple(rows))


def _remarks(diagnoses: Iterable[Diagnosis]) -> tuple[Message, ...]:
    """Return the warnings and notes of all fits, each once."""
    found: list[Message] = []
    for diagnosis in diagnoses:
        for message in diagnosis.messages:
            # Failed convergence checks are among the verdicts of the report.
            if message.level != "failed" and message not in found:
                found.append(message)
    return tuple(found)


def posterior_section(fits: Mapping[str, Fit], main: str, ci_prob: float) -> Section:
    """Return the section on the parameters: posterior, prior, published values, exponents.

    The densities of the parameters are shown for the fit labelled ``main``.
    """
    summaries = {label: summary(fit, ci_prob) for label, fit in fits.items()}
    priors = {label: _prior_intervals(fit, ci_prob) for label, fit in fits.items()}
    tables = []
    for label, fit in fits.items():
        caption = f"Medians with {kind_of_interval(ci_prob)} intervals"
        if len(fits) > 1:
            caption += f", {label}"
        tables.append(_parameter_table(caption, fit, summaries[label], priors[label], ci_prob))

    drawings = [_densities(fits[main], summaries[main], priors[main], ci_prob)]
    with_exponent = {label: fits[label] for label in fits if "a_opt" in summaries[label].index}
    if with_exponent:
        drawings.append(_exponents(with_exponent, summaries, ci_prob))
    return Section(
        "posterior",
        "Posterior, prior and published values",
        _law_in_words(main, fits[main]),
        tuple(drawings),
        tuple(tables),
    )


def _law_in_words(name: str, fit: Fit) -> tuple[str, ...]:
    """Return the formula of a law, with the internal name of the model where it has another."""
    internal = fit.spec.name
    called = "" if name == internal else f" (called {internal} in commands)"
    return (f"The law of {in_sentence(name)}{called} is L = {fit.spec.law_object.formula}.",)


def _prior_intervals(fit: Fit, ci_prob: float) -> dict[str, Interval]:
    """Return the prior median and interval of each parameter and derived quantity, by name.

    Quantities with undefined draws are left out.
    """
    law = fit.spec.law_object
    prior = draws(fit, "prior")
    values = {str(name): prior[name].values for name in prior.data_vars}
    tail = tail_probability(ci_prob)
    columns = ("median", *interval_columns(ci_prob))
    found = {}
    # A wide prior can hold scales so large that they overflow to infinity.
    with np.errstate(all="ignore"):
        values |= law.derive({name: values[name] for name in law.parameter_names})
        for name, draw in values.items():
            if np.isnan(draw).any():
                continue
            # Quantiles that are draws: interpolation between infinite draws would give NaN.
            ends = np.quantile(draw, [0.5, tail, 1 - tail], method="inverted_cdf")
            found[name] = dict(zip(columns, ends.tolist(), strict=True))
    return found


def _parameter_table(
    caption: str, fit: Fit, posteriors: pd.DataFrame, priors: Mapping[str, Interval], ci_prob: float
) -> Table:
    """Return the summary of a fit with the priors and the published values."""
    law = fit.spec.law_object
    entries = fit.spec.published
    scales = {parameter.name for parameter in law.parameters if parameter.scale_of}
    rows = []
    for row in posteriors.reset_index().to_dict("records"):
        name = str(row["parameter"])
        is_scale = name in scales
        prior = Cell("-")
        if name in priors:
            prior = as_cell(priors[name], ci_prob, is_scale)
        published = [_published_cell(row[entry.label], is_scale) for entry in entries]
        # The smaller of the two effective sample sizes limits the accuracy of the row.
        ess = float(min(row["ess_bulk"], row["ess_tail"]))
        rows.append(
            (
                Cell(name),
                prior,
                as_cell(row, ci_prob, is_scale),
                *published,
                Cell(f"{row['r_hat']:.3f}", float(row["r_hat"])),
                Cell(f"{ess:.0f}", ess),
            )
        )
    published_labels = [entry.label for entry in entries]
    headings = ("parameter", "prior", "posterior", *published_labels, "R-hat", "ESS")
    notes = [_meanings(fit, posteriors)]
    counted_otherwise = [e for e in entries if e.counting not in ("", "total parameters")]
    notes += [f"{entry.label} counts {entry.counting}" for entry in counted_otherwise]
    return Table(caption, headings, tuple(rows), tuple(notes))


def _published_cell(value: float, is_scale: bool) -> Cell:
    """Return a published value as a cell; NaN, where nothing was published, has no number."""
    text = number(value, is_scale)
    if np.isfinite(value):
        return Cell(text, float(value))
    return Cell(text)


def _meanings(fit: Fit, posteriors: pd.DataFrame) -> str:
    """Return the meaning of each parameter of a summary, in one note."""
    meanings = dict(MEANINGS)
    for parameter in fit.spec.law_object.parameters:
        meanings[parameter.name] = parameter.meaning
        if parameter.unit == "loss":
            meanings[parameter.name] = with_unit(parameter.meaning, fit.runs.metric)
    parts = [f"{name}: {meanings[name]}" for name in posteriors.index if name in meanings]
    return "; ".join(parts)


def _width(ends: Sequence[float], logarithmic: bool) -> float:
    """Return the width of an interval along a linear or a logarithmic axis."""
    # The ends of a wide prior may be 0 or infinite, and the width is then not finite.
    with np.errstate(all="ignore"):
        low, high = np.log(ends) if logarithmic else np.asarray(ends)
        return float(high - low)


def _densities(
    fit: Fit, posteriors: pd.DataFrame, priors: Mapping[str, Interval], ci_prob: float
) -> Drawing:
    """Return the prior and posterior densities of the law's parameters."""
    ends = interval_columns(ci_prob)
    parts = []
    for parameter in fit.spec.law_object.parameters:
        name = parameter.name
        # Scales such as N_c are drawn on a logarithmic axis.
        logarithmic = parameter.scale_of is not None
        width = _width([float(posteriors[end][name]) for end in ends], logarithmic)
        prior_width = np.inf
        if name in priors:
            prior_width = _width([priors[name][end] for end in ends], logarithmic)
        if not np.isfinite(prior_width):
            parts.append(f"{name} (prior interval not finite)")
            continue
        parts.append(f"{name} {share_in_words(width / prior_width)}")
    alt = (
        "Prior and posterior densities of each parameter. Width of the posterior interval, along "
        f"the axis drawn, as a share of the prior interval: {', '.join(parts)}."
    )
    return drawing("parameters", posterior.parameters(fit), alt)


def _exponents(
    fits: Mapping[str, Fit], summaries: Mapping[str, pd.DataFrame], ci_prob: float
) -> Drawing:
    """Return the exponents of the compute-optimal frontiers with the published ones."""
    parts = []
    for label in fits:
        row: Any = summaries[label].loc["a_opt"]
        parts.append(f"{label} {spoken(as_cell(row, ci_prob))}")
    alt = (
        f"Exponent of N* on the compute-optimal frontier: {'; '.join(parts)}. Published values: "
        "0.73 by Kaplan et al., 0.46 to 0.50 by Hoffmann et al."
    )
    return drawing("exponents", posterior.frontier_exponents(fits, ci_prob), alt)


def fit_section(label: str, fit: Fit, ci_prob: float) -> Section:
    """Return the section on how closely the curve fits the runs, with the largest residuals.

    Its figures are the loss at equal compute, when the law has an optimum, and the residuals.
    """
    answer = posterior.at_runs(fit)
    tail = tail_probability(ci_prob)
    low, high = answer["new_run"].quantile([tail, 1 - tail], ("chain", "draw")).values
    covered = int(((low <= fit.runs.loss) & (fit.runs.loss <= high)).sum())
    share = share_in_words(covered / len(fit.runs))

    residuals = fit.runs.loss / answer["loss"].median(("chain", "draw")).values - 1
    sizes = np.abs(residuals)
    typical = float(np.median(sizes))
    largest = np.argsort(-sizes)[:LARGEST_RESIDUALS]
    names = fit.runs.table.index
    named = ", ".join(f"run {names[run]} ({residuals[run]:+.1%})" for run in largest)
    sentences = (
        f"{covered} of {len(fit.runs)} runs ({share}) lie inside the {kind_of_interval(ci_prob)} "
        f"interval of a new run with the same inputs. A share near {100 * ci_prob:g}% is expected, "
        "because the model was fitted to these runs. It does not test forecasts of other runs.",
        f"Half of the runs lie within {typical:.2%} of the curve of {in_sentence(label)}. "
        f"Largest residuals: {named}.",
    )

    drawings = []
    at_equal_compute = _isoflop(fit, ci_prob)
    if at_equal_compute is not None:
        drawings.append(at_equal_compute)
    alt = (
        f"Residuals against compute. Half of the runs lie within {typical:.2%} of the curve; the "
        f"largest residual is {residuals[largest[0]]:+.1%}. {share} of the runs lie inside their "
        "intervals."
    )
    drawings.append(drawing("residuals", posterior.residuals(fit, ci_prob, answer=answer), alt))
    return Section("fit", "Fit and residuals", sentences, tuple(drawings))


def _isoflop(fit: Fit, ci_prob: float) -> Drawing | None:
    """Return the figure of loss at equal compute, or None for a law without an optimum."""
    try:
        figure = plots.isoflop(fit, ci_prob)
    except QueryError:
        return None
    sets = isoflop_sets(fit.runs.C, fit.runs.N)
    if sets:
        where = f"at {len(sets)} budgets shared by several runs"
        budgets = [float(np.median(fit.runs.C[rows])) for rows in sets]
    else:
        where = "at budgets in the range of the runs"
        budgets = fit.runs.C.tolist()
    lowest, highest = format_quantity(min(budgets), 2), format_quantity(max(budgets), 2)
    alt = (
        f"Loss against parameters {where}, {lowest} to {highest} FLOP. At each budget the curve "
        "falls to the compute-optimal size and rises again."
    )
    return drawing("isoflop", figure, alt)
