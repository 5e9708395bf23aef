"""Figure of the best learning rate and batch, and of what other choices lose."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scalebayes.laws.tuned import step_law
from scalebayes.plots.sizes import SMALL
from scalebayes.plots.style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    add_caption,
    data_source,
    log_log_axes,
)
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.tune import tune
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.units import format_quantity

PLACES = 61
"""Rates, and batches, at which the excess loss is computed."""
REACH = 2.0
"""Natural log of the factor to either side of the best rate and batch that is drawn."""
LEVELS = (0.002, 0.005, 0.01, 0.02, 0.05)
"""Excess losses at which contours are drawn."""


def tuning(
    fit: Fit | Average, *, N: Any, D: Any, ci_prob: float = CI_PROB, seed: int = 0
) -> Figure:
    """Figure of the excess loss over learning rate and batch, with the region of the best.

    Parameters
    ----------
    fit
        A fit of the law ``tuned``, or an average of several.
    N, D
        Parameters and tokens of one run.
    ci_prob
        Probability of the region of the best rate and batch.
    seed
        Seed of `scalebayes.tune`.

    Returns
    -------
    matplotlib.figure.Figure
        Contours of the median excess loss; the ellipse that holds this share of the posterior of
        the best rate and batch of a sweep; its median; Step Law's choice; and the runs of the table
        at this N and D, if there are any.

    Raises
    ------
    QueryError
        As `scalebayes.tune`.
    """
    best = tune(fit, N=N, D=D, seed=seed)
    names = ("best_learning_rate", "best_batch")
    logs = np.column_stack([np.log(best[name].values.ravel()) for name in names])
    middle = np.median(logs, axis=0)
    rates = np.exp(middle[0] + np.linspace(-REACH, REACH, PLACES))
    batches = np.exp(middle[1] + np.linspace(-REACH, REACH, PLACES))
    across, up = np.meshgrid(rates, batches)
    asked = tune(fit, N=N, D=D, learning_rate=across.ravel(), batch=up.ravel(), seed=seed)
    excess = asked["excess_loss"].median(("chain", "draw")).values.reshape(across.shape)

    size, tokens = (float(best[x].item()) for x in ("N", "D"))
    at = f"N = {format_quantity(size)}, D = {format_quantity(tokens)}"
    title = f"Excess loss by learning rate and batch, {at}"
    axes = log_log_axes(title, "Learning rate", "Batch (tokens)")
    lines = axes.contour(across, up, excess, LEVELS, colors=FAINT, linewidths=0.9)
    axes.clabel(lines, fmt="{:g}".format, fontsize=SMALL, colors=INK)
    runs = fit.runs
    here = np.isclose(runs.N, size) & np.isclose(runs.D, tokens)
    if here.any():
        axes.plot(runs.learning_rate[here], runs.batch[here], ".", color=FAINT, ms=3, label="runs")
    edge = np.exp(_ellipse(logs, ci_prob))
    axes.plot(*edge, color=BLUE, lw=1.4, label=f"{ci_prob:.0%} of the best")
    axes.plot(*np.exp(middle), "o", color=BLUE, ms=5, label="median of the best")
    theirs = step_law(size, tokens)
    axes.plot(
        float(theirs["learning_rate"]), float(theirs["batch"]), "s", color=ORANGE, label="Step Law"
    )
    axes.set(xlim=(rates[0], rates[-1]), ylim=(batches[0], batches[-1]))
    axes.legend(loc="upper left", fontsize=SMALL, frameon=True, edgecolor="none")
    note = f"Contours: median excess loss ({runs.metric}). Ellipse: {ci_prob:.0%} of the posterior"
    return add_caption(
        axes, f"{note} of the best rate and batch of a new sweep.", data_source([fit])
    )


def _ellipse(points: np.ndarray, prob: float) -> np.ndarray:
    """Return the edge (2, places) of the ellipse of points (S, 2) that holds a share of them."""
    mean = points.mean(axis=0)
    root = np.linalg.cholesky(np.cov(points.T))
    standardised = np.linalg.solve(root, (points - mean).T)
    radius = np.sqrt(np.quantile((standardised**2).sum(axis=0), prob))
    angle = np.linspace(0, 2 * np.pi, 181)
    circle = radius * np.stack([np.cos(angle), np.sin(angle)])
    return mean[:, None] + root @ circle
