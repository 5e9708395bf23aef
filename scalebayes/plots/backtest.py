"""Figure of the coverage of a backtest's intervals, by distance from the training runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from scalebayes.errors import QueryError
from scalebayes.plots.sizes import SMALL, figure_of
from scalebayes.plots.style import (
    FAINT,
    MARKERS,
    STYLES,
    add_caption,
    annotate_beside,
    draw_reference,
    log_log_axes,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from scalebayes.validation.backtest import Backtest

GROUP_WIDTH = 0.7
"""Width that the markers of all methods take at one distance, where distances are 1 apart."""
BELOW_LABEL = 36
"""Points from the axes down to the legend, below their label."""
METHOD_MARKERS = MARKERS + "P"
"""One marker for each of the styles."""


def calibration(backtest: Backtest) -> Figure:
    """Figure of the share of held-out runs inside 90% and 50% intervals.

    The shares are those of all held-out runs, and by decades of compute beyond the training runs.

    Parameters
    ----------
    backtest
        A backtest of one to six methods.

    Returns
    -------
    matplotlib.figure.Figure
        Filled markers for 90%, with 90% intervals between tables where there are several, and open
        markers for 50%. Calibrated intervals lie on the dashed lines.

    Raises
    ------
    QueryError
        When there are more methods than styles.
    """
    overall = backtest.table()
    by_distance = backtest.table(["decades"])
    methods = list(overall.index)
    if len(methods) > len(STYLES):
        raise QueryError(
            f"the figure has styles for {len(STYLES)} methods; the backtest has {len(methods)}"
        )
    distances = list(by_distance.index.unique("decades"))

    axes = log_log_axes(
        "Coverage of the predictive intervals",
        "Distance beyond the training runs (decades of compute)",
        "Held-out runs inside (share)",
    )
    axes.set(
        xscale="linear", yscale="linear", xlim=(-0.5, len(distances) + 0.5), ylim=(-0.03, 1.04)
    )
    for nominal in (0.9, 0.5):
        draw_reference(axes, nominal, zorder=1)
        annotate_beside(
            axes,
            f"{nominal:.0%}",
            (1, nominal),
            (4, 0),
            coordinates=axes.get_yaxis_transform(),
            va="center",
        )
    axes.axvline(0.5, color=FAINT, lw=0.7)  # between all runs and the distances
    shifts = np.zeros(1)
    if len(methods) > 1:
        shifts = np.linspace(-GROUP_WIDTH / 2, GROUP_WIDTH / 2, len(methods))
    for i, method in enumerate(methods):
        by_place = [by_distance.loc[(method, distance)] for distance in distances]
        rows = [overall.loc[method], *by_place]
        _draw_method(axes, i, str(method), rows, shifts[i])
    axes.set_xticks(range(len(distances) + 1), ["all", *distances])
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=offset_copy(axes.transAxes, figure_of(axes), 0, -BELOW_LABEL, "points"),
        ncols=3,
        fontsize=SMALL + 0.5,
        frameon=False,
    )
    return add_caption(axes, _describe(backtest, len(methods)))


def _draw_method(axes: Axes, i: int, label: str, rows: Sequence[pd.Series], shift: float) -> None:
    """Draw the shares of one method at each place: 90% filled with error bars, 50% open."""
    x = np.arange(len(rows)) + shift
    colour = STYLES[i].colour
    style = {"fmt": METHOD_MARKERS[i], "color": colour, "ms": 4.2, "mew": 1.0, "elinewidth": 0.9}
    share = np.array([row["cover90"] for row in rows])
    ends = np.array([[row.get("cover90_low"), row.get("cover90_high")] for row in rows], float)
    bars = np.nan_to_num(np.abs(ends.T - share))
    axes.errorbar(x, share, yerr=bars, label=label, zorder=3, **style)
    share = np.array([row["cover50"] for row in rows])
    axes.errorbar(x, share, mfc="white", zorder=3, **style)


def _describe(backtest: Backtest, methods: int) -> str:
    """Return the caption: the marks, and the numbers of tables, splits, runs and trainings."""
    scores = backtest.scores
    tables = scores["table"].nunique()
    splits = len(scores.drop_duplicates(["table", "split"]))
    runs = len(scores.drop_duplicates(["table", "run"]))
    trainings = len(scores.drop_duplicates(["table", "training"]))
    marks, count = "Filled: 90% intervals; open: 50%; dashed: calibrated.", "1 table"
    if tables > 1:
        marks = (
            "Filled: 90% intervals, means over tables with their 90% intervals; open: 50%; "
            "dashed: calibrated."
        )
        count = f"{tables} tables"
    forecasts = len(scores) // methods
    return (
        f"{marks} {count}, {splits} splits by compute, {forecasts} forecasts of {runs} distinct "
        f"runs ({trainings} trainings)."
    )
