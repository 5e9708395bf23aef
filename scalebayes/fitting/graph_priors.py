"""Priors as part of a `pm.Model`: their numbers are data of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scalebayes.specs.parts import Prior
from scalebayes.specs.spec import Spec

type Symbol = Any
"""A PyTensor variable."""


def prior_data(name: str, prior: Prior) -> dict[str, np.ndarray]:
    """Return the numbers of one prior: PyMC's arguments, and the log of its reference input."""
    data = {}
    for key, value in prior.distribution.pymc_arguments().items():
        data[f"prior_{name}_{key}"] = np.asarray(value)
    if prior.log_at is not None:
        data[f"prior_{name}_log_at"] = np.asarray(prior.log_at)
    return data


def log_prior(spec: Spec, logs: Mapping[str, Symbol], data: Mapping[str, Symbol]) -> Symbol:
    """Return the log prior density of the logs of what priors are stated on."""
    import pymc as pm

    total = 0
    stated = {}
    for parameter in spec.law_object.parameters:
        name = parameter.name
        prior = spec.priors[name]
        log_value = logs[name]
        if parameter.exponent and prior.at:
            # The size of the term is (scale / reference)^exponent, and the prior is on that.
            log_ratio = log_value - data[f"prior_{name}_log_at"]
            log_value = np.exp(logs[parameter.exponent]) * log_ratio
        stated[name] = log_value
        if prior.over is not None:
            # The ratio to the other quantity, whose log shifts this one: no further Jacobian.
            log_value = log_value - stated[prior.over]
        distribution = _pymc_class(prior).dist(**_arguments(name, prior, data))
        # The Jacobian of the log is the value itself.
        total = total + (pm.logp(distribution, np.exp(log_value)) + log_value)
    return total


def add_parameter(
    name: str, prior: Prior, data: Mapping[str, Symbol], numbers: str | None = None
) -> Symbol:
    """Add a free variable with a prior to the model, and return it.

    Parameters
    ----------
    numbers
        Name under which the data hold the numbers of the prior, if not that of the variable.
    """
    import pymc as pm

    make = _pymc_class(prior)
    arguments = _arguments(numbers or name, prior, data)
    if prior.shift == 0:
        return make(name, **arguments)
    above = make(f"{name}_above_{prior.shift:g}", **arguments)
    return pm.Deterministic(name, prior.shift + above)


def _pymc_class(prior: Prior) -> Any:
    import pymc as pm

    return getattr(pm, prior.distribution.pymc)


def _arguments(name: str, prior: Prior, data: Mapping[str, Symbol]) -> dict[str, Symbol]:
    """Return PyMC's arguments of a prior, from the data."""
    keys = prior.distribution.pymc_arguments()
    return {key: data[f"prior_{name}_{key}"] for key in keys}
