"""Figures of what a fit rests on: its residuals, posterior beside prior, and exponents beside those of the literature.

As in `scalebayes.plots`, every function returns a Matplotlib figure that pyplot does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from scalebayes.drawing import (
    FAINT,
    INK,
    QUIET,
    SIZE,
    SMALL,
    STYLES,
    canvas,
    caption,
    draw_runs,
    dress,
    limits,
    literally,
    power,
    quantity_ticks,
)
from scalebayes.posterior import Fit, draws
from scalebayes.prediction import predict
from scalebayes.tables import CI_PROB, exponents, published_values
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

ACROSS = 4
"""Panels side by side."""
NODES = 200
"""Points along a density."""


def at_runs(fit: Fit) -> xr.Dataset:
    """Posterior of the loss at the fit's own runs, as `predict` gives it."""
    return predict(fit, **{x: getattr(fit.runs, x) for x in fit.spec.law_object.inputs})


def residuals(fit: Fit, ci_prob: float = CI_PROB) -> Figure:
    """Draw observed over expected loss against compute: each run beside the interval of a new run there.

    Expected is the posterior median of the curve, with its discrepancy where the spec has one. Without compute, the
    law's first input takes its place.

    Parameters
    ----------
    fit
        A fit.
    ci_prob
        Probability of the equal-tailed intervals.
    """
    runs, answer = fit.runs, at_runs(fit)
    x = "C" if "C" in runs.table else fit.spec.law_object.inputs[0]
    tail = (1 - ci_prob) / 2
    expected = answer["loss"].median(("chain", "draw")).values
    spread = (answer["new_run"].quantile([tail, 1 - tail], ("chain", "draw")) / expected - 1).values
    label = "Training compute C (FLOP)" if x == "C" else x
    axes = canvas("Residuals: observed over expected loss", label, "Observed over expected - 1")
    axes.set(yscale="linear", xlim=limits([getattr(runs, x)], 0.03))
    quantity_ticks(axes.xaxis, power if x == "C" else format_quantity)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:+.1%}" if share else "0")
    axes.axhline(0.0, color=QUIET, lw=0.8)
    at = getattr(runs, x)
    axes.vlines(at, *spread, color=STYLES[0][0], lw=0.8, alpha=0.35)
    draw_runs(axes, at, runs.loss / expected - 1, INK)
    what = "Points: runs. Bars: where the loss of a new run with the same inputs is expected"
    name = f"{literally(runs.name)} ({len(runs)} runs)"
    return caption(axes, f"{what}.\nIntervals: {100 * ci_prob:g}% equal-tailed. Data: {name}.")


def parameters(fit: Fit) -> Figure:
    """Draw the posterior of each parameter of the law and of the scatter beside its prior and published values.

    Scales such as N_c, which range over decades, are drawn by their logarithm.

    Parameters
    ----------
    fit
        A fit whose tree holds draws of the prior.
    """
    names = [*fit.spec.law_object.parameter_names, *fit.spec.scatter_names]
    scales = {p.name for p in fit.spec.law_object.parameters if p.scale_of}
    prior, posterior, published = draws(fit, "prior"), draws(fit), published_values(fit)
    rows = -(-len(names) // ACROSS)
    figure = Figure(figsize=(6.8, 1.7 * rows + 0.3), layout="constrained", facecolor="white")
    panels = figure.subplots(rows, ACROSS, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        theirs = [values[name] for values in published.values() if np.isfinite(values.get(name, np.nan))]
        _draw_densities(dress(panel, name, "", ""), prior[name], posterior[name], theirs, name in scales)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    what = "Filled: posterior. Line: prior. Triangles: published values"
    figure.suptitle("Posterior beside prior", x=0.01, ha="left", size=SIZE + 1.5, color=INK, weight="bold")
    what = what if published else what.rpartition(". ")[0]
    return caption(panels[0], f"{what}. Each density has its own height.")


def _draw_densities(
    axes: Axes, prior: xr.DataArray, posterior: xr.DataArray, published: list[float], log: bool
) -> None:
    from scipy.stats import gaussian_kde

    into: Callable[[np.ndarray], np.ndarray] = np.log10 if log else np.asarray
    ours = into(posterior.values.ravel())
    low, high = np.quantile(ours, [0.001, 0.999])
    seen = [low, high, *into(np.array(published))]
    margin = 0.25 * (max(seen) - min(seen))
    left = min(seen) - margin if log else max(0.0, min(seen) - margin)
    at = np.linspace(left, max(seen) + margin, NODES)
    theirs = into(prior.values.ravel())
    theirs = theirs[np.isfinite(theirs)]
    width = 0.9 * theirs.std() if len(theirs) < 2 else None
    before, after = gaussian_kde(theirs, width)(at), gaussian_kde(ours)(at)
    axes.fill_between(at, after / after.max(), color=STYLES[0][0], alpha=0.45, lw=0)
    axes.plot(at, before / before.max(), color=INK, lw=1.0, ls=STYLES[1][1])
    if published:
        axes.plot(into(np.array(published)), np.full(len(published), 0.05), "v", color=STYLES[1][0], ms=5)
    axes.set(xlim=(at[0], at[-1]), ylim=(0, 1.08), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_minor_locator(NullLocator())
    if log:
        axes.xaxis.set_major_formatter(lambda x, _: format_quantity(10.0**x, 2))


def frontier_exponents(fits: Mapping[str, Fit], ci_prob: float = CI_PROB) -> Figure:
    """Draw the exponent a of N* ~ C^a of each fit beside those that the literature prints.

    Parameters
    ----------
    fits
        By label, of laws with an exponent of the frontier.
    ci_prob
        Probability of the equal-tailed intervals of the fits.
    """
    table = exponents(fits, ci_prob)
    axes = canvas("Exponent of the compute-optimal frontier, N* ~ C^a", "a", "")
    cast("Figure", axes.get_figure(root=True)).set_size_inches(6.8, 0.34 * len(table) + 1.3)
    axes.set(xscale="linear", yscale="linear", ylim=(len(table) - 0.5, -0.5))
    for i, (_, row) in enumerate(table.iterrows()):
        colour = STYLES[i % len(STYLES)][0] if i < len(fits) else INK
        if np.isfinite(row["low"]):
            axes.plot([row["low"], row["high"]], [i, i], color=colour, lw=1.6 if i < len(fits) else 1.0)
        axes.plot([row["a"]], [i], "o" if i < len(fits) else "D", color=colour, ms=4.5)
    labels = [literally(_named(str(source), row)) for source, row in table.iterrows()]
    axes.set_yticks(range(len(table)), labels, size=SIZE)
    axes.axhline(len(fits) - 0.5, color=FAINT, lw=0.7)
    what = f"Circles: fits, with {100 * ci_prob:g}% equal-tailed intervals. Diamonds: as printed"
    figure = caption(axes, f"{what}.")
    axes.tick_params(axis="y", length=0, pad=SMALL)
    return figure


def _named(source: str, row: Any) -> str:
    return f"{source} (non-embedding)" if row["counts"] == "non-embedding" else source
