"""Figures, one function each, and `save`. Every function returns a `matplotlib.figure.Figure`.

The figures are unknown to pyplot, so no global state changes and no figure stays open. A notebook
shows a figure that is the value of a cell; `save` writes it to a file.
"""

from scalebayes.plots.backtest import calibration
from scalebayes.plots.coupling import kappa
from scalebayes.plots.curves import curves
from scalebayes.plots.decisions import next_runs, regret
from scalebayes.plots.loss import extrapolation, frontier, isoflop, published_frontiers
from scalebayes.plots.posterior import frontier_exponents, parameters, residuals
from scalebayes.plots.style import save

__all__ = [
    "calibration",
    "curves",
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


def __dir__() -> list[str]:
    """Return the figures and `save`, without the modules that they are in."""
    return __all__
