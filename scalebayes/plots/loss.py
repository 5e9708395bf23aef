"""Figures: a function of our objects each, here or in the modules that this one brings together.

Here are loss at equal compute, how far ahead a law is asked to see, and how to spend a budget. Every
function returns a `matplotlib.figure.Figure` that pyplot does not know: nothing global changes, nothing stays
open. A notebook shows it as the value of a cell; `save` writes it to a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import chain, cycle
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalebayes.data.subsets import isoflop_sets
from scalebayes.datasets import allocations
from scalebayes.errors import QueryError
from scalebayes.plots.style import (
    FAINT,
    INK,
    MARKERS,
    SIZE,
    STYLES,
    THIN_DASHES,
    Band,
    Colour,
    canvas,
    caption,
    draw_band,
    draw_optimum,
    draw_runs,
    hang_models,
    label_ends,
    limits,
    literally,
    loss_ticks,
    mark_beyond,
    place_models,
    power,
    quantity_ticks,
    shades,
)
from scalebayes.posterior.fit import Fit
from scalebayes.queries.frontier import frontier as optimum
from scalebayes.queries.inputs import quantities
from scalebayes.queries.predict import predict
from scalebayes.specs.spec import read_model
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.units import format_quantity

type Quantities = float | str | Iterable[float | str]
"""Numbers, or text such as "1e24"."""

FAR = 1e26
"""FLOP to which figures look ahead by default."""
COMPUTE = "Training compute C (FLOP)"
POINTS = 61
"""Points along a curve."""


def isoflop(fit: Fit, ci_prob: float = CI_PROB) -> Figure:
    r"""Draw loss against N at equal compute, :math:`L(N, C / 6N)`, for each budget that several runs share.

    Budgets are those of `isoflop_sets`; where the runs have none, powers of ten among theirs.

    Parameters
    ----------
    fit
        A fit of a law of N and D.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        The runs, each budget's curve with its interval, and its compute-optimal point with the interval of N*.

    Raises
    ------
    QueryError
        When the law has no compute-optimal point (`scalebayes.frontier`).
    """
    runs, sets = fit.runs, isoflop_sets(fit.runs.C, fit.runs.N)
    budgets = np.array([np.median(runs.C[s]) for s in sets]) if sets else _round_budgets(runs.C)
    best = optimum(fit, C=budgets)
    size, level = _band(best, "N", ci_prob), _band(best, "loss", ci_prob)
    title = f"Loss at equal compute: {fit.spec.name} on {literally(fit.runs.name)}"
    axes = canvas(title, "Parameters N", "Loss (nats per token)")
    axes.set_ylim(limits([runs.loss, *level], 0.05))
    alone = np.setdiff1d(np.arange(len(runs)), [i for s in sets for i in s])
    draw_runs(axes, runs.N[alone], runs.loss[alone], FAINT if sets else shades(runs.C, budgets))
    reach = [runs.N, *size]
    for i, (budget, colour, marker) in enumerate(
        zip(budgets, shades(budgets, budgets), cycle(MARKERS), strict=False)
    ):
        near = np.array([*(runs.N[sets[i]] if sets else runs.N), size[0][i], size[2][i]])
        reach.append(_draw_budget(axes, fit, budget, near, colour, ci_prob))
        if sets:
            axes.plot(
                runs.N[sets[i]],
                runs.loss[sets[i]],
                marker,
                color=colour,
                ms=4,
                mew=0.5,
                mec="white",
                zorder=3,
            )
        draw_optimum(axes, tuple(edge[i] for edge in size), level[1][i], marker)
    axes.plot(size[1], level[1], ":", color=INK, lw=1.1, zorder=4)
    axes.set_xlim(limits(reach, 0.03, right=0.09))
    quantity_ticks(axes.xaxis, format_quantity)
    loss_ticks(axes.yaxis)
    which = "that several runs share" if sets else "within the runs' own (darker: less)"
    what = (
        f"Curves, bands: the law at budgets in FLOP {which}. White markers, bars: compute-optimal N"
    )
    return caption(axes, f"{what}.\n{_facts([fit], ci_prob)}")


def extrapolation(
    fits: Fit | Mapping[str, Fit], C: Quantities | None = None, ci_prob: float = CI_PROB
) -> Figure:
    """Draw loss against compute, min L(N, D) subject to 6 N D = C, from the smallest run to far beyond the largest.

    At each budget both intervals are those of a run of the median compute-optimal N. A law of C needs no optimum.

    Parameters
    ----------
    fits
        One fit, or several by label.
    C
        Budgets in FLOP, two or more, as `scalebayes.frontier` takes them; by default from the smallest run to 1e26.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        For each fit the interval of the curve (dark) and of a new run (light); the runs; what lies beyond them;
        the budgets of known models, whose losses on these data nobody knows.

    Raises
    ------
    QueryError
        When a law has no compute-optimal point, or fewer than two budgets are given.
    """
    named = _named(fits)
    budgets = _budgets(named.values(), C)
    ahead = [_along(fit, budgets) for fit in named.values()]
    curves, new_runs = (
        [_band(d, quantity, ci_prob) for d in ahead] for quantity in ("loss", "new_run")
    )
    tables = {fit.runs.hash: fit.runs for fit in named.values()}.values()
    axes = canvas("Loss along the compute-optimal frontier", COMPUTE, "Loss (nats per token)")
    in_view = [runs.loss[runs.table["C"].between(budgets[0], budgets[-1])] for runs in tables]
    axes.set(xlim=limits([budgets]), ylim=limits([*chain(*new_runs), *in_view], 0.05))
    quantity_ticks(axes.xaxis, power)
    loss_ticks(axes.yaxis)
    for runs, marker in zip(tables, cycle(MARKERS), strict=False):
        draw_runs(axes, runs.C, runs.loss, FAINT, marker)
    for curve, new, (colour, dashes) in zip(curves, new_runs, cycle(STYLES), strict=False):
        draw_band(axes, budgets, new, colour, None, alpha=0.13)
        draw_band(axes, budgets, curve, colour, dashes, alpha=0.45)
    label_ends(axes, _ends(named, curves))
    mark_beyond(axes, [fit.runs.max_compute for fit in named.values()])
    hang_models(axes)
    what = "Dark bands: the curve; light bands: a new run. Grey points: runs. Stems: budgets of known models"
    return caption(axes, f"{what}.\n{_facts(named.values(), ci_prob)}")


def frontier(
    fits: Fit | Mapping[str, Fit], C: Quantities | None = None, ci_prob: float = CI_PROB
) -> Figure:
    r"""Draw compute-optimal parameters against compute, :math:`N^*(C)`, beside published lines and known models.

    Parameters
    ----------
    fits
        One fit, or several by label.
    C
        Budgets in FLOP, two or more, as `scalebayes.frontier` takes them; by default from the smallest run to 1e26.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        For each fit the median and the interval of N*; `published_frontiers` as thin lines; known models at C = 6 N D.

    Raises
    ------
    QueryError
        When a law has no compute-optimal point, or fewer than two budgets are given.
    """
    named = _named(fits)
    budgets = _budgets(named.values(), C)
    bands = [_band(optimum(fit, C=budgets), "N", ci_prob) for fit in named.values()]
    lines = published_frontiers(budgets)
    axes = canvas("Compute-optimal model size", COMPUTE, "Compute-optimal parameters N*")
    axes.set(xlim=limits([budgets]), ylim=limits([*lines.values(), *chain(*bands)], 0.04))
    quantity_ticks(axes.xaxis, power)
    quantity_ticks(axes.yaxis, format_quantity)
    for band, (colour, dashes) in zip(bands, cycle(STYLES), strict=False):
        draw_band(axes, budgets, band, colour, dashes, alpha=0.28)
    for N, dashes in zip(lines.values(), cycle(THIN_DASHES), strict=False):
        axes.plot(budgets, N, color=INK, ls=dashes, lw=0.8, zorder=3)
    label_ends(axes, [*_ends(named, bands), *((N[-1], label, INK) for label, N in lines.items())])
    mark_beyond(axes, [fit.runs.max_compute for fit in named.values()])
    place_models(axes, budgets, bands[0][1])
    what = "Bands: compute-optimal N of each fit. Thin lines: published. Points: known models at C = 6ND"
    return caption(axes, f"{what}.\n{_facts(named.values(), ci_prob)}")


def published_frontiers(C: np.ndarray) -> dict[str, np.ndarray]:
    """Gather published N*(C) by label: lines printed with a point on them, and laws fitted to the Chinchilla runs."""
    lines = {}
    for label, row in allocations().dropna(subset=["N_ref"]).iterrows():
        counts = "" if row["counts"] == "total" else f" ({row['counts']})"
        lines[f"{label}{counts}"] = row["N_ref"] * (C / row["C_ref"]) ** row["exponent"]
    spec = read_model("chinchilla")
    labels = {"hoffmann2022": "Hoffmann, approach 3", "besiroglu2024": "Besiroglu et al."}
    for entry in spec.published:
        if entry.source in labels:
            values = spec.law_object.from_notation(entry.values)
            lines[labels[entry.source]] = spec.law_object.optimise(C / 6.0, values)
    return lines


def _draw_budget(
    axes: Axes, fit: Fit, budget: float, near: np.ndarray, colour: Colour, ci_prob: float
) -> np.ndarray:
    """Draw and label the curve of one budget as far as its loss is in view; gives the sizes drawn."""
    N = np.geomspace(near.min() / 1.25, near.max() * 1.25, POINTS)
    curve = np.array(_band(predict(fit, N=N, C=budget), "loss", ci_prob))
    seen = curve[1] < axes.get_ylim()[1]
    N, curve = N[seen], curve[:, seen]
    draw_band(axes, N, tuple(curve), colour, alpha=0.22)
    text, end = format_quantity(budget, 2), (N[-1], curve[1][-1])
    axes.annotate(text, end, (4, -1), textcoords="offset points", size=SIZE, color=colour)
    return N


def _named(fits: Fit | Mapping[str, Fit]) -> dict[str, Fit]:
    named = {fits.spec.name: fits} if isinstance(fits, Fit) else dict(fits)
    if not named:
        raise QueryError("there is no fit to draw: give one, or several by label")
    return named


def _budgets(fits: Iterable[Fit], C: Quantities | None) -> np.ndarray:
    """Budgets as given, in order; else from the smallest run to 1e26, or to ten times the largest run."""
    if C is None:
        compute = np.concatenate([fit.runs.C for fit in fits])
        return np.geomspace(compute.min(), max(FAR, 10 * compute.max()), POINTS)
    given = np.unique(quantities(C, "C"))
    if len(given) < 2:
        raise QueryError(f"a curve needs two budgets or more; got C = {format_quantity(given[0])}")
    return given


def _round_budgets(C: np.ndarray) -> np.ndarray:
    """Powers of ten among budgets, or their ends where there are not two."""
    powers = 10.0 ** np.arange(math.ceil(math.log10(C.min())), math.floor(math.log10(C.max())) + 1)
    return powers if len(powers) > 1 else np.unique([C.min(), C.max()])


def _along(fit: Fit, budgets: np.ndarray) -> xr.Dataset:
    """Loss at each budget and median compute-optimal N; one call a budget, whose one seed keeps the bands smooth."""
    sizes: Iterable[Any] = [None] * len(budgets)
    if fit.spec.law_object.inputs != ("C",):
        sizes = optimum(fit, C=budgets)["N"].median(("chain", "draw")).values
    runs: list[xr.Dataset] = [
        predict(fit, N=N, C=budget) for N, budget in zip(sizes, budgets, strict=True)
    ]
    return xr.concat(runs, "target")


def _band(dataset: xr.Dataset, quantity: str, ci_prob: float) -> Band:
    lower, upper = interval_columns(ci_prob)
    table = intervals(dataset[[quantity]], ci_prob)
    return table[lower].to_numpy(), table["median"].to_numpy(), table[upper].to_numpy()


def _ends(named: Mapping[str, Fit], bands: Iterable[Band]) -> list[tuple[float, str, str]]:
    return [
        (band[1][-1], literally(label), style[0])
        for label, band, style in zip(named, bands, cycle(STYLES), strict=False)
    ]


def _facts(fits: Iterable[Fit], ci_prob: float) -> str:
    """Probability and kind of the intervals, and the runs they rest on."""
    tables = dict.fromkeys(f"{literally(fit.runs.name)} ({len(fit.runs)} runs)" for fit in fits)
    return f"Intervals: {100 * ci_prob:g}% equal-tailed. Data: {', '.join(tables)}."
