"""The `pm.Model` of a spec on a table. It and its two parts are all that imports PyMC, and only inside functions.

Everything that comes from the table, and every number in a prior, is data of the graph: nothing is baked in, so that
one compiled sampler serves every table and every spec that differs only in the numbers of its priors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.fitting.graph_groups import add_groups, pooled_data
from scalebayes.fitting.graph_priors import Symbol, log_prior, numbers_of, scatter_parameter
from scalebayes.specs.discrepancy import padded
from scalebayes.specs.pooling import read_grouping
from scalebayes.specs.spec import Spec, read_model
from scalebayes.utils.parallel import one_thread

if TYPE_CHECKING:
    import pymc as pm

    from scalebayes.data.runs import Runs


def pymc_model(runs: Runs, model: str | Path | Spec) -> pm.Model:
    """Build the `pm.Model` of a spec on a table of runs, for those who want to sample or inspect it themselves.

    The free variables are the natural coordinates of the law (`scalebayes.laws.coordinates`), flat, in units of rough
    posterior widths around a least-squares start; the potential ``prior`` holds the prior of the spec on the
    parameters and the Jacobian between the two.
    """
    import pymc as pm
    import pytensor.tensor as pt

    spec = read_model(model)
    law, noise = spec.law_object, spec.noise_object
    with pm.Model() as graph:
        data = {name: pm.Data(name, value) for name, value in sampler_data(runs, spec).items()}
        if spec.pool is not None:
            add_groups(spec, data)
            return graph
        z = {
            name: data[f"start_{name}"] + step * pm.Flat(name, initval=0.0)
            for name, step in law.coordinates.steps().items()
        }
        logs, log_jacobian = law.coordinates.recover(
            z, {x: data[f"centre_{x}"] for x in law.inputs}
        )
        parameters = {
            name: pm.Deterministic(name, pt.exp(logs[name])) for name in law.parameter_names
        }
        pm.Potential("prior", log_prior(spec, logs, data) + log_jacobian)
        scatter = {
            name: scatter_parameter(name, spec.priors[name], data) for name in spec.scatter_names
        }
        loss = law.function(*(pt.exp(data[f"log_{x}"]) for x in law.inputs), **parameters)
        distribution, observed, log_curve = getattr(pm, noise.pymc), data["observed"], pt.log(loss)
        if spec.discrepancy is None:
            distribution("log_loss", mu=log_curve, observed=observed, **scatter)
        elif spec.integrates_discrepancy:
            pm.Potential("log_loss", _marginal_log_density(observed - log_curve, data, **scatter))
        else:  # no random variable either: PyMC would write the law twice, in two forms
            eta, residual = scatter.pop("eta"), observed - log_curve
            residual -= _sampled_discrepancy(
                residual, data, variance=noise.equivalent(**scatter), eta=eta
            )
            pm.Potential("log_loss", pm.logp(distribution.dist(mu=0.0, **scatter), residual).sum())
    return graph


@dataclass(frozen=True)
class Symbols:
    """The graph of a spec as PyTensor variables, for those who compile it themselves (`scalebayes.fitting.kernel`).

    Attributes
    ----------
    free
        What is sampled, by name: scalars, and vectors whose length is part of the graph.
    data
        The shared variables that hold what `sampler_data` gives, by name.
    log_density, gradient
        Log density of the free variables, and its gradient by them.
    kept
        What a fit keeps of a draw: parameters of law, noise and discrepancy, by name.
    initial
        Where PyMC starts each free variable.
    """

    free: dict[str, Symbol]
    data: dict[str, Symbol]
    log_density: Symbol
    gradient: list[Symbol]
    kept: dict[str, Symbol]
    initial: list[Symbol]


def symbols(runs: Runs, spec: Spec, keep: Sequence[str]) -> Symbols:
    """Log density, gradient and what is kept of a draw, from the `pm.Model` of a spec."""
    from pymc.initial_point import make_initial_point_expression
    from pytensor.gradient import grad
    from pytensor.graph.replace import clone_replace
    from pytensor.graph.traversal import graph_inputs

    model = pymc_model(runs, spec)
    free = model.value_vars
    log_density = model.logp()
    kept = model.replace_rvs_by_values([model[name] for name in keep])
    initial = make_initial_point_expression(
        free_rvs=model.free_RVs,
        rvs_to_transforms=model.rvs_to_transforms,
        initval_strategies=model.rvs_to_initial_values,
        return_transformed=True,
    )
    data = {variable.name: variable for variable in model.data_vars}
    clones = {
        v: data[v.name] for v in graph_inputs(initial) if v.name in data
    }  # PyMC copies what it starts from
    start: Any = clone_replace(initial, clones)
    slopes: Any = grad(log_density, free)
    return Symbols(
        {value.name: value for value in free},
        data,
        log_density,
        slopes,
        dict(zip(keep, kept, strict=True)),
        start,
    )


def sampler_data(runs: Runs, spec: Spec) -> dict[str, np.ndarray]:
    """Everything a compiled sampler takes from a table and from the priors, as named float arrays."""
    with (
        one_thread()
    ):  # the last bits of linear algebra depend on threads, and draws on the last bits
        return _sampler_data(runs, spec)


def _sampler_data(runs: Runs, spec: Spec) -> dict[str, np.ndarray]:
    law = spec.law_object
    log_inputs = runs.log_inputs(law.inputs)
    log_loss = law.log_response(runs)
    start = law.coordinates.start(log_inputs, log_loss) if spec.pool is None else {}
    data = {f"log_{x}": values for x, values in log_inputs.items()} | {"observed": log_loss}
    data |= {f"centre_{x}": np.asarray(values.mean()) for x, values in log_inputs.items()}
    if spec.discrepancy is not None:
        basis = spec.basis(runs)
        more = padded(len(basis.values)) - len(basis.values) if spec.samples_discrepancy else 0
        data["eigenvectors"] = np.pad(basis.vectors, ((0, 0), (0, more)))
        data["eigenvalues"] = np.pad(basis.values, (0, more))
    data |= {f"start_{name}": np.asarray(value) for name, value in start.items()}
    data |= {} if spec.pool is None else pooled_data(runs, spec)
    numbers = [numbers_of(name, prior) for name, prior in spec.priors.items()]
    return data | {key: np.asarray(value) for one in numbers for key, value in one.items()}


def structure(spec: Spec, runs: Runs) -> tuple[object, ...]:
    """What a compiled sampler depends on: specs and tables that agree in it share one.

    Of the table only the size of a discrepancy that is sampled matters, rounded up to one of few, and of a pooled spec
    the number of groups: each has variables of its own.
    """
    priors = tuple(
        (name, prior.dist, prior.at is None, prior.shift) for name, prior in spec.priors.items()
    )
    rank = padded(len(spec.basis(runs).values)) if spec.samples_discrepancy else 0
    spreads = tuple((name, prior.dist) for name, prior in spec.spread.items())
    groups = len(read_grouping(runs, spec).names) if spec.pool else 0
    return spec.law, spec.noise, spec.discrepancy is None, rank, priors, groups, spreads


def _marginal_log_density(
    residual: Symbol, data: Mapping[str, Symbol], *, sigma: Symbol, eta: Symbol
) -> Symbol:
    """Normal log density of the residuals of log loss, the discrepancy integrated out (`scalebayes.specs.discrepancy`)."""
    import pytensor.tensor as pt

    rotated = data["eigenvectors"].T @ residual
    variance = sigma**2 + eta**2 * data["eigenvalues"]
    outside = (residual**2).sum() - (rotated**2).sum()
    rows, rank = residual.shape[0], rotated.shape[0]
    inside = -0.5 * (rotated**2 / variance + pt.log(variance)).sum()
    return (
        inside
        - 0.5 * outside / sigma**2
        - (rows - rank) * pt.log(sigma)
        - 0.5 * rows * np.log(2 * np.pi)
    )


def _sampled_discrepancy(
    residual: Symbol, data: Mapping[str, Symbol], *, variance: Symbol, eta: Symbol
) -> Symbol:
    """Discrepancy at the runs, its weights sampled in the coordinates of `scalebayes.specs.discrepancy`."""
    import pymc as pm
    import pytensor.tensor as pt

    size = eta * pt.sqrt(data["eigenvalues"])
    total = variance + size**2
    rank = len(data["eigenvalues"].get_value())
    v = pm.Flat("v", shape=rank, initval=np.zeros(rank))
    narrowing = pt.sqrt(variance / total)
    weights = pm.Deterministic(
        "weights", size * (data["eigenvectors"].T @ residual) / total + narrowing * v
    )
    pm.Potential("prior_of_weights", (pt.log(narrowing) - 0.5 * weights**2).sum())
    return data["eigenvectors"] @ (size * weights)
