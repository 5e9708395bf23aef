"""Caveats of an answer: its distance beyond the runs, and the coverage measured there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from scalebayes.data.metrics import LOSS, short_amount
from scalebayes.datasets.measured import coverage_at, describe_choice, describe_tables
from scalebayes.display.numbers import percent
from scalebayes.laws import INPUTS
from scalebayes.messages import Message
from scalebayes.posterior.provenance import Provenance, provenance
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    import pandas as pd

VALIDATED = 2.4
"""Largest distance beyond the runs, in decades, at which public tables can check forecasts."""
SMALL_NOISE_SCALE = 0.01
"""Noise scale of log loss below which small residuals may be mistaken for good forecasts."""
FAR_OUTSIDE = 0.25
"""Distance outside the range of an input, in decades, above which OUTSIDE is reported."""
ONE_COMPUTE = 0.05
"""Decades of compute that runs of one sweep may span, by rounding of N and D."""
IMPLAUSIBLE = 4.0
"""Distance outside the range of an input, in decades, from which a slip is likelier than a
question: 15 tokens for 15T. Forecasts were checked up to `VALIDATED` decades of compute."""
INTERVAL_LEVELS = [0.05, 0.5, 0.95]
"""Lower end, median and upper end of the 90% intervals that LAWS_DISAGREE compares."""
REFERENCE_METHODS = ("coupled-drift", "chinchilla")
"""Models whose measured coverage is reported for models that were not measured."""


def caveats(answer: xr.Dataset) -> tuple[Message, ...]:
    """Return the caveats of an answer of `predict`, `frontier` and similar queries, failures first.

    Returns
    -------
    tuple of Message
        NOT_CONVERGED: a fit behind the answer failed its convergence checks. IMPLAUSIBLE_N,
        IMPLAUSIBLE_D: an input or a compute-optimal size more than four decades outside the runs.
        FAR_BEYOND: further beyond the runs than the runs span. NOT_VALIDATED: more than 2.4 decades
        beyond them. OUTSIDE_N, OUTSIDE_D: no more compute than the runs, but N, D or another input
        outside their range. OUTSIDE_LEARNING_RATE, OUTSIDE_BATCH: a rate or a batch outside theirs.
        LAWS_DISAGREE: two models of an average whose 90% intervals do not overlap. CALIBRATION: the
        share of held-out losses of public tables that 90% intervals covered at that distance, the
        table of the fit itself left out. SMALL_RESIDUALS: a small noise scale, which does not imply
        a good forecast. USED_UP, of a frontier on limited data: more compute than the data can use.
        BEYOND_SCORES, of `downstream`: losses outside those of the scored models. PAST_ONE, of
        `downstream`: draws whose accuracy exceeds 1. Of the fit itself, wherever the answer lies:
        NOT_MONOTONE, losses that rise with an input; PRIOR_CONFLICT, a posterior in the tail of the
        prior; ONE_SIDED, forecasts of the last runs from the others that miss to one side. Empty
        for an answer within the runs of a fit without conflicts.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> [message.code for message in sb.caveats(sb.predict(fit, N="70B", D="15T"))]
    ['NOT_VALIDATED', 'PRIOR_CONFLICT', 'ONE_SIDED', 'CALIBRATION', 'SMALL_RESIDUALS']
    """
    record = provenance(answer)
    failures = failure_messages(record.name, record.failures)
    conflicts = record.conflicts
    if "decades_beyond" not in answer.coords:
        return (*failures, *conflicts, *_score_warnings(answer))
    implausible = tuple(_implausible_warnings(answer))
    return (
        *failures,
        *implausible,
        *_distance_warnings(answer),
        *_input_warnings(answer, implausible),
        *_hyperparameter_warnings(answer),
        *conflicts,
        *_flat_warnings(answer),
        *_disagreement_warnings(answer),
        *_score_warnings(answer),
        *_measured_coverage(answer),
    )


def failure_messages(name: str, failures: Sequence[str]) -> tuple[Message, ...]:
    """Return the message that fits behind an answer failed convergence checks, if any did.

    Parameters
    ----------
    name
        Name of the model or models.
    failures
        Codes of the checks that failed.
    """
    if not failures:
        return ()
    text = (
        f"the convergence checks failed for {name} ({', '.join(failures)}): do not rely on this "
        "answer"
    )
    return (Message("NOT_CONVERGED", "failed", text),)


def _distance_warnings(answer: xr.Dataset) -> Iterator[Message]:
    """Yield warnings of the distance beyond the runs."""
    furthest, span = _furthest(answer), provenance(answer).span
    if furthest > span and span < ONE_COMPUTE:
        text = (
            f"{furthest:.1f} decades beyond the runs, which all have about one compute: such a "
            "sweep shows how the loss depends on the split of a budget, and little of how it falls "
            "with the budget"
        )
        yield Message("FAR_BEYOND", "warning", text)
    elif furthest > span:
        text = (
            f"{_more_than(furthest, span)} decades beyond the largest run, further than the "
            f"{span:.1f} decades that the runs span. On public tables, forecasts further beyond "
            "the runs than the runs span had larger errors"
        )
        yield Message("FAR_BEYOND", "warning", text)
    if furthest > VALIDATED:
        text = (
            f"{_more_than(furthest, VALIDATED)} decades beyond the largest run: not validated. The "
            f"public tables that forecasts were checked on reach no further than {VALIDATED:g} "
            "decades"
        )
        yield Message("NOT_VALIDATED", "warning", text)
    if not np.isfinite(answer["decades_beyond"]).all():
        if any(x in answer.coords and np.isinf(answer[x]).any() for x in INPUTS):
            target = "an infinite input"
        else:
            target = "a loss that half of the draws never reach"
        text = f"{target} lies beyond all runs: forecasts of it are not validated, and cannot be"
        yield Message("NOT_VALIDATED", "warning", text)


def _furthest(answer: xr.Dataset) -> float:
    """Return the largest finite distance beyond the runs, in decades; zero where there is none."""
    decades = answer["decades_beyond"].values
    return float(np.max(decades[np.isfinite(decades)], initial=0.0))


def _implausible_warnings(answer: xr.Dataset) -> Iterator[Message]:
    """Yield warnings of inputs and compute-optimal sizes that lie very far outside the runs."""
    ranges = provenance(answer).ranges
    for x in ("N", "D"):
        if x not in answer or x not in ranges:
            continue
        is_optimum = "draw" in answer[x].dims
        values = answer[x].median(("chain", "draw")) if is_optimum else answer[x]
        found = _furthest_outside(values.values, *ranges[x])
        if found is None:
            continue
        value, decades = found
        low, high = map(format_quantity, ranges[x])
        side = "above" if value > ranges[x][1] else "below"
        text = (
            f"{x} = {format_quantity(value)} lies {decades:.1f} decades {side} the runs ({low} to "
            f"{high}), where no forecast was ever checked"
        )
        if is_optimum:
            text = f"the compute-optimal {text}: the answer is the form of the law alone"
        elif side == "below":
            text += ": is a suffix missing, such as M, B or T?"
        yield Message(f"IMPLAUSIBLE_{x}", "warning", text)


def _furthest_outside(values: np.ndarray, low: float, high: float) -> tuple[float, float] | None:
    """Return the finite value furthest outside a range, and by how many decades, if very far."""
    finite = values[np.isfinite(values) & (values > 0)]
    if not finite.size:
        return None
    outside = np.maximum(np.log10(finite / high), np.log10(low / finite))
    furthest = int(outside.argmax())
    if outside[furthest] < IMPLAUSIBLE:
        return None
    return float(finite[furthest]), float(outside[furthest])


def _input_warnings(answer: xr.Dataset, far: Sequence[Message]) -> Iterator[Message]:
    """Yield warnings of inputs outside the range of the runs at targets that are not far beyond.

    far: the warnings of inputs very far outside, which are not repeated.
    """
    near = answer["decades_beyond"] < FAR_OUTSIDE
    largest = answer["decades_beyond"].attrs.get("of", "C")
    measure = "compute" if largest == "C" else "largest input"
    ranges = provenance(answer).ranges
    for x in ("N", "D", "S", "U", "E"):
        is_far = any(message.code == f"IMPLAUSIBLE_{x}" for message in far)
        if x not in answer.coords or x not in ranges or is_far:
            continue
        low, high = ranges[x]
        values = answer[x].where(near & np.isfinite(answer[x])).values
        values = values[np.isfinite(values)]
        outside = np.maximum(np.log10(values / high), np.log10(low / values))
        if not outside.size or outside.max() <= FAR_OUTSIDE:
            continue
        value = format_quantity(float(values[outside.argmax()]))
        text = (
            f"{x} = {value} lies {outside.max():.1f} decades outside the range of the runs "
            f"({format_quantity(low)} to {format_quantity(high)}), although its {measure} does not"
        )
        yield Message(f"OUTSIDE_{x}", "warning", text)


def _hyperparameter_warnings(answer: xr.Dataset) -> Iterator[Message]:
    """Yield warnings of a learning rate or a batch outside the range of the runs."""
    ranges = provenance(answer).ranges
    for x in ("learning_rate", "batch"):
        if x not in answer.coords or x not in ranges:
            continue
        low, high = ranges[x]
        values = np.atleast_1d(answer[x].values)
        outside = np.maximum(np.log10(values / high), np.log10(low / values))
        if outside.max() <= FAR_OUTSIDE:
            continue
        text = (
            f"{x} = {values[outside.argmax()]:.3g} lies {outside.max():.1f} decades outside the "
            f"range of the runs ({low:.3g} to {high:.3g}), where the valley may have another form"
        )
        yield Message(f"OUTSIDE_{x.upper()}", "warning", text)


def _flat_warnings(answer: xr.Dataset) -> Iterator[Message]:
    """Yield a warning of a frontier whose loss no longer depends on N."""
    share = answer.attrs.get("flat", 0.0)
    if share > 0:
        text = (
            f"in {percent(share)} of the draws half of N* or twice N* reaches the same "
            "loss: the unique tokens, and the parameters that they support, are used up, and more "
            "compute does not lower the loss"
        )
        yield Message("USED_UP", "warning", text)


def _disagreement_warnings(answer: xr.Dataset) -> Iterator[Message]:
    """Yield a warning where 90% intervals of two models of an average do not overlap.

    Only answers with draws of several models, of losses along one dimension of targets, have it.
    """
    is_mixed = "model" in answer.coords and answer["model"].dims == ("draw",)
    if not is_mixed or "loss" not in answer or answer["loss"].ndim != 3:
        return
    loss = answer["loss"]
    quantiles = loss.groupby("model").quantile(INTERVAL_LEVELS, dim=("chain", "draw"))
    low, middle, high = quantiles.transpose("quantile", "model", ...).values

    # At each target the gap between the highest lower end and the lowest upper end is positive
    # where these two intervals do not overlap. The message is of the target with the largest gap.
    gap = low.max(axis=0) - high.min(axis=0)
    if gap.max() <= 0:
        return
    target = int(gap.argmax())
    models = []
    for i in (low[:, target].argmax(), high[:, target].argmin()):
        interval = f"[{low[i, target]:.3f}, {high[i, target]:.3f}]"
        name = quantiles["model"].values[i]
        models.append(f"{name} predicts {middle[i, target]:.3f} {interval}")

    (along,) = (dim for dim in loss.dims if dim not in ("chain", "draw"))
    inputs = [
        f"{x} = {format_quantity(float(answer[x][target]))}"
        for x in INPUTS
        if x in answer and answer[x].dims == (along,)
    ]
    text = (
        f"the models disagree: at {', '.join(inputs)} {' and '.join(models)} "
        "(loss, 90% equal-tailed)"
    )
    yield Message("LAWS_DISAGREE", "warning", text)


def _more_than(value: float, limit: float) -> str:
    """Return a value above a limit with one decimal, also where both round alike."""
    text = f"{value:.1f}"
    return f"slightly more than {text}" if text == f"{limit:.1f}" else text


SCORE_COVERAGE = (
    "on 18 learning curves of image classifiers, 90% intervals of bounded-score covered 28% of the "
    "later accuracies, with a mean error of 1.2 points: expect intervals to be too narrow (see "
    "docs/scores.md)"
)
"""Coverage of forecasts of scores beyond the fitted part of a curve, as docs/scores.md has it."""


def _measured_coverage(answer: xr.Dataset) -> Iterator[Message]:
    """Yield notes of the coverage of 90% intervals at the answer's distance beyond the runs."""
    furthest = _furthest(answer)
    record = provenance(answer)
    if furthest == 0 or not record.models:
        return
    if "accuracy" in answer and "loss" not in answer:
        yield Message("CALIBRATION", "warning", SCORE_COVERAGE)
        return
    in_words, in_brief = _coverage_in_words(furthest, record)
    yield Message("CALIBRATION", "note", in_words, in_brief)
    if record.noise_scale < SMALL_NOISE_SCALE:
        text = (
            f"the noise scale of the fit is only {record.noise_scale:.1%}, but a close fit does "
            "not imply a good forecast: on public tables, laws without drift covered less beyond "
            "the runs the smaller their residuals were"
        )
        brief = f"a close fit (noise scale {record.noise_scale:.1%}) does not imply a good forecast"
        yield Message("SMALL_RESIDUALS", "note", text, brief)


def _coverage_in_words(furthest: float, record: Provenance) -> tuple[str, str]:
    """Return the measured coverage of this model, or of other models where it was not measured.

    The table that the answer's own fit was made from is left out.

    Returns
    -------
    tuple
        The text, and the same in one line.
    """
    here = coverage_at(furthest, record.tables)
    own = here[here["spec"] == record.calibration_key]
    sentences = []
    if own.empty:
        own = here[here["method"].isin(REFERENCE_METHODS)]
        sentences.append(
            f"the coverage of intervals of {record.name} beyond the runs was not measured"
        )
    where_to_read = "see docs/calibration.md"
    brief = f"the coverage of these intervals was not measured; {where_to_read}"
    shares = [_share_in_words(row) for _, row in own.iterrows()]
    if shares:
        # All rows are of one distance, which is stated once.
        distance = f"at {_distance_in_words(own.iloc[0])} decades beyond the runs"
        shares[0] = f"{distance}, {shares[0]}"
        covered = "; ".join(_share_in_brief(row) for _, row in own.iterrows())
        brief = f"{distance}, 90% intervals of {covered}; {where_to_read}"
        sentences += shares
        sentences.append(describe_choice(own.iloc[0]))
    sentences.append(where_to_read)
    return "; ".join(sentences), brief


def _distance_in_words(row: pd.Series) -> str:
    """Return the range of distances of a row of the table of measured coverage, in decades."""
    if np.isfinite(row["high"]):
        return f"{row['low']:g} to {row['high']:g}"
    return f"more than {row['low']:g}"


def _share_in_words(row: pd.Series) -> str:
    """Return the coverage in a row of the table of measured coverage as a sentence."""
    return f"90% intervals of {row['method']} covered {describe_tables(row)}"


def _share_in_brief(row: pd.Series) -> str:
    """Return the coverage in a row of the table of measured coverage in few words."""
    tables = "public table" if row["tables"] == 1 else "public tables"
    counts = f"{row['runs']:.0f} runs of {row['tables']:.0f} {tables}"
    return f"{row['method']} covered {row['cover90']:.0%} ({counts})"


def _score_warnings(answer: xr.Dataset) -> Iterator[Message]:
    """Yield warnings of accuracies: losses that no scored model had, and accuracies above 1."""
    if "loss_of_scores" not in answer.attrs:
        return
    low, high = answer.attrs["loss_of_scores"]
    losses = answer["loss"].median(("chain", "draw")).values.ravel()
    outside = np.maximum(low - losses, losses - high)
    if outside.max() > 0:
        loss = float(losses[outside.argmax()])
        metric = answer["loss"].attrs.get("units", LOSS)
        distance = short_amount(f"{outside.max():.2f}", metric)
        text = (
            f"a loss of {loss:.2f} lies {distance} outside the {low:.2f} to "
            f"{high:.2f} of the scored models: the accuracy there follows from the form of the "
            "curve, and the coverage of its intervals was not measured"
        )
        yield Message("BEYOND_SCORES", "warning", text)
    share = float((answer["accuracy"] >= 1).mean(("chain", "draw")).max())
    if share > 0:
        text = (
            f"in {percent(share)} of the draws the accuracy exceeds 1 and is clipped to 1; "
            "downstream-logistic stays below 1"
        )
        yield Message("PAST_ONE", "warning", text)
