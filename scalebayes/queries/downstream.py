"""The stage from loss to accuracy, chained to any answer in draws of the loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.posterior.average import over_average
from scalebayes.posterior.fit import Fit, law_parameters, noise_parameters
from scalebayes.posterior.provenance import provenance, with_provenance

KEPT = ("N", "D", "tokens_per_param", "epochs")
"""Of an answer, what stands beside the accuracy; the loss is kept anyway."""
LONG_NAMES = {
    "accuracy": "accuracy, of the curve",
    "error": "error, of the curve",
    "new_accuracy": "of a new model",
}


@over_average
def downstream(stage: Fit, answer: xr.Dataset, /, *, seed: int = 0) -> xr.Dataset:
    """Posterior of the accuracy at what an answer says of the loss: a(e^L) with the draws of both.

    Each draw of the loss meets a draw of the stage, paired at random, as if what one fit does not know had nothing to
    do with the other. That is so for tables of different models; of the very same runs it is an approximation, good
    where the accuracies scatter and the losses hardly do.

    Parameters
    ----------
    stage
        A fit of a model such as ``downstream`` to `read_scores`, or an average of several.
    answer
        Draws of the loss: what `predict` or `frontier` say, or any dataset with a ``loss`` of dims (chain, draw, ...).
        Its ``loss`` is taken, the curve with its discrepancy where the fit carries one; ``new_run``, if it is there,
        for a new model.
    seed
        Of the pairing and of the scatter of a new model.

    Returns
    -------
    xarray.Dataset
        With the dims and coordinates of the answer: ``accuracy`` and ``error`` = 1 - accuracy, of the stage's curve at
        the answer's curve; ``new_accuracy``, of one further model, which scatters around both; ``loss``, and of a
        `frontier` what it says of N and D too. Where a draw's curve passes an accuracy of 1 (the exponential does so at
        small losses) it is cut there, and the caveats say in how many draws.

    Raises
    ------
    QueryError
        When the first is not a fit of accuracies, or the second has no draws of the loss.
    """
    law = stage.spec.law_object
    if law.response != "odds":
        raise QueryError(
            f"'{stage.spec.name}' is a law of the loss; the stage is a fit of accuracies (read_scores)"
        )
    if (
        not isinstance(answer, xr.Dataset)
        or "loss" not in answer
        or not {"chain", "draw"} <= {*answer["loss"].dims}
    ):
        raise QueryError(
            "no draws of the loss: give an answer of predict or frontier, or another with a 'loss'"
        )
    loss = answer["loss"].transpose("chain", "draw", ...)
    rng = np.random.default_rng(seed)
    rows = _paired(
        rng,
        loss.sizes["chain"] * loss.sizes["draw"],
        next(iter(law_parameters(stage).values())).size,
    )
    shape = loss.shape[:2] + (1,) * (loss.ndim - 2)
    parameters = {
        name: values.ravel()[rows].reshape(shape) for name, values in law_parameters(stage).items()
    }
    scatter = {
        name: values.ravel()[rows].reshape(shape)
        for name, values in noise_parameters(stage).items()
    }
    noise = stage.spec.noise_object.draw(rng, loss.shape, **scatter)
    odds = law(np.exp(loss.values), **parameters)
    new_loss = (
        answer["new_run"].transpose(*loss.dims).values if "new_run" in answer else loss.values
    )
    new_odds = law(np.exp(new_loss), **parameters)
    accuracy, new = _share(odds), _share(np.where(new_odds < 0, np.inf, new_odds) * np.exp(noise))
    values = {"accuracy": accuracy, "error": 1.0 - accuracy, "new_accuracy": new}
    out = xr.Dataset({"loss": loss} | {name: (loss.dims, value) for name, value in values.items()})
    out = out.assign({name: answer[name] for name in KEPT if name in answer.data_vars})
    for name in values:
        out[name].attrs = {"long_name": LONG_NAMES[name], "units": "share"}
    return _labelled(out.assign_coords(answer.coords), stage, answer)


def _paired(rng: np.random.Generator, wanted: int, there: int) -> np.ndarray:
    """Numbers of the stage's draws, as many as wanted, each as often as any other, give or take one."""
    whole, rest = divmod(wanted, there)
    numbers = np.concatenate([np.tile(np.arange(there), whole), rng.permutation(there)[:rest]])
    return rng.permutation(numbers)


def _share(odds: np.ndarray) -> np.ndarray:
    """The accuracy of odds o, o/(1 + o), and 1 where the odds have passed infinity."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((odds < 0) | np.isinf(odds), 1.0, odds / (1.0 + odds))


def _labelled(out: xr.Dataset, stage: Fit, answer: xr.Dataset) -> xr.Dataset:
    """Say whose answer it is, what either fit failed, and which losses the stage has seen."""
    record = provenance(answer)
    failures = tuple(dict.fromkeys((*record.failures, *stage.gate_failures)))
    scores = stage.runs.loss
    out = out.assign_attrs(answer.attrs)
    out = out.assign_attrs(
        stage=stage.spec.name, loss_of_scores=[float(scores.min()), float(scores.max())]
    )
    return with_provenance(out, replace(record, failures=failures))
