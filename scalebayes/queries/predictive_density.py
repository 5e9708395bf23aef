"""Log predictive density of runs that were held out from a fit."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from scalebayes.data.runs import Runs
from scalebayes.posterior.fit import Fit, noise_parameters_at
from scalebayes.queries.predict import predict


def log_predictive_density(fit: Fit, held_out: Runs, *, seed: int = 0) -> np.ndarray:
    r"""Return the log predictive density of the loss of each held-out run, shape (runs,).

    With posterior draws :math:`s = 1 \dots S` of the curve :math:`m_s` at a run's inputs and of the
    noise's density :math:`q_s` of log loss, the density of a loss y is

    .. math:: p(y) = \frac{1}{y S} \sum_s q_s(\log y - \log m_s).

    The factor 1/y turns the density of log loss into one of the loss, per nat or whatever unit the
    losses have. Each density is that of one run alone (the marginal), not of all runs jointly.

    Parameters
    ----------
    fit
        A fit of a law of losses.
    held_out
        Runs with the inputs of the law.
    seed
        Seed of the discrepancy at the held-out runs, where the spec has one.

    Raises
    ------
    QueryError
        When the law predicts accuracies.
    RunsError
        When the runs lack an input of the law.
    """
    inputs = {x: getattr(held_out, x) for x in fit.spec.law_object.inputs}
    curve = predict(fit, **inputs, new_run=False, seed=seed)["loss"].values
    curve = curve.reshape(-1, len(held_out))
    scales = noise_parameters_at(fit, inputs)
    log_loss = np.log(held_out.loss)
    densities = fit.spec.noise_object.logpdf(log_loss - np.log(curve), **scales)
    return logsumexp(densities, axis=0) - np.log(len(curve)) - log_loss
