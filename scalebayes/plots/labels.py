"""Labels that must not overlap: ends of curves, known models, numbered points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox, Transform, offset_copy

from scalebayes.costs.cost import SIX_ND
from scalebayes.datasets import known_models
from scalebayes.plots.sizes import LETTER, SIZE, SMALL, figure_of, point_of
from scalebayes.plots.style import (
    HALO,
    INK,
    QUIET,
    Colour,
    annotate_beside,
    format_power_of_ten,
)

if TYPE_CHECKING:
    import pandas as pd

COLUMN_GAP = 0.2
"""Share of the axes' width between neighbouring models from which on a new column begins."""
DISTANCES = (3.0, 12.0, 22.0, 34.0)
"""Gaps in points between a point and its label, nearest first."""
LINE_SPACING = 1.35
"""Distance between the labels of neighbouring curves, in heights of their font."""
MODEL_LINE_SPACING = 1.6
"""Distance between the labels of neighbouring models, in heights of their font."""
MODEL_DISTANCE = 20
"""Least height in points of a model's label above or below the model."""
HALF_LETTER_WIDTH = 0.34
"""Half the width of an average bold letter, in heights of its font."""
HALF_LETTER_HEIGHT = 0.6
"""Half the height of a line of text, in heights of its font, with a margin."""
ANGLES = (45, -45, 135, -135, 90, -90, 0, 180)
"""Directions in degrees from a point to its label, best first."""


class CurveEnd(NamedTuple):
    """Last value of a curve, its label and its colour."""

    value: float
    label: str
    colour: Colour


class LabelledPoint(NamedTuple):
    """A point in data coordinates, with a label for the right of it and its colour."""

    point: tuple[float, float]
    label: str
    colour: Colour


def label_in_axes(axes: Axes, points: Sequence[LabelledPoint]) -> None:
    """Label points on their right, each lower than a label that it would overlap."""
    figure_of(axes).place(lambda: _label_in_axes(axes, points))


def _label_in_axes(axes: Axes, points: Sequence[LabelledPoint]) -> list[Artist]:
    """Label points on their right, from the top down, and return the labels."""
    size = figure_of(axes).text_size(SIZE)
    point = point_of(axes)
    to_axes = _data_to_axes(axes)
    box = axes.get_window_extent()
    widths_per_height = box.height / box.width  # of one point, as shares of the axes
    taken: dict[int, Bbox] = {}
    from_the_top = sorted(range(len(points)), key=lambda number: -points[number].point[1])
    for number in from_the_top:
        one = points[number]
        left, bottom = to_axes.transform(one.point)
        left += 4 * point * widths_per_height
        bottom -= point
        width = LETTER * size * len(one.label) * point * widths_per_height
        height = size * point
        for other in taken.values():
            if Bbox.from_bounds(left, bottom, width, height).overlaps(other):
                bottom = other.y0 - height
        taken[number] = Bbox.from_bounds(left, bottom, width, height)
    labels: list[Artist] = []
    for number, one in enumerate(points):
        label = annotate_beside(
            axes,
            one.label,
            (float(taken[number].x0), float(taken[number].y0)),
            (0, 0),
            coordinates="axes fraction",
            size=SIZE,
            color=one.colour,
        )
        labels.append(label)
    return labels


def label_curve_ends(axes: Axes, ends: Sequence[CurveEnd]) -> None:
    """Label curves to the right of the axes, as near to their ends as the labels' heights allow."""
    figure_of(axes).place(lambda: _label_curve_ends(axes, sorted(ends)))


def _label_curve_ends(axes: Axes, ends: Sequence[CurveEnd]) -> list[Artist]:
    """Label curves, given in rising order of their ends, and return the labels."""
    from scipy.optimize import isotonic_regression

    right = axes.get_xlim()[1]
    size = figure_of(axes).text_size(SIZE)
    to_axes = _data_to_axes(axes)
    heights = np.array([to_axes.transform((right, end.value))[1] for end in ends])
    # Isotonic regression gives the heights closest to the curves' ends, in least squares, that
    # keep the labels in order. Subtracting the spacing before it, and adding it after, keeps
    # neighbours apart by at least one line.
    spacing = LINE_SPACING * size * point_of(axes) * np.arange(len(ends))
    label_heights = isotonic_regression(heights - spacing).x + spacing
    labels: list[Artist] = []
    for end, height, label_height in zip(ends, heights, label_heights, strict=True):
        label = axes.annotate(
            end.label,
            (1.0, height),
            (1.035, label_height),
            xycoords="axes fraction",
            size=SIZE,
            color=end.colour,
            va="center",
            annotation_clip=False,
            arrowprops=_leader(end.colour, 0.6, shrink=(1, 1), anchor=(0, 0.5)),
        )
        labels.append(label)
    return labels


def shade_beyond_runs(axes: Axes, largest: Iterable[float]) -> None:
    """Shade the budgets beyond the largest run of each table, given these largest budgets."""
    right = axes.get_xlim()[1]
    in_view = sorted(budget for budget in set(largest) if budget < right)
    if not in_view:
        return
    for budget in in_view:
        axes.axvspan(budget, right, color="#000000", alpha=0.045, lw=0, zorder=0)
        axes.axvline(budget, color=QUIET, lw=0.8, ls=(0, (2, 2)), zorder=1)
    figure_of(axes).place(lambda: [_label_beyond_runs(axes, in_view)])


def _label_beyond_runs(axes: Axes, in_view: Sequence[float]) -> Artist:
    """Label the shaded budgets, given the largest budget of each table in view."""
    is_narrow = figure_of(axes).scale < 1
    beyond = "beyond the\nlargest run" if is_narrow else "beyond the largest run"
    if len(in_view) > 1:
        text = f"{beyond}\nof each table"
    elif is_narrow:
        text = f"{beyond},\n{format_power_of_ten(in_view[0])}\nFLOP"
    else:
        text = f"{beyond},\n{format_power_of_ten(in_view[0])} FLOP"
    return annotate_beside(
        axes,
        text,
        (max(in_view[-1], axes.get_xlim()[0]), 4 * point_of(axes)),
        (4, 0),
        coordinates=axes.get_xaxis_transform(),
        linespacing=1.3,
    )


def mark_model_budgets(axes: Axes) -> None:
    """Mark the training compute of known models by stems from the top edge.

    Stems of smaller budgets are longer, so that labels do not overlap.
    """
    figure_of(axes).place(lambda: _mark_model_budgets(axes))


def _mark_model_budgets(axes: Axes) -> list[Artist]:
    """Draw the stems with their labels, and return them."""
    across = axes.get_xaxis_transform()
    largest_first = _models_in_view(axes)[::-1]
    artists: list[Artist] = []
    for i, (label, budget) in enumerate(largest_first["C"].items()):
        foot = 1 - (4 + 10 * i) * point_of(axes)
        artists += axes.plot([budget, budget], [foot, 1], transform=across, color=INK, lw=0.7)
        text = annotate_beside(
            axes, str(label), (budget, foot), (3, 0), coordinates=across, color=INK, va="center"
        )
        artists.append(text)
    return artists


def mark_models(axes: Axes, C: np.ndarray, N: np.ndarray) -> None:
    """Mark known models at C = 6 N D, and label them clear of the curve N(C) and of each other.

    Labels of models above the curve stand on their left, labels of those below it on their right.
    Neighbouring models share a column of labels.
    """
    models = _models_in_view(axes)
    models = models[models["N"].between(*axes.get_ylim())]
    axes.plot(models["C"], models["N"], "o", color=INK, ms=4.5, mec="white", mew=0.7, zorder=5)
    curve_at_models = np.exp(np.interp(np.log(models["C"]), np.log(C), np.log(N)))
    is_above = models["N"] > curve_at_models
    figure_of(axes).place(
        lambda: [
            *_label_models(axes, models[is_above], above=True),
            *_label_models(axes, models[~is_above], above=False),
        ]
    )


def _label_models(axes: Axes, models: pd.DataFrame, *, above: bool) -> list[Artist]:
    """Label models on one side of the curve, in one column for each cluster of neighbours."""
    places = _data_to_axes(axes).transform(models[["C", "N"]].to_numpy())
    gaps = np.diff(places[:, 0], prepend=0.0)
    columns = np.cumsum(gaps > COLUMN_GAP)
    labels: list[Artist] = []
    for _, column in models.groupby(columns):
        labels += _label_column(axes, column, above=above)
    return labels


def _label_column(axes: Axes, models: pd.DataFrame, *, above: bool) -> list[Artist]:
    """Label models to the upper left of all of them, or where not above, to the lower right."""
    if above:
        edge = models["C"].min()
        sign, align, anchor = 1, "right", (1.0, 0.5)
    else:
        edge = models["C"].max()
        sign, align, anchor = -1, "left", (0.0, 0.5)
    figure = figure_of(axes)
    to_axes = _data_to_axes(axes)
    leader = _leader(INK, 0.5, shrink=(1, 3), anchor=anchor)
    # From the curve outwards, each label stands at a distance from its model and one line beyond
    # the label before it. Heights are in points, counted away from the curve.
    height = -math.inf
    point = point_of(axes)
    labels: list[Artist] = []
    for label, row in models.sort_values(["N", "C"], ascending=above).iterrows():
        own_height = sign * to_axes.transform((row["C"], row["N"]))[1] / point
        height = max(own_height + MODEL_DISTANCE, height + MODEL_LINE_SPACING * SMALL)
        shift = sign * (height - own_height)
        text = axes.annotate(
            str(label),
            (row["C"], row["N"]),
            (edge, row["N"]),
            xycoords="data",
            textcoords=offset_copy(axes.transData, figure, -12 * sign, shift, "points"),
            arrowprops=leader,
            size=SMALL,
            color=INK,
            ha=align,
            va="center",
        )
        text.set(zorder=5, path_effects=HALO)
        labels.append(text)
    return labels


class _Placement(NamedTuple):
    """Where a label stands: its offset from its point, its box and the gap, all in points."""

    offset: np.ndarray
    box: Bbox
    gap: float


def label_points(axes: Axes, points: np.ndarray, labels: Sequence[str], colour: Colour) -> None:
    """Label points, shape (points, 2), where neither a point nor another label is in the way.

    The figure's layout is computed here, because it decides where labels fit: call this when
    everything else has been drawn.
    """
    figure = figure_of(axes)
    figure.draw_without_rendering()
    figure.place(lambda: _label_points(axes, points, labels, colour))


def _label_points(
    axes: Axes, points: np.ndarray, labels: Sequence[str], colour: Colour
) -> list[Artist]:
    """Label points whose places on the page are known, and return the labels."""
    figure = figure_of(axes)
    size = figure.text_size(SIZE)
    texts: list[Artist] = []
    centres = axes.transData.transform(points) / figure.dpi * 72
    point_boxes = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in centres]
    label_boxes: list[Bbox] = []
    for i, (point, label) in enumerate(zip(points, labels, strict=True)):
        half_width = HALF_LETTER_WIDTH * size * len(label) + 1
        half_size = np.array([half_width, HALF_LETTER_HEIGHT * size])
        taken = [*point_boxes[:i], *point_boxes[i + 1 :], *label_boxes]
        placement = _free_place(centres[i], half_size, taken)
        label_boxes.append(placement.box)
        leader = None
        if placement.gap > DISTANCES[0]:
            leader = _leader(colour, 0.5, shrink=(0, 3))
        text = axes.annotate(
            label,
            point,
            tuple(placement.offset),
            textcoords="offset points",
            arrowprops=leader,
            size=SIZE,
            color=colour,
            weight="bold",
            ha="center",
            va="center",
        )
        text.set(zorder=6, path_effects=HALO)
        texts.append(text)
    return texts


def _free_place(centre: np.ndarray, half_size: np.ndarray, taken: Sequence[Bbox]) -> _Placement:
    """Return the first place whose box overlaps none of those taken; where none is free, the last.

    centre, half_size : of the point and of its label, shape (2,), in points.
    """
    for gap, angle in product(DISTANCES, ANGLES):
        radians = math.radians(angle)
        # Rounding makes the zeros of sine and cosine exact, so that sign() leaves them.
        direction = np.round([math.cos(radians), math.sin(radians)], 3)
        offset = direction * gap + np.sign(direction) * half_size
        corner = centre + offset - half_size
        box = Bbox.from_bounds(*corner, *(2 * half_size))
        placement = _Placement(offset, box, gap)
        if not any(box.overlaps(other) for other in taken):
            break
    return placement


def _leader(
    colour: Colour,
    width: float,
    *,
    shrink: tuple[float, float],
    anchor: tuple[float, float] = (0.5, 0.5),
) -> dict[str, Any]:
    """Return the style of a line from a label to its point.

    shrink : gaps in points at the label and at the point.
    anchor : where the line leaves the label, as shares of its width and height.
    """
    return {
        "arrowstyle": "-",
        "color": colour,
        "lw": width,
        "shrinkA": shrink[0],
        "shrinkB": shrink[1],
        "relpos": anchor,
    }


def _data_to_axes(axes: Axes) -> Transform:
    """Return the transform from data to shares of the axes' width and height."""
    return axes.transData + axes.transAxes.inverted()


def _models_in_view(axes: Axes) -> pd.DataFrame:
    """Return known models whose training compute C = 6 N D is in view, smallest first."""
    models = known_models()
    models = models.assign(C=SIX_ND.flop(models["N"], models["D"]))
    is_in_view = models["C"].between(*axes.get_xlim())
    return models[is_in_view].sort_values("C")
