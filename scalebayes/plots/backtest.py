"""The figure of a backtest: how often its intervals held the held-out losses, by distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from scalebayes.errors import QueryError
from scalebayes.plots.style import FAINT, INK, MARKERS, QUIET, SIZE, SMALL, STYLES, canvas, caption

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from scalebayes.validation.backtest import Backtest

WIDTH = 0.7
"""Share of the room of a distance that its markers take."""


def calibration(backtest: Backtest) -> Figure:
    """Draw the share of held-out runs inside 90% and 50% intervals, over all and by decades beyond the training runs.

    Parameters
    ----------
    backtest
        Of one to six methods.

    Returns
    -------
    matplotlib.figure.Figure
        Filled markers for 90%, with bars of two standard errors, and open ones for 50%. They lie on the dashed lines
        where intervals hold what they promise.

    Raises
    ------
    QueryError
        When there are more methods than styles.
    """
    whole, by_distance = backtest.table(), backtest.table(["decades"])
    methods = list(whole.index)
    if len(methods) > len(STYLES):
        raise QueryError(f"the figure tells {len(STYLES)} methods apart; got {len(methods)}")
    bins = list(by_distance.index.unique("decades"))
    axes = canvas(
        "Do the intervals hold what they promise?",
        "Decades of compute beyond the training runs",
        "",
    )
    axes.set(xscale="linear", yscale="linear", xlim=(-0.5, len(bins) + 0.5), ylim=(0, 1.04))
    axes.set_ylabel("Share of held-out runs inside", size=SIZE + 0.5, color=INK)
    for nominal in (0.9, 0.5):
        axes.axhline(nominal, color=QUIET, lw=0.9, ls=(0, (4, 3)), zorder=1)
        axes.annotate(f"{nominal:.0%}", (1, nominal), (4, 0), axes.get_yaxis_transform(), "offset points", va="center",
                      size=SMALL, color=QUIET)  # fmt: skip
    axes.axvline(0.5, color=FAINT, lw=0.7)
    shifts = np.linspace(-WIDTH / 2, WIDTH / 2, len(methods)) if len(methods) > 1 else np.zeros(1)
    for i, (method, shift) in enumerate(zip(methods, shifts, strict=True)):
        rows = [whole.loc[method], *(by_distance.loc[(method, bin_)] for bin_ in bins)]
        for level in (90, 50):
            values = np.array([(row[f"cover{level}"], row[f"cover{level}_se"]) for row in rows])
            _draw_shares(
                axes,
                np.arange(len(rows)) + shift,
                values,
                i,
                method if level == 90 else "",
                level == 90,
            )
    axes.set_xticks(range(len(bins) + 1), ["all", *bins])
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=3,
        fontsize=SMALL + 0.5,
        frameon=False,
    )
    scores = backtest.scores
    tables, splits = scores["table"].nunique(), len(scores.drop_duplicates(["table", "split"]))
    clusters, count = "tables" if tables > 1 else "splits", f"{tables} table{'s' * (tables > 1)}"
    what = f"Filled: 90% intervals, two standard errors between {clusters}; open: 50%"
    return caption(
        axes,
        f"{what}. {count}, {splits} splits by compute, {len(scores) // len(methods)} held-out losses.",
    )


def _draw_shares(
    axes: Axes, x: np.ndarray, values: np.ndarray, i: int, label: str, filled: bool
) -> None:
    """Draw shares, (places, 2) with their standard errors, each bar cut at 0 and 1."""
    share, error = values[:, 0], np.nan_to_num(values[:, 1])
    bars = np.minimum(2 * error, [share, 1 - share]) if filled else None
    colour = STYLES[i][0]
    style: dict[str, Any] = {
        "color": colour,
        "mfc": colour if filled else "white",
        "ms": 4.2,
        "mew": 1.0,
        "elinewidth": 0.9,
    }
    axes.errorbar(
        x, share, yerr=bars, fmt=(MARKERS + "P")[i], label=label or None, zorder=3, **style
    )
