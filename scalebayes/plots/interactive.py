"""Figures that ArviZ draws through Plotly, to read and zoom in a notebook or a page; they need the extra `plotly`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.plots.style import INK, STYLES
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

type Backend = Literal["matplotlib", "plotly"]

PLOTLY: Any = "plotly"
"""As ArviZ takes it, though its signatures do not say so."""
ROW = 36
"""Pixels of a row of a forest."""


def wanted(backend: str) -> bool:
    """Whether a figure is asked of Plotly, which must then be there.

    Raises
    ------
    QueryError
        When the backend is none of the two, or Plotly is not installed.
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
    scales: set[str],
) -> Figure:
    """Draw posterior and prior of each parameter (`arviz_plots.plot_prior_posterior`), published values as lines.

    Parameters
    ----------
    prior, posterior
        Draws as they stand on the axis: those of `scales` as log10.
    published, ends
        Values and ends of the axis, likewise.
    scales
        Parameters whose ticks are written as quantities.
    """
    import arviz_plots as azp

    tree = xr.DataTree.from_dict({"prior": prior, "posterior": posterior})
    drawn = azp.plot_prior_posterior(tree, backend=PLOTLY, color=[INK, STYLES[0][0]], col_wrap=4)
    for name, (low, high) in ends.items():
        panel = drawn.viz["plot"][name].item()
        panel.update_xaxes(range=[low, high], nticks=4)
        for value in published[name]:
            panel.add_vline(x=value, line={"color": STYLES[1][0], "dash": "dash", "width": 1.5})
        if name in scales:
            ticks = [tick for tick in _round_numbers(low, high) if 10**low <= tick <= 10**high]
            panel.update_xaxes(
                tickvals=np.log10(ticks), ticktext=[format_quantity(tick, 2) for tick in ticks]
            )
    return _dressed(drawn, "Posterior beside prior; dashed: published values")


def _round_numbers(low: float, high: float) -> np.ndarray:
    """Numbers for the ticks of a log10 axis: powers of ten, few of them; on a short axis 2, 3 and 5 times them too."""
    powers = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
    if high - low < 2:
        return np.ravel(np.outer(powers, [1.0, 2.0, 3.0, 5.0]))
    return powers[:: int(np.ceil((high - low) / 4))]


def forest(table: pd.DataFrame, fits: int, title: str) -> Figure:
    """Draw rows of ``a``, ``low`` and ``high`` (`arviz_plots.plot_forest`), the first of them fits of ours.

    Parameters
    ----------
    table
        By label; a row without an interval has NaN at its ends.
    fits
        How many rows are fits.
    title
        Of the figure, which says what the intervals are.
    """
    import arviz_plots as azp

    middle = {str(label): row["a"] for label, row in table.iterrows()}
    ends = {
        str(label): ("ci_bound", row[["low", "high"]].to_numpy(float))
        for label, row in table.iterrows()
    }
    still = xr.Dataset(
        {label: (("chain", "draw"), np.full((1, 2), a)) for label, a in middle.items()}
    )
    bounds = xr.Dataset(ends, coords={"ci_bound": ["lower", "upper"]})
    drawn = azp.plot_forest(
        xr.DataTree.from_dict({"posterior": still}),
        backend=PLOTLY,
        combined=True,
        aes={"color": ["__variable__"]},
        color=[STYLES[i % len(STYLES)][0] if i < fits else INK for i in range(len(table))],
        visuals={"trunk": False},
        stats={"twig": bounds, "point_estimate": xr.Dataset(middle)},
        figure_kwargs={"width_ratios": [1, 1.6]},
    )
    figure = _dressed(drawn, title)
    figure.update_xaxes(showticklabels=False, showline=False, ticks="", col=1)
    return figure.update_layout(height=ROW * len(table) + 130)


def _dressed(drawn: Any, title: str) -> Figure:
    figure = drawn.viz["figure"].item()
    words = {"text": title, "x": 0.01, "xanchor": "left", "font": {"size": 15, "color": INK}}
    figure.update_layout(
        template="simple_white", title=words, margin={"t": 80}, font={"color": INK}
    )
    return figure
