"""Figures of laws with a bound: a pass rate against compute, and overfitting against size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from scalebayes.data.metrics import loss_label
from scalebayes.errors import QueryError
from scalebayes.plots.labels import CurveEnd, label_curve_ends
from scalebayes.plots.names import model_name
from scalebayes.plots.style import (
    BLUE,
    FAINT,
    STYLES,
    LineStyle,
    add_caption,
    data_source,
    draw_band,
    draw_reference,
    draw_runs,
    escape_dollars,
    interval_band,
    log_limits,
    log_log_axes,
    loss_ticks,
    new_figure,
    quantity_ticks,
    style_axes,
)
from scalebayes.posterior.fit import Fit
from scalebayes.queries.inputs import quantities
from scalebayes.queries.predict import predict
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.text import kind_of_interval
from scalebayes.units import format_quantity

POINTS = 61
"""Points along a curve."""
FARTHER = 10.0
"""Factor of compute beyond the last point up to which a pass rate is drawn by default."""
MOST_CURVES = len(STYLES)
"""Curves that can be told apart in one figure."""


def score(fit: Fit, C: float | str | None = None, *, ci_prob: float = CI_PROB) -> Figure:
    """Figure of a pass rate against compute, with the asymptote.

    Parameters
    ----------
    fit
        A fit of a law of scores and compute, such as ``bounded-score``.
    C
        Compute up to which the curve is drawn; by default ten times that of the last point.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        The points, the curve with its interval, and the median of the asymptote A, dashed.

    Raises
    ------
    QueryError
        When the fit is of no such law.
    """
    law = fit.spec.law_object
    if law.response != "odds" or law.inputs != ("C",):
        raise QueryError(
            f"'{fit.spec.name}' is no law of a score and compute, such as bounded-score"
        )
    runs = fit.runs
    last = FARTHER * runs.C.max() if C is None else float(quantities(C, "C")[0])
    compute = np.geomspace(runs.C.min(), last, POINTS)
    answer = predict(fit, C=compute, new_run=False)
    posterior = fit.stored["posterior"]
    derived = law.derive({name: posterior[name] for name in law.parameter_names})
    asymptote = float(derived["A"].median())

    axes = new_figure(4.2).add_subplot()
    style_axes(axes, "Pass rate against compute", "Compute C (unit of the table)", "Pass rate (%)")
    band = interval_band(answer, "accuracy", ci_prob)
    draw_runs(axes, runs.C, runs.table["accuracy"].to_numpy(), FAINT)
    draw_band(axes, compute, band, LineStyle(BLUE, "-"), alpha=0.3)
    draw_reference(axes, asymptote, zorder=1)
    axes.set(xscale="log", xlim=log_limits([compute], 0.02))
    quantity_ticks(axes.xaxis, format_quantity)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return add_caption(
        axes,
        f"Line and band: median and {kind_of_interval(ci_prob)} interval of the curve. Dashed: "
        "median of the asymptote A. Points: the table.",
        f"{data_source([fit])}.",
    )


def overfitting(
    fit: Fit,
    D: float | str,
    U: Iterable[float | str],
    *,
    ci_prob: float = CI_PROB,
) -> Figure:
    """Figure of the loss against N at a number of tokens, for several numbers of unique ones.

    Parameters
    ----------
    fit
        A fit of a law of N, D and U, such as ``data-limited``.
    D
        Tokens seen.
    U
        Up to six numbers of unique tokens, each a curve.
    ci_prob
        Probability of the equal-tailed intervals.

    Returns
    -------
    matplotlib.figure.Figure
        A curve with its interval for each U, labelled by the number of epochs. Under
        ``data-limited`` it rises in models that are too large for their unique tokens.

    Raises
    ------
    QueryError
        When the law has other inputs, or for more than six numbers of unique tokens.
    """
    name = fit.spec.name
    if fit.spec.law_object.inputs != ("N", "D", "U"):
        raise QueryError(f"'{name}' is no law of N, D and U, such as data-limited")
    unique = quantities(list(U), "U")
    tokens = float(quantities(D, "D")[0])
    if len(unique) > MOST_CURVES:
        raise QueryError(f"U can hold up to {MOST_CURVES} values; got {len(unique)}")
    runs = fit.runs
    sizes = np.geomspace(runs.N.min(), runs.N.max() * 10, POINTS)
    title = f"Loss after {format_quantity(tokens)} tokens: {escape_dollars(model_name(fit))}"
    axes = log_log_axes(title, "Model size N (parameters)", loss_label(runs.metric))
    bands = []
    ends = []
    for value, style in zip(unique, STYLES, strict=False):
        answer = predict(fit, N=sizes, D=tokens, U=value, new_run=False)
        band = interval_band(answer, "loss", ci_prob)
        draw_band(axes, sizes, band, style, alpha=0.22)
        bands.append(band)
        label = f"U = {format_quantity(value)}, D/U = {format_quantity(tokens / value, 3)}"
        ends.append(CurveEnd(float(band.median[-1]), label, style.colour))
    axes.set_xlim(sizes[0], sizes[-1])
    axes.set_ylim(log_limits([np.concatenate(band) for band in bands], 0.05))
    quantity_ticks(axes.xaxis, format_quantity)
    loss_ticks(axes.yaxis)
    label_curve_ends(axes, ends)
    return add_caption(
        axes,
        f"Lines and bands: median and {kind_of_interval(ci_prob)} interval of the curve for each "
        "number of unique tokens U.",
        f"The largest run has {format_quantity(float(runs.N.max()))} parameters. "
        f"{data_source([fit])}.",
    )
