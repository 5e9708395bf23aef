"""Priors from the posterior of a saved fit, for a table too small to fit with vague priors."""

from __future__ import annotations

import numpy as np

from scalebayes.errors import QueryError
from scalebayes.posterior.fit import Fit, draws
from scalebayes.posterior.stated import log_stated
from scalebayes.specs.parts import Prior
from scalebayes.specs.spec import Spec


def prior_from(fit: Fit, inflate: float = 2.0) -> Spec:
    """Return the spec of a fit with each prior a LogNormal around the posterior of that fit.

    With few runs of your own, the posterior from other runs of the same law can be a better prior
    than a vague one, provided that the two sets of runs are alike. An irreducible loss learned on
    other data, or with another tokenizer, misleads however wide its prior is. `inflate` states how
    alike they are: it multiplies the posterior's width on the log scale. Correlations between
    parameters are not carried over, so the prior of the loss is wider than the posterior was. The
    reason of each prior names its origin, so `Spec.describe` and reports show it.

    Parameters
    ----------
    fit
        A fit of the law to other runs.
    inflate
        Width of each prior in widths of the posterior, 1 or more.

    Raises
    ------
    QueryError
        When `inflate` is below 1 (other runs cannot say more about these runs than about
        themselves), or for a pooled fit, whose groups each have parameters of their own.
    """
    if not (np.isfinite(inflate) and inflate >= 1):
        raise QueryError(f"inflate must be 1 or more; got {inflate:g}")
    spec, posterior = fit.spec, draws(fit)
    reason = (
        f"posterior of {spec.name} on {len(fit.runs)} runs of {fit.runs.name}, "
        f"{inflate:g} times as wide"
    )
    priors = {}
    for name, prior in spec.priors.items():
        if prior.shift:
            # A shifted prior (tail weight of the noise) is not described by median and width.
            priors[name] = prior
            continue
        log = log_stated(posterior, name, spec)
        values = {
            "dist": "LogNormal",
            "median": float(np.exp(log.median())),
            "sigma": float(inflate * log.std()),
            "at": prior.at,
            "reason": reason,
        }
        priors[name] = Prior.model_validate(values)
    changes = {
        "name": f"{spec.name}-from-{fit.runs.name}".replace(", ", "-").replace(" ", "-"),
        "priors": priors,
        "published": (),
        "pool": None,
        "spread": {},
    }
    return spec.model_copy(update=changes)
