"""The `pm.Model` of a spec on a table: the only file that imports PyMC, and only inside functions.

Everything that comes from the table is data of the graph, nothing is baked in, so that one compiled sampler serves
every table of a spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.discrepancy import make_basis
from scalebayes.priors import DISTRIBUTIONS
from scalebayes.spec import Prior, Spec, read_model

if TYPE_CHECKING:
    import pymc as pm

    from scalebayes.runs import Runs

type Symbol = Any
"""A PyTensor variable."""


def pymc_model(runs: Runs, model: str | Path | Spec) -> pm.Model:
    """Build the `pm.Model` of a spec on a table of runs, for those who want to sample or inspect it themselves.

    The free variables are the natural coordinates of the law (`scalebayes.geometry`), flat, in units of rough
    posterior widths around a least-squares start; the potential ``prior`` holds the prior of the spec on the
    parameters and the Jacobian between the two.
    """
    import pymc as pm
    import pytensor.tensor as pt

    spec = read_model(model)
    law, noise = spec.law_object, spec.noise_object
    with pm.Model() as graph:
        data = {name: pm.Data(name, value) for name, value in sampler_data(runs, spec).items()}
        z = {
            name: data[f"start_{name}"] + step * pm.Flat(name, initval=0.0)
            for name, step in law.coordinates.steps().items()
        }
        logs, log_jacobian = law.coordinates.recover(z, {x: data[f"centre_{x}"] for x in law.inputs})
        parameters = {name: pm.Deterministic(name, pt.exp(logs[name])) for name in law.parameter_names}
        pm.Potential("prior", _log_prior(spec, logs) + log_jacobian)
        scatter = {name: _scatter_parameter(name, spec.priors[name]) for name in spec.scatter_names}
        loss = law.function(*(pt.exp(data[f"log_{x}"]) for x in law.inputs), **parameters)
        if spec.discrepancy is None:
            getattr(pm, noise.pymc)("log_loss", mu=pt.log(loss), observed=data["observed"], **scatter)
        else:
            pm.Potential("log_loss", _marginal_log_density(data["observed"] - pt.log(loss), data, **scatter))
    return graph


def sampler_data(runs: Runs, spec: Spec) -> dict[str, np.ndarray]:
    """Everything a compiled sampler takes from a table, as named float arrays."""
    law = spec.law_object
    log_inputs = runs.log_inputs(law.inputs)
    log_loss = np.log(runs.loss)
    start = law.coordinates.start(log_inputs, log_loss)
    data = {f"log_{x}": values for x, values in log_inputs.items()} | {"observed": log_loss}
    data |= {f"centre_{x}": np.asarray(values.mean()) for x, values in log_inputs.items()}
    if spec.discrepancy is not None:
        basis = make_basis(log_inputs, spec.discrepancy.length)
        data |= {"eigenvectors": basis.vectors, "eigenvalues": basis.values}
    return data | {f"start_{name}": np.asarray(value) for name, value in start.items()}


def _marginal_log_density(residual: Symbol, data: Mapping[str, Symbol], *, sigma: Symbol, eta: Symbol) -> Symbol:
    """Normal log density of the residuals of log loss, the discrepancy integrated out (`scalebayes.discrepancy`)."""
    import pytensor.tensor as pt

    rotated = data["eigenvectors"].T @ residual
    variance = sigma**2 + eta**2 * data["eigenvalues"]
    outside = (residual**2).sum() - (rotated**2).sum()
    rows, rank = residual.shape[0], rotated.shape[0]
    inside = -0.5 * (rotated**2 / variance + pt.log(variance)).sum()
    return inside - 0.5 * outside / sigma**2 - (rows - rank) * pt.log(sigma) - 0.5 * rows * np.log(2 * np.pi)


def _log_prior(spec: Spec, logs: Mapping[str, Symbol]) -> Symbol:
    """Log prior density in the logs of the parameters, scales measured by the log size of their term."""
    terms = []
    for parameter in spec.law_object.parameters:
        prior = spec.priors[parameter.name]
        log_value = logs[parameter.name]
        if parameter.exponent and prior.at:
            log_value = np.exp(logs[parameter.exponent]) * (log_value - float(np.log(prior.at)))
        terms.append(_log_density(prior, np.exp(log_value)) + log_value)
    return sum(terms)


def _log_density(prior: Prior, value: Symbol) -> Symbol:
    import pymc as pm

    entry = DISTRIBUTIONS[prior.dist]
    return pm.logp(getattr(pm, entry.pymc).dist(**_pymc_arguments(prior)), value)


def _pymc_arguments(prior: Prior) -> dict[str, np.float64]:
    """PyMC's arguments as NumPy's doubles: PyTensor computes with a plain 2.0 in single precision."""
    arguments = DISTRIBUTIONS[prior.dist].pymc_arguments(**prior.arguments)
    return {name: np.float64(value) for name, value in arguments.items()}


def _scatter_parameter(name: str, prior: Prior) -> Symbol:
    import pymc as pm

    entry = DISTRIBUTIONS[prior.dist]
    make = getattr(pm, entry.pymc)
    arguments = _pymc_arguments(prior)
    if prior.shift == 0:
        return make(name, **arguments)
    return pm.Deterministic(name, prior.shift + make(f"{name}_above_{prior.shift:g}", **arguments))
