"""Figures of loss and of compute-optimal size: isoFLOP curves, extrapolation, the frontier."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalebayes.data.metrics import loss_label, one_metric
from scalebayes.data.subsets import isoflop_sets
from scalebayes.datasets import allocations
from scalebayes.errors import QueryError
from scalebayes.plots.labels import (
    CurveEnd,
    LabelledPoint,
    label_curve_ends,
    label_in_axes,
    mark_model_budgets,
    mark_models,
    shade_beyond_runs,
)
from scalebayes.plots.names import model_name, named_fits
from scalebayes.plots.style import (
    FAINT,
    INK,
    MARKERS,
    STYLES,
    THIN_DASHES,
    Band,
    Colour,
    LineStyle,
    add_caption,
    data_source,
    draw_band,
    draw_edged_band,
    draw_runs,
    escape_dollars,
    format_power_of_ten,
    interval_band,
    log_limits,
    log_log_axes,
    loss_ticks,
    quantity_ticks,
    shades_by_size,
)
from scalebayes.posterior.fit import Fit
from scalebayes.queries.frontier import frontier as optimum
from scalebayes.queries.inputs import has_frontier, quantities
from scalebayes.queries.predict import predict
from scalebayes.specs.spec import read_model
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.text import kind_of_interval
from scalebayes.units import format_quantity

type Quantities = float | str | Iterable[float | str]
"""Numbers, or text such as "1e24"."""

FAR = 1e26
"""FLOP up to which figures extrapolate by default."""
COMPUTE = "Training compute C (FLOP)"
PARAMETERS = "Model size N (parameters)"
BUDGETS = 33
"""Budgets of a curve, about four a decade: each needs a search for the optimum of every draw."""
POINTS = 61
"""Points along a curve."""
APPROACHES = {"hoffmann2022": "Hoffmann, approach 3", "besiroglu2024": "Besiroglu et al."}
"""Labels of the published fits of Chinchilla's law whose frontiers are drawn, by source."""


def isoflop(fit: Fit, ci_prob: float = CI_PROB) -> Figure:
    r"""Figure of the loss against N at equal compute, :math:`L(N, C / 6N)`, at several budgets.

    The budgets are those that several runs share (`isoflop_sets`), or else powers of ten within
    the range of the runs.

    Parameters
    ----------
    fit
        A fit of a law of N and D.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        The runs, the curve of each budget with its interval, and the compute-optimal point of
        each budget with the interval of N*.

    Raises
    ------
    QueryError
        When the law has no compute-optimal point (`scalebayes.frontier`).
    """
    runs = fit.runs
    sets = isoflop_sets(runs.C, runs.N)
    if sets:
        budgets = np.array([np.median(runs.C[rows]) for rows in sets])
    else:
        budgets = _round_budgets(runs.C)
    best = optimum(fit, C=budgets)
    size = interval_band(best, "N", ci_prob)
    level = interval_band(best, "loss", ci_prob)

    title = f"Loss at equal compute: {escape_dollars(model_name(fit))}"
    axes = log_log_axes(title, PARAMETERS, loss_label(runs.metric))
    axes.set_ylim(log_limits([runs.loss, *level], 0.05))
    if sets:
        others = np.setdiff1d(np.arange(len(runs)), np.concatenate(sets))
        draw_runs(axes, runs.N[others], runs.loss[others], FAINT)
    else:
        draw_runs(axes, runs.N, runs.loss, shades_by_size(runs.C, budgets))
    sizes_drawn = [runs.N, *size]
    ends = []
    colours_and_markers = zip(shades_by_size(budgets, budgets), cycle(MARKERS), strict=False)
    for i, (colour, marker) in enumerate(colours_and_markers):
        own_sizes = runs.N[sets[i]] if sets else runs.N
        near = np.array([*own_sizes, size.lower[i], size.upper[i]])
        sizes, end = _draw_budget(axes, fit, budgets[i], near, colour, ci_prob)
        sizes_drawn.append(sizes)
        ends.append(end)
        if sets:
            own_losses = runs.loss[sets[i]]
            axes.plot(
                own_sizes, own_losses, marker, color=colour, ms=4, mew=0.5, mec="white", zorder=3
            )
        interval = (size.lower[i], size.median[i], size.upper[i])
        _draw_optimum(axes, interval, level.median[i], marker)
    axes.plot(size.median, level.median, ":", color=INK, lw=1.1, zorder=4)
    axes.set_xlim(log_limits(sizes_drawn, 0.03, right=0.09))
    quantity_ticks(axes.xaxis, format_quantity)
    loss_ticks(axes.yaxis)
    label_in_axes(axes, ends)

    which = "within the runs' range (darker: less). Points: runs."
    if sets:
        which = "shared by several runs: the coloured ones. Grey points: other runs."
    return add_caption(
        axes,
        f"Curves and bands: loss at budgets in FLOP {which} "
        "White markers and bars: compute-optimal N; dotted: its path.",
        _intervals_and_data([fit], ci_prob),
    )


def extrapolation(
    fits: Fit | Mapping[str, Fit], C: Quantities | None = None, ci_prob: float = CI_PROB
) -> Figure:
    """Figure of the least loss, min L(N, D) subject to 6 N D = C, against compute C.

    At each budget both intervals are those of a run of the median compute-optimal N. The loss of a
    law of C alone is drawn without an optimum.

    Parameters
    ----------
    fits
        One fit, or several by label.
    C
        Two or more budgets in FLOP, as `scalebayes.frontier` takes them; by default from the
        smallest run to 1e26.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        For each fit the interval of the curve (dark) and of a new run (light); the runs; the
        budgets beyond the largest run, shaded; and the budgets of known models, whose losses on
        these data are unknown.

    Raises
    ------
    QueryError
        When a law has no compute-optimal point, fewer than two budgets are given, or the metrics
        of the runs differ.
    """
    named = _named(fits)
    metric = one_metric({label: fit.runs.metric for label, fit in named.items()})
    budgets = _budgets(named.values(), C)
    curves = []
    new_runs = []
    for fit in named.values():
        answer = _along_frontier(fit, budgets)
        curves.append(interval_band(answer, "loss", ci_prob))
        new_runs.append(interval_band(answer, "new_run", ci_prob))
    tables = {fit.runs.hash: fit.runs for fit in named.values()}.values()

    losses_in_view = [edge for band in new_runs for edge in band]
    for runs in tables:
        is_in_view = runs.table["C"].between(budgets[0], budgets[-1])
        losses_in_view.append(runs.loss[is_in_view])
    title = "Loss along the compute-optimal frontier"
    axes = log_log_axes(title, COMPUTE, loss_label(metric))
    axes.set(xlim=log_limits([budgets]), ylim=log_limits(losses_in_view, 0.05))
    quantity_ticks(axes.xaxis, format_power_of_ten)
    loss_ticks(axes.yaxis)
    for runs, marker in zip(tables, cycle(MARKERS), strict=False):
        draw_runs(axes, runs.C, runs.loss, FAINT, marker)
    for curve, new_run, style in zip(curves, new_runs, cycle(STYLES), strict=False):
        draw_edged_band(axes, budgets, new_run, style.colour, alpha=0.13)
        draw_band(axes, budgets, curve, style, alpha=0.45)
    label_curve_ends(axes, _curve_ends(named, curves))
    shade_beyond_runs(axes, [fit.runs.max_compute for fit in named.values()])
    mark_model_budgets(axes)
    return add_caption(
        axes,
        "Dark bands: the loss curve; light bands: a new run, noise included. "
        "Grey points: runs. Shaded: beyond them. Stems: budgets of known models.",
        _intervals_and_data(named.values(), ci_prob),
    )


def frontier(
    fits: Fit | Mapping[str, Fit], C: Quantities | None = None, ci_prob: float = CI_PROB
) -> Figure:
    r"""Figure of the compute-optimal parameters :math:`N^*(C)` against compute C.

    Parameters
    ----------
    fits
        One fit, or several by label.
    C
        Two or more budgets in FLOP, as `scalebayes.frontier` takes them; by default from the
        smallest run to 1e26.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        For each fit the median and the interval of N*; `published_frontiers` as thin lines; known
        models at C = 6 N D.

    Raises
    ------
    QueryError
        When a law has no compute-optimal point, or fewer than two budgets are given.
    """
    named = _named(fits)
    budgets = _budgets(named.values(), C)
    bands = [interval_band(optimum(fit, C=budgets), "N", ci_prob) for fit in named.values()]
    published = published_frontiers(budgets)
    sizes_in_view = [*published.values()]
    for band in bands:
        sizes_in_view.extend(band)

    axes = log_log_axes(
        "Compute-optimal model size", COMPUTE, "Compute-optimal size N* (parameters)"
    )
    axes.set(xlim=log_limits([budgets]), ylim=log_limits(sizes_in_view, 0.04))
    quantity_ticks(axes.xaxis, format_power_of_ten)
    quantity_ticks(axes.yaxis, format_quantity)
    for band, style in zip(bands, cycle(STYLES), strict=False):
        draw_band(axes, budgets, band, style, alpha=0.28)
    ends = _curve_ends(named, bands)
    for (label, N), dashes in zip(published.items(), cycle(THIN_DASHES), strict=False):
        axes.plot(budgets, N, color=INK, ls=dashes, lw=0.8, zorder=3)
        ends.append(CurveEnd(N[-1], label, INK))
    label_curve_ends(axes, ends)
    shade_beyond_runs(axes, [fit.runs.max_compute for fit in named.values()])
    mark_models(axes, budgets, bands[0].median)
    return add_caption(
        axes,
        "Lines and bands: compute-optimal N of each fit. Thin lines: published. "
        "Points: known models at C = 6ND. Shaded: beyond the runs.",
        _intervals_and_data(named.values(), ci_prob),
    )


def published_frontiers(C: np.ndarray) -> dict[str, np.ndarray]:
    """Published N*(C) by label, shape (budgets,).

    They are power laws printed together with one of their points, and the frontiers of published
    fits of Chinchilla's law.
    """
    lines = {}
    for label, row in allocations().dropna(subset=["N_ref"]).iterrows():
        name = str(label)
        if row["counts"] != "total":
            name = f"{name} ({row['counts']})"
        lines[name] = row["N_ref"] * (C / row["C_ref"]) ** row["exponent"]
    spec = read_model("chinchilla")
    law = spec.law_object
    for entry in spec.published:
        if entry.source in APPROACHES:
            values = law.from_notation(entry.values)
            lines[APPROACHES[entry.source]] = law.optimise(C / 6.0, values)
    return lines


def _draw_budget(
    axes: Axes, fit: Fit, budget: float, near: np.ndarray, colour: Colour, ci_prob: float
) -> tuple[np.ndarray, LabelledPoint]:
    """Draw the part of one budget's curve that is in view; return its sizes N and its label.

    near : sizes that the curve must cover.
    """
    N = np.geomspace(near.min() / 1.25, near.max() * 1.25, POINTS)
    curve = interval_band(predict(fit, N=N, C=budget, new_run=False), "loss", ci_prob)
    is_in_view = curve.median < axes.get_ylim()[1]
    N = N[is_in_view]
    curve = Band(curve.lower[is_in_view], curve.median[is_in_view], curve.upper[is_in_view])
    draw_band(axes, N, curve, LineStyle(colour, "-"), alpha=0.22)
    end = LabelledPoint((N[-1], curve.median[-1]), format_quantity(budget, 2), colour)
    return N, end


def _draw_optimum(
    axes: Axes, interval: tuple[float, float, float], loss: float, marker: str
) -> None:
    """Mark a compute-optimal point with the interval of its N (lower, median, upper)."""
    lower, median, upper = interval
    axes.errorbar(
        median,
        loss,
        xerr=[[median - lower], [upper - median]],
        fmt=marker,
        color=INK,
        ms=4.5,
        mfc="white",
        mew=1,
        elinewidth=1.2,
        capsize=2.5,
        zorder=5,
    )


def _named(fits: Fit | Mapping[str, Fit]) -> dict[str, Fit]:
    """Return fits by names for people (`named_fits`)."""
    if not isinstance(fits, Fit) and not fits:
        raise QueryError("there is no fit to draw: give one, or several by label")
    return named_fits(fits)


def _budgets(fits: Iterable[Fit], C: Quantities | None) -> np.ndarray:
    """Return the given budgets in rising order, or the default ones.

    The default is that of `default_budgets`.
    """
    if C is None:
        return default_budgets(np.concatenate([fit.runs.C for fit in fits]))
    given = np.unique(quantities(C, "C"))
    if len(given) < 2:
        raise QueryError(f"a curve needs two budgets or more; got C = {format_quantity(given[0])}")
    return given


def default_budgets(compute: np.ndarray) -> np.ndarray:
    """Return budgets from the smallest run to 1e26 FLOP, or to 100 times the largest if more."""
    return np.geomspace(compute.min(), max(FAR, 100 * compute.max()), BUDGETS)


def _round_budgets(C: np.ndarray) -> np.ndarray:
    """Return the powers of ten within the range of C; if fewer than two, its ends."""
    first = math.ceil(math.log10(C.min()))
    last = math.floor(math.log10(C.max()))
    powers = 10.0 ** np.arange(first, last + 1)
    if len(powers) > 1:
        return powers
    return np.unique([C.min(), C.max()])


def _along_frontier(fit: Fit, budgets: np.ndarray) -> xr.Dataset:
    """Return the loss and a new run's loss at each budget and its median compute-optimal N."""
    run: dict[str, Any] = {"C": budgets}
    if has_frontier(fit):
        run["N"] = optimum(fit, C=budgets)["N"].median(("chain", "draw")).values
    answer = predict(fit, **run, new_run=False)
    # A draw has the same noise at every budget, so that the bands are smooth.
    one = predict(fit, **{name: values[0] for name, values in run.items()})
    noise = (one["new_run"] / one["loss"]).values
    return answer.assign(new_run=answer["loss"] * noise)


def _curve_ends(named: Mapping[str, Fit], bands: Iterable[Band]) -> list[CurveEnd]:
    """Return the label of each fit at the last value of its median."""
    ends = []
    for label, band, style in zip(named, bands, cycle(STYLES), strict=False):
        ends.append(CurveEnd(band.median[-1], escape_dollars(label), style.colour))
    return ends


def _intervals_and_data(fits: Iterable[Fit], ci_prob: float) -> str:
    """Return the kind of the intervals and the tables of runs, for a caption."""
    return f"Intervals: {kind_of_interval(ci_prob)}. {data_source(fits)}."
