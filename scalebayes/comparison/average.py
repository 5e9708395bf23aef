"""The function `average`: the weights of fits of the same runs that are mixed into one answer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from scalebayes.comparison.forward_weights import forward_weights
from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average, named_fits
from scalebayes.posterior.derived.pointwise import loo_tree
from scalebayes.posterior.fit import Fit
from scalebayes.utils.progress import shows_progress

type Weights = Literal["equal", "stacking", "forward"] | Mapping[str, float]
"""A rule by its name, or a number for each label."""


@shows_progress("weights of the fits")
def average(
    fits: Mapping[str, Fit] | Sequence[Fit],
    weights: Weights = "equal",
    *,
    seed: int = 0,
    progress: bool | None = None,
) -> Average:
    """Return the average of several fits of the same runs, which every query accepts.

    Where laws disagree, the spread between them is part of the uncertainty. Stacking weights score
    predictions *between* the runs (leave one out), not beyond them, and can put all weight on one
    law. Forward weights score forecasts of larger runs by fits of smaller ones, which is what a
    scaling law is used for, but need refits and at least ten runs to begin with. So equal weights
    are the default.

    Parameters
    ----------
    fits
        Fits by label, or a sequence of fits of models with different names.
    weights
        ``"equal"``; ``"stacking"`` (Yao et al. 2018, from the log likelihoods of `Fit.tree`);
        ``"forward"`` (stacking on forecasts by compute,
        `scalebayes.comparison.forward_weights`, which refits each model up to five times); or a
        number by label, zero where a label is missing. Weights are scaled to sum to one.
    seed
        Seed of the refits of ``"forward"``.
    progress
        Whether to show the progress of these refits, as in `scalebayes.fit`.

    Raises
    ------
    QueryError
        When there is no fit, two have the same name, the runs differ, or weights are negative, of
        unknown labels or all zero.
    RunsError
        When forward weights are asked for and the runs have no compute or are too few.

    References
    ----------
    Yao, Vehtari, Simpson and Gelman (2018), Using stacking to average Bayesian predictive
    distributions, doi:10.1214/17-BA1091.

    Examples
    --------
    >>> fits = {name: sb.load(f"{name}.nc") for name in ("chinchilla", "coupled")}
    >>> loss = sb.predict(sb.average(fits), N="70B", D="1.4T")["loss"]
    >>> f"{loss.median():.2f}"
    '1.96'
    """
    named = named_fits(fits)
    raw = _raw_weights(named, weights, seed, progress)
    values = np.array([*raw.values()])
    if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        got = ", ".join(f"{value:g}" for value in values)
        raise QueryError(f"weights must not be negative, nor all zero; got {got}")
    shares = (values / values.sum()).tolist()
    return Average(named, dict(zip(named, shares, strict=True)))


def _raw_weights(
    fits: Mapping[str, Fit], weights: Weights, seed: int, progress: bool | None
) -> dict[str, float]:
    """Return the weight of each fit as asked for, before they are scaled to sum to one."""
    if weights == "equal":
        return dict.fromkeys(fits, 1.0)
    if weights == "stacking":
        return _stacking_weights(fits)
    if weights == "forward":
        return forward_weights(fits, seed=seed, progress=progress)
    if not isinstance(weights, Mapping):
        raise QueryError(
            f"weights are 'equal', 'stacking', 'forward' or numbers by label; got {weights!r}"
        )
    unknown = weights.keys() - fits.keys()
    if unknown:
        raise QueryError(
            f"weights for {', '.join(sorted(unknown))}, but the fits are {', '.join(fits)}"
        )
    return {label: float(weights.get(label, 0.0)) for label in fits}


def _stacking_weights(fits: Mapping[str, Fit]) -> dict[str, float]:
    """Return the weights that maximise the leave-one-out score of the mixture."""
    from scalebayes.utils.arviz import azs

    missing = [label for label, fit in fits.items() if fit.log_likelihood is None]
    if missing:
        raise QueryError(
            f"the fits {', '.join(missing)} have no log likelihood, which is not computed for "
            "very long tables: give weights by label"
        )
    if len(fits) == 1:
        return dict.fromkeys(fits, 1.0)
    with warnings.catch_warnings():
        # ArviZ warns of high Pareto k; `compare` reports them with their numbers.
        warnings.simplefilter("ignore")
        table = azs.compare(
            {label: loo_tree(fit) for label, fit in fits.items()},
            method="stacking",
            var_name="log_loss",
            round_to="none",
        )
    return {label: max(0.0, float(table.loc[label, "weight"])) for label in fits}
