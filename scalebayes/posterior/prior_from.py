"""Priors from the posterior of a saved fit, for a table too small to fit with vague priors."""

from __future__ import annotations

import numpy as np

from scalebayes.data.distances import log_centres
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

    The priors are stated in the units of the table of the fit, also where those of its spec are
    relative to the table: what they say of a loss in nats or of a size is meant to carry over.

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

    Examples
    --------
    >>> spec = sb.prior_from(sb.load("chinchilla.nc"), inflate=3)
    >>> print(spec.priors["L_inf"].reason)
    posterior of chinchilla on 240 runs of hoffmann2022, 3 times as wide
    """
    if not (np.isfinite(inflate) and inflate >= 1):
        raise QueryError(f"inflate must be 1 or more; got {inflate:g}")
    spec, posterior = fit.spec, draws(fit)
    stated = _in_units_of_table(fit)
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
        log = log_stated(posterior, name, stated)
        values = {
            "dist": "LogNormal",
            "median": float(np.exp(log.median())),
            "sigma": float(inflate * log.std()),
            "at": stated.priors[name].at,
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


def _in_units_of_table(fit: Fit) -> Spec:
    """Return the spec of a fit with priors that are stated in the units of its table.

    A prior that is relative to the table is stated at the table's centre instead, and one on a
    ratio on the parameter itself. What they are stated on matters here, not their distributions.
    """
    spec = fit.spec
    log_centre = log_centres(fit.runs, spec.law_object.inputs)
    priors = dict(spec.priors)
    for parameter in spec.law_object.parameters:
        prior = spec.priors[parameter.name]
        at = prior.at
        if prior.is_relative:
            at = None
            if parameter.scale_of is not None:
                # To three digits, because a person will read it.
                at = float(f"{np.exp(log_centre[parameter.scale_of]):.3g}")
        priors[parameter.name] = prior.model_copy(update={"at": at, "over": None})
    return spec.model_copy(update={"priors": priors})
