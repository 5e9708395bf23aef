"""Figures of decisions: what a size away from the optimum loses, and which runs to make next.

As in `scalebayes.plots`, every function returns a Matplotlib figure that pyplot does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.decisions.decide import LEAST, decide, near_optimum
from scalebayes.decisions.regret import nats_lost
from scalebayes.errors import QueryError
from scalebayes.planning.plan import Plan
from scalebayes.plots.style import (
    FAINT,
    HALO,
    INK,
    QUIET,
    SIZE,
    SMALL,
    STYLES,
    Colour,
    caption,
    draw_band,
    draw_runs,
    dress,
    label_clear,
    limits,
    literally,
    power,
    quantity_ticks,
    shades,
)
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.frontier import frontier
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 41
"""Sizes along a curve."""
MOST = 4
"""Budgets whose curves one figure tells apart."""


def regret(
    fit: Fit | Average,
    C: float | str | Iterable[float | str],
    *,
    within: float = 0.1,
    prob: float = 0.9,
    cost: Cost = SIX_ND,
    ci_prob: float = CI_PROB,
) -> Figure:
    """Draw what a size loses against the optimum of its budget, and how likely it is to be nearly as good.

    Parameters
    ----------
    fit
        A fit of a law of N and D, or an average.
    C
        One to four budgets in the units of the cost.
    within, prob
        As in `scalebayes.near_optimum`: near the optimum is what needs no more than this share of compute more for
        the loss of the optimum; a size is safe that is so in this share of the draws.
    cost
        What a run costs.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        Above, `scalebayes.regret` along N at each budget. Below, the share of the draws that hold N near the optimum,
        with the safe sizes thick. On both stand the choice of least expected loss and the plug-in optimum of each fit
        (`scalebayes.decide`).

    Raises
    ------
    QueryError
        As `scalebayes.near_optimum`, or for more than four budgets.
    """
    near = near_optimum(fit, C=C, within=within, prob=prob, cost=cost)
    budgets = near["C"].values
    if len(budgets) > MOST:
        raise QueryError(f"the figure tells {MOST} budgets apart; got {len(budgets)}")
    chosen = decide(fit, C=budgets, cost=cost)
    figure = Figure(figsize=(6.8, 4.9), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, sharex=True, height_ratios=(1.5, 1))
    dress(above, "What a size loses against the optimum", "", "Nats per token lost")
    dress(below, "", "Parameters N", f"Probability of being\nwithin {within:.0%} of compute")
    reach = []
    colours = shades(budgets, budgets) if len(budgets) > 1 else [STYLES[0][0]]
    for i, (budget, colour) in enumerate(zip(budgets, colours, strict=True)):
        one, options = near.isel(budget=i), chosen.sel(option=chosen["C"].values == budget)
        sizes = _sizes(one, options)
        reach.append(sizes)
        _draw_regret(above, fit, sizes, float(budget), cost, colour, ci_prob)
        _draw_near(below, one, sizes, prob, colour)
        _mark_choices(above, below, one, options)
    below.set(xscale="log", xlim=limits(reach, 0.02), ylim=(0, 1.05))
    above.set_ylim(0, None)
    above.tick_params(which="both", labelbottom=False)
    quantity_ticks(below.xaxis, format_quantity)
    below.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    above.yaxis.set_major_locator(MaxNLocator(5))
    below.axhline(prob, color=QUIET, lw=0.9, ls=(0, (4, 3)), zorder=1)
    band = f"Above: median and {100 * ci_prob:g}% equal-tailed interval at budgets in FLOP"
    safe = f"Thick: sizes within {within:.0%} of compute with probability {prob:.0%}"
    marks = "Diamonds: choice of least expected loss. Circles: optimum of the law at posterior medians (plug-in)"
    return caption(below, f"{band}{_beyond(near)}.\n{marks}.\n{safe}. {_data(fit)}.")


def _beyond(answer: xr.Dataset) -> str:
    """Which budgets lie beyond the largest run, in words."""
    budgets, decades = answer["C"].values, answer["decades_beyond"].values
    far = [
        f"{format_quantity(C, 2)} by {d:.1f}"
        for C, d in zip(budgets, decades, strict=True)
        if d > 0.05
    ]
    return f"; {' and '.join(far)} decades beyond the largest run" if far else ""


def _data(fit: Fit | Average) -> str:
    return f"Data: {literally(fit.runs.name)} ({len(fit.runs)} runs)"


def _sizes(near: xr.Dataset, options: xr.Dataset) -> np.ndarray:
    """Sizes around what is near the optimum in most draws, the choices among them."""
    low, high = np.quantile(near["N_lower"], 0.1), np.quantile(near["N_upper"], 0.9)
    chosen = options["N"].values
    return np.geomspace(min(low, chosen.min()) / 1.3, max(high, chosen.max()) * 1.3, POINTS)


def _draw_regret(
    axes: Axes,
    fit: Fit | Average,
    N: np.ndarray,
    budget: float,
    cost: Cost,
    colour: Colour,
    ci_prob: float,
) -> None:
    table = intervals(nats_lost(fit, N=N, D=cost.affordable_tokens(N, budget), cost=cost), ci_prob)
    lower, upper = interval_columns(ci_prob)
    band = (table[lower].to_numpy(), table["median"].to_numpy(), table[upper].to_numpy())
    draw_band(axes, N, band, colour, alpha=0.22)
    style: dict[str, Any] = {"size": SIZE, "color": colour, "va": "center", "path_effects": HALO}
    axes.annotate(
        format_quantity(budget, 2),
        (N[-1], band[1][-1]),
        (4, 0),
        textcoords="offset points",
        **style,
    )


def _draw_near(axes: Axes, near: xr.Dataset, N: np.ndarray, prob: float, colour: Colour) -> None:
    """Draw the share of draws whose near-optimal range holds a size; thick where it is at least `prob`."""
    fine = np.geomspace(N[0], N[-1], 8 * POINTS)
    share = _share(near, fine)
    axes.plot(fine, share, color=colour, lw=1.3)
    low, high = float(near["N_from"]), float(near["N_to"])
    if np.isfinite(low):
        axes.fill_between([low, high], [0, 0], [prob, prob], color=colour, alpha=0.15, lw=0)
        axes.plot([low, high], [0.025, 0.025], color=colour, lw=5, solid_capstyle="butt")


def _share(near: xr.Dataset, N: np.ndarray) -> np.ndarray:
    lower, upper = (near[name].values.ravel()[:, None] for name in ("N_lower", "N_upper"))
    return ((lower <= N) & (upper >= N)).mean(axis=0)


def _mark_choices(above: Axes, below: Axes, near: xr.Dataset, options: xr.Dataset) -> None:
    """Mark the choices of one budget: where they lie in N, by their expected regret and by their share."""
    for N, choice, lost in zip(
        *(options[x].values for x in ("N", "choice", "expected_nats_lost")), strict=True
    ):
        if choice != LEAST and not str(choice).startswith("plug-in"):
            continue
        marker, fill, size = ("D", INK, 4.0) if choice == LEAST else ("o", "none", 7.0)
        style: dict[str, Any] = {
            "color": INK,
            "mfc": fill,
            "ms": size,
            "mew": 1.0,
            "zorder": 5,
            "clip_on": False,
        }
        above.plot([N], [lost], marker, **style)
        below.plot([N], _share(near, np.array([N])), marker, **style)


def next_runs(fit: Fit | Average, chosen: Plan) -> Figure:
    """Draw where the runs of `scalebayes.next_runs` lie, and how they are expected to narrow the target's interval.

    Parameters
    ----------
    fit
        The fit, or average, that was asked.
    chosen
        What `scalebayes.next_runs` answered.

    Returns
    -------
    matplotlib.figure.Figure
        Left, the runs so far, those chosen by number in their order, and the target: a run, or sizes of a budget with
        the interval of N*. Right, the width of the interval against what is spent.

    Raises
    ------
    QueryError
        When the plan is none of `scalebayes.next_runs`.
    """
    table = chosen.table
    if "width_now" not in table.attrs:
        raise QueryError("this plan is for no target; give what scalebayes.next_runs answers")
    figure = Figure(figsize=(6.8, 3.9), layout="constrained", facecolor="white")
    where, width = figure.subplots(1, 2, width_ratios=(1.25, 1))
    dress(where, "Runs to make next", "Parameters N", "Training tokens D").set(
        xscale="log", yscale="log"
    )
    _draw_places(where, fit, table)
    _draw_widths(width, table)
    attrs = table.attrs
    kind = f"{100 * attrs['ci_prob']:g}% equal-tailed interval"
    star = (
        f"Star{' and bar' if 'C' in attrs['at'] else ''}: {attrs['target']}{_far(fit, attrs['at'])}"
    )
    marks = f"Grey: runs so far. Numbers: runs chosen, in their order.\n{star}"
    update = f"Right: width of its {kind}, expected by a linear-Gaussian update"
    caption(where, f"{marks}.\n{update}. {_data(fit)}.")
    _number_places(where, table)
    return figure


def _far(fit: Fit | Average, at: dict[str, float]) -> str:
    """How far beyond the largest run the target lies, in words."""
    decades = np.log10(
        (at["C"] if "C" in at else SIX_ND.flop(at["N"], at["D"])) / fit.runs.max_compute
    )
    return f", {decades:.1f} decades beyond the largest run" if decades > 0.05 else ""


def _draw_places(axes: Axes, fit: Fit | Average, table: pd.DataFrame) -> None:
    at, ci_prob = table.attrs["at"], table.attrs["ci_prob"]
    N, D = [fit.runs.N, table["N"].to_numpy()], [fit.runs.D, table["D"].to_numpy()]
    if "C" in at:
        best = frontier(fit, C=at["C"])["N"].values
        tail = (1 - ci_prob) / 2
        size = np.quantile(best, [tail, 0.5, 1 - tail])
        axes.plot(
            size[[0, 2]],
            SIX_ND.affordable_tokens(size[[0, 2]], at["C"]),
            color=STYLES[1][0],
            lw=2.2,
            zorder=4,
        )
        target = size[1], float(SIX_ND.affordable_tokens(size[1], at["C"]))
        N, D = [*N, size], [*D, SIX_ND.affordable_tokens(size, at["C"])]
    else:
        target = at["N"], at["D"]
        N, D = [*N, np.array([at["N"]])], [*D, np.array([at["D"]])]
    draw_runs(axes, fit.runs.N, fit.runs.D, FAINT)
    axes.plot(*target, "*", color=STYLES[1][0], ms=12, mec="white", mew=0.7, zorder=5)
    axes.set(xlim=limits(N, 0.07), ylim=limits(D, 0.07))
    for axis in (axes.xaxis, axes.yaxis):
        quantity_ticks(axis, format_quantity)


def _number_places(axes: Axes, table: pd.DataFrame) -> None:
    """Mark the chosen runs, each place with the numbers of its runs."""
    groups = [rows for _, rows in table.groupby(["N", "D"], sort=False)]
    places = np.array([rows[["N", "D"]].to_numpy()[0] for rows in groups])
    axes.plot(*places.T, "o", color=STYLES[0][0], ms=6, mec="white", mew=0.7, zorder=4.5)
    label_clear(
        axes, places, [_ranges([int(run) for run in rows.index]) for rows in groups], STYLES[0][0]
    )


def _ranges(numbers: list[int]) -> str:
    """Numbers in order, runs of three or more as 2-5."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    words = (f"{g[0]}-{g[-1]}" if len(g) > 2 else ", ".join(map(str, g)) for g in groups)
    return ", ".join(words)


def _draw_widths(axes: Axes, table: pd.DataFrame) -> None:
    attrs = table.attrs
    of_size = "C" in attrs["at"]
    title = f"Width, {attrs['ci_prob']:.0%} interval"
    dress(
        axes,
        title,
        "Spent on new runs (FLOP)",
        "Upper over lower bound of N*" if of_size else "Nats per token",
    )
    spent = np.array([0.0, *table["total_cost"]])
    width = np.array([attrs["width_now"], *table["width"]])
    axes.plot(spent, width, "-", color=STYLES[0][0], lw=1.3)
    axes.plot(spent[1:], width[1:], "o", color=STYLES[0][0], ms=6, mec="white", mew=0.7)
    axes.plot(spent[:1], width[:1], "o", color=QUIET, ms=6, mec="white", mew=0.7)
    axes.annotate(
        "now", (spent[0], width[0]), (7, 3), textcoords="offset points", size=SMALL, color=QUIET
    )
    left = attrs["width_left"]
    axes.axhline(left, color=QUIET, lw=0.9, ls=(0, (4, 3)))
    bottom = 1.0 if of_size else 0.0
    high = left - bottom > 0.4 * (width[0] - bottom)
    style: dict[str, Any] = {
        "size": SMALL,
        "color": QUIET,
        "ha": "right",
        "va": "top" if high else "bottom",
    }
    at = (0.98, left), (0, -4 if high else 3), axes.get_yaxis_transform(), "offset points"
    axes.annotate("left by any number of such runs", *at, **style)
    axes.set(
        xlim=(-0.05 * spent[-1], 1.08 * spent[-1]),
        ylim=(bottom, width[0] + 0.1 * (width[0] - bottom)),
    )
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(lambda flop, _: power(flop) if flop > 0 else "0")
