"""Figures drawn by ArviZ through Plotly, to zoom in a notebook or a page (the extra `plotly`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.plots.style import BLUE, INK, ORANGE, STYLES
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

type Backend = Literal["matplotlib", "plotly"]

PLOTLY: Any = "plotly"
"""Name of the backend; untyped, because ArviZ's signatures do not list it."""
ROW_HEIGHT = 36
"""Pixels of a row of a forest plot."""
MARGINS = 130
"""Pixels of a forest plot above and below its rows."""
MOST_TICKS = 4
"""Ticks of an axis."""


def wanted(backend: str) -> bool:
    """Whether a figure is to be drawn by Plotly.

    Raises
    ------
    QueryError
        When the backend is unknown, or Plotly is wanted and not installed.
    """
    if backend not in ("matplotlib", "plotly"):
        raise QueryError(f"backend is 'matplotlib' or 'plotly'; got '{backend}'")
    if backend == "matplotlib":
        return False
    try:
        import plotly  # noqa: F401
        import webcolors  # noqa: F401 - ArviZ's Plotly backend needs it
    except ImportError as error:
        raise QueryError(
            f"backend='plotly' needs Plotly: pip install 'scalebayes[plotly]' ({error})"
        ) from None
    return True


def densities(
    prior: xr.Dataset,
    posterior: xr.Dataset,
    published: Mapping[str, np.ndarray],
    ends: Mapping[str, tuple[float, float]],
    log_scaled: set[str],
) -> Figure:
    """Figure of the posterior and prior of each parameter, with published values as lines.

    It is drawn by `arviz_plots.plot_prior_posterior`.

    Parameters
    ----------
    prior, posterior
        Draws as coordinates along the axis: log10 of the log-scaled parameters.
    published, ends
        Published values, and ends of the axis, as coordinates too.
    log_scaled
        Parameters whose ticks are written as quantities.
    """
    import arviz_plots as azp

    tree = xr.DataTree.from_dict({"prior": prior, "posterior": posterior})
    drawn = azp.plot_prior_posterior(tree, backend=PLOTLY, color=[INK, BLUE], col_wrap=4)
    for name, (low, high) in ends.items():
        panel = drawn.viz["plot"][name].item()
        panel.update_xaxes(range=[low, high], nticks=MOST_TICKS)
        for value in published[name]:
            panel.add_vline(x=value, line={"color": ORANGE, "dash": "dash", "width": 1.5})
        if name in log_scaled:
            ticks = _round_numbers(low, high)
            labels = [format_quantity(tick, 2) for tick in ticks]
            panel.update_xaxes(tickvals=np.log10(ticks), ticktext=labels)
    return _with_title(drawn, "Posterior beside prior; dashed: published values")


def _round_numbers(low: float, high: float) -> np.ndarray:
    """Return ticks for a log10 axis between these ends.

    They are powers of ten, a few of them; on a short axis also 2, 3 and 5 times them.
    """
    powers = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
    if high - low < 2:
        ticks = np.outer(powers, [1.0, 2.0, 3.0, 5.0]).ravel()
    else:
        step = math.ceil((high - low) / MOST_TICKS)
        ticks = powers[::step]
    return ticks[(10**low <= ticks) & (ticks <= 10**high)]


def forest(table: pd.DataFrame, fits: int, title: str) -> Figure:
    """Figure with a point and an interval for each row, drawn by `arviz_plots.plot_forest`.

    Parameters
    ----------
    table
        Columns ``a``, ``low`` and ``high`` by label; a row without an interval has NaN at its ends.
    fits
        Number of rows, at the top, that are fits; the others are from the literature.
    title
        Title of the figure, which says what the intervals are.
    """
    import arviz_plots as azp

    points: dict[str, float] = {}
    bounds = {}
    posterior = {}
    colours = []
    for i, (source, row) in enumerate(table.iterrows()):
        label = str(source)
        points[label] = row["a"]
        bounds[label] = ("ci_bound", row[["low", "high"]].to_numpy(float))
        # ArviZ wants draws; points and intervals are given to it below, so two equal ones do.
        posterior[label] = (("chain", "draw"), np.full((1, 2), row["a"]))
        colours.append(STYLES[i % len(STYLES)].colour if i < fits else INK)
    drawn = azp.plot_forest(
        xr.DataTree.from_dict({"posterior": xr.Dataset(posterior)}),
        backend=PLOTLY,
        combined=True,
        aes={"color": ["__variable__"]},
        color=colours,
        visuals={"trunk": False},
        stats={
            "twig": xr.Dataset(bounds, coords={"ci_bound": ["lower", "upper"]}),
            "point_estimate": xr.Dataset(points),
        },
        figure_kwargs={"width_ratios": [1, 1.6]},
    )
    figure = _with_title(drawn, title)
    figure.update_xaxes(showticklabels=False, showline=False, ticks="", col=1)
    return figure.update_layout(height=ROW_HEIGHT * len(table) + MARGINS)


def _with_title(drawn: Any, title: str) -> Figure:
    """Return the figure of an ArviZ plot in our template, with its title."""
    figure = drawn.viz["figure"].item()
    heading = {"text": title, "x": 0.01, "xanchor": "left", "font": {"size": 15, "color": INK}}
    figure.update_layout(
        template="simple_white", title=heading, margin={"t": 80}, font={"color": INK}
    )
    return figure
