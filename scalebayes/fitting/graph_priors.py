"""Priors as part of a `pm.Model`: their numbers are data of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scalebayes.specs.parts import Prior
from scalebayes.specs.priors import DISTRIBUTIONS
from scalebayes.specs.spec import Spec

type Symbol = Any
"""A PyTensor variable."""


def numbers_of(name: str, prior: Prior) -> dict[str, float]:
    """The numbers of one prior: PyMC's arguments, and the log of the reference where the prior is stated at one."""
    numbers = DISTRIBUTIONS[prior.dist].pymc_arguments(**prior.arguments)
    numbers |= {} if prior.at is None else {"log_at": float(np.log(prior.at))}
    return {f"prior_{name}_{key}": value for key, value in numbers.items()}


def log_prior(spec: Spec, logs: Mapping[str, Symbol], data: Mapping[str, Symbol]) -> Symbol:
    """Log prior density in the logs of the parameters, scales measured by the log size of their term."""
    import pymc as pm

    terms = []
    for parameter in spec.law_object.parameters:
        name, log_value = parameter.name, logs[parameter.name]
        if parameter.exponent and spec.priors[name].at:
            log_value = np.exp(logs[parameter.exponent]) * (
                log_value - data[f"prior_{name}_log_at"]
            )
        entry = DISTRIBUTIONS[spec.priors[name].dist]
        density = pm.logp(
            getattr(pm, entry.pymc).dist(**_arguments(name, spec.priors[name], data)),
            np.exp(log_value),
        )
        terms.append(density + log_value)
    return sum(terms)


def _arguments(name: str, prior: Prior, data: Mapping[str, Symbol]) -> dict[str, Symbol]:
    """PyMC's arguments of a prior, from the data."""
    keys = DISTRIBUTIONS[prior.dist].pymc_arguments(**prior.arguments)
    return {key: data[f"prior_{name}_{key}"] for key in keys}


def scatter_parameter(
    name: str, prior: Prior, data: Mapping[str, Symbol], numbers: str = ""
) -> Symbol:
    """A free variable with a prior, whose numbers stand in the data under its name or another."""
    import pymc as pm

    make = getattr(pm, DISTRIBUTIONS[prior.dist].pymc)
    arguments = _arguments(numbers or name, prior, data)
    if prior.shift == 0:
        return make(name, **arguments)
    return pm.Deterministic(name, prior.shift + make(f"{name}_above_{prior.shift:g}", **arguments))
