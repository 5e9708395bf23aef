"""Priors taken from a saved fit, for a table too small to speak for itself."""

from __future__ import annotations

import numpy as np
import xarray as xr

from scalebayes.errors import QueryError
from scalebayes.posterior.diagnostics import log_size
from scalebayes.posterior.fit import Fit, draws
from scalebayes.specs.parts import Prior
from scalebayes.specs.spec import Spec


def prior_from(fit: Fit, inflate: float = 2.0) -> Spec:
    """Take the posterior of a fit as the prior of another: the same law, each prior a LogNormal around the posterior.

    With few runs of one's own, what other runs of the same law say is better than a vague prior, as far as the two
    resemble each other: a floor learned on other data, or under another tokenizer, misleads however little it is
    trusted. How far they resemble is what `inflate` stands for: the posterior's width, on the log scale, is multiplied
    by it. Correlations between parameters are not carried over, which widens what the prior says of the
    loss. The reason of each prior says where it comes from, so that `Spec.describe` and reports show it.

    Parameters
    ----------
    fit
        A fit of the law, to other runs.
    inflate
        How many times as wide as the posterior, 1 or more.

    Raises
    ------
    QueryError
        When `inflate` is below 1: another table never says more of these runs than of its own.
    """
    if not (np.isfinite(inflate) and inflate >= 1):
        raise QueryError(f"inflate must be 1 or more; got {inflate:g}")
    spec, posterior = fit.spec, draws(fit)
    of_law = {p.name: p for p in spec.law_object.parameters}
    reason = f"posterior of {spec.name} on {len(fit.runs)} runs of {fit.runs.name}, {inflate:g} times as wide"
    priors = {}
    for name, prior in spec.priors.items():
        if prior.shift:  # the tail of the noise, which a median and a width would not describe
            priors[name] = prior
            continue
        log = (
            log_size(posterior, of_law[name], spec)
            if name in of_law
            else xr.ufuncs.log(posterior[name])
        )
        median, width = float(np.exp(log.median())), float(inflate * log.std())
        said = {
            "dist": "LogNormal",
            "median": median,
            "sigma": width,
            "at": prior.at,
            "reason": reason,
        }
        priors[name] = Prior.model_validate(said)
    name = f"{spec.name}-from-{fit.runs.name}".replace(", ", "-").replace(" ", "-")
    alone: dict[str, object] = {"pool": None, "spread": {}}
    return spec.model_copy(update={"name": name, "priors": priors, "published": (), **alone})
