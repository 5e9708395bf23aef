"""Posterior of the loss at given inputs: of the curve, and of a new run with its noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.posterior.average import over_average_as_fitted
from scalebayes.posterior.fit import Fit, law_parameters, noise_parameters_at
from scalebayes.queries.answers import LONG_NAMES, to_dataset
from scalebayes.queries.inputs import read_inputs, without_hyperparameters
from scalebayes.utils.kinds import by_kind
from scalebayes.utils.parallel import parts_of, side_by_side
from scalebayes.utils.progress import shows_progress

ACCURACIES = {"loss": "accuracy", "new_run": "new_accuracy"}
"""Names of the quantities of a law of scores, by those of a law of the loss."""
ACCURACY_NAMES = {"accuracy": "accuracy of the curve", "new_accuracy": "accuracy of a new model"}


@shows_progress("predicting losses")
@by_kind
@over_average_as_fitted
def predict(
    fit: Fit,
    /,
    *,
    N: Any = None,
    D: Any = None,
    C: Any = None,
    new_run: bool = True,
    seed: int = 0,
    **others: Any,
) -> xr.Dataset:
    """Return the posterior of the loss at given inputs: of the curve, and of one new run.

    Parameters
    ----------
    fit
        A fit, sampled or loaded, or an average of several.
    N, D, C
        Parameters, tokens, FLOP: numbers, text such as "70B", or sequences of one length (or one).
        A law of N and D takes any two (C = 6 N D). Infinity stands for the limit.
    new_run
        Whether to draw the noise of new runs too; for many targets it takes most of the time.
    seed
        Seed of a discrepancy beyond the table and of the noise of new runs; drift is fixed by the
        fit.
    **others
        Further inputs of the law, named as in `INPUTS`: S, steps; U, unique tokens; E, experts;
        learning_rate, the peak, and batch, in tokens: both, or neither for those of a tuned run.

    Returns
    -------
    xarray.Dataset
        For a law of scores such as ``bounded-score``, ``accuracy`` of the curve and
        ``new_accuracy``, with the noise of one more measurement. For all others in the metric of
        the runs, with dims (chain, draw, target): ``loss`` of the curve, and
        ``new_run``, the loss of one further run with its noise. Where exponents drift, ``loss``
        is that of the bent law and ``law`` that of the law alone. Where the spec has a discrepancy,
        ``loss`` includes it and ``law`` is the loss of the law alone. The discrepancy is
        conditioned on the observed runs and drawn jointly over the targets. Coordinates along
        target: the inputs, and ``decades_beyond``, orders of magnitude of compute beyond the
        largest run (0 where a target has no more compute, however far its N and D lie from those of
        the runs).

    Raises
    ------
    QueryError
        When inputs are missing, not positive, or of different lengths.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> loss = sb.predict(fit, N="70B", D=["1.4T", "15T"])
    >>> loss["new_run"].median(["chain", "draw"]).values.round(2)
    array([1.97, 1.92])
    """
    if without_hyperparameters(fit, others):
        fit = fit.tuned_runs
    law, name = fit.spec.law_object, fit.spec.name
    if law.inputs == ("P",):
        raise QueryError(
            f"'{name}' predicts accuracies, not losses: downstream(fit, answer) applies it to the "
            "losses of an answer"
        )
    if law.response == "odds" and law.inputs == ("C",) and (N is not None or D is not None):
        raise QueryError(
            f"'{name}' predicts from C alone, in the unit of its table, which may be another than "
            "FLOP: give C="
        )
    inputs = read_inputs({"N": N, "D": D, "C": C, **others}, law.inputs, name)
    inputs_of_law = [inputs[x] for x in law.inputs]
    losses = _draw(fit, inputs_of_law, np.random.default_rng(seed), new_run)
    if law.response == "odds":
        return _scores(fit, losses, inputs)
    metric = fit.runs.metric
    about = {name: {"long_name": LONG_NAMES[name], "units": metric} for name in losses}
    return to_dataset(fit, losses, "target", inputs, inputs, about)


def _scores(fit: Fit, odds: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> xr.Dataset:
    """Return accuracies o/(1 + o) as an answer, from the odds o of the curve and of a new run."""
    accuracies = {}
    about = {}
    for name, values in odds.items():
        accuracy = ACCURACIES[name]
        accuracies[accuracy] = values / (1.0 + values)
        about[accuracy] = {"long_name": ACCURACY_NAMES[accuracy], "units": "share"}
    return to_dataset(fit, accuracies, "target", inputs, inputs, about)


def _draw(
    fit: Fit, inputs: list[np.ndarray], rng: np.random.Generator, new_run: bool
) -> dict[str, np.ndarray]:
    """Return losses at inputs in the law's order, (S, targets) each: law, curve and new run.

    The law is among them with drift or a discrepancy only. The work is done in parts, on all cores,
    in place: an answer may take a gigabyte, so nothing else of its size is kept. Each part has its
    own generator, so the number of cores does not change what is drawn.
    """
    law, noise = fit.spec.law_object, fit.spec.noise_object
    known, drift = fit.discrepancy, fit.drift
    of_law = {name: values.ravel() for name, values in law_parameters(fit).items()}
    noise_scales = noise_parameters_at(fit, dict(zip(law.inputs, inputs, strict=True)))
    names = ["loss"]
    if fit.spec.has_discrepancy:
        names.insert(0, "law")
    if new_run:
        names.append("new_run")
    draws, targets = len(next(iter(of_law.values()))), len(inputs[0])
    values = {name: np.empty((draws, targets)) for name in names}
    if known is not None:
        # ``loss`` holds the discrepancy until `fill` turns it into the loss.
        known.draw(known.basis.scale(inputs), rng, out=values["loss"])

    def fill(part: slice, rng: np.random.Generator) -> None:
        own = {name: value[part, None] for name, value in of_law.items()}
        curve = law(*inputs, **own)
        loss = values["loss"][part]
        if "law" in values:
            values["law"][part] = curve
        if known is not None:
            np.exp(loss, out=loss)
            curve *= loss
        if drift is not None:
            curve = np.exp(drift.log_loss(of_law, inputs, part))
        loss[:] = curve
        if new_run:
            scales = {name: value[part] for name, value in noise_scales.items()}
            error = noise.draw(rng, curve.shape, **scales)
            np.exp(error, out=error)
            np.multiply(curve, error, out=values["new_run"][part])

    parts = parts_of(draws, targets)
    side_by_side(fill, parts, rng.spawn(len(parts)))
    return values
