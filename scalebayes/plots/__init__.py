"""Figures: one function for each, and `save`. Every function returns a `matplotlib.figure.Figure`.

pyplot does not know these figures, so nothing global changes and nothing stays open. A notebook shows a figure as the
value of a cell; `save` writes it to a file.
"""

from scalebayes.plots.backtest import calibration
from scalebayes.plots.decisions import next_runs, regret
from scalebayes.plots.loss import extrapolation, frontier, isoflop, published_frontiers
from scalebayes.plots.posterior import frontier_exponents, kappa, parameters, residuals
from scalebayes.plots.style import save

__all__ = [
    "calibration",
    "extrapolation",
    "frontier",
    "frontier_exponents",
    "isoflop",
    "kappa",
    "next_runs",
    "parameters",
    "published_frontiers",
    "regret",
    "residuals",
    "save",
]
