"""Accuracy at the losses of any answer: the stage from loss to accuracy, applied to its draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from scalebayes.data.metrics import LOSS, loss_in_words
from scalebayes.errors import QueryError
from scalebayes.posterior.average import over_average
from scalebayes.posterior.fit import Fit, law_parameters, noise_parameters
from scalebayes.posterior.provenance import provenance, with_provenance
from scalebayes.utils.progress import shows_progress

KEPT = ("N", "D", "tokens_per_param", "epochs")
"""Variables of an answer that are kept beside the accuracy and the loss."""
LONG_NAMES = {
    "accuracy": "accuracy of the curve",
    "error": "error of the curve",
    "new_accuracy": "accuracy of a new model",
}


@shows_progress("benchmark accuracy")
@over_average
def downstream(stage: Fit, answer: xr.Dataset, /, *, seed: int = 0) -> xr.Dataset:
    """Return the posterior of the accuracy a(e^L) at the losses L of an answer.

    Each draw of the loss is paired with a random draw of the stage, as if the errors of the two
    fits were independent. That holds for tables of different models. For the same runs it is an
    approximation, good where the noise of the accuracies is much larger than that of the losses.

    Parameters
    ----------
    stage
        A fit of a model such as ``downstream`` to `read_scores`, or an average of several.
    answer
        Draws of the loss: an answer of `predict` or `frontier`, or any dataset with a ``loss`` of
        dims (chain, draw, ...). The curve's accuracy is that at ``loss``, which includes a
        discrepancy of the fit; a new model's is that at ``new_run``, if there is one.
    seed
        Seed of the pairing and of the noise of a new model.

    Returns
    -------
    xarray.Dataset
        With the dims and coordinates of the answer: ``accuracy`` and ``error`` = 1 - accuracy, of
        the stage's curve at the answer's curve; ``new_accuracy``, of one further model, with the
        noise of both; ``loss``; and the N and D of a `frontier`. Where a draw's curve exceeds an
        accuracy of 1 (the exponential does so at small losses) it is set to 1, and the caveats give
        the share of such draws.

    Raises
    ------
    QueryError
        When the first is not a fit of accuracies, or the second has no draws of the loss, or they
        are in another metric than the losses of the stage.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "loss": [3.9, 3.5, 3.2, 2.9, 2.7, 2.5],
    ...     "accuracy": [0.29, 0.34, 0.39, 0.46, 0.50, 0.55],
    ... })
    >>> stage = sb.fit(sb.read_scores(scores), "downstream", seed=0)
    >>> loss = sb.predict(sb.load("chinchilla.nc"), N="7B", D="300B")
    >>> f"{sb.downstream(stage, loss)['accuracy'].median():.2f}"
    '0.67'
    """
    law = stage.spec.law_object
    if law.response != "odds":
        raise QueryError(
            f"'{stage.spec.name}' is a law of the loss; the stage is a fit of accuracies "
            "(read_scores)"
        )
    if law.inputs != ("P",):
        raise QueryError(
            f"'{stage.spec.name}' is a law of {law.inputs[0]}, not of the loss: predict(fit, "
            f"{law.inputs[0]}=...) gives its accuracies"
        )
    loss = _draws_of_loss(answer)
    _refuse_other_metric(stage, loss)
    rng = np.random.default_rng(seed)
    parameters, noise_scales = _paired_draws(rng, stage, loss.shape)
    noise = stage.spec.noise_object.draw(rng, loss.shape, **noise_scales)
    accuracy = _accuracy(law(np.exp(loss.values), **parameters))
    new_loss = loss.values
    if "new_run" in answer:
        new_loss = answer["new_run"].transpose(*loss.dims).values
    new_odds = law(np.exp(new_loss), **parameters)
    # Negative odds have passed infinity; noise must not bring them back.
    new_odds = np.where(new_odds < 0, np.inf, new_odds) * np.exp(noise)
    values = {
        "accuracy": accuracy,
        "error": 1.0 - accuracy,
        "new_accuracy": _accuracy(new_odds),
    }
    out = xr.Dataset({"loss": loss})
    for name, value in values.items():
        out[name] = (loss.dims, value, {"long_name": LONG_NAMES[name], "units": "share"})
    for name in KEPT:
        if name in answer.data_vars:
            out[name] = answer[name]
    return _labelled(out.assign_coords(answer.coords), stage, answer)


def _draws_of_loss(answer: xr.Dataset) -> xr.DataArray:
    """Return the loss of an answer with dims (chain, draw, ...)."""
    if isinstance(answer, xr.Dataset) and "loss" in answer:
        loss = answer["loss"]
        if {"chain", "draw"} <= set(loss.dims):
            return loss.transpose("chain", "draw", ...)
    raise QueryError(
        "no draws of the loss: give an answer of predict or frontier, or another with a 'loss'"
    )


def _refuse_other_metric(stage: Fit, loss: xr.DataArray) -> None:
    """Refuse losses whose unit is known and is not that of the losses of the stage."""
    metric = loss.attrs.get("units", LOSS)
    if metric not in (LOSS, stage.runs.metric):
        raise QueryError(
            f"'{stage.spec.name}' gives accuracies at {loss_in_words(stage.runs.metric)}; the "
            f"answer has {loss_in_words(metric)}"
        )


def _paired_draws(
    rng: np.random.Generator, stage: Fit, shape: tuple[int, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the stage's parameters of law and noise, (chain, draw, 1, ...), paired at random."""
    law, noise = law_parameters(stage), noise_parameters(stage)
    available = next(iter(law.values())).size
    rows = _paired_rows(rng, shape[0] * shape[1], available)
    shape_of_draws = shape[:2] + (1,) * (len(shape) - 2)

    def paired(values: np.ndarray) -> np.ndarray:
        return values.ravel()[rows].reshape(shape_of_draws)

    law = {name: paired(values) for name, values in law.items()}
    noise = {name: paired(values) for name, values in noise.items()}
    return law, noise


def _paired_rows(rng: np.random.Generator, wanted: int, available: int) -> np.ndarray:
    """Return row numbers of the stage's draws, (wanted,), each equally often to within one."""
    repeats, rest = divmod(wanted, available)
    repeated = np.tile(np.arange(available), repeats)
    rows = np.concatenate([repeated, rng.permutation(available)[:rest]])
    return rng.permutation(rows)


def _accuracy(odds: np.ndarray) -> np.ndarray:
    """Return the accuracy o/(1 + o) of odds o, and 1 where the odds have passed infinity."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((odds < 0) | np.isinf(odds), 1.0, odds / (1.0 + odds))


def _labelled(out: xr.Dataset, stage: Fit, answer: xr.Dataset) -> xr.Dataset:
    """Return the answer with the provenance of both fits and the range of the stage's losses."""
    record = provenance(answer)
    failures = tuple(dict.fromkeys((*record.failures, *stage.gate_failures)))
    losses = stage.runs.loss
    out = out.assign_attrs(answer.attrs)
    out = out.assign_attrs(
        stage=stage.spec.name, loss_of_scores=[float(losses.min()), float(losses.max())]
    )
    return with_provenance(out, replace(record, failures=failures))
