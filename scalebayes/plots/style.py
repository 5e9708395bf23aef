"""The one visual style of our figures: axes, bands, labels and captions. Only `scalebayes.plots` uses it.

Styling is explicit, because Matplotlib reads rcParams again when it draws: none is changed, only the font is theirs.
"""

from __future__ import annotations

import io
import math
import os
import textwrap
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, ScalarFormatter
from matplotlib.transforms import Bbox, offset_copy

from scalebayes.costs.cost import SIX_ND
from scalebayes.datasets import known_models
from scalebayes.errors import QueryError
from scalebayes.utils.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

type Colour = Any
type Dashes = Any
"""As Matplotlib takes them."""

INK, QUIET, FAINT = "#222222", "#6b6b6b", "#9c9c9c"
STYLES: tuple[tuple[str, Dashes], ...] = (
    ("#0072B2", "-"),
    ("#D55E00", (0, (5, 1.6))),
    ("#009E73", (0, (5, 1.4, 1, 1.4))),
    ("#CC79A7", (0, (1.5, 1.2))),
    ("#56B4E9", (0, (9, 1.5))),
    ("#E69F00", (0, (3, 1, 1, 1, 1, 1))),
)
"""Colour (Okabe and Ito 2008, safe for colour-blind readers) and dashes of each fit; the dashes tell in grey."""
THIN_DASHES: tuple[Dashes, ...] = ((0, (7, 3)), (0, (1, 1.5)), (0, (7, 2, 1, 2)), (0, (3, 2)))
MARKERS = "os^Dv"
HALO = (withStroke(linewidth=1.8, foreground="white"),)
"""Around letters that stand among lines."""
SIZE, SMALL = 8.5, 7.0
POINT = 1 / (72 * 0.75 * 4.5)
"""About the height of a point as a share of the axes' height."""
COLUMN = 0.2
"""Share of the axes' width between models from which on each has a column of labels of its own."""

type Band = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Lower bound, median and upper bound along a curve."""


def canvas(title: str, x: str, y: str) -> Axes:
    """Empty log-log axes in a figure of their own, not known to pyplot."""
    axes = Figure(figsize=(6.8, 4.5), layout="constrained", facecolor="white").add_subplot()
    axes.set(xscale="log", yscale="log")
    return dress(axes, title, x, y)


def dress(axes: Axes, title: str, x: str, y: str) -> Axes:
    """Give axes their title, labels and lines."""
    axes.set_title(title, loc="left", size=SIZE + 1.5, color=INK, weight="bold", pad=9)
    axes.set_xlabel(x, size=SIZE + 0.5, color=INK)
    axes.set_ylabel(y, size=SIZE + 0.5, color=INK)
    axes.tick_params(which="both", labelsize=SIZE, labelcolor=INK, color=QUIET, width=0.7, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=QUIET, linewidth=0.7)
    axes.grid(color="#e9e9e9", lw=0.6, ls="-")
    axes.set_axisbelow(True)
    return axes


def literally(text: str) -> str:
    """Text of a user's, in which dollars are dollars and begin no formula."""
    return text.replace("$", r"\$")


def limits(
    values: Sequence[np.ndarray], margin: float = 0.0, right: float = 0.0
) -> tuple[float, float]:
    """Limits of a log axis around all values, with margins as shares of their range."""
    log = np.log(np.concatenate(values))
    low, high, span = log.min(), log.max(), np.ptp(log)
    return float(np.exp(low - margin * span)), float(np.exp(high + (margin + right) * span))


def loss_ticks(axis: Axis) -> None:
    """Plain numbers, 2.25 or 2.50, on a log axis whose limits are set."""
    axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(ScalarFormatter(useOffset=False, useMathText=False))
    axis.set_minor_locator(NullLocator())


def quantity_ticks(axis: Axis, write: Callable[[float], str]) -> None:
    """Powers of ten, and 2 and 5 or 3 times them on a short axis, as `write` gives them."""
    decades = math.log10(np.divide(*axis.get_view_interval()[::-1]))
    subs = (1.0,) if decades > 3.5 else (1.0, 3.0) if decades > 1.5 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=14))
    axis.set_major_formatter(lambda value, _: write(value))
    axis.set_minor_locator(NullLocator())


def power(budget: float) -> str:
    """Write FLOP as Matplotlib sets it: 1.3 x 10^22."""
    mantissa, exponent = f"{budget:.1e}".split("e")
    factor = "" if mantissa == "1.0" else rf"{mantissa.removesuffix('.0')}\times"
    return rf"${factor}10^{{{int(exponent)}}}$"


def shades(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Colours by size over the range of a scale, dark to light also in grey."""
    share = np.interp(np.log(values), np.log([scale.min(), scale.max()]), [0.0, 0.72])
    return matplotlib.colormaps["viridis"](share)


def draw_runs(axes: Axes, x: np.ndarray, y: np.ndarray, colour: Colour, marker: str = "o") -> None:
    """Draw runs behind what is said about them."""
    axes.scatter(x, y, s=10, c=colour, marker=marker, linewidths=0, zorder=2.2)


def draw_band(
    axes: Axes, x: np.ndarray, band: Band, colour: Colour, dashes: Dashes = "-", alpha: float = 0.3
) -> None:
    """Draw an interval, and its median in these dashes; without dashes, its edges."""
    lower, median, upper = band
    axes.fill_between(x, lower, upper, color=colour, alpha=alpha, lw=0)
    if dashes is None:
        axes.plot(x, np.transpose([lower, upper]), color=colour, lw=0.5, alpha=0.6)
    else:
        axes.plot(x, median, color=colour, ls=dashes, lw=1.3, zorder=2.5)


def draw_optimum(axes: Axes, N: tuple[float, float, float], loss: float, marker: str) -> None:
    """Mark a compute-optimal point with the interval of its N."""
    lower, median, upper = N
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


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Label curves (last value, label, colour) right of the axes, moved apart no more than their height asks."""
    from scipy.optimize import isotonic_regression

    ends = sorted(ends)
    to_share = axes.transData + axes.transAxes.inverted()
    shares = np.array([to_share.transform((axes.get_xlim()[1], end[0]))[1] for end in ends])
    apart = 1.35 * SIZE * POINT * np.arange(len(ends))
    places = (
        isotonic_regression(shares - apart).x + apart
    )  # the nearest places in order, `apart` from each other
    for (_, label, colour), share, place in zip(ends, shares, places, strict=True):
        line = {
            "arrowstyle": "-",
            "color": colour,
            "lw": 0.6,
            "shrinkA": 1,
            "shrinkB": 1,
            "relpos": (0, 0.5),
        }
        at: dict[str, Any] = {"xycoords": "axes fraction", "va": "center", "annotation_clip": False}
        axes.annotate(
            label, (1.0, share), (1.035, place), size=SIZE, color=colour, arrowprops=line, **at
        )


def mark_beyond(axes: Axes, edges: Iterable[float]) -> None:
    """Shade the budgets beyond the largest run of each table."""
    left, right = axes.get_xlim()
    within = sorted(edge for edge in set(edges) if edge < right)
    for edge in within:
        axes.axvspan(edge, right, color="#000000", alpha=0.045, lw=0, zorder=0)
        axes.axvline(edge, color=QUIET, lw=0.8, ls=(0, (2, 2)), zorder=1)
    if within:
        text = f",\n{power(within[0])} FLOP" if len(within) == 1 else "\nof each table"
        at = max(within[-1], left), 4 * POINT
        style: dict[str, Any] = {"size": SMALL, "color": QUIET, "linespacing": 1.3}
        axes.annotate(
            f"beyond the largest run{text}",
            at,
            (4, 0),
            axes.get_xaxis_transform(),
            "offset points",
            **style,
        )


def hang_models(axes: Axes) -> None:
    """Mark the budgets of known models by stems from the top edge: a staircase, so that no labels meet."""
    models = _models_within(axes)[::-1]
    for i, (label, budget) in enumerate(models["C"].items()):
        foot = 1 - (4 + 10 * i) * POINT
        axes.plot(
            [budget, budget], [foot, 1], transform=axes.get_xaxis_transform(), color=INK, lw=0.7
        )
        above = axes.get_xaxis_transform()
        axes.annotate(
            str(label),
            (budget, foot),
            (3, 0),
            above,
            "offset points",
            size=SMALL,
            color=INK,
            va="center",
        )


def place_models(axes: Axes, C: np.ndarray, N: np.ndarray) -> None:
    """Mark known models at C = 6 N D, labelled on the side of the curve N(C) where they lie, clear of each other.

    Above the curve labels stand left of the models, below it right of them: neighbours in one column, from the curve
    outwards and as far apart as letters need, so that neither labels nor leaders meet.
    """
    models = _models_within(axes)
    models = models[models["N"].between(*axes.get_ylim())]
    axes.plot(models["C"], models["N"], "o", color=INK, ms=4.5, mec="white", mew=0.7, zorder=5)
    above = models["N"] > np.exp(np.interp(np.log(models["C"]), np.log(C), np.log(N)))
    room = (axes.transData + axes.transAxes.inverted()).transform
    for side, sign in ((models[above], 1), (models[~above], -1)):
        across = room(side[["C", "N"]].to_numpy())[:, 0]
        for _, column in side.groupby(np.cumsum(np.diff(across, prepend=0.0) > COLUMN)):
            _label_column(axes, column, sign)


def _label_column(axes: Axes, models: pd.DataFrame, sign: int) -> None:
    """Label models left of the leftmost and above themselves (sign 1), or right of the rightmost and below."""
    figure = cast("Figure", axes.get_figure(root=True))
    to_share = axes.transData + axes.transAxes.inverted()
    models = models.sort_values(["N", "C"], ascending=sign > 0)
    edge, place = models["C"].min() if sign > 0 else models["C"].max(), -math.inf
    line = {
        "arrowstyle": "-",
        "color": INK,
        "lw": 0.5,
        "shrinkA": 1,
        "shrinkB": 3,
        "relpos": ((1 + sign) / 2, 0.5),
    }
    style: dict[str, Any] = {
        "size": SMALL,
        "color": INK,
        "ha": "right" if sign > 0 else "left",
        "va": "center",
    }
    for label, row in models.iterrows():
        own = sign * to_share.transform((row["C"], row["N"]))[1] / POINT
        place = max(own + 20, place + 1.6 * SMALL)
        away = offset_copy(axes.transData, figure, -12 * sign, sign * (place - own), "points")
        annotation = axes.annotate(
            str(label), (row["C"], row["N"]), (edge, row["N"]), "data", away, line, **style
        )
        annotation.set(zorder=5, path_effects=HALO)


def label_clear(axes: Axes, places: np.ndarray, labels: Sequence[str], colour: Colour) -> None:
    """Label points, (points, 2), in whatever direction is free of points and of labels, further away where none is.

    The figure must be as it will be drawn: its layout is made here, and where labels fit depends on it.
    """
    figure = cast("Figure", axes.get_figure(root=True))
    figure.draw_without_rendering()
    at = axes.transData.transform(places) / figure.dpi * 72
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in at]  # by points, then also by labels
    line = {"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 0, "shrinkB": 3}
    for own, (place, (x, y), label) in enumerate(zip(places, at, labels, strict=True)):
        half = np.array([0.34 * SIZE * len(label) + 1, 0.6 * SIZE])
        for far, angle in product((3.0, 12.0, 22.0, 34.0), (45, -45, 135, -135, 90, -90, 0, 180)):
            way = np.round([math.cos(math.radians(angle)), math.sin(math.radians(angle))], 3)
            offset = way * far + np.sign(way) * half
            box = Bbox.from_bounds(*(np.array([x, y]) + offset - half), *(2 * half))
            if not any(box.overlaps(other) for i, other in enumerate(taken) if i != own):
                break
        taken.append(box)
        style: dict[str, Any] = {
            "size": SIZE,
            "color": colour,
            "weight": "bold",
            "ha": "center",
            "va": "center",
        }
        arrow = line if far > 3.0 else None
        text = axes.annotate(label, place, tuple(offset), "data", "offset points", arrow, **style)
        text.set(zorder=6, path_effects=HALO)


def caption(axes: Axes, text: str) -> Figure:
    """Write lines under the figure, and give the figure."""
    figure = cast("Figure", axes.get_figure(root=True))
    figure.supxlabel(
        "\n".join(textwrap.fill(line, 128) for line in text.split("\n")),
        x=0.01,
        ha="left",
        size=SMALL,
        color=QUIET,
    )
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as .png (200 dpi), .svg or .pdf, whole or not at all; the same figure gives the same bytes.

    Raises
    ------
    QueryError
        When the path ends otherwise.
    """
    path = Path(path)
    dates: dict[str, dict[str, Any]] = {
        ".png": {},
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None},
    }
    suffix = path.suffix.lower()
    if suffix not in dates:
        raise QueryError(f"figures are written as {', '.join(dates)}; got '{path.name}'")
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "scalebayes"}):
        figure.savefig(buffer, format=suffix[1:], dpi=200, metadata=dates[suffix])
    write_whole(path, lambda temporary: temporary.write_bytes(buffer.getvalue()))
    return path


def _models_within(axes: Axes) -> pd.DataFrame:
    models = known_models().assign(C=lambda table: SIX_ND.flop(table["N"], table["D"]))
    return models[models["C"].between(*axes.get_xlim())].sort_values("C")
