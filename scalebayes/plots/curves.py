"""Figure of curves along runs: checkpoints, the law with its bands, and the schedules."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalebayes.curves.condensed import SETTLED
from scalebayes.curves.curve_fit import CurveFit
from scalebayes.curves.curves import Curve, Curves
from scalebayes.curves.forecast import along, schedule_ahead
from scalebayes.curves.schedules import Schedule
from scalebayes.errors import QueryError
from scalebayes.plots.sizes import SpacedLocator
from scalebayes.plots.style import (
    FAINT,
    STYLES,
    Band,
    LineStyle,
    add_caption,
    draw_band,
    escape_dollars,
    loss_ticks,
    new_figure,
    style_axes,
)
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.text import kind_of_interval
from scalebayes.utils.shares import tail_probability

MOST_RUNS = 6
"""Runs whose curves can be told apart in one figure."""
STEPS = 120
"""Steps at which a band is drawn."""
DRAWS = 500
"""Draws behind a band."""
POINTS = 80
"""Checkpoints of a run that are drawn."""
LETTERS_OF_A_STEP = 6


def curves(
    fit: CurveFit,
    runs: Curves | None = None,
    *,
    known: float = 1.0,
    to: float | None = None,
    schedule: Any = None,
    ci_prob: float = CI_PROB,
    seed: int = 0,
) -> Figure:
    """Figure of the loss along runs, with intervals of one checkpoint, and of their learning rates.

    Parameters
    ----------
    fit
        A fit of curves.
    runs
        The runs to draw, with their whole schedules; by default those of the fit.
    known
        Share of the steps of each run whose checkpoints its interval may use: 1 for a fit, 0.5 for
        a forecast from the first half, 0 for a prediction from the schedule alone.
    to, schedule
        Step up to which runs that end before it are forecast, and the schedule that they are under,
        as `scalebayes.forecast` takes it.
    ci_prob
        Probability of the equal-tailed intervals.
    seed
        Seed of the deviations of runs.

    Returns
    -------
    matplotlib.figure.Figure
        Above, the checkpoints and the interval of each run; below, its learning rate.

    Raises
    ------
    QueryError
        For more than six runs, or a share outside 0 to 1.
    """
    shown = fit.curves if runs is None else runs
    if not 0 < len(shown.runs) <= MOST_RUNS:
        raise QueryError(
            f"a figure has up to {MOST_RUNS} runs, which can be told apart; got {len(shown.runs)}: "
            "curves.select([...]) chooses some"
        )
    if not 0 <= known <= 1:
        raise QueryError(f"known is a share from 0 to 1; got {known!r}")
    figure = new_figure(5.4)
    above, below = figure.subplots(2, sharex=True, height_ratios=(2.6, 1))
    title = f"Loss along the run: {escape_dollars(fit.model.title)}"
    style_axes(above, title, "", "Loss")
    style_axes(below, "", "Step", "Learning rate")
    limits = []
    for curve, style in zip(shown.runs.values(), STYLES, strict=False):
        ahead = curve.schedule
        if to is not None and to > curve.steps[-1]:
            ahead = schedule_ahead(curve, np.array([to]), schedule, {}, [])
        limits.append(_draw_run(above, fit, curve, ahead, style, known, ci_prob, seed))
        steps = np.unique(np.append(ahead.steps, np.linspace(0, ahead.end, 400)))
        rates = ahead.rate(steps)
        below.plot(steps, rates, color=style.colour, ls=style.dashes, lw=1.2)
        if 0 < known < 1:
            above.axvline(known * curve.steps[-1], color=FAINT, lw=0.7, ls=":")
    low, high = min(each[0] for each in limits), max(each[1] for each in limits)
    above.set(yscale="log", ylim=(low * 0.995, high * 1.005))
    loss_ticks(above.yaxis)
    below.set_ylim(0, None)
    below.yaxis.set_major_locator(SpacedLocator(3, LETTERS_OF_A_STEP))
    below.xaxis.set_major_locator(SpacedLocator(6, LETTERS_OF_A_STEP))
    above.legend(frameon=False, fontsize=7.5, loc="upper right")
    given = {0.0: "its schedule alone", 1.0: "all its checkpoints"}.get(
        known, f"its first {known:.0%} of steps (dotted line)"
    )
    interval = kind_of_interval(ci_prob)
    return add_caption(
        above,
        f"Points: checkpoints. Bands: {interval} interval of one checkpoint, given {given}.",
        f"Fitted: {len(fit.curves)} checkpoints of {len(fit.curves.runs)} runs in "
        f"{escape_dollars(fit.curves.name)}.",
    )


def _draw_run(
    axes: Axes,
    fit: CurveFit,
    curve: Curve,
    ahead: Schedule,
    style: LineStyle,
    known: float,
    ci_prob: float,
    seed: int,
) -> tuple[float, float]:
    """Draw one run, and return the lowest and the highest loss that should be seen."""
    settled = curve.areas >= SETTLED * curve.warmup_area
    first = curve.steps[settled][0]
    steps = np.linspace(first, max(curve.steps[-1], ahead.end), STEPS)
    last_known = known * curve.steps[-1] if known > 0 else -1.0
    found = along(fit, curve, ahead, steps, known=last_known, draws=DRAWS, seed=seed)
    losses = found["new_run"]
    tail = tail_probability(ci_prob)
    band = Band(*np.quantile(losses, [tail, 0.5, 1 - tail], axis=0))
    draw_band(axes, steps, band, style, 0.25)
    axes.lines[-1].set_label(escape_dollars(curve.run))
    drawn = np.unique(np.linspace(0, len(curve.steps) - 1, POINTS).astype(int))
    drawn = drawn[curve.steps[drawn] >= first]
    axes.plot(curve.steps[drawn], curve.losses[drawn], "o", color=style.colour, ms=2.2, mew=0)
    # The steep beginning would leave little room for the rest.
    shown = curve.losses[curve.steps >= first + 0.08 * (curve.steps[-1] - first)]
    return float(min(shown.min(), band.lower.min())), float(shown.max())
