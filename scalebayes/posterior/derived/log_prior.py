r"""Log prior density of each draw, for power-scaling.

The result of raising a density to a power depends on the parametrisation, because the Jacobian is
raised too. Here the prior is the density of the *logarithm* of the quantity on which the spec
states it: of L_inf, of the exponents, of the size of a term at its reference input (not of N_c), of
sigma, of nu - 2; all in the units of the normalised table (`scalebayes.specs.table_units`). All of
these are positive scales, which are judged by factors. A LogNormal of median m and log width s then
becomes one of median m and width s/sqrt(a), and a Gamma keeps its mean: the prior becomes more or
less sure of the same value. In the density of the value itself, the median of a LogNormal would
move too, by a factor exp(s^2 (1 - a)/a).

The drift, the discrepancy, the offsets of trainings and the groups of a pooled model are Normal
given the parameter of their size s (tau, eta, omega, a spread). Their density to a power a,
normalised, is that of a size s / sqrt(a). So the power moves the prior p of log s by half its log,
which to first order in log a weighs a draw by

    exp(log a / 2 * d log p(log s) / d log s).

This is the effect on everything that follows from the draw, also beyond the runs, and has none of
the noise of the density itself, a sum over some hundred steps.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from scalebayes.posterior.fit import Fit
from scalebayes.posterior.stated import log_stated, normalised_draws, stated_spec
from scalebayes.specs.parts import Prior
from scalebayes.specs.population import POPULATION, SPREAD, pooled_names

STEP = 1e-4
"""Step in the log of a size, of a central difference."""
GIVEN = "given {}"
"""Name of the log prior of Normal variables given the parameter of their size."""


def stated_logs(fit: Fit) -> dict[str, xr.DataArray]:
    """Return the log of the quantity on which each prior is stated, above its shift, (chain, draw).

    Of a pooled fit they are the population's medians, the spreads, and what all groups share.
    """
    spec = stated_spec(fit)
    posterior = normalised_draws(fit)
    if not fit.groups:
        return {name: log_stated(posterior, name, spec) for name in spec.priors}

    in_tree = {name: POPULATION.format(name) for name in pooled_names(spec)}
    own_names = {of_population: name for name, of_population in in_tree.items()}
    medians = posterior.drop_vars(in_tree).rename(own_names)
    logs = {}
    for name in spec.priors:
        logs[in_tree.get(name, name)] = log_stated(medians, name, spec)
    for name in spec.spread:
        spread = SPREAD.format(name)
        logs[spread] = xr.ufuncs.log(posterior[spread])
    return logs


def log_prior(fit: Fit) -> xr.Dataset:
    """Return the log prior density of each draw by parameter, (chain, draw).

    Variables named ``given tau`` and so on stand for what is Normal given that size.
    """
    priors = _priors(fit)
    stated = stated_logs(fit)
    amplitudes = fit.spec.observation.traits.amplitudes
    spreads = tuple(SPREAD.format(name) for name in fit.spec.spread)
    densities = {}
    for name, log_value in stated.items():
        densities[name] = log_value.copy(data=log_density(priors[name], log_value.values))
    for name in (*amplitudes, *spreads):
        weight = power_of_size(priors[name], stated[name].values)
        densities[GIVEN.format(name)] = stated[name].copy(data=weight)
    return xr.Dataset(densities).drop_vars("group", errors="ignore")


def log_density(prior: Prior, log_value: np.ndarray) -> np.ndarray:
    """Return the log prior density of the log of the quantity on which a prior is stated."""
    log_jacobian = log_value
    return prior.logpdf(prior.shift + np.exp(log_value)) + log_jacobian


def power_of_size(prior: Prior, log_size: np.ndarray) -> np.ndarray:
    """Return what stands for the log density of Normal variables of a size, given their size.

    Its powers have the effect of theirs (see the top of this module). prior: of the size.
    """
    above = log_density(prior, log_size + STEP)
    below = log_density(prior, log_size - STEP)
    return (above - below) / (4 * STEP)


def _priors(fit: Fit) -> dict[str, Prior]:
    """Return the prior of each quantity of `stated_logs`, in normalised units."""
    spec = stated_spec(fit)
    if not fit.groups:
        return dict(spec.priors)
    pooled = set(pooled_names(spec))
    priors = {}
    for name, prior in spec.priors.items():
        in_tree = POPULATION.format(name) if name in pooled else name
        priors[in_tree] = prior
    for name, prior in spec.spread.items():
        priors[SPREAD.format(name)] = prior
    return priors
