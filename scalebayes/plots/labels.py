"""Labels that must not overlap: ends of curves, known models, numbered points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox, Transform, offset_copy

from scalebayes.costs.cost import SIX_ND
from scalebayes.datasets import known_models
from scalebayes.plots.style import (
    HALO,
    INK,
    QUIET,
    SIZE,
    SMALL,
    Colour,
    annotate_beside,
    figure_of,
    format_power_of_ten,
)

if TYPE_CHECKING:
    import pandas as pd

POINT = 1 / (72 * 0.75 * 4.5)
"""Height of a typographic point as a share of the height of axes that fill 3/4 of 4.5 inches."""
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


def label_curve_ends(axes: Axes, ends: Sequence[CurveEnd]) -> None:
    """Label curves to the right of the axes, as near to their ends as the labels' heights allow."""
    from scipy.optimize import isotonic_regression

    ends = sorted(ends)
    right = axes.get_xlim()[1]
    to_axes = _data_to_axes(axes)
    heights = np.array([to_axes.transform((right, end.value))[1] for end in ends])
    # Isotonic regression gives the heights closest to the curves' ends, in least squares, that
    # keep the labels in order. Subtracting the spacing before it, and adding it after, keeps
    # neighbours apart by at least one line.
    spacing = LINE_SPACING * SIZE * POINT * np.arange(len(ends))
    label_heights = isotonic_regression(heights - spacing).x + spacing
    for end, height, label_height in zip(ends, heights, label_heights, strict=True):
        axes.annotate(
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


def shade_beyond_runs(axes: Axes, largest: Iterable[float]) -> None:
    """Shade the budgets beyond the largest run of each table, given these largest budgets."""
    left, right = axes.get_xlim()
    in_view = sorted(budget for budget in set(largest) if budget < right)
    if not in_view:
        return
    for budget in in_view:
        axes.axvspan(budget, right, color="#000000", alpha=0.045, lw=0, zorder=0)
        axes.axvline(budget, color=QUIET, lw=0.8, ls=(0, (2, 2)), zorder=1)
    if len(in_view) == 1:
        text = f"beyond the largest run,\n{format_power_of_ten(in_view[0])} FLOP"
    else:
        text = "beyond the largest run\nof each table"
    annotate_beside(
        axes,
        text,
        (max(in_view[-1], left), 4 * POINT),
        (4, 0),
        coordinates=axes.get_xaxis_transform(),
        linespacing=1.3,
    )


def mark_model_budgets(axes: Axes) -> None:
    """Mark the training compute of known models by stems from the top edge.

    Stems of smaller budgets are longer, so that labels do not overlap.
    """
    across = axes.get_xaxis_transform()
    largest_first = _models_in_view(axes)[::-1]
    for i, (label, budget) in enumerate(largest_first["C"].items()):
        foot = 1 - (4 + 10 * i) * POINT
        axes.plot([budget, budget], [foot, 1], transform=across, color=INK, lw=0.7)
        annotate_beside(
            axes, str(label), (budget, foot), (3, 0), coordinates=across, color=INK, va="center"
        )


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
    _label_models(axes, models[is_above], above=True)
    _label_models(axes, models[~is_above], above=False)


def _label_models(axes: Axes, models: pd.DataFrame, *, above: bool) -> None:
    """Label models on one side of the curve, in one column for each cluster of neighbours."""
    places = _data_to_axes(axes).transform(models[["C", "N"]].to_numpy())
    gaps = np.diff(places[:, 0], prepend=0.0)
    columns = np.cumsum(gaps > COLUMN_GAP)
    for _, column in models.groupby(columns):
        _label_column(axes, column, above=above)


def _label_column(axes: Axes, models: pd.DataFrame, *, above: bool) -> None:
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
    for label, row in models.sort_values(["N", "C"], ascending=above).iterrows():
        own_height = sign * to_axes.transform((row["C"], row["N"]))[1] / POINT
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
    centres = axes.transData.transform(points) / figure.dpi * 72
    point_boxes = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in centres]
    label_boxes: list[Bbox] = []
    for i, (point, label) in enumerate(zip(points, labels, strict=True)):
        half_width = HALF_LETTER_WIDTH * SIZE * len(label) + 1
        half_size = np.array([half_width, HALF_LETTER_HEIGHT * SIZE])
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
