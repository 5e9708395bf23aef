"""Visual style of the figures: axes, ticks, bands and captions. Only `scalebayes.plots` uses it.

All styling is explicit, because Matplotlib reads its rcParams again when it draws a figure. No
rcParam is changed; only the font is taken from them.
"""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import NullLocator, ScalarFormatter

from scalebayes.errors import QueryError
from scalebayes.plots.names import table_names
from scalebayes.plots.sizes import (
    CAPTION_COLUMNS,
    SIZE,
    SMALL,
    WIDTH,
    FittedFigure,
    LossLocator,
    QuantityLocator,
    figure_of,
)
from scalebayes.summaries.intervals import interval_columns, intervals
from scalebayes.utils.files import write_whole
from scalebayes.utils.shares import tail_probability

if TYPE_CHECKING:
    import xarray as xr

    from scalebayes.posterior.average import Average
    from scalebayes.posterior.fit import Fit

type Colour = Any
"""A colour as Matplotlib takes it."""
type Dashes = Any
"""A line style as Matplotlib takes it."""


class LineStyle(NamedTuple):
    """Colour and dashes of one fit's curve. The dashes tell fits apart in greyscale."""

    colour: Colour
    dashes: Dashes


class Band(NamedTuple):
    """Lower bound, median and upper bound of an interval along a curve, each of shape (points,)."""

    lower: np.ndarray
    median: np.ndarray
    upper: np.ndarray


# Greys: text and marks; secondary text and axes; runs in the background.
INK = "#222222"
QUIET = "#6b6b6b"
FAINT = "#9c9c9c"
GRID = "#e9e9e9"
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREEN = "#009E73"
DASHED: Dashes = (0, (5, 1.6))
STYLES = (
    LineStyle(BLUE, "-"),
    LineStyle(ORANGE, DASHED),
    LineStyle(GREEN, (0, (5, 1.4, 1, 1.4))),
    LineStyle("#CC79A7", (0, (1.5, 1.2))),
    LineStyle("#56B4E9", (0, (9, 1.5))),
    LineStyle("#E69F00", (0, (3, 1, 1, 1, 1, 1))),
)
"""Style of each fit, in order; colours of Okabe and Ito (2008), safe for colour-blind readers."""
LETTERS_OF_A_QUANTITY = 4.5
"""Letters of a tick label such as 100M or 10^19."""
THIN_DASHES: tuple[Dashes, ...] = ((0, (7, 3)), (0, (1, 1.5)), (0, (7, 2, 1, 2)), (0, (3, 2)))
"""Dashes of published lines."""
REFERENCE_DASHES: Dashes = (0, (4, 3))
"""Dashes of horizontal lines at a value to compare with."""
MARKERS = "os^Dv"
HALO = (withStroke(linewidth=1.8, foreground="white"),)
"""White outline of letters that stand on top of lines."""

LABEL_SIZE = SIZE + 0.5
TITLE: dict[str, Any] = {"size": SIZE + 1.5, "color": INK, "weight": "bold"}


def new_figure(height: float) -> FittedFigure:
    """Return an empty figure of this height in inches, unknown to pyplot."""
    return FittedFigure(figsize=(WIDTH, height), layout="constrained", facecolor="white")


def log_log_axes(title: str, x: str, y: str) -> Axes:
    """Return empty log-log axes in a new figure."""
    axes = new_figure(4.5).add_subplot()
    axes.set(xscale="log", yscale="log")
    style_axes(axes, title, x, y)
    return axes


def style_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Set the title, labels, ticks, spines and grid of axes."""
    axes.set_title(title, loc="left", pad=9, **TITLE)
    axes.set_xlabel(x, size=LABEL_SIZE, color=INK)
    axes.set_ylabel(y, size=LABEL_SIZE, color=INK)
    axes.tick_params(which="both", labelsize=SIZE, labelcolor=INK, color=QUIET, width=0.7, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=QUIET, linewidth=0.7)
    axes.grid(color=GRID, lw=0.6, ls="-")
    axes.set_axisbelow(True)


def escape_dollars(text: str) -> str:
    """Return a user's text with its dollars escaped, so that Matplotlib reads no formula in it."""
    return text.replace("$", r"\$")


def log_limits(
    values: Sequence[np.ndarray], margin: float = 0.0, right: float = 0.0
) -> tuple[float, float]:
    """Return limits of a log axis around all values.

    The margins, and the extra one on the right, are shares of the range of the logs.
    """
    log = np.log(np.concatenate(values))
    low, high = log.min(), log.max()
    span = high - low
    return float(np.exp(low - margin * span)), float(np.exp(high + (margin + right) * span))


def loss_ticks(axis: Axis) -> None:
    """Set ticks at plain numbers, such as 2.25 and 2.50, on a log axis whose limits are set."""
    axis.set_major_locator(LossLocator())
    axis.set_major_formatter(ScalarFormatter(useOffset=False, useMathText=False))
    axis.set_minor_locator(NullLocator())


def quantity_ticks(axis: Axis, write: Callable[[float], str]) -> None:
    """Set ticks at powers of ten, and at multiples of them on a short log axis.

    write : function from the tick's value to its label.
    """
    axis.set_major_locator(QuantityLocator(LETTERS_OF_A_QUANTITY))
    axis.set_major_formatter(lambda value, _: write(value))
    axis.set_minor_locator(NullLocator())


def format_power_of_ten(value: float) -> str:
    """Return a number in Matplotlib's mathtext with one decimal, as 1.3 x 10^22."""
    mantissa, exponent = f"{value:.1e}".split("e")
    mantissa = mantissa.removesuffix(".0")
    power = f"10^{{{int(exponent)}}}"
    if mantissa == "1":
        return f"${power}$"
    return rf"${mantissa}\times{power}$"


def shades_by_size(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return colours by size over the range of a scale, dark to light also in greyscale."""
    # The light end of the colour map, beyond 0.72, is too pale on white.
    log_range = np.log([scale.min(), scale.max()])
    share = np.interp(np.log(values), log_range, [0.0, 0.72])
    return matplotlib.colormaps["viridis"](share)


def interval_band(answer: xr.Dataset, quantity: str, ci_prob: float) -> Band:
    """Return the median and the equal-tailed interval of a quantity at each target or budget."""
    lower, upper = interval_columns(ci_prob)
    table = intervals(answer[[quantity]], ci_prob)
    return Band(table[lower].to_numpy(), table["median"].to_numpy(), table[upper].to_numpy())


def equal_tailed(draws: np.ndarray, ci_prob: float) -> np.ndarray:
    """Return lower bound, median and upper bound of draws, shape (3,)."""
    tail = tail_probability(ci_prob)
    return np.quantile(draws, [tail, 0.5, 1 - tail])


def draw_runs(axes: Axes, x: np.ndarray, y: np.ndarray, colour: Colour, marker: str = "o") -> None:
    """Draw runs as small points behind curves and optima."""
    axes.scatter(x, y, s=10, c=colour, marker=marker, linewidths=0, zorder=2.2)


def draw_band(axes: Axes, x: np.ndarray, band: Band, style: LineStyle, alpha: float = 0.3) -> None:
    """Draw an interval as a filled band, and its median as a line."""
    axes.fill_between(x, band.lower, band.upper, color=style.colour, alpha=alpha, lw=0)
    axes.plot(x, band.median, color=style.colour, ls=style.dashes, lw=1.3, zorder=2.5)


def draw_edged_band(axes: Axes, x: np.ndarray, band: Band, colour: Colour, alpha: float) -> None:
    """Draw an interval as a filled band with thin edges and no median."""
    axes.fill_between(x, band.lower, band.upper, color=colour, alpha=alpha, lw=0)
    edges = np.transpose([band.lower, band.upper])
    axes.plot(x, edges, color=colour, lw=0.5, alpha=0.6)


def draw_reference(axes: Axes, value: float, **style: Any) -> None:
    """Draw a dashed horizontal line at a value to compare with."""
    axes.axhline(value, color=QUIET, lw=0.9, ls=REFERENCE_DASHES, **style)


def draw_densities(axes: Axes, x: np.ndarray, posterior: np.ndarray, prior: np.ndarray) -> None:
    """Draw a posterior density filled and its prior dashed, each scaled to height one.

    The vertical axis is hidden, since the heights cannot be compared.
    """
    axes.fill_between(x, posterior / posterior.max(), color=BLUE, alpha=0.45, lw=0)
    axes.plot(x, prior / prior.max(), color=INK, lw=1.0, ls=DASHED)
    axes.set(ylim=(0, 1.08), yticks=[])
    axes.spines["left"].set_visible(False)


def annotate_beside(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    shift: tuple[float, float],
    *,
    coordinates: Any = "data",
    size: float = SMALL,
    color: Colour = QUIET,
    **style: Any,
) -> Annotation:
    """Write text at a point of these coordinates, shifted by (right, up) in points; return it.

    A halo keeps it legible over lines and bands.
    """
    style = {"size": size, "color": color, "path_effects": HALO} | style
    return axes.annotate(text, at, shift, coordinates, "offset points", **style)


def data_source(fits: Iterable[Fit | Average]) -> str:
    """Return the names and numbers of runs of the tables behind some fits, for a caption."""
    names = table_names(fit.runs for fit in fits)
    return f"Data: {escape_dollars(names)}"


def add_caption(axes: Axes, *lines: str) -> FittedFigure:
    """Write wrapped lines under the figure of these axes, and return the figure."""
    figure = figure_of(axes)
    figure.caption_lines = lines
    wrapped = [textwrap.fill(line, CAPTION_COLUMNS) for line in lines]
    figure.supxlabel("\n".join(wrapped), x=0.01, ha="left", size=SMALL, color=QUIET)
    return figure


TEXT_SHARE = 0.55
"""Share of a figure's height that shrinks with its width; text and captions take the rest."""

# Metadata of each format, without dates, so that equal figures are equal files.
FORMATS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


def read_format(path: Path) -> str:
    """Return the suffix of a figure's file, which chooses its format.

    Raises
    ------
    QueryError
        When figures are not written in that format.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise QueryError(f"figures are written as {', '.join(FORMATS)}; got '{path.name}'")
    return suffix


def resize(figure: Figure, width: float) -> None:
    """Set the width of a figure in inches, and a height at which its text still has room."""
    share = width / figure.get_figwidth()
    height = figure.get_figheight() * (1 - TEXT_SHARE + TEXT_SHARE * share)
    if isinstance(figure, FittedFigure) and share < 1:
        height += figure.room_below
    figure.set_size_inches(width, height)


def save(figure: Figure, path: str | os.PathLike[str], *, width: float | None = None) -> Path:
    """Write a figure as .png (200 dpi), .svg or .pdf and return its path.

    The file appears whole or not at all, and the same figure gives the same bytes.

    Parameters
    ----------
    figure
        A figure of `scalebayes.plots`.
    path
        File to write.
    width
        Width in inches, such as 3.3 for a column of a paper; by default that of the figure. Text,
        ticks and labels are fitted to it; the figure keeps that size.

    Raises
    ------
    QueryError
        When the path has another suffix.
    """
    path = Path(path)
    suffix = read_format(path)
    if width is not None:
        resize(figure, width)
    buffer = io.BytesIO()
    # The salt fixes the identifiers in an SVG file, which are random otherwise.
    with matplotlib.rc_context({"svg.hashsalt": "scalebayes"}):
        figure.savefig(buffer, format=suffix[1:], dpi=200, metadata=FORMATS[suffix])
    write_whole(path, lambda temporary: temporary.write_bytes(buffer.getvalue()))
    return path
