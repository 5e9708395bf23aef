"""Figure of the number of experts: excess loss and probability of being best."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.costs.memory import Memory, as_memory
from scalebayes.errors import QueryError
from scalebayes.plots.sizes import SpacedLocator
from scalebayes.plots.style import (
    BLUE,
    Band,
    LineStyle,
    add_caption,
    data_source,
    draw_band,
    equal_tailed,
    format_power_of_ten,
    new_figure,
    style_axes,
)
from scalebayes.posterior.fit import Fit
from scalebayes.queries.curves import curve_of
from scalebayes.queries.frontier import frontier
from scalebayes.queries.inputs import quantities
from scalebayes.queries.optima.memory_limit import compare_experts
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.text import kind_of_interval
from scalebayes.units import format_quantity

LETTERS_OF_A_NUMBER = 5
"""Letters of a tick label such as 0.012 or 256."""
BAR_SHARE = 0.35
"""Half width of a bar, as a share of the distance between neighbouring numbers of experts."""


def experts(
    fit: Fit,
    C: float | str,
    memory: Memory | float | str,
    *,
    cost: Cost = SIX_ND,
    ci_prob: float = CI_PROB,
) -> Figure:
    """Figure of how many experts are best for a budget and a limit on parameters in all.

    Parameters
    ----------
    fit
        A fit of a law of experts, such as ``mixture-of-experts``.
    C
        One budget in the units of the cost.
    memory
        The limit, as `scalebayes.frontier` takes it. Its numbers of experts are compared.
    cost
        Cost of a run of N active parameters.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        Above, the loss of each number of experts, at its best N and D, over the least loss of the
        same draw. Below, the probability that a number is the best of those compared.

    Raises
    ------
    QueryError
        As `scalebayes.frontier`, or for more than one budget or fewer than two numbers of experts.
    """
    limit = as_memory(memory)
    budgets = quantities(C, "C")
    numbers = np.array(limit.experts, float)
    if len(budgets) != 1:
        raise QueryError(f"the figure is of one budget C; got {len(budgets)}")
    if len(numbers) < 2:
        raise QueryError("the figure compares at least two numbers of experts; got one")
    frontier(fit, C=budgets, memory=limit, cost=cost)  # refuses what has no answer
    curve = curve_of(fit, "law", seed=0)
    loss = compare_experts(curve, budgets, cost, limit)[1][:, 0]
    excess = loss - loss.min(axis=1, keepdims=True)
    is_best = numbers[loss.argmin(axis=1)][:, None] == numbers

    figure = new_figure(4.6)
    above, below = figure.subplots(2, sharex=True, height_ratios=(1.5, 1))
    budget = format_power_of_ten(float(budgets[0]))
    room = format_quantity(float(limit.parameters), 3)
    title = f"Experts at C = {budget} FLOP, at most {room} parameters in all"
    style_axes(above, title, "", f"Excess loss ({fit.runs.metric})")
    style_axes(below, "", "Experts E (number; 1: dense)", "Probability\nof being best (%)")
    lower, median, upper = np.transpose([equal_tailed(one, ci_prob) for one in excess.T])
    draw_band(above, numbers, Band(lower, median, upper), LineStyle(BLUE, "-"), alpha=0.22)
    above.plot(numbers, median, "o", color=BLUE, ms=4)
    _draw_bars(below, numbers, is_best.mean(axis=0))

    below.set(xscale="log", ylim=(0, None))
    above.set_ylim(0, None)
    above.tick_params(which="both", labelbottom=False)
    below.set_xticks(numbers, [f"{number:g}" for number in numbers], minor=False)
    below.set_xticks([], minor=True)
    below.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    for axes in (above, below):
        axes.yaxis.set_major_locator(SpacedLocator(5, LETTERS_OF_A_NUMBER))
    return add_caption(
        below,
        f"Above: median and {kind_of_interval(ci_prob)} interval of the loss at the best N and D "
        "that fit, over the least loss of the same draw. Below: share of draws in which a number "
        "of experts is the best of those shown.",
        f"{_range_of_runs(fit)} {data_source([fit])}.",
    )


def _draw_bars(axes: Axes, numbers: np.ndarray, shares: np.ndarray) -> None:
    """Draw the probability of each number of experts as a bar on a log axis."""
    step = float(np.min(np.diff(np.log(np.sort(numbers)))))
    half_width = np.exp(BAR_SHARE * step)
    style: dict[str, Any] = {"color": BLUE, "alpha": 0.55, "align": "edge", "lw": 0}
    left = numbers / half_width
    axes.bar(left, shares, width=numbers * half_width - left, **style)


def _range_of_runs(fit: Fit) -> str:
    """Return the experts of the runs, for a caption."""
    return f"The runs have {fit.runs.E.min():.3g} to {fit.runs.E.max():.3g} experts."
