"""Figures that fit their text, ticks and labels to the size at which they are drawn.

A figure is designed for the width `WIDTH`. At another one, such as the width of a column of a
paper, text shrinks to no less than `SMALLEST` points, titles and the caption are wrapped anew, and
labels that must not overlap are placed anew.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis, YAxis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import Locator, MaxNLocator

WIDTH = 6.8
"""Width in inches that figures are designed for."""
SIZE = 8.5
SMALL = 7.0
"""Font sizes in points at that width."""
SMALLEST = 6.0
"""Least font size in points, which is still legible in print."""
LEAST_SCALE = 0.76
"""Least factor of the font sizes, at half of that width and below."""
CAPTION_COLUMNS = 118
"""Characters a line of the caption holds at that width."""
LETTER = 0.58
"""Width of an average letter, in heights of its font."""
BOLD_LETTER = 0.66
"""The same of a bold letter."""
ROOM_FOR_TICKS = 45.0
"""Points that ticks and the label of the vertical axis take beside axes."""
POINTS_OF_AN_INCH = 72.0


@dataclass
class Placement:
    """Labels that are placed anew for each size of a figure: what draws them, and its artists."""

    draw: Callable[[], Sequence[Artist]]
    artists: Sequence[Artist]


class FittedFigure(Figure):
    """A figure that fits its text, ticks and labels to its size whenever it is drawn."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.caption_lines: tuple[str, ...] = ()
        self.room_below = 0.0  # inches that are added to the height of a narrow figure
        self._placements: list[Placement] = []
        self._fitted_size = tuple(self.get_size_inches())

    @property
    def scale(self) -> float:
        """Factor of the font sizes at the present width."""
        share = self.get_figwidth() / WIDTH
        return float(np.interp(share, [0.5, 1.0], [LEAST_SCALE, 1.0]))

    @property
    def is_as_designed(self) -> bool:
        """Whether the figure still has the size for which it was made."""
        return self._fitted_size == tuple(self.get_size_inches())

    def text_size(self, designed: float) -> float:
        """Return a font size at the present width, in points."""
        return max(min(designed, SMALLEST), designed * self.scale)

    def place(self, draw: Callable[[], Sequence[Artist]]) -> None:
        """Draw labels now, and again whenever the figure is drawn at another size."""
        self._placements.append(Placement(draw, draw()))

    def draw(self, renderer: Any) -> None:
        """Draw the figure, fitted to its size."""
        if not self.is_as_designed:
            self._fit()
        super().draw(renderer)

    def _fit(self) -> None:
        self._scale_text()
        self._wrap_text()
        layout = self.get_layout_engine()
        if layout is not None:
            layout.execute(self)
        for placement in self._placements:
            for artist in placement.artists:
                artist.remove()
            placement.artists = placement.draw()
        self._scale_text()
        self._fitted_size = tuple(self.get_size_inches())

    def _scale_text(self) -> None:
        for text in self.findobj(Text):
            designed = getattr(text, "designed_size", None)
            if designed is None:
                designed = float(text.get_fontsize())
                cast("Any", text).designed_size = designed
            text.set_fontsize(self.text_size(designed))
        for axes in self.axes:
            axes.tick_params(which="both", labelsize=self.text_size(SIZE))

    def _wrap_text(self) -> None:
        share = self.get_figwidth() / WIDTH
        if self.get_supxlabel() and self.caption_lines:
            columns = int(CAPTION_COLUMNS * share * SMALL / self.text_size(SMALL))
            wrapped = [textwrap.fill(line, columns) for line in self.caption_lines]
            cast("Any", self)._supxlabel.set_text("\n".join(wrapped))
        width, height = self.get_size_inches() * POINTS_OF_AN_INCH
        for axes in self.axes:
            rows, columns = _grid_of(axes)
            across = max(width / columns - ROOM_FOR_TICKS, 0.7 * width / columns)
            along = 0.62 * height / rows
            for text, length in (
                (axes.title, across),
                (axes._left_title, across),  # type: ignore[attr-defined]
                (axes.xaxis.label, across),
                (axes.yaxis.label, along),
            ):
                _wrap(text, length)


def _grid_of(axes: Axes) -> tuple[int, int]:
    """Return the rows and columns of the grid of axes that these are in."""
    spec = axes.get_subplotspec()
    if spec is None:
        return 1, 1
    grid = spec.get_gridspec()
    return grid.nrows, grid.ncols


def _wrap(text: Text, length: float) -> None:
    """Wrap a text to a length in points."""
    if not text.get_text():
        return
    whole = " ".join(text.get_text().split())
    letter = BOLD_LETTER if text.get_fontweight() == "bold" else LETTER
    columns = max(int(length / (letter * float(text.get_fontsize()))), 1)
    if "\n" in text.get_text() or len(whole) > columns:
        text.set_text(textwrap.fill(whole, columns, break_long_words=False))


def figure_of(axes: Axes) -> FittedFigure:
    """Return the figure that holds these axes."""
    return cast("FittedFigure", axes.get_figure(root=True))


def point_of(axes: Axes) -> float:
    """Return the height of a typographic point as a share of the height of axes.

    Before a figure is drawn the height of its axes is not known: they then fill 3/4 of 4.5 inches.
    """
    figure = figure_of(axes)
    if figure.is_as_designed:
        return 1 / (POINTS_OF_AN_INCH * 0.75 * 4.5)
    return figure.dpi / (POINTS_OF_AN_INCH * axes.bbox.height)


def _is_vertical(axis: Axis) -> bool:
    return isinstance(axis, YAxis)


def _length_in_letters(axis: Axis) -> float:
    """Return the length of an axis in heights of the font of its labels."""
    figure = figure_of(axis.axes)
    box = axis.axes.get_window_extent()
    pixels = box.height if _is_vertical(axis) else box.width
    points = pixels / figure.dpi * POINTS_OF_AN_INCH
    return points / figure.text_size(SIZE)


class QuantityLocator(Locator):
    """Ticks at powers of ten, and at multiples of them on a short log axis.

    Where labels would be crowded, there are fewer ticks; the first one stays.
    """

    def __init__(self, letters: float) -> None:
        self.letters = letters

    def __call__(self) -> Any:
        """Return the ticks in view."""
        low, high = cast("Axis", self.axis).get_view_interval()
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Return the ticks between two values."""
        low, high = sorted((vmin, vmax))
        decades = math.log10(high / low)
        axis = cast("Axis", self.axis)
        gap = 1.8 if _is_vertical(axis) else LETTER * self.letters + 1.0
        most = max(2, int(_length_in_letters(axis) / gap))
        choices: list[tuple[float, ...]] = [(1.0,)]
        if decades <= 3.5:
            choices = [(1.0, 3.0), *choices]
        if decades <= 1.5:
            choices = [(1.0, 2.0, 5.0), *choices]
        for multiples in choices:
            ticks = _multiples_of_powers(low, high, multiples)
            if len(ticks) <= most:
                return ticks
        return ticks[:: math.ceil(len(ticks) / most)]


def _multiples_of_powers(low: float, high: float, multiples: tuple[float, ...]) -> np.ndarray:
    """Return the multiples of powers of ten between two values."""
    powers = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = np.outer(powers, multiples).ravel()
    rounding = 1e-9
    return ticks[(ticks >= low * (1 - rounding)) & (ticks <= high * (1 + rounding))]


class SpacedLocator(MaxNLocator):
    """At most some ticks at round numbers, and fewer where their labels would be crowded.

    letters : length of a label.
    """

    def __init__(self, most: int, letters: float, **options: Any) -> None:
        super().__init__(most, min_n_ticks=2, **options)
        self.most, self.letters = most, letters

    def __call__(self) -> Any:
        """Return the ticks in view."""
        axis = cast("Axis", self.axis)
        gap = 1.8 if _is_vertical(axis) else LETTER * self.letters + 1.2
        room = int(_length_in_letters(axis) / gap)
        self.set_params(nbins=int(np.clip(room, 1, self.most)))
        return super().__call__()


class LossLocator(Locator):
    """Ticks at plain numbers on a log axis of less than a decade, down to the lowest values."""

    def __call__(self) -> Any:
        """Return the ticks in view."""
        low, high = cast("Axis", self.axis).get_view_interval()
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Return the ticks between two values.

        The largest step is taken whose first tick lies near the lower end. Where ticks are too
        close at the upper end, only those of twice the step remain there.
        """
        low, high = sorted((vmin, vmax))
        span = math.log(high / low)
        axis = cast("Axis", self.axis)
        gap = span * max(1.8 / _length_in_letters(axis), 0.065)
        exponent = math.floor(math.log10(high - low))
        steps = [mantissa * 10.0**exponent for mantissa in (5.0, 2.5, 2.0, 1.0)]
        steps += [step / 10.0 for step in steps] + [step / 100.0 for step in steps]
        for step in steps:
            ticks = step * np.arange(math.ceil(low / step - 1e-9), math.floor(high / step) + 1)
            if len(ticks) > 2 and math.log(ticks[0] / low) < 0.12 * span:
                break
        return _thinned(ticks, step, gap)


def _thinned(ticks: np.ndarray, step: float, gap: float) -> np.ndarray:
    """Return rising ticks whose logs differ by a gap at least, at the roundest numbers."""
    kept = [ticks[0]]
    remaining = ticks[1:]
    while len(remaining):
        near = remaining[np.log(remaining / kept[-1]) >= gap]
        if not len(near):
            break
        # Of the next two, the one that is a multiple of twice the step where both are close.
        following = near[0]
        is_odd = round(following / step) % 2 == 1
        if is_odd and len(near) > 1 and np.log(near[1] / kept[-1]) < 2 * gap:
            following = near[1]
        kept.append(following)
        remaining = remaining[remaining > following]
    return np.array(kept)
