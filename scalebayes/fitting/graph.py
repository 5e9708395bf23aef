"""The `pm.Model` of a spec on a table.

This and the other graph modules import PyMC, and only inside functions.

Everything that comes from the table, and every number in a prior, is data of the graph. So one
compiled sampler serves every table, and every spec that differs only in the numbers of its priors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.data.distances import log_centres
from scalebayes.fitting.graph_groups import add_groups, pooled_data
from scalebayes.fitting.graph_priors import Symbol, add_parameter, log_prior, prior_data
from scalebayes.specs.pooling import pooling_of
from scalebayes.specs.spec import Spec, read_model
from scalebayes.specs.table_units import normalise
from scalebayes.utils.parallel import one_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pymc as pm

    from scalebayes.data.cells import Cells
    from scalebayes.data.runs import Runs


def pymc_model(runs: Runs, model: str | Path | Spec) -> pm.Model:
    """Return the `pm.Model` of a spec on a table of runs, to sample or inspect it yourself.

    The model is that of the normalised table (`scalebayes.specs.table_units`): inputs over their
    geometric means and losses over theirs. `scalebayes.laws.Law.rescale` brings its parameters to
    the units of the table.

    The free variables are the natural coordinates of the law (`scalebayes.laws.coordinates`), flat,
    in units of rough posterior widths around a least-squares start. The potential ``prior`` holds
    the prior of the spec on the parameters and the Jacobian between the two.
    """
    normalised = normalise(runs, read_model(model))
    return build_model(normalised.runs, normalised.spec)


def build_model(runs: Runs, spec: Spec, arrays: Mapping[str, np.ndarray] | None = None) -> pm.Model:
    """Return the `pm.Model` of a spec on a table, in the units of both.

    No prior may be relative to the table: `scalebayes.specs.table_units.normalise` makes such a
    pair of a table and a spec.

    Parameters
    ----------
    arrays
        The data of the graph, by default those of `sampler_data`.
    """
    import pymc as pm

    if arrays is None:
        arrays = sampler_data(runs, spec)
    with pm.Model() as graph:
        data = {name: pm.Data(name, value) for name, value in arrays.items()}
        if spec.is_pooled:
            add_groups(spec, data)
        else:
            _add_law(spec, data)
    return graph


def _add_law(spec: Spec, data: Mapping[str, Symbol]) -> None:
    """Add a law whose parameters all runs share, and the log losses around it."""
    import pymc as pm
    import pytensor.tensor as pt

    law = spec.law_object
    further = {}
    for name in spec.scatter_names:
        further[name] = add_parameter(name, spec.priors[name], data)
    sampled = {}
    for name, step in law.coordinates.steps().items():
        sampled[name] = data[f"start_{name}"] + step * pm.Flat(name, initval=0.0)
    bends = spec.observation.add_bends(pm, data, further, sampled)

    z = {name: value - bends.shear(name) for name, value in sampled.items()}
    centre = {x: data[f"centre_{x}"] for x in law.inputs}
    logs, log_jacobian = law.coordinates.recover(z, centre)
    parameters = {}
    for name in law.parameter_names:
        parameters[name] = pm.Deterministic(name, pt.exp(logs[name]))
    pm.Potential("prior", log_prior(spec, logs, data) + log_jacobian)

    log_curve = bends.log_curve(pm, law, data, parameters)
    spec.observation.add_log_loss(pm, data, log_curve, further)


@dataclass(frozen=True)
class Symbols:
    """The graph of a spec as PyTensor variables, for `scalebayes.fitting.kernel` to compile.

    Attributes
    ----------
    free
        Sampled variables by name: scalars, and vectors whose length is part of the graph.
    data
        Shared variables that hold the arrays of `sampler_data`, by name.
    log_density, gradient
        Log density of the free variables, and its gradient by them.
    kept
        Variables that a fit keeps of a draw: parameters of law, noise and discrepancy, by name.
    initial
        PyMC's initial value of each free variable.
    skipped_rewrites
        PyTensor's rewrites that find nothing in this graph.
    """

    free: dict[str, Symbol]
    data: dict[str, Symbol]
    log_density: Symbol
    gradient: list[Symbol]
    kept: dict[str, Symbol]
    initial: list[Symbol]
    skipped_rewrites: tuple[str, ...] = ()


def symbols(
    runs: Runs, spec: Spec, keep: Sequence[str], arrays: Mapping[str, np.ndarray] | None = None
) -> Symbols:
    """Return the variables of the `pm.Model` of a spec, with the named ones kept of a draw.

    arrays: as for `build_model`.
    """
    from pymc.initial_point import make_initial_point_expression
    from pytensor.gradient import grad
    from pytensor.graph.replace import clone_replace
    from pytensor.graph.traversal import graph_inputs

    model = build_model(runs, spec, arrays)
    free = model.value_vars
    log_density = model.logp()
    kept = model.replace_rvs_by_values([model[name] for name in keep])
    initial = make_initial_point_expression(
        free_rvs=model.free_RVs,
        rvs_to_transforms=model.rvs_to_transforms,
        initval_strategies=model.rvs_to_initial_values,
        return_transformed=True,
    )

    # PyMC copies the data that initial values depend on: put the model's own variables back.
    data = {variable.name: variable for variable in model.data_vars}
    originals = {}
    for variable in graph_inputs(initial):
        if variable.name in data:
            originals[variable] = data[variable.name]
    start: Any = clone_replace(initial, originals)

    slopes: Any = grad(log_density, free)
    return Symbols(
        free={value.name: value for value in free},
        data=data,
        log_density=log_density,
        gradient=slopes,
        kept=dict(zip(keep, kept, strict=True)),
        initial=start,
        skipped_rewrites=spec.observation.traits.skipped_rewrites,
    )


def sampler_data(runs: Runs, spec: Spec) -> dict[str, np.ndarray]:
    """Return all data of a compiled sampler, from table and priors, as named float arrays."""
    # The last bits of linear algebra depend on the number of threads, and draws depend on them.
    with one_thread():
        return _sampler_data(runs, spec)


def condensed_sampler_data(runs: Runs, spec: Spec, cells: Cells) -> dict[str, np.ndarray]:
    """Return what `sampler_data` does, for the cells of a long table in place of its runs.

    The polynomials of the likelihood and the reference curve are not among them
    (`scalebayes.specs.condensed`).
    """
    with one_thread():
        return _sampler_data(runs, spec, cells)


def _sampler_data(runs: Runs, spec: Spec, cells: Cells | None = None) -> dict[str, np.ndarray]:
    law = spec.law_object
    log_inputs = runs.log_inputs(law.inputs)
    log_loss = law.log_response(runs)

    data = {f"log_{x}": values for x, values in log_inputs.items()}
    data["observed"] = log_loss
    for x, values in log_inputs.items():
        data[f"centre_{x}"] = np.asarray(values.mean())
    if cells is not None:
        data["observed"] = cells.sum(log_loss)
        # Distances of unique tokens are from the centre of all tokens.
        centres = log_centres(runs, law.inputs)
        for x, distances in cells.distances.items():
            data[f"log_{x}"] = centres[x] + distances
    if cells is None:
        data |= spec.observation.data(runs)
    else:
        data |= spec.observation.condensed(runs, cells)
    if spec.is_pooled:
        data |= pooled_data(runs, spec)
    else:
        for name, value in law.coordinates.start(log_inputs, log_loss).items():
            data[f"start_{name}"] = np.asarray(value)
    for name, prior in spec.priors.items():
        data |= prior_data(name, prior)
    return data


def structure(spec: Spec, runs: Runs) -> tuple[object, ...]:
    """Return what a compiled sampler depends on: specs and tables that agree in it share one.

    Of the table only the rounded size of a sampled discrepancy matters, and of a pooled spec the
    number of groups: each has variables of its own.
    """
    priors = []
    for name, prior in spec.priors.items():
        priors.append((name, prior.dist, prior.at is None, prior.over, prior.shift))
    observation = spec.observation.structure(runs)
    pooling = pooling_of(spec).structure(runs)
    return spec.law, spec.noise, observation, tuple(priors), pooling
