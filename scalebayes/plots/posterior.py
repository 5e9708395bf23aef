"""Figures of a posterior: residuals, densities of parameters beside their priors, exponents.

Two of them can also be drawn by ArviZ as Plotly figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from scalebayes.plots import interactive
from scalebayes.plots.interactive import Backend
from scalebayes.plots.names import named_fits
from scalebayes.plots.sizes import SIZE, SMALL, SpacedLocator
from scalebayes.plots.style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    QUIET,
    STYLES,
    TITLE,
    add_caption,
    data_source,
    draw_densities,
    draw_runs,
    escape_dollars,
    format_power_of_ten,
    log_limits,
    log_log_axes,
    new_figure,
    quantity_ticks,
    style_axes,
)
from scalebayes.posterior.fit import Fit, draws
from scalebayes.queries.inputs import refuse_scores
from scalebayes.queries.predict import predict
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.summary import exponents, published_values
from scalebayes.summaries.text import kind_of_interval
from scalebayes.units import format_quantity
from scalebayes.utils.shares import tail_probability

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from plotly.graph_objects import Figure as PlotlyFigure

PANELS_IN_ROW = 4
INPUT_UNITS = {
    "N": "parameters",
    "D": "tokens",
    "C": "FLOP",
    "S": "steps",
    "U": "unique tokens",
    "E": "experts",
}
"""Units of the inputs of laws."""
LETTERS_OF_A_VALUE = 5
"""Letters of a tick label such as 0.012."""
DENSITY_POINTS = 200
"""Points along a density."""


def at_runs(fit: Fit) -> xr.Dataset:
    """Posterior of the loss at the fit's own runs, as `predict` gives it."""
    refuse_scores(fit)
    inputs = {name: getattr(fit.runs, name) for name in fit.spec.law_object.inputs}
    return predict(fit, **inputs)


def residuals(fit: Fit, ci_prob: float = CI_PROB, *, answer: xr.Dataset | None = None) -> Figure:
    """Figure of observed over expected loss against compute, with intervals of a new run.

    The expected loss is the posterior median of the curve, with its discrepancy where the spec has
    one. For a table without compute, the first input of the law is on the horizontal axis.

    Parameters
    ----------
    fit
        A fit.
    ci_prob
        Probability of the equal-tailed intervals.
    answer
        The posterior of the loss at the runs, where it is known already (`at_runs`).
    """
    runs = fit.runs
    if answer is None:
        answer = at_runs(fit)
    expected = answer["loss"].median(("chain", "draw")).values
    tail = tail_probability(ci_prob)
    bounds = answer["new_run"].quantile([tail, 1 - tail], ("chain", "draw"))
    low, high = (bounds / expected - 1).values
    if "C" in runs.table:
        x, label, write_tick = runs.C, "Training compute C (FLOP)", format_power_of_ten
    else:
        name = fit.spec.law_object.inputs[0]
        x, write_tick = getattr(runs, name), format_quantity
        label = f"{name} ({INPUT_UNITS.get(name, 'no unit')})"
    title = "Residuals: observed over expected loss"
    axes = log_log_axes(title, label, "Observed over expected loss - 1 (%)")
    axes.set(yscale="linear", xlim=log_limits([x], 0.03))
    quantity_ticks(axes.xaxis, write_tick)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:+.1%}" if share else "0")
    axes.axhline(0.0, color=QUIET, lw=0.8)
    axes.vlines(x, low, high, color=BLUE, lw=0.8, alpha=0.35)
    draw_runs(axes, x, runs.loss / expected - 1, INK)
    return add_caption(
        axes,
        "Points: runs. Bars: intervals of the loss of a new run with the same inputs.",
        f"Intervals: {kind_of_interval(ci_prob)}. {data_source([fit])}.",
    )


@overload
def parameters(fit: Fit, backend: Literal["matplotlib"] = "matplotlib") -> Figure: ...
@overload
def parameters(fit: Fit, backend: Literal["plotly"]) -> PlotlyFigure: ...
def parameters(fit: Fit, backend: Backend = "matplotlib") -> Figure | PlotlyFigure:
    """Figure of the posterior of each parameter beside its prior and its published values.

    The parameters are those of the law and of the noise. Scales such as N_c, which range over
    decades, are drawn by their logarithm.

    Parameters
    ----------
    fit
        A fit whose tree holds draws of the prior.
    backend
        ``"plotly"`` for `arviz_plots.plot_prior_posterior` (the extra `plotly`), whose densities
        have one height.

    Raises
    ------
    QueryError
        When Plotly is asked for and not installed.
    """
    to_plotly = interactive.wanted(backend)
    law = fit.spec.law_object
    names = [*law.parameter_names, *fit.spec.scatter_names]
    log_scaled = {p.name for p in law.parameters if p.scale_of}
    # Every quantity below is a coordinate along an axis: log10 where the parameter is log-scaled.
    posterior = _axis_coordinates(draws(fit)[names], log_scaled)
    prior = _axis_coordinates(draws(fit, "prior")[names], log_scaled)
    sources = published_values(fit)
    published = {}
    ends = {}
    for name in names:
        values = [source.get(name, math.nan) for source in sources.values()]
        found = np.array([value for value in values if math.isfinite(value)])
        published[name] = np.log10(found) if name in log_scaled else found
        lowest = -math.inf if name in log_scaled else 0.0
        ends[name] = _axis_ends(posterior[name].values, published[name], lowest)
    if to_plotly:
        shown = log_scaled & {*names}
        return interactive.densities(prior, posterior, published, ends, shown)

    rows = math.ceil(len(names) / PANELS_IN_ROW)
    figure = new_figure(1.75 * rows + 0.3)
    units = _units(fit)
    panels = figure.subplots(rows, PANELS_IN_ROW, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        style_axes(panel, name, units.get(name, "no unit"), "")
        panel.xaxis.label.set_fontsize(SMALL)
        _draw_parameter(
            panel, prior[name].values.ravel(), posterior[name].values.ravel(), ends[name]
        )
        if len(published[name]):
            heights = np.full(len(published[name]), 0.05)
            panel.plot(published[name], heights, "v", color=ORANGE, ms=5)
        panel.set_xlim(ends[name])
        if name in log_scaled:
            panel.xaxis.set_major_formatter(lambda x, _: format_quantity(10.0**x, 2))
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.suptitle("Posterior beside prior", x=0.01, ha="left", **TITLE)
    marks = "Filled: posterior. Dashed line: prior."
    if sources:
        marks += " Triangles: published values."
    marks += " Heights are scaled, so they cannot be compared."
    return add_caption(panels[0], f"{marks} {data_source([fit])}.")


def _units(fit: Fit) -> dict[str, str]:
    """Return the units of the law's parameters that have one."""
    units = {}
    for parameter in fit.spec.law_object.parameters:
        if parameter.unit == "loss":
            units[parameter.name] = fit.runs.metric
        elif parameter.scale_of in INPUT_UNITS:
            units[parameter.name] = INPUT_UNITS[parameter.scale_of]
    return units


def _axis_coordinates(values: xr.Dataset, log_scaled: set[str]) -> xr.Dataset:
    """Return draws with the log-scaled parameters as log10."""
    changed = {
        name: np.log10(values[name]) for name in map(str, values.data_vars) if name in log_scaled
    }
    return values.assign(changed)


def _axis_ends(values: np.ndarray, published: np.ndarray, lowest: float) -> tuple[float, float]:
    """Return ends of an axis around nearly all draws and the published values, with margins.

    lowest : bound of the left end, such as 0 for a positive parameter.
    """
    in_view = [*np.quantile(values[np.isfinite(values)], [0.001, 0.999]), *published]
    margin = 0.25 * (max(in_view) - min(in_view))
    left = max(lowest, min(in_view) - margin)
    return float(left), float(max(in_view) + margin)


def _draw_parameter(
    axes: Any, prior: np.ndarray, posterior: np.ndarray, ends: tuple[float, float]
) -> None:
    """Draw the densities of one parameter between these ends of the axis."""
    from scipy.stats import gaussian_kde

    x = np.linspace(*ends, DENSITY_POINTS)
    # Draws of a fit that failed its convergence checks may be NaN.
    prior, posterior = prior[np.isfinite(prior)], posterior[np.isfinite(posterior)]
    draw_densities(axes, x, gaussian_kde(posterior)(x), gaussian_kde(prior)(x))
    axes.xaxis.set_major_locator(SpacedLocator(3, LETTERS_OF_A_VALUE))
    axes.xaxis.set_minor_locator(NullLocator())


@overload
def frontier_exponents(
    fits: Mapping[str, Fit], ci_prob: float = CI_PROB, backend: Literal["matplotlib"] = "matplotlib"
) -> Figure: ...
@overload
def frontier_exponents(
    fits: Mapping[str, Fit], ci_prob: float = CI_PROB, *, backend: Literal["plotly"]
) -> PlotlyFigure: ...
def frontier_exponents(
    fits: Mapping[str, Fit], ci_prob: float = CI_PROB, backend: Backend = "matplotlib"
) -> Figure | PlotlyFigure:
    """Figure of the exponent a of N* ~ C^a of each fit beside the exponents in the literature.

    Parameters
    ----------
    fits
        By label, of laws whose frontier has an exponent.
    ci_prob
        Probability of the equal-tailed intervals of the fits.
    backend
        ``"plotly"`` for `arviz_plots.plot_forest` (the extra `plotly`).

    Raises
    ------
    QueryError
        When Plotly is asked for and not installed.
    """
    to_plotly = interactive.wanted(backend)
    title = "Exponent of the compute-optimal frontier, N* ~ C^a"
    kind = kind_of_interval(ci_prob)
    table = exponents(named_fits(fits), ci_prob)
    labels = [_source_label(str(source), row) for source, row in table.iterrows()]
    if to_plotly:
        subtitle = f"fits with {kind} intervals, literature as printed"
        return interactive.forest(
            table.set_axis(labels), len(fits), f"{title}<br><sup>{subtitle}</sup>"
        )
    figure = new_figure(0.34 * len(table) + 1.4)
    figure.suptitle(title, x=0.01, ha="left", **TITLE)
    axes = figure.add_subplot()
    style_axes(axes, "", "Exponent a (no unit)", "")
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.xaxis.set_major_locator(SpacedLocator(8, LETTERS_OF_A_VALUE))
    for i, (_, row) in enumerate(table.iterrows()):
        if i < len(fits):
            colour, marker, width = STYLES[i % len(STYLES)].colour, "o", 1.6
        else:
            colour, marker, width = INK, "D", 1.0
        if np.isfinite(row["low"]):
            axes.plot([row["low"], row["high"]], [i, i], color=colour, lw=width)
        axes.plot([row["a"]], [i], marker, color=colour, ms=4.5)
    axes.set_yticks(range(len(table)), [escape_dollars(label) for label in labels], size=SIZE)
    axes.axhline(len(fits) - 0.5, color=FAINT, lw=0.7)
    axes.tick_params(axis="y", length=0, pad=SMALL)
    return add_caption(
        axes,
        f"Circles: fits, with {kind} intervals. Diamonds: published values, with intervals as "
        f"printed. {data_source(fits.values())}.",
    )


def _source_label(source: str, row: pd.Series) -> str:
    """Return the name of a source, marked if its N excludes the embedding parameters."""
    if row["counts"] == "non-embedding":
        return f"{source} (non-embedding)"
    return source
