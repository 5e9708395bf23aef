"""The part of a `pm.Model` that gives each group of runs its own parameters, around shared ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.fitting.graph_priors import Symbol, add_parameter, log_prior, prior_data
from scalebayes.fitting.pilot import make_pilot
from scalebayes.specs.pooling import read_grouping
from scalebayes.specs.population import (
    POPULATION,
    SPREAD,
    log_shares_of,
    references,
    shared_names,
    to_sizes,
    turn_back,
)
from scalebayes.specs.spec import Spec

HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


def pooled_data(runs: Runs, spec: Spec) -> dict[str, np.ndarray]:
    """Return the further data of a pooled graph, as arrays by name.

    These are the group of each run, the groups' centres, the directions along which runs lie, a
    pilot fit, and the numbers of the spreads' priors.
    """
    grouping = read_grouping(runs, spec)
    count = len(grouping.names)
    log_inputs = runs.log_inputs(spec.law_object.inputs)
    of_groups = []
    for group in range(count):
        rows = grouping.rows(group)
        of_groups.append({x: values[rows] for x, values in log_inputs.items()})
    shares = [log_shares_of(inputs) for inputs in of_groups]
    population_shares = log_shares_of(log_inputs)

    data = {"member": np.equal.outer(grouping.of_run, np.arange(count)).astype(float)}
    for x in log_inputs:
        data[f"group_centre_{x}"] = np.array([inputs[x].mean() for inputs in of_groups])
    for x in log_inputs:
        data[f"log_share_{x}"] = np.array([share[x] for share in shares])
    for x, share in population_shares.items():
        data[f"mu_log_share_{x}"] = np.asarray(share)

    pilot = make_pilot(runs, spec, grouping)
    data["pilot_log_sigma"] = pilot.log_sigma
    data["pilot_sigma_steps"] = pilot.sigma_steps
    for k, name in enumerate(spec.law_object.coordinates.names):
        data[f"pilot_{name}"] = pilot.centres[k]
        data[f"map_{name}"] = pilot.maps[k]
        data[f"mu_pilot_{name}"] = pilot.mu_centres[k]
        data[f"mu_map_{name}"] = pilot.mu_maps[k]
    for name, prior in spec.spread.items():
        data |= prior_data(SPREAD.format(name), prior)
    return data


def add_groups(spec: Spec, data: Mapping[str, Symbol]) -> None:
    """Add groups around a population to the model, and the log losses around their laws.

    `scalebayes.specs.population` has the model, `scalebayes.fitting.pilot` the coordinates.
    Variables are scalars, or vectors of one entry a group.
    """
    import pymc as pm
    import pytensor.tensor as pt
    from pytensor.tensor.shape import specify_shape

    law = spec.law_object
    spread = {}
    for name, prior in spec.spread.items():
        spread[name] = add_parameter(SPREAD.format(name), prior, data)
    size = data[f"mu_map_{law.coordinates.names[0]}"].get_value().size
    offsets = pm.Flat("offsets", shape=size, initval=np.zeros(size))

    population = _add_population(spec, offsets, data)
    logs = _add_group_parameters(spec, offsets, population, spread, data)

    log_sigma = _add_group_sigma(spec, spread["sigma"], data)
    count = data["pilot_log_sigma"].get_value().shape
    parameters = {}
    for name in law.parameter_names:
        values = specify_shape(pt.exp(logs[name]), count)
        parameters[name] = pm.Deterministic(name, values)
    sigma = pm.Deterministic("sigma", pt.exp(log_sigma))

    # "member" is one where a run belongs to a group: the product picks each run's own value.
    member = data["member"]
    noise = {"sigma": member @ sigma}
    for name in shared_names(spec):
        noise[name] = add_parameter(name, spec.priors[name], data)
    inputs = {x: pt.exp(data[f"log_{x}"]) for x in law.inputs}
    of_runs = {name: member @ value for name, value in parameters.items()}
    log_curve = pt.log(law.evaluate(inputs, of_runs))
    spec.observation.add_log_loss(pm, data, log_curve, noise)


def _add_population(spec: Spec, offsets: Symbol, data: Mapping[str, Symbol]) -> dict[str, Symbol]:
    """Add the population's medians with their prior, and return their logs."""
    import pymc as pm
    import pytensor.tensor as pt

    law = spec.law_object
    zeta = {}
    for name in law.coordinates.names:
        zeta[name] = data[f"mu_pilot_{name}"] + (data[f"mu_map_{name}"] * offsets).sum()
    log_shares = {x: data[f"mu_log_share_{x}"] for x in law.inputs}
    centre = {x: data[f"centre_{x}"] for x in law.inputs}
    z, log_turn = turn_back(zeta, log_shares)
    logs, log_jacobian = law.coordinates.recover(z, centre)
    for name in law.parameter_names:
        pm.Deterministic(POPULATION.format(name), pt.exp(logs[name]))
    pm.Potential("prior", log_prior(spec, logs, data) + log_jacobian + log_turn)
    return logs


def _add_group_parameters(
    spec: Spec,
    offsets: Symbol,
    population: Mapping[str, Symbol],
    spread: Mapping[str, Symbol],
    data: Mapping[str, Symbol],
) -> dict[str, Symbol]:
    """Add the density of the groups' parameters around the population's, and return their logs."""
    import pymc as pm
    import pytensor.tensor as pt

    law = spec.law_object
    centre = {x: data[f"group_centre_{x}"] for x in law.inputs}
    log_shares = {x: data[f"log_share_{x}"] for x in law.inputs}
    zeta = {}
    for name in law.coordinates.names:
        zeta[name] = data[f"pilot_{name}"] + data[f"map_{name}"] @ offsets
    z, log_turn = turn_back(zeta, log_shares)
    logs, log_jacobian = law.coordinates.recover(z, centre)

    log_at = {name: data[f"prior_{name}_log_at"] for name in references(spec)}
    mu = to_sizes(population, law, log_at)
    sizes = to_sizes(logs, law, log_at)
    density = 0
    for name in law.parameter_names:
        standardised = (sizes[name] - mu[name]) / spread[name]
        density = density + (-0.5 * standardised**2 - pt.log(spread[name]))
    constant = len(law.parameter_names) * HALF_LOG_2PI
    pm.Potential("groups", (density + log_jacobian + log_turn - constant).sum())
    return logs


def _add_group_sigma(spec: Spec, spread: Symbol, data: Mapping[str, Symbol]) -> Symbol:
    """Add the noise scale of each group around the population's, and return its log."""
    import pymc as pm
    import pytensor.tensor as pt

    prior = spec.priors["sigma"]
    median = add_parameter(POPULATION.format("sigma"), prior, data, numbers="sigma")
    count = data["pilot_log_sigma"].get_value().size
    offset = pm.Flat("sigma_offsets", shape=count, initval=np.zeros(count))
    log_sigma = data["pilot_log_sigma"] + data["pilot_sigma_steps"] * offset
    z = (log_sigma - pt.log(median)) / spread
    density = -0.5 * z**2 - pt.log(spread) - HALF_LOG_2PI
    pm.Potential("group_sigma", density.sum())
    return log_sigma
