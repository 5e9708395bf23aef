"""Every figure at the width of a column of a paper: legible, nothing clipped, units on the axes."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.text import Text

import scalebayes as sb
from scalebayes.plots.sizes import SMALLEST, LossLocator, point_of
from scalebayes.plots.style import resize
from tests.plots.test_pictures import DRAWN, made

COLUMN = 3.3
"""Width of a column of a paper, in inches."""
UNITS = ("nats per token", "parameters", "tokens", "no unit")
"""Units that stand alone below a panel of a parameter."""


@pytest.fixture(scope="module")
def fits():
    return {model: made(model) for model in ("chinchilla", "coupled")}


@pytest.fixture(scope="module", params=DRAWN)
def figure(request, fits):
    """A figure at the width of a column, laid out."""
    drawn = DRAWN[request.param](fits)
    resize(drawn, COLUMN)
    drawn.draw_without_rendering()
    return drawn


def texts(figure):
    """Every text that a reader sees, with the box that it fills."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low <= tick.get_loc() <= high or not axes.axison:
                    hidden |= {tick.label1, tick.label2}
    found = []
    for text in figure.findobj(Text):
        if text in hidden or not text.get_visible() or not text.get_text().strip():
            continue
        # The extent of an annotation would include the line to its point.
        found.append((text, Text.get_window_extent(text)))
    return found


def test_no_text_is_smaller_than_six_points_or_leaves_the_page(figure):
    page = figure.bbox.padded(1.0)
    shown = texts(figure)
    assert len(shown) > 10
    for text, box in shown:
        assert text.get_fontsize() >= SMALLEST - 1e-9, text
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
        assert page.y0 <= box.y0, text
        assert box.y1 <= page.y1, text


def test_no_texts_overlap(figure):
    level = [pair for pair in texts(figure) if pair[0].get_rotation() in (0.0, 90.0)]
    overlapping = []
    for (one, box), (other, its_box) in itertools.combinations(level, 2):
        if box.padded(-0.5).overlaps(its_box.padded(-0.5)):
            overlapping.append((one.get_text(), other.get_text()))
    assert overlapping == []


def test_every_axis_has_a_unit(figure):
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            label = " ".join(axis.get_label_text().split())
            if not label:  # a shared axis, the names of sources, or heights without a scale
                assert axis is axes.yaxis or axes.get_shared_x_axes().joined(axes, figure.axes[-1])
                continue
            assert label in UNITS or re.search(r"\(.+\)", label), label


def test_names_in_figures_are_not_those_of_files(figure, fits):
    shown = " ".join(text.get_text() for text, _ in texts(figure))
    for name in (*sb.list_models().index, *sb.list_runs().index):
        if "-" in name or name[-1].isdigit():
            assert name not in shown


def test_save_writes_a_figure_at_a_width(fits, tmp_path):
    figure = sb.plots.frontier(fits)
    sb.plots.save(figure, tmp_path / "column.svg", width=COLUMN)
    assert 'width="237.6pt"' in (tmp_path / "column.svg").read_text()
    resize(figure, 6.8)
    figure.draw_without_rendering()
    sizes = {text.get_fontsize() for text, _ in texts(figure)}
    assert sizes == {7.0, 8.5, 9.0, 10.0}


def test_ticks_of_a_loss_begin_at_the_lowest_values(fits):
    axes = sb.plots.extrapolation(fits).axes[0]
    for low, high in ((1.62, 3.7), (2.04, 3.42), (1.0, 9.0), (0.051, 0.07)):
        axes.set_ylim(low, high)
        ticks = axes.yaxis.get_major_locator()()
        assert isinstance(axes.yaxis.get_major_locator(), LossLocator)
        assert 3 <= len(ticks) <= 12
        assert (np.diff(ticks) > 0).all()
        assert low <= ticks[0] <= low * (high / low) ** 0.15
        gaps = np.diff(np.log(ticks)) / np.log(high / low)
        assert gaps.min() > 0.04
    assert point_of(axes) > 0
