"""Figures of decisions: the excess loss of a model size, and the runs to make next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.data.metrics import capitalised
from scalebayes.decisions.decide import LEAST, decide, near_optimum
from scalebayes.decisions.regret import excess_loss
from scalebayes.errors import QueryError
from scalebayes.planning.plan import Plan
from scalebayes.plots.labels import label_points
from scalebayes.plots.style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    QUIET,
    SIZE,
    Colour,
    LineStyle,
    add_caption,
    annotate_beside,
    data_source,
    draw_band,
    draw_reference,
    draw_runs,
    equal_tailed,
    format_power_of_ten,
    interval_band,
    log_limits,
    new_figure,
    quantity_ticks,
    shades_by_size,
    style_axes,
)
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.frontier import frontier
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.text import kind_of_interval
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 41
"""Sizes along a curve of the excess loss."""
FINE_POINTS = 8 * POINTS
"""Sizes along a curve of the probability, which has steps."""
MOST_BUDGETS = 4
"""Budgets whose curves can be told apart in one figure."""
DECADES_SHOWN = 0.05
"""Distance beyond the largest run, in decades of compute, from which captions state it."""


def regret(
    fit: Fit | Average,
    C: float | str | Iterable[float | str],
    *,
    within: float = 0.1,
    prob: float = 0.9,
    cost: Cost = SIX_ND,
    ci_prob: float = CI_PROB,
) -> Figure:
    """Figure of the excess loss of model sizes over the optimum of their budget.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average.
    C
        One to four budgets in the units of the cost.
    within, prob
        As in `scalebayes.near_optimum`: a size is near the optimum where it reaches the optimum's
        loss with at most this share of compute more, and safe where that holds with this
        probability.
    cost
        Cost of a run.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        Above, `scalebayes.regret` along N at each budget. Below, the probability that N is near
        the optimum, with the safe sizes thick. Both mark the size of least expected loss and the
        plug-in optimum of each fit (`scalebayes.decide`).

    Raises
    ------
    QueryError
        As `scalebayes.near_optimum`, or for more than four budgets.
    """
    near = near_optimum(fit, C=C, within=within, prob=prob, cost=cost)
    budgets = near["C"].values
    if len(budgets) > MOST_BUDGETS:
        raise QueryError(
            f"C can hold up to {MOST_BUDGETS} budgets, whose curves can be told apart; "
            f"got {len(budgets)}"
        )
    chosen = decide(fit, C=budgets, cost=cost)
    colours = [BLUE]
    if len(budgets) > 1:
        colours = list(shades_by_size(budgets, budgets))

    figure = new_figure(4.9)
    above, below = figure.subplots(2, sharex=True, height_ratios=(1.5, 1))
    style_axes(above, "Excess loss over the compute-optimal size", "", capitalised(fit.runs.metric))
    style_axes(below, "", "Parameters N", f"Probability of being\nwithin {within:.0%} of compute")
    sizes_drawn = []
    for i, (budget, colour) in enumerate(zip(budgets, colours, strict=True)):
        near_here = near.isel(budget=i)
        options = chosen.sel(option=chosen["C"].values == budget)
        sizes = _sizes_to_draw(near_here, options)
        sizes_drawn.append(sizes)
        excess = excess_loss(fit, N=sizes, D=cost.affordable_tokens(sizes, budget), cost=cost)
        _draw_excess_loss(above, excess, sizes, format_quantity(budget, 2), colour, ci_prob)
        _draw_probability(below, near_here, sizes, prob, colour)
        _mark_choices(above, below, near_here, options)
    below.set(xscale="log", xlim=log_limits(sizes_drawn, 0.02), ylim=(0, 1.05))
    above.set_ylim(0, None)
    above.tick_params(which="both", labelbottom=False)
    quantity_ticks(below.xaxis, format_quantity)
    below.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    above.yaxis.set_major_locator(MaxNLocator(5))
    draw_reference(below, prob, zorder=1)
    return add_caption(
        below,
        f"Above: median and {kind_of_interval(ci_prob)} interval at budgets in FLOP"
        f"{_budgets_beyond(near)}.",
        "Diamonds: choice of least expected loss. "
        "Circles: optimum of the law at posterior medians (plug-in).",
        f"Thick: sizes within {within:.0%} of compute with probability {prob:.0%}. "
        f"{data_source([fit])}.",
    )


def _budgets_beyond(answer: xr.Dataset) -> str:
    """Return which budgets lie beyond the largest run, by how many decades, for a caption."""
    far = []
    for budget, decades in zip(answer["C"].values, answer["decades_beyond"].values, strict=True):
        if decades > DECADES_SHOWN:
            far.append(f"{format_quantity(budget, 2)} by {decades:.1f}")
    if not far:
        return ""
    return f"; {' and '.join(far)} decades beyond the largest run"


def _sizes_to_draw(near: xr.Dataset, options: xr.Dataset) -> np.ndarray:
    """Return sizes that cover the near-optimal ranges of most draws, and the choices."""
    low = np.quantile(near["N_lower"], 0.1)
    high = np.quantile(near["N_upper"], 0.9)
    chosen = options["N"].values
    return np.geomspace(min(low, chosen.min()) / 1.3, max(high, chosen.max()) * 1.3, POINTS)


def _draw_excess_loss(
    axes: Axes, excess: xr.Dataset, N: np.ndarray, label: str, colour: Colour, ci_prob: float
) -> None:
    """Draw the excess loss along N with its interval, labelled at the right end."""
    band = interval_band(excess, "excess_loss", ci_prob)
    draw_band(axes, N, band, LineStyle(colour, "-"), alpha=0.22)
    end = (N[-1], band.median[-1])
    annotate_beside(axes, label, end, (4, 0), size=SIZE, color=colour, va="center")


def _draw_probability(
    axes: Axes, near: xr.Dataset, N: np.ndarray, prob: float, colour: Colour
) -> None:
    """Draw the probability that a size is near the optimum; thick where it is at least `prob`."""
    fine = np.geomspace(N[0], N[-1], FINE_POINTS)
    axes.plot(fine, _probability_near(near, fine), color=colour, lw=1.3)
    low = float(near["N_from"])
    high = float(near["N_to"])
    if np.isfinite(low):
        axes.fill_between([low, high], [0, 0], [prob, prob], color=colour, alpha=0.15, lw=0)
        axes.plot([low, high], [0.025, 0.025], color=colour, lw=5, solid_capstyle="butt")


def _probability_near(near: xr.Dataset, N: np.ndarray) -> np.ndarray:
    """Return the share of draws whose near-optimal range contains each size, shape (sizes,)."""
    lower = near["N_lower"].values.reshape(-1, 1)
    upper = near["N_upper"].values.reshape(-1, 1)
    contains = (lower <= N) & (upper >= N)
    return contains.mean(axis=0)


def _mark_choices(above: Axes, below: Axes, near: xr.Dataset, options: xr.Dataset) -> None:
    """Mark the choices of one budget at their N, excess loss and probability of being near."""
    sizes = options["N"].values
    losses = options["expected_excess_loss"].values
    for N, choice, loss in zip(sizes, options["choice"].values, losses, strict=True):
        style: dict[str, Any] = {"color": INK, "mew": 1.0, "zorder": 5, "clip_on": False}
        if choice == LEAST:
            style |= {"marker": "D", "mfc": INK, "ms": 4.0}
        elif str(choice).startswith("plug-in"):
            style |= {"marker": "o", "mfc": "none", "ms": 7.0}
        else:
            continue
        above.plot([N], [loss], ls="none", **style)
        below.plot([N], _probability_near(near, np.array([N])), ls="none", **style)


def next_runs(fit: Fit | Average, chosen: Plan) -> Figure:
    """Figure of the runs of `scalebayes.next_runs` and of the intervals expected after them.

    Parameters
    ----------
    fit
        The fit, or average, that `scalebayes.next_runs` was asked about.
    chosen
        The plan that `scalebayes.next_runs` returned.

    Returns
    -------
    matplotlib.figure.Figure
        Left, the runs so far, the chosen runs by number in their order, and the target: a run, or
        the sizes of a budget with the interval of N*. Right, the width of the target's interval
        against the compute spent.

    Raises
    ------
    QueryError
        When the plan does not come from `scalebayes.next_runs`.
    """
    table = chosen.table
    if "width_now" not in table.attrs:
        raise QueryError("this plan is for no target; give what scalebayes.next_runs answers")
    about = table.attrs
    where, width = new_figure(3.9).subplots(1, 2, width_ratios=(1.25, 1))
    style_axes(where, "Runs to make next", "Parameters N", "Training tokens D")
    where.set(xscale="log", yscale="log")
    _draw_places(where, fit, table)
    _draw_widths(width, table, fit.runs.metric)
    star = "Star and bar" if "C" in about["at"] else "Star"
    figure = add_caption(
        where,
        "Grey: runs so far. Numbers: runs chosen, in their order.",
        f"{star}: {about['target']}{_target_beyond(fit, about['at'])}.",
        f"Right: width of its {kind_of_interval(about['ci_prob'])} interval, expected by a "
        f"linear-Gaussian update. {data_source([fit])}.",
    )
    _number_places(where, table)
    return figure


def _target_beyond(fit: Fit | Average, at: dict[str, float]) -> str:
    """Return how many decades beyond the largest run the target lies, for a caption."""
    compute = at["C"] if "C" in at else SIX_ND.flop(at["N"], at["D"])
    decades = np.log10(compute / fit.runs.max_compute)
    if decades <= DECADES_SHOWN:
        return ""
    return f", {decades:.1f} decades beyond the largest run"


def _draw_places(axes: Axes, fit: Fit | Average, table: pd.DataFrame) -> None:
    """Draw the runs so far and the target in the plane of N and D, with room for chosen runs."""
    at = table.attrs["at"]
    if "C" in at:
        best = frontier(fit, C=at["C"])["N"].values
        target_N = equal_tailed(best, table.attrs["ci_prob"])
        target_D = SIX_ND.affordable_tokens(target_N, at["C"])
        ends = [0, 2]
        axes.plot(target_N[ends], target_D[ends], color=ORANGE, lw=2.2, zorder=4)
        star = (target_N[1], target_D[1])
    else:
        target_N = np.array([at["N"]])
        target_D = np.array([at["D"]])
        star = (at["N"], at["D"])
    draw_runs(axes, fit.runs.N, fit.runs.D, FAINT)
    axes.plot(*star, "*", color=ORANGE, ms=12, mec="white", mew=0.7, zorder=5)
    sizes = [fit.runs.N, table["N"].to_numpy(), target_N]
    tokens = [fit.runs.D, table["D"].to_numpy(), target_D]
    axes.set(xlim=log_limits(sizes, 0.07), ylim=log_limits(tokens, 0.07))
    for axis in (axes.xaxis, axes.yaxis):
        quantity_ticks(axis, format_quantity)


def _number_places(axes: Axes, table: pd.DataFrame) -> None:
    """Mark the chosen runs, and number them; runs at the same place share a label."""
    places = []
    labels = []
    for place, rows in table.groupby(["N", "D"], sort=False):
        places.append(place)
        labels.append(_number_ranges([int(number) for number in rows.index]))
    points = np.array(places)
    axes.plot(*points.T, "o", color=BLUE, ms=6, mec="white", mew=0.7, zorder=4.5)
    label_points(axes, points, labels, BLUE)


def _number_ranges(numbers: list[int]) -> str:
    """Return rising numbers as text, with three or more in sequence as 2-5."""
    sequences: list[list[int]] = []
    for number in numbers:
        if sequences and number == sequences[-1][-1] + 1:
            sequences[-1].append(number)
        else:
            sequences.append([number])
    words = []
    for sequence in sequences:
        if len(sequence) > 2:
            words.append(f"{sequence[0]}-{sequence[-1]}")
        else:
            words.extend(map(str, sequence))
    return ", ".join(words)


def _draw_widths(axes: Axes, table: pd.DataFrame, metric: str) -> None:
    """Draw the width of the target's interval against the compute spent on new runs.

    metric: unit of the losses.
    """
    about = table.attrs
    # The width of an interval of N* is a ratio, at least one; that of a loss a difference.
    if "C" in about["at"]:
        label, narrowest = "Upper over lower bound of N*", 1.0
    else:
        label, narrowest = capitalised(metric), 0.0
    title = f"Width, {about['ci_prob']:.0%} interval"
    style_axes(axes, title, "Spent on new runs (FLOP)", label)
    spent = np.array([0.0, *table["total_cost"]])
    width = np.array([about["width_now"], *table["width"]])
    axes.plot(spent, width, "-", color=BLUE, lw=1.3)
    axes.plot(spent[1:], width[1:], "o", color=BLUE, ms=6, mec="white", mew=0.7)
    axes.plot(spent[:1], width[:1], "o", color=QUIET, ms=6, mec="white", mew=0.7)
    annotate_beside(axes, "now", (spent[0], width[0]), (7, 3))

    limit = about["width_left"]
    draw_reference(axes, limit)
    # The label of the limit stands below its line where the line is high, else above it.
    range_now = width[0] - narrowest
    if limit - narrowest > 0.4 * range_now:
        shift, align = (0, -4), "top"
    else:
        shift, align = (0, 3), "bottom"
    annotate_beside(
        axes,
        "limit for many such runs",
        (0.98, limit),
        shift,
        coordinates=axes.get_yaxis_transform(),
        ha="right",
        va=align,
    )
    axes.set_xlim(-0.05 * spent[-1], 1.08 * spent[-1])
    axes.set_ylim(narrowest, width[0] + 0.1 * range_now)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(lambda flop, _: format_power_of_ten(flop) if flop > 0 else "0")
