"""The what-if panel of a report's page: the draws that it contains, and how closely they agree.

The panel answers further questions in the browser from posterior draws (`surfaces`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalebayes.costs.cost import SIX_ND
from scalebayes.errors import QueryError
from scalebayes.plots.loss import default_budgets
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit, law_parameters
from scalebayes.queries.frontier import frontier
from scalebayes.queries.optima.expected_optimum import expected_optimum
from scalebayes.reports.contract import Live
from scalebayes.reports.figures import DrawnFrontier, repeated
from scalebayes.reports.live.surfaces import (
    AMONG,
    BEND,
    BEYOND,
    Components,
    Draws,
    Grid,
    Surfaces,
    components,
    draws_on,
    pack,
    thin,
    weights_around,
)
from scalebayes.utils.shares import tail_probability

CHECKED = (1, 4, 7, 10, 13, 16, 20, 24, 28, 31)
"""Those of the budgets at which the panel's N* is compared with the package's."""
MARGIN = 0.4
"""Decades of N and D around the optimal ones that the panel covers."""
NEARBY = 0.2
"""Decades around the runs within which the draws bend as much as among them."""
DENSITIES = (1.0, 1.5, 2.0)
"""Densities of the grid that are tried, sparsest first."""
RANKS = (12, 24, 48, 80, 120)
"""Numbers of components that are tried."""
ENOUGH = 0.005
"""Relative difference of N* at which neither more nodes nor more components are taken."""
HELPS = 1.1
"""Factor by which more components must reduce the difference of N*, or the grid becomes denser."""
HARMLESS = 1.4
"""Factor by which the difference of N* may grow when components are left out."""
MOST_BYTES = 1_000_000
"""Bytes that the components and their weights in the draws may take, at most, before base64."""
BYTES_OF_A_NUMBER = 2
"""Bytes of each of these numbers, at most."""
TOLERANCE = 0.05
"""Relative difference of N* above which the panel is omitted."""
CENTRAL = (0.002, 0.998)
"""Quantiles of the optimal N and D that the grid contains."""
SERVED = (9.0, 15.0)
"""Range of log10 of the tokens served, besides none."""


@dataclass(frozen=True)
class Ahead:
    """The frontier at all budgets of the panel.

    Attributes
    ----------
    budgets
        In FLOP, (budgets,).
    log_N, log_D
        log10 of the optimal N and D, (S, budgets) each.
    kept
        Indices of the draws that the page contains, thinned in the order of N* at the largest
        budget.
    """

    budgets: np.ndarray
    log_N: np.ndarray
    log_D: np.ndarray
    kept: np.ndarray

    @property
    def log_C(self) -> np.ndarray:
        """Log10 of the budgets, (budgets,)."""
        return np.log10(self.budgets)


@dataclass(frozen=True)
class Packed:
    """Surfaces, with the optimal N that they give at the budgets that are checked.

    Attributes
    ----------
    surfaces
        The surfaces.
    optima
        Optimal N at the budgets `CHECKED`, (draws,) each; None where the grid ends before one.
    error
        Largest relative difference of the median and the interval of N* from those of the package.
    """

    surfaces: Surfaces
    optima: list[np.ndarray] | None
    error: float


def live_part(
    whole: Fit | Average, fits: Mapping[str, Fit], ci_prob: float, drawn: DrawnFrontier | None
) -> tuple[Live | None, str]:
    """Return the embedded data, or None and the reason (no optimum; curve not smooth enough).

    drawn : the figure of the frontier, or None where there is none.
    """
    if any(fit.spec.law_object.at_best.inputs != ("N", "D") for fit in fits.values()):
        return None, "it supports only laws of N and D"
    for fit in fits.values():
        if not all(np.isfinite(values).all() for values in law_parameters(fit).values()):
            return None, "some draws are not finite"
    if drawn is None:
        return None, "there is no compute-optimal point at some budget"
    try:
        ahead = _look_ahead(whole)
        packed = _pack_closely(whole, ahead, ci_prob)
    except QueryError as reason:
        return None, f"the frontier could not be computed: {reason}"
    if packed.error > TOLERANCE:
        error = f"{packed.error:.1%}"
        return None, f"its grid changes N* by {error}, more than the allowed {TOLERANCE:.1%}"

    error_of_all = _error(packed.optima, ahead, slice(None), ci_prob)
    surfaces = packed.surfaces
    settings = _settings(whole, ahead, surfaces, ci_prob) | {"axes": drawn.axes}
    sentence = _sentence(surfaces.draws, len(ahead.log_N), error_of_all)
    alt = (
        "Compute-optimal parameters against compute, with marks at the run and at the optimum "
        "asked for above."
    )
    drawing = repeated(drawn.drawing, "live-frontier", alt)
    return Live(sentence, settings, _arrays(surfaces), drawing), ""


def _sentence(kept: int, count: int, error: float) -> str:
    """Return how many draws the page contains, and how closely its N* agrees."""
    draws = f"all {kept} posterior draws"
    if kept < count:
        draws = f"{kept} of {count} posterior draws"
    rounded_up = np.ceil(1000 * error) / 1000
    return (
        f"This page contains {draws} of the curve, on a grid, and its script evaluates each of "
        f"them. Medians and ends of intervals of N* agree with those of the package to "
        f"{rounded_up:.1%} or better at {len(CHECKED)} budgets, checked when the page was made."
    )


def _look_ahead(whole: Fit | Average) -> Ahead:
    budgets = default_budgets(whole.runs.C)  # of the figures, which share the search for optima
    best = frontier(whole, C=budgets)
    log_N = np.log10(best["N"].values).reshape(-1, len(budgets))
    log_D = np.log10(best["D"].values).reshape(-1, len(budgets))
    return Ahead(budgets, log_N, log_D, thin(whole, log_N[:, -1]))


def _rectangle(whole: Fit | Average, ahead: Ahead) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest log10 N and log10 D of the panel, (2,) each."""
    lows, highs = [], []
    for optimal, of_runs in ((ahead.log_N, whole.runs.N), (ahead.log_D, whole.runs.D)):
        low, high = np.quantile(optimal, CENTRAL, axis=0)
        lows.append(min(low.min(), np.log10(of_runs.min())))
        highs.append(max(high.max(), np.log10(of_runs.max())))
    return np.array(lows) - MARGIN, np.array(highs) + MARGIN


def _pack_closely(whole: Fit | Average, ahead: Ahead, ci_prob: float) -> Packed:
    """Return the draws in as few numbers as agree closely with the package, or as closely as any.

    The grid becomes denser while that helps, and more components do not.
    """
    closest, grid_limits = _pack_at(DENSITIES[0], whole, ahead, ci_prob)
    for density in DENSITIES[1:]:
        if not grid_limits:
            break
        denser, grid_limits = _pack_at(density, whole, ahead, ci_prob)
        if denser.error >= closest.error:
            break
        closest = denser
    return closest


def _pack_at(
    density: float, whole: Fit | Average, ahead: Ahead, ci_prob: float
) -> tuple[Packed, bool]:
    """Return the draws on one grid, and whether a denser one might agree more closely.

    There are as many components as `MOST_BYTES` allows, or fewer where that does no harm.
    """
    draws, found = _components(whole, ahead, density)
    available, nodes = found.surfaces.shape
    affordable = MOST_BYTES // (BYTES_OF_A_NUMBER * (nodes + len(ahead.kept)))
    ranks = sorted({min(rank, available, affordable) for rank in RANKS})

    def packed(rank: int) -> Packed:
        surfaces = pack(draws, found, rank)
        optima = _optima(surfaces, ahead)
        return Packed(surfaces, optima, _error(optima, ahead, ahead.kept, ci_prob))

    most = packed(ranks[-1])
    if len(ranks) == 1:
        return most, False
    tried = {ranks[-1]: most, ranks[-2]: packed(ranks[-2])}
    components_help = tried[ranks[-2]].error > HELPS * most.error
    grid_limits = most.error > ENOUGH and not components_help
    for rank in ranks[:-1]:
        fewer = tried[rank] if rank in tried else packed(rank)
        if fewer.error <= max(ENOUGH, HARMLESS * most.error):
            return fewer, grid_limits
    return most, grid_limits


def _components(whole: Fit | Average, ahead: Ahead, density: float) -> tuple[Draws, Components]:
    """Return the draws on a grid over the panel's rectangle, and their components."""
    low, high = _rectangle(whole, ahead)
    of_runs = np.log10([(x.min(), x.max()) for x in (whole.runs.N, whole.runs.D)])
    around_runs = of_runs + np.array([-NEARBY, NEARBY])
    grid = Grid.over(low, high, around_runs, density)
    # Single precision rounds far less than the bytes in which the page contains the draws.
    draws = draws_on(whole, grid, ahead.kept, precision=np.float32)
    smallest, largest = np.quantile(ahead.log_N, [0.02, 0.98], axis=0)
    weights = weights_around(grid, ahead.log_C, smallest, largest)
    return draws, components(draws, weights, RANKS[-1])


def _optima(surfaces: Surfaces, ahead: Ahead) -> list[np.ndarray] | None:
    """Return the panel's N* at the budgets `CHECKED`; None where the grid ends before one."""
    optima = []
    for i in CHECKED:
        start = 10.0 ** ahead.log_N[ahead.kept, i]
        try:
            optima.append(expected_optimum(surfaces, start, ahead.budgets[i], SIX_ND))
        except QueryError:
            return None
    return optima


def _error(
    optima: list[np.ndarray] | None,
    ahead: Ahead,
    compared: np.ndarray | slice,
    ci_prob: float,
) -> float:
    """Return the largest relative difference of the median and the interval of N*.

    Parameters
    ----------
    optima, ahead
        The panel's N* at the budgets `CHECKED`, and the package's frontier.
    compared
        Indices of the package's draws to compare with.
    ci_prob
        Probability of the interval.
    """
    if optima is None:
        return np.inf
    tail = tail_probability(ci_prob)
    levels = [tail, 0.5, 1 - tail]
    worst = 0.0
    for i, found in zip(CHECKED, optima, strict=True):
        expected = np.quantile(10.0 ** ahead.log_N[compared, i], levels)
        difference = np.quantile(found, levels) / expected - 1
        worst = max(worst, float(np.abs(difference).max()))
    return worst


def _settings(
    whole: Fit | Average, ahead: Ahead, surfaces: Surfaces, ci_prob: float
) -> dict[str, Any]:
    grid = surfaces.grid
    low, high = _rectangle(whole, ahead)
    return {
        "ci_prob": ci_prob,
        "draws": surfaces.draws,
        "wide": surfaces.wide_draws.shape[1],
        "narrow": surfaces.narrow_draws.shape[1],
        "scales": surfaces.scales.tolist(),
        "first": grid.first,
        "sizes": grid.sizes,
        "among": grid.among,
        "nodes": [grid.density * AMONG, grid.density * BEYOND, BEND],
        "N": [float(low[0]), float(high[0])],
        "D": [float(low[1]), float(high[1])],
        "C": [float(ahead.log_C[0]), float(ahead.log_C[-1])],
        "T": SERVED,
        "largest": float(np.log10(whole.runs.max_compute)),
        "start": _start(whole, ahead),
    }


def _start(whole: Fit | Average, ahead: Ahead) -> dict[str, float]:
    """Return the first position of the sliders: the optimum at ten times the largest run."""
    log_C = float(np.log10(whole.runs.max_compute)) + 1.0
    log_N = float(np.interp(log_C, ahead.log_C, np.median(ahead.log_N, axis=0)))
    return {"N": log_N, "D": log_C - float(np.log10(6.0)) - log_N, "C": log_C}


def _arrays(surfaces: Surfaces) -> dict[str, str]:
    """Return the arrays of the page by name, in base64."""
    arrays = {
        "mean": surfaces.mean,
        "unseen": surfaces.unseen,
        "components": surfaces.components,
        "wideDraws": surfaces.wide_draws.T,
        "narrowDraws": surfaces.narrow_draws.T,
        "levels": surfaces.levels,
    }
    encoded = {}
    for name, values in arrays.items():
        data = np.ascontiguousarray(values).tobytes()
        encoded[name] = base64.b64encode(data).decode()
    return encoded
