"""The part of a report that answers further questions where it is read: draws that travel, and how far they agree."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scalebayes import plots
from scalebayes.costs.cost import SIX_ND
from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.frontier import frontier
from scalebayes.queries.optima.expected_optimum import expected_optimum
from scalebayes.reports.contract import Drawing, Live
from scalebayes.reports.figures import drawing
from scalebayes.reports.live.surfaces import (
    AMONG,
    BEND,
    BEYOND,
    Grid,
    Surfaces,
    components,
    draws_on,
    pack,
    thin,
    weights_around,
)

FAR = 1e26
"""Largest budget that may be asked for, or a hundred times the largest run."""
NODES, CHECKED = 33, (1, 4, 7, 10, 13, 16, 20, 24, 28, 31)
"""Budgets at which the frontier is known beforehand, and those of them at which what travels is checked."""
MARGIN = 0.4
"""Decades around the optimal sizes and data that may be asked for."""
NEARBY = 0.2
"""Decades around the runs in which draws bend as among them."""
RANKS = (12, 24, 48, 80)
ENOUGH, TOLERANCE = 0.005, 0.01
"""Agreement at which no further components are taken, and beyond which there is no live part."""
SERVED = (9.0, 15.0)
"""log10 of tokens served that may be asked for, besides none."""


@dataclass(frozen=True)
class Ahead:
    """The frontier at budgets over all that may be asked for: log10 C (nodes,), log10 N and log10 D (S, nodes).

    ``kept`` are the draws that travel, thinned in the order of their N* at the largest budget.
    """

    log_C: np.ndarray
    log_N: np.ndarray
    log_D: np.ndarray
    kept: np.ndarray


def live_part(
    whole: Fit | Average, fits: Mapping[str, Fit], ci_prob: float
) -> tuple[Live | None, str]:
    """Return the embedded data, or None and the reason (no optimum; curve not smooth enough)."""
    if any(fit.spec.law_object.inputs != ("N", "D") for fit in fits.values()):
        return None, "it supports only laws of N and D"
    try:
        ahead = _look_ahead(whole)
        surfaces = _surfaces(whole, ahead, ci_prob)
    except QueryError as reason:
        return None, f"the frontier could not be computed: {reason}"
    if (error := _error(surfaces, ahead, ahead.kept, ci_prob)) > TOLERANCE:
        return None, (f"its grid changes N* by {error:.1%}, more than the allowed {TOLERANCE:.1%}")
    error = _error(surfaces, ahead, slice(None), ci_prob)
    figure = plots.frontier(fits, C=10.0**ahead.log_C, ci_prob=ci_prob)
    alt = "Compute-optimal parameters against compute, with marks at the run and at the optimum asked for above."
    drawn = drawing("live-frontier", figure, alt)
    kept, count = surfaces.draws, ahead.log_N.shape[0]
    of = f"{kept} of {count} posterior draws" if kept < count else f"All {kept} posterior draws"
    sentence = (
        f"{of} of the curve travel in this page, on a grid, and a script of its own asks each of them. Medians and "
        f"ends of intervals of N* agree with those of the package to {np.ceil(1000 * error) / 1000:.1%} or better at "
        f"{len(CHECKED)} budgets, checked when the page was made."
    )
    settings = _settings(whole, ahead, surfaces, ci_prob) | {"axes": _axes(figure, drawn)}
    return Live(sentence, settings, _arrays(surfaces), drawn), ""


def _look_ahead(whole: Fit | Average) -> Ahead:
    compute = whole.runs.C
    log_C = np.linspace(np.log10(compute.min()), np.log10(max(FAR, 100 * compute.max())), NODES)
    best = frontier(whole, C=10.0**log_C)
    log_N, log_D = (np.log10(best[name].values).reshape(-1, NODES) for name in ("N", "D"))
    return Ahead(log_C, log_N, log_D, thin(whole, log_N[:, -1]))


def _rectangle(whole: Fit | Average, ahead: Ahead) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest log10 N and log10 D that may be asked for."""
    sides = []
    for values, known in ((ahead.log_N, whole.runs.N), (ahead.log_D, whole.runs.D)):
        low, high = np.quantile(values, [0.002, 0.998], axis=0)
        sides.append(
            (min(low.min(), np.log10(known.min())), max(high.max(), np.log10(known.max())))
        )
    low, high = np.transpose(sides)
    return low - MARGIN, high + MARGIN


def _surfaces(whole: Fit | Average, ahead: Ahead, ci_prob: float) -> Surfaces:
    """What travels, in as few components as agree with the draws that are kept."""
    low, high = _rectangle(whole, ahead)
    among = np.log10([(x.min(), x.max()) for x in (whole.runs.N, whole.runs.D)]) + np.array(
        [-NEARBY, NEARBY]
    )
    grid = Grid.over(low, high, among)
    draws = draws_on(whole, grid, ahead.kept)
    sizes = np.quantile(ahead.log_N, [0.02, 0.98], axis=0)
    found = components(draws, weights_around(grid, ahead.log_C, *sizes), RANKS[-1])
    packed = (pack(draws, found, rank) for rank in RANKS[:-1])
    close = (
        surfaces for surfaces in packed if _error(surfaces, ahead, ahead.kept, ci_prob) <= ENOUGH
    )
    return next(close, None) or pack(draws, found, RANKS[-1])


def _error(surfaces: Surfaces, ahead: Ahead, beside: np.ndarray | slice, ci_prob: float) -> float:
    """Largest relative difference of the median and the bounds of N*, at some budgets, from those of draws `beside`."""
    tail = (1 - ci_prob) / 2
    levels, worst = [tail, 0.5, 1 - tail], 0.0
    for i in CHECKED:
        start = 10.0 ** ahead.log_N[ahead.kept, i]
        try:
            found = expected_optimum(surfaces, start, 10.0 ** ahead.log_C[i], SIX_ND)
        except QueryError:  # the grid ends before the optimum of some draw
            return np.inf
        apart = np.quantile(found, levels) / np.quantile(10.0 ** ahead.log_N[beside, i], levels) - 1
        worst = max(worst, float(np.abs(apart).max()))
    return worst


def _settings(
    whole: Fit | Average, ahead: Ahead, surfaces: Surfaces, ci_prob: float
) -> dict[str, Any]:
    grid = surfaces.grid
    low, high = _rectangle(whole, ahead)
    return {
        "ci_prob": ci_prob,
        "draws": surfaces.draws,
        "wide": surfaces.wide_draws.shape[1],
        "narrow": surfaces.narrow_draws.shape[1],
        "scales": surfaces.scales.tolist(),
        "first": grid.first,
        "sizes": grid.sizes,
        "among": grid.among,
        "nodes": [AMONG, BEYOND, BEND],
        "N": [float(low[0]), float(high[0])],
        "D": [float(low[1]), float(high[1])],
        "C": [float(ahead.log_C[0]), float(ahead.log_C[-1])],
        "T": SERVED,
        "largest": float(np.log10(whole.runs.max_compute)),
        "start": _start(whole, ahead),
    }


def _start(whole: Fit | Average, ahead: Ahead) -> dict[str, float]:
    """Where the sliders stand at first: the optimum at ten times the largest run."""
    at = float(np.log10(whole.runs.max_compute)) + 1.0
    log_N = float(np.interp(at, ahead.log_C, np.median(ahead.log_N, axis=0)))
    return {"N": log_N, "D": at - float(np.log10(6.0)) - log_N, "C": at}


def _axes(figure: Figure, drawn: Drawing) -> dict[str, list[float]]:
    """Where the axes lie in the drawing, and the log10 of what they span."""
    (axes,) = figure.axes
    place = axes.get_position()
    width, height = (float(x) for x in drawn.box.split()[2:])
    x, y = (np.log10(limits).tolist() for limits in (axes.get_xlim(), axes.get_ylim()))
    corners = (place.x0 * width, (1 - place.y0) * height, place.x1 * width, (1 - place.y1) * height)
    box = [float(edge) for edge in corners]
    return {"x": x, "y": y, "box": box}


def _arrays(surfaces: Surfaces) -> dict[str, str]:
    arrays = {
        "mean": surfaces.mean,
        "unseen": surfaces.unseen,
        "components": surfaces.components,
        "wideDraws": surfaces.wide_draws.T,
        "narrowDraws": surfaces.narrow_draws.T,
        "levels": surfaces.levels,
    }
    return {
        name: base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
        for name, values in arrays.items()
    }
