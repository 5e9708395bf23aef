"""Figure of kappa, the coupling between the N and D terms of a law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from scalebayes.comparison.coupling import BOTTLENECK, NEAR, Coupling, coupling
from scalebayes.display.numbers import percent
from scalebayes.plots.names import in_sentence, model_name, table_name
from scalebayes.plots.sizes import SMALL, figure_of
from scalebayes.plots.style import (
    BLUE,
    GREEN,
    HALO,
    INK,
    ORANGE,
    QUIET,
    add_caption,
    annotate_beside,
    draw_densities,
    equal_tailed,
    escape_dollars,
    log_limits,
    new_figure,
    quantity_ticks,
    style_axes,
)
from scalebayes.posterior.fit import Fit
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.text import kind_of_interval

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

LABELS = {
    "additive": "Chinchilla's sum",
    "between": "between the two",
    "kaplan-coupling": "Kaplan's coupling",
    "kaplan": "Kaplan's law, no floor",
    "bottleneck": "the larger term alone",
}
"""Labels of the neighbourhoods of kappa, in the order of the figure."""
DOTS = 400
"""Draws shown of each distribution."""
DENSITY_POINTS = 200
"""Points along a density."""
TABLE_COLUMNS = ((0, "left"), (124, "right"), (154, "right"))
"""Place, in points, and alignment of each column of the table beside the figure."""
LINE_HEIGHT = 13
"""Points between the lines of that table."""
ROOM_FOR_TABLE = 1.7
"""Inches that the table takes there."""
BELOW_LABEL = 30
"""Points from the axes down to the table where it stands below their label."""


def kappa(fit: Fit | Coupling, ci_prob: float = CI_PROB) -> Figure:
    """Figure of the posterior and the prior of kappa beside the values of named laws.

    Below the densities are draws of (kappa, alpha_D), where each named law is a line:
    Chinchilla's at kappa = 1, Kaplan's at kappa = alpha_D.

    Parameters
    ----------
    fit
        A fit of a law with a free kappa, or the answer of `scalebayes.coupling` to one.
    ci_prob
        Probability of the equal-tailed interval.

    Returns
    -------
    matplotlib.figure.Figure
        The densities and draws, and the posterior and prior probability of each neighbourhood.

    Raises
    ------
    QueryError
        As `scalebayes.coupling`.
    """
    answer = coupling(fit) if isinstance(fit, Fit) else fit
    posterior = _kappa_and_alpha(answer.draws)
    prior = _kappa_and_alpha(answer.prior)
    above, below = new_figure(4.3).subplots(2, sharex=True, height_ratios=(1, 1.5))
    style_axes(above, "How the terms combine: kappa", "", "")
    style_axes(below, "", "kappa (no unit)", "alpha_D (no unit)")
    # The prior has long tails: its outer draws are left out of view.
    posterior_range = np.quantile(posterior, [0.001, 0.999], axis=1)
    prior_range = np.quantile(prior, [0.03, 0.97], axis=1)
    kappas, alphas = np.concatenate([posterior_range, prior_range]).T
    below.set(xscale="log", yscale="log")
    below.set(xlim=log_limits([kappas], 0.02), ylim=log_limits([alphas], 0.02))
    for axis in (below.xaxis, below.yaxis):
        quantity_ticks(axis, lambda value: f"{value:g}")
    _draw_kappa_densities(above, posterior[0], prior[0], ci_prob)
    _draw_cloud(below, prior, mec=QUIET, mfc="none", mew=0.6, alpha=0.55)
    _draw_cloud(below, posterior, color=BLUE, alpha=0.7)
    _draw_neighbourhoods(above, below)
    figure_of(below).room_below = ROOM_FOR_TABLE
    figure_of(below).place(lambda: _write_probabilities(below, answer))
    model, runs = answer.model, answer.runs
    if isinstance(fit, Fit):
        model, runs = model_name(fit), table_name(fit.runs)
    return add_caption(
        below,
        f"Blue: posterior of {escape_dollars(in_sentence(model))} on {escape_dollars(runs)}, "
        f"with median and {kind_of_interval(ci_prob)} interval. Dashed, open: prior.",
        f"Strips: kappa within {NEAR:.0%} of a named law; they can overlap, and do not cover all "
        "values. Heights of densities cannot be compared.",
    )


def _kappa_and_alpha(answer: xr.Dataset) -> np.ndarray:
    """Return draws of kappa and alpha_D, shape (2, draws)."""
    kappas = answer["kappa"].values.ravel()
    ratio = answer["kappa_over_alpha_D"].values.ravel()
    return np.array([kappas, kappas / ratio])


def _draw_cloud(axes: Axes, pairs: np.ndarray, **style: Any) -> None:
    """Draw evenly thinned draws of (kappa, alpha_D), shape (2, draws), as dots."""
    thinned = np.linspace(0, pairs.shape[1] - 1, DOTS).astype(int)
    axes.plot(*pairs[:, thinned], "o", ms=2.6, **style)


def _draw_kappa_densities(
    axes: Axes, posterior: np.ndarray, prior: np.ndarray, ci_prob: float
) -> None:
    """Draw the densities of log kappa, and the median and interval of the posterior."""
    from scipy.stats import gaussian_kde

    x = np.geomspace(*axes.get_xlim(), DENSITY_POINTS)
    posterior_density = gaussian_kde(np.log(posterior))(np.log(x))
    prior_density = gaussian_kde(np.log(prior))(np.log(x))
    draw_densities(axes, x, posterior_density, prior_density)
    low, middle, high = equal_tailed(posterior, ci_prob)
    axes.plot([low, high], [0.07, 0.07], color=INK, lw=1.6)
    axes.plot([middle], [0.07], "o", color=INK, ms=4.5)
    axes.tick_params(which="both", bottom=False, labelbottom=False)


def _draw_neighbourhoods(above: Axes, below: Axes) -> None:
    """Draw the neighbourhoods of the named laws as strips, where they are in view.

    They are vertical near kappa = 1 and below the bottleneck's bound, diagonal near alpha_D.
    """
    left, right = below.get_xlim()
    bottom, top = below.get_ylim()
    factor = 1 + NEAR
    for axes in (above, below):
        axes.axvspan(1 / factor, factor, color=ORANGE, alpha=0.18, lw=0, zorder=0)
        if left < BOTTLENECK:
            axes.axvspan(left, BOTTLENECK, color=INK, alpha=0.1, lw=0, zorder=0)
    x = np.array([left, right])
    below.fill_between(x, x / factor, x * factor, color=GREEN, alpha=0.25, lw=0, zorder=0)
    below.set(xlim=(left, right), ylim=(bottom, top))
    style: dict[str, Any] = {
        "size": SMALL,
        "color": INK,
        "rotation_mode": "anchor",
        "va": "center",
        "path_effects": HALO,
    }
    across = below.get_xaxis_transform()
    below.text(1.0, 0.03, "kappa = 1, Chinchilla", rotation=90, transform=across, **style)
    start = max(left, bottom) * 1.06
    below.text(
        start,
        start,
        "kappa = alpha_D, Kaplan",
        rotation=45,
        transform_rotates_text=True,
        **style,
    )


def _write_probabilities(axes: Axes, answer: Coupling) -> list[Artist]:
    """Write the probability of each neighbourhood as a table, and return its texts.

    It stands to the right of the axes, and in a narrow figure below them.
    """
    texts = _write_row(axes, 0, ("Probability", "posterior", "prior"), QUIET)
    for line, (name, label) in enumerate(LABELS.items(), start=1):
        posterior = _short_percent(float(answer.probabilities["posterior"][name]))
        prior = _short_percent(float(answer.probabilities["prior"][name]))
        texts += _write_row(axes, line, (label, posterior, prior), INK)
    return texts


def _write_row(axes: Axes, line: int, cells: tuple[str, ...], colour: str) -> list[Artist]:
    """Write one line of the table, and return its texts."""
    corner, right, down = (1, 1), 14, 0
    if figure_of(axes).scale < 1:
        corner, right, down = (0, 0), 0, BELOW_LABEL
    texts: list[Artist] = []
    for text, (place, align) in zip(cells, TABLE_COLUMNS, strict=True):
        cell = annotate_beside(
            axes,
            text,
            corner,
            (right + place, -down - LINE_HEIGHT * line),
            coordinates="axes fraction",
            color=colour,
            ha=align,
            va="top",
        )
        texts.append(cell)
    return texts


def _short_percent(share: float) -> str:
    """Return a share as a percentage, with signs in place of "under" and "over"."""
    return percent(share).replace("under ", "< ").replace("over ", "> ")
