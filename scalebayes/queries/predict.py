"""Posterior of the loss at (N, D): the law's curve, and a new run that scatters around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.posterior.average import over_average
from scalebayes.posterior.fit import Fit, law_parameters, noise_parameters
from scalebayes.queries.answers import LONG_NAMES, NATS, to_dataset
from scalebayes.queries.inputs import read_inputs
from scalebayes.utils.parallel import parts_of, side_by_side


@over_average
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
    """Posterior of the loss at given inputs: the law's curve, the curve with its discrepancy, and a new run.

    Parameters
    ----------
    fit
        A fit, sampled or loaded, or an average of several.
    N, D, C
        Parameters, tokens, FLOP: numbers, text such as "70B", or sequences of one length (or one). A law of N and D
        takes any two (C = 6 N D). Infinity stands for the limit.
    new_run
        Whether to draw the noise of new runs too; for many targets it takes most of the time.
    seed
        Of the discrepancy beyond the table and of the scatter of new runs.
    **others
        Further inputs of the law, as `INPUTS` calls them: S, steps; U, unique tokens; E, experts.

    Returns
    -------
    xarray.Dataset
        In nats per token, with dims (chain, draw, target): ``loss``, the curve; ``new_run``, one further run with its
        noise; and where the spec carries a discrepancy, which ``loss`` then holds, ``law``, the law's curve alone.
        The discrepancy is conditioned on the observed runs and drawn jointly over the targets. Along target stand the
        inputs and ``decades_beyond``, orders of magnitude of compute beyond the largest run (0 where it has
        no more compute, however far N and D lie from those of the runs).

    Raises
    ------
    QueryError
        When inputs are missing, not positive, or of different lengths.
    """
    if fit.spec.law_object.response != "loss":
        raise QueryError(
            f"'{fit.spec.name}' says accuracies, not losses: downstream(fit, answer) chains it to an answer"
        )
    inputs = read_inputs(
        {"N": N, "D": D, "C": C, **others}, fit.spec.law_object.inputs, fit.spec.name
    )
    curves = _draw(
        fit, [inputs[x] for x in fit.spec.law_object.inputs], np.random.default_rng(seed), new_run
    )
    about = {name: {"long_name": LONG_NAMES[name], "units": NATS} for name in curves}
    return to_dataset(fit, curves, "target", inputs, inputs, about)


def _draw(
    fit: Fit, inputs: list[np.ndarray], rng: np.random.Generator, new_run: bool
) -> dict[str, np.ndarray]:
    """Law (with a discrepancy), curve and new run at inputs in the law's order, each (chain, draw, target).

    A part at a time, on as many cores as there are: nothing but the answer is ever held whole, which may take a
    gigabyte. Each part draws from a generator of its own, so cores do not change what is drawn.
    """
    law, noise, known = fit.spec.law_object, fit.spec.noise_object, fit.discrepancy
    parameters, scatter = law_parameters(fit), noise_parameters(fit)
    shape = (*next(iter(parameters.values())).shape, len(inputs[0]))
    of_law, of_noise = (
        {k: v.reshape(-1, 1) for k, v in group.items()} for group in (parameters, scatter)
    )
    names = [*(["law"] if known is not None else []), "loss", *(["new_run"] if new_run else [])]
    values = {name: np.empty((shape[0] * shape[1], shape[2])) for name in names}
    if known is not None:
        known.draw(known.basis.scale(inputs), rng, out=values["loss"])

    def fill(part: slice, rng: np.random.Generator) -> None:
        curve, loss = law(*inputs, **{k: v[part] for k, v in of_law.items()}), values["loss"][part]
        if known is not None:
            values["law"][part] = curve
            curve *= np.exp(loss, out=loss)
        loss[:] = curve
        if new_run:
            off = noise.draw(rng, curve.shape, **{k: v[part] for k, v in of_noise.items()})
            np.multiply(curve, np.exp(off, out=off), out=values["new_run"][part])

    parts = parts_of(len(values["loss"]), shape[2])
    side_by_side(fill, parts, rng.spawn(len(parts)))
    return {name: value.reshape(shape) for name, value in values.items()}
