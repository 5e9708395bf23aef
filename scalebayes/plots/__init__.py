"""Figures, one function each, and `save`. Every function returns a `matplotlib.figure.Figure`.

The figures are unknown to pyplot, so no global state changes and no figure stays open. A notebook
shows a figure that is the value of a cell; `save` writes it to a file.
"""

from scalebayes.plots.backtest import calibration
from scalebayes.plots.coupling import kappa
from scalebayes.plots.curves import curves
from scalebayes.plots.decisions import next_runs, regret
from scalebayes.plots.experts import experts
from scalebayes.plots.loss import extrapolation, frontier, isoflop, published_frontiers
from scalebayes.plots.posterior import frontier_exponents, parameters, residuals
from scalebayes.plots.scores import overfitting, score
from scalebayes.plots.style import save
from scalebayes.plots.tuning import tuning

__all__ = [
    "calibration",
    "curves",
    "experts",
    "extrapolation",
    "frontier",
    "frontier_exponents",
    "isoflop",
    "kappa",
    "next_runs",
    "overfitting",
    "parameters",
    "published_frontiers",
    "regret",
    "residuals",
    "save",
    "score",
    "tuning",
]


def __dir__() -> list[str]:
    """Return the figures and `save`, without the modules that they are in."""
    return __all__
