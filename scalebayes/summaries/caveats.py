"""What to keep in mind with an answer: how far it reaches, and what was measured of intervals at that distance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from scalebayes.datasets import coverage
from scalebayes.laws import INPUTS
from scalebayes.messages import Message
from scalebayes.posterior.provenance import provenance
from scalebayes.units import format_quantity, share_in_words

if TYPE_CHECKING:
    import pandas as pd

VALIDATED = 2.5
"""Decades beyond the runs up to which forecasts could be checked at all."""
SMALL_SCATTER = 0.01
"""Scatter of log loss below which people trust a fit for its small residuals."""
APART = 0.25
"""Decades of N or D outside those of the runs that are worth a word."""


def caveats(answer: xr.Dataset) -> tuple[Message, ...]:
    """Say what to keep in mind with an answer of `predict`, `frontier` and their like, warnings first.

    Returns
    -------
    tuple of Message
        FAR_BEYOND, further beyond the runs than they span themselves; NOT_VALIDATED, more than 2.5 decades beyond them;
        OUTSIDE_N, OUTSIDE_D and their like, at no more compute, but with N, D or another input outside those of the
        runs; LAWS_DISAGREE, two models of an average whose 90% intervals do not meet; CALIBRATION, what share of
        held-out losses 90% intervals held at that distance; SMALL_RESIDUALS, that a small scatter is no reassurance;
        of a frontier on limited data, USED_UP, more compute than it can use; of `downstream`, BEYOND_SCORES, losses
        that no scored model had, and PAST_ONE, draws whose accuracy passes 1.
        Nothing about an answer that stays among the runs.
    """
    if "decades_beyond" not in answer.coords:
        return (*_scores(answer),)
    warned = (
        *_distance(answer),
        *_outside(answer),
        *_flat(answer),
        *_disagreement(answer),
        *_scores(answer),
    )
    return (*warned, *_measured(answer))


def _distance(answer: xr.Dataset) -> Iterator[Message]:
    furthest, span = _furthest(answer), provenance(answer).span
    if furthest > span:
        text = (
            f"{furthest:.1f} decades beyond the largest run, {furthest / span:.1f} times the {span:.1f} that the runs "
            "span: forecasts further out than the runs are wide erred more on public tables"
        )
        yield Message("FAR_BEYOND", "warning", text)
    if furthest > VALIDATED:
        text = (
            f"{furthest:.1f} decades beyond the largest run: not validated. The public tables that forecasts were "
            f"checked on reach no further than {VALIDATED:g} decades"
        )
        yield Message("NOT_VALIDATED", "warning", text)
    if not np.isfinite(answer["decades_beyond"]).all():
        inputs = [answer[x].values for x in INPUTS if x in answer.coords]
        what = (
            "a limit"
            if any(np.isinf(values).any() for values in inputs)
            else "what half of the draws never reach"
        )
        text = f"{what}: beyond all runs, not validated, nor can it be"
        yield Message("NOT_VALIDATED", "warning", text)


def _furthest(answer: xr.Dataset) -> float:
    """Decades beyond the largest run; a limit, and what half of the draws never reach, are at no distance."""
    decades = answer["decades_beyond"].values
    return float(np.max(decades[np.isfinite(decades)], initial=0.0))


def _outside(answer: xr.Dataset) -> Iterator[Message]:
    near = answer["decades_beyond"] < APART
    ranges = provenance(answer).ranges
    for x in ("N", "D", "S", "U", "E"):
        if x not in answer.coords or x not in ranges:
            continue
        low, high = ranges[x]
        asked = answer[x].where(near & np.isfinite(answer[x])).values
        asked = asked[np.isfinite(asked)]
        off = np.maximum(np.log10(asked / high), np.log10(low / asked))
        if off.size and off.max() > APART:
            where = f"{x} = {format_quantity(float(asked[off.argmax()]))} lies {off.max():.1f} decades outside"
            of = {"C": "compute"}.get(
                answer["decades_beyond"].attrs.get("of", "C"), "largest input"
            )
            text = f"{where} the runs' {format_quantity(low)} to {format_quantity(high)}, though its {of} does not"
            yield Message(f"OUTSIDE_{x}", "warning", text)


def _flat(answer: xr.Dataset) -> Iterator[Message]:
    if (share := answer.attrs.get("flat", 0.0)) > 0:
        text = (
            f"in {share_in_words(share)} of the draws half or twice N* is as good: the unique tokens, and the "
            "parameters that they fill, are used up, and more compute buys nothing"
        )
        yield Message("USED_UP", "warning", text)


def _disagreement(answer: xr.Dataset) -> Iterator[Message]:
    of_draws = "model" in answer.coords and answer["model"].dims == ("draw",)
    if not of_draws or "loss" not in answer or answer["loss"].ndim != 3:
        return
    curve = answer["loss"]
    along = next(d for d in curve.dims if d not in ("chain", "draw"))
    bounds = (
        curve.groupby("model")
        .quantile([0.05, 0.5, 0.95], dim=("chain", "draw"))
        .transpose("model", "quantile", ...)
    )
    low, middle, high = (bounds.isel(quantile=i).values for i in range(3))
    gap = low.max(axis=0) - high.min(axis=0)  # positive where two intervals do not meet
    if gap.max() <= 0:
        return
    at = int(gap.argmax())
    above, below = int(low[:, at].argmax()), int(high[:, at].argmin())
    names = bounds["model"].values
    values = [
        f"{names[i]} says {middle[i, at]:.3f} [{low[i, at]:.3f}, {high[i, at]:.3f}]"
        for i in (above, below)
    ]
    inputs = [
        f"{x} = {format_quantity(float(answer[x][at]))}"
        for x in INPUTS
        if answer.get(x, xr.DataArray()).dims == (along,)
    ]
    text = f"the models disagree: at {', '.join(inputs)} {' and '.join(values)} (loss, 90% equal-tailed)"
    yield Message("LAWS_DISAGREE", "warning", text)


def _measured(answer: xr.Dataset) -> Iterator[Message]:
    furthest = _furthest(answer)
    record = provenance(answer)
    if furthest == 0 or not record.models:
        return
    table = coverage()
    here = table[(table["low"] < furthest) & (furthest <= table["high"])]
    own = here[here["spec"] == record.calibration_key]
    if len(own):
        yield Message("CALIBRATION", "note", f"{_held(own.iloc[0])} (docs/calibration.md)")
    else:
        others = "; ".join(
            _held(row) for _, row in here[here["method"].isin(["chinchilla", "coupled"])].iterrows()
        )
        what = f"what intervals of {record.name} hold beyond the runs was not measured"
        yield Message("CALIBRATION", "note", f"{what}; {others}" if others else what)
    if record.noise_scale < SMALL_SCATTER:
        text = (
            f"the runs scatter by only {record.noise_scale:.1%} around the fit, which is no reassurance: on public tables a "
            "smaller scatter went with worse coverage beyond the runs"
        )
        yield Message("SMALL_RESIDUALS", "note", text)


def _scores(answer: xr.Dataset) -> Iterator[Message]:
    """What to keep in mind with accuracies: losses that no scored model had, and curves that pass 1."""
    if "loss_of_scores" not in answer.attrs:
        return
    low, high = answer.attrs["loss_of_scores"]
    middle = answer["loss"].median(("chain", "draw")).values
    off = np.maximum(low - middle, middle - high)
    if off.max() > 0:
        loss = float(middle.ravel()[off.argmax()])
        text = (
            f"a loss of {loss:.2f} lies {off.max():.2f} nats outside the {low:.2f} to {high:.2f} of the scored models: "
            "the accuracy there is the form of the curve; what its intervals hold was not measured"
        )
        yield Message("BEYOND_SCORES", "warning", text)
    if (share := float((answer["accuracy"] >= 1).mean(("chain", "draw")).max())) > 0:
        text = f"in {share_in_words(share)} of the draws the accuracy passes 1 and is cut: a logistic does not do that"
        yield Message("PAST_ONE", "warning", text)


def _held(row: pd.Series) -> str:
    high = (
        f"{row['low']:g} to {row['high']:g}"
        if np.isfinite(row["high"])
        else f"more than {row['low']:g}"
    )
    error = f", s.e. {row['cover90_se']:.0%}" if np.isfinite(row["cover90_se"]) else ""
    return (
        f"at {high} decades beyond the runs, 90% intervals of {row['method']} held {row['cover90']:.0%} of "
        f"{row['forecasts']:.0f} held-out losses of {row['tables']:.0f} public tables{error}"
    )
