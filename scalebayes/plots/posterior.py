"""Figures of what a fit rests on: its residuals, posterior beside prior, and exponents beside those of the literature.

As in `scalebayes.plots`, every function returns a Matplotlib figure that pyplot does not know; two of them return one
of Plotly when asked, as ArviZ draws it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from scalebayes.comparison.coupling import BOTTLENECK, NEAR, Coupling, coupling
from scalebayes.plots import interactive
from scalebayes.plots.interactive import Backend
from scalebayes.plots.style import (
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
from scalebayes.posterior.fit import Fit, draws
from scalebayes.queries.predict import predict
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.summary import exponents, published_values
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from plotly.graph_objects import Figure as PlotlyFigure

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


@overload
def parameters(fit: Fit, backend: Literal["matplotlib"] = "matplotlib") -> Figure: ...
@overload
def parameters(fit: Fit, backend: Literal["plotly"]) -> PlotlyFigure: ...
def parameters(fit: Fit, backend: Backend = "matplotlib") -> Figure | PlotlyFigure:
    """Draw the posterior of each parameter of the law and of the scatter beside its prior and published values.

    Scales such as N_c, which range over decades, are drawn by their logarithm.

    Parameters
    ----------
    fit
        A fit whose tree holds draws of the prior.
    backend
        ``"plotly"`` for `arviz_plots.plot_prior_posterior` (the extra `plotly`), whose densities have one height.

    Raises
    ------
    QueryError
        When Plotly is asked for and not installed.
    """
    to_plotly = interactive.wanted(backend)
    names = [*fit.spec.law_object.parameter_names, *fit.spec.scatter_names]
    scales = {p.name for p in fit.spec.law_object.parameters if p.scale_of}
    prior, posterior, published = draws(fit, "prior"), draws(fit), published_values(fit)
    if to_plotly:
        return _densities_by_plotly(prior[names], posterior[names], published, scales & {*names})
    rows = -(-len(names) // ACROSS)
    figure = Figure(figsize=(6.8, 1.7 * rows + 0.3), layout="constrained", facecolor="white")
    panels = figure.subplots(rows, ACROSS, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        theirs = [
            values[name] for values in published.values() if np.isfinite(values.get(name, np.nan))
        ]
        _draw_densities(
            dress(panel, name, "", ""), prior[name], posterior[name], theirs, name in scales
        )
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    what = "Filled: posterior. Line: prior. Triangles: published values"
    figure.suptitle(
        "Posterior beside prior", x=0.01, ha="left", size=SIZE + 1.5, color=INK, weight="bold"
    )
    what = what if published else what.rpartition(". ")[0]
    return caption(panels[0], f"{what}. Each density has its own height.")


def _draw_densities(
    axes: Axes, prior: xr.DataArray, posterior: xr.DataArray, published: list[float], log: bool
) -> None:
    from scipy.stats import gaussian_kde

    into: Callable[[np.ndarray], np.ndarray] = np.log10 if log else np.asarray
    ours = into(posterior.values.ravel())
    at = np.linspace(*_extent(ours, into(np.array(published)), log), NODES)
    theirs = into(prior.values.ravel())
    theirs = theirs[np.isfinite(theirs)]
    width = 0.9 * theirs.std() if len(theirs) < 2 else None
    before, after = gaussian_kde(theirs, width)(at), gaussian_kde(ours)(at)
    axes.fill_between(at, after / after.max(), color=STYLES[0][0], alpha=0.45, lw=0)
    axes.plot(at, before / before.max(), color=INK, lw=1.0, ls=STYLES[1][1])
    if published:
        axes.plot(
            into(np.array(published)), np.full(len(published), 0.05), "v", color=STYLES[1][0], ms=5
        )
    axes.set(xlim=(at[0], at[-1]), ylim=(0, 1.08), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_minor_locator(NullLocator())
    if log:
        axes.xaxis.set_major_formatter(lambda x, _: format_quantity(10.0**x, 2))


def _extent(draws: np.ndarray, published: np.ndarray, log: bool) -> tuple[float, float]:
    """Ends of an axis around nearly all draws and the published values, with margins; not below 0, save logs."""
    seen = [*np.quantile(draws, [0.001, 0.999]), *published]
    margin = 0.25 * (max(seen) - min(seen))
    left = min(seen) - margin
    return float(left if log else max(0.0, left)), float(max(seen) + margin)


def _densities_by_plotly(
    prior: xr.Dataset,
    posterior: xr.Dataset,
    published: Mapping[str, Mapping[str, float]],
    scales: set[str],
) -> PlotlyFigure:
    before, after = (
        each.map(lambda values: np.log10(values) if values.name in scales else values)
        for each in (prior, posterior)
    )
    theirs, ends = {}, {}
    for name, values in after.items():
        found = np.array(
            [
                one[str(name)]
                for one in published.values()
                if np.isfinite(one.get(str(name), np.nan))
            ]
        )
        theirs[str(name)] = np.log10(found) if name in scales else found
        ends[str(name)] = _extent(values.values.ravel(), theirs[str(name)], name in scales)
    return interactive.densities(before, after, theirs, ends, scales)


NAMED = {
    "additive": "Chinchilla's sum",
    "between": "between the two",
    "kaplan-coupling": "Kaplan's coupling",
    "kaplan": "... and no floor",
    "bottleneck": "the larger term alone",
}
"""Neighbourhoods of kappa in the words of the figure, in its order."""
DOTS = 400
"""Draws shown of each distribution."""


def kappa(fit: Fit | Coupling, ci_prob: float = CI_PROB) -> Figure:
    """Draw kappa, which says how the terms combine: its posterior and prior beside the laws that have a name.

    Below the densities stand draws of (kappa, alpha_D), where each named law is a line: Chinchilla's at kappa = 1,
    Kaplan's at kappa = alpha_D.

    Parameters
    ----------
    fit
        A fit of a law with a free kappa, or what `scalebayes.coupling` read from one.
    ci_prob
        Probability of the equal-tailed interval.

    Returns
    -------
    matplotlib.figure.Figure
        With the probability of each neighbourhood, posterior and prior, beside it.

    Raises
    ------
    QueryError
        As `scalebayes.coupling`.
    """
    read = coupling(fit) if isinstance(fit, Fit) else fit
    posterior, prior = (_kappa_draws(draws) for draws in (read.draws, read.prior))
    figure = Figure(figsize=(6.8, 4.3), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, sharex=True, height_ratios=(1, 1.5))
    for axes, y in ((above, ""), (below, "alpha_D")):
        dress(axes, "", "kappa" if y else "", y)
    above.set_title(
        "How the terms combine: kappa", loc="left", size=SIZE + 1.5, color=INK, weight="bold", pad=9
    )
    seen = [
        np.quantile(each, [edge, 1 - edge], axis=1).T
        for each, edge in ((posterior, 0.001), (prior, 0.03))
    ]
    below.set(xscale="log", yscale="log", xlim=limits([each[0] for each in seen], 0.02))
    below.set_ylim(limits([each[1] for each in seen], 0.02))
    for axis in (below.xaxis, below.yaxis):
        quantity_ticks(axis, lambda value: f"{value:g}")
    _draw_kappa_densities(above, posterior[0], prior[0], ci_prob)
    for cloud, style in (
        (prior, {"mec": QUIET, "mfc": "none", "mew": 0.6}),
        (posterior, {"color": STYLES[0][0]}),
    ):
        chosen = cloud[:, np.linspace(0, cloud.shape[1] - 1, DOTS).astype(int)]
        below.plot(*chosen, "o", ms=2.6, alpha=0.55 if cloud is prior else 0.7, **style)
    _draw_neighbourhoods(above, below)
    _tell_chances(below, read)
    table = f"{literally(read.model)} on {literally(read.runs)}"
    what = f"Blue: posterior of {table}, with median and {100 * ci_prob:g}% equal-tailed interval. Dashed, open: prior"
    strips = f"Strips: kappa within {NEAR:.0%} of a named law; they may overlap and leave a rest"
    return caption(below, f"{what}.\n{strips}. Each density has its own height.")


def _kappa_draws(read: xr.Dataset) -> np.ndarray:
    """Kappa and alpha_D, (2, draws)."""
    values = read["kappa"].values.ravel()
    return np.array([values, values / read["kappa_over_alpha_D"].values.ravel()])


def _draw_kappa_densities(
    axes: Axes, posterior: np.ndarray, prior: np.ndarray, ci_prob: float
) -> None:
    from scipy.stats import gaussian_kde

    at = np.geomspace(*axes.get_xlim(), NODES)
    after, before = (gaussian_kde(np.log(values))(np.log(at)) for values in (posterior, prior))
    axes.fill_between(at, after / after.max(), color=STYLES[0][0], alpha=0.45, lw=0)
    axes.plot(at, before / before.max(), color=INK, lw=1.0, ls=STYLES[1][1])
    tail = (1 - ci_prob) / 2
    low, middle, high = np.quantile(posterior, [tail, 0.5, 1 - tail])
    axes.plot([low, high], [0.07, 0.07], color=INK, lw=1.6)
    axes.plot([middle], [0.07], "o", color=INK, ms=4.5)
    axes.set(ylim=(0, 1.08), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.tick_params(which="both", bottom=False, labelbottom=False)


def _draw_neighbourhoods(above: Axes, below: Axes) -> None:
    """Strips of the named laws: near 1 upright, near alpha_D aslant, below 0.1 where that is in view."""
    (left, right), (bottom, top) = below.get_xlim(), below.get_ylim()
    near = 1 + NEAR
    for axes in (above, below):
        axes.axvspan(1 / near, near, color=STYLES[1][0], alpha=0.18, lw=0, zorder=0)
        if left < BOTTLENECK:
            axes.axvspan(left, BOTTLENECK, color=INK, alpha=0.1, lw=0, zorder=0)
    x = np.array([left, right])
    below.fill_between(x, x / near, x * near, color=STYLES[2][0], alpha=0.25, lw=0, zorder=0)
    below.set(xlim=(left, right), ylim=(bottom, top))
    style: dict[str, Any] = {"size": SMALL, "color": INK, "rotation_mode": "anchor"}
    at = below.get_xaxis_transform()
    below.text(1.0, 0.03, "kappa = 1, Chinchilla", rotation=90, va="center", transform=at, **style)
    start = max(left, bottom) * 1.06
    style |= {"rotation": 45, "transform_rotates_text": True, "va": "center"}
    below.text(start, start, "kappa = alpha_D, Kaplan", **style)


def _tell_chances(axes: Axes, read: Coupling) -> None:
    """Write posterior and prior probability of each neighbourhood right of the axes."""
    rows = [["Probability", "posterior", "prior"]]
    for name, words in NAMED.items():
        chances = [float(read.chances[of][name]) for of in ("posterior", "prior")]
        rows.append(
            [
                words,
                *(f"{chance:.2f}" if not 0 < chance < 0.005 else "< 0.01" for chance in chances),
            ]
        )
    for i, row in enumerate(rows):
        for text, x, align in zip(row, (0, 124, 154), ("left", "right", "right"), strict=True):
            style: dict[str, Any] = {
                "size": SMALL,
                "color": INK if i else QUIET,
                "ha": align,
                "va": "top",
            }
            axes.annotate(
                text, (1, 1), (14 + x, -13 * i), "axes fraction", "offset points", **style
            )


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
    """Draw the exponent a of N* ~ C^a of each fit beside those that the literature prints.

    Parameters
    ----------
    fits
        By label, of laws with an exponent of the frontier.
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
    table, title = exponents(fits, ci_prob), "Exponent of the compute-optimal frontier, N* ~ C^a"
    if to_plotly:
        kind = f"fits with {100 * ci_prob:g}% equal-tailed intervals, literature as printed"
        named = [_named(str(source), row) for source, row in table.iterrows()]
        return interactive.forest(table.set_axis(named), len(fits), f"{title}<br><sup>{kind}</sup>")
    axes = canvas(title, "a", "")
    cast("Figure", axes.get_figure(root=True)).set_size_inches(6.8, 0.34 * len(table) + 1.3)
    axes.set(xscale="linear", yscale="linear", ylim=(len(table) - 0.5, -0.5))
    for i, (_, row) in enumerate(table.iterrows()):
        colour = STYLES[i % len(STYLES)][0] if i < len(fits) else INK
        if np.isfinite(row["low"]):
            axes.plot(
                [row["low"], row["high"]], [i, i], color=colour, lw=1.6 if i < len(fits) else 1.0
            )
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
