"""The part of a `pm.Model` that gives each group of runs its own parameters, around shared ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.fitting.graph_priors import Symbol, add_parameter, log_prior, prior_data
from scalebayes.fitting.pilot import make_pilot
from scalebayes.specs.pooling import (
    POPULATION,
    SPREAD,
    log_shares_of,
    read_grouping,
    references,
    shared_names,
    to_sizes,
    turn_back,
)
from scalebayes.specs.spec import Spec


def pooled_data(runs: Runs, spec: Spec) -> dict[str, np.ndarray]:
    """What a pooled graph takes besides: each run's group, the groups' centres, a pilot fit, the spreads' priors."""
    grouping = read_grouping(runs, spec)
    log_inputs = runs.log_inputs(spec.law_object.inputs)
    of_groups = [
        {x: v[grouping.rows(g)] for x, v in log_inputs.items()} for g in range(len(grouping.names))
    ]
    shares = [log_shares_of(inputs) for inputs in of_groups]
    data = {"member": np.equal.outer(grouping.of_run, np.arange(len(grouping.names))).astype(float)}
    data |= {
        f"group_centre_{x}": np.array([inputs[x].mean() for inputs in of_groups])
        for x in log_inputs
    }
    data |= {f"log_share_{x}": np.array([share[x] for share in shares]) for x in log_inputs}
    data |= {
        f"mu_log_share_{x}": np.asarray(share) for x, share in log_shares_of(log_inputs).items()
    }
    pilot = make_pilot(runs, spec, grouping)
    data |= {"pilot_log_sigma": pilot.log_sigma, "pilot_sigma_steps": pilot.sigma_steps}
    for k, name in enumerate(spec.law_object.coordinates.names):
        data |= {f"pilot_{name}": pilot.centres[k], f"map_{name}": pilot.maps[k]}
        data |= {f"mu_pilot_{name}": pilot.mu_centres[k], f"mu_map_{name}": pilot.mu_maps[k]}
    spreads = {SPREAD.format(name): prior for name, prior in spec.spread.items()}
    for name, prior in spreads.items():
        data |= prior_data(name, prior)
    return data


def add_groups(spec: Spec, data: Mapping[str, Symbol]) -> None:
    """Groups around a population (`scalebayes.specs.pooling`), in the coordinates of a pilot fit (`scalebayes.fitting.pilot`).

    Variables are scalars, or vectors of one entry a group.
    """
    import pymc as pm
    import pytensor.tensor as pt
    from pytensor.tensor.shape import specify_shape

    law, names = spec.law_object, spec.law_object.parameter_names
    coordinates, log_at = law.coordinates, {p: data[f"prior_{p}_log_at"] for p in references(spec)}
    spread = {n: add_parameter(SPREAD.format(n), prior, data) for n, prior in spec.spread.items()}
    size = data[f"mu_map_{coordinates.names[0]}"].get_value().size
    offsets = pm.Flat("offsets", shape=size, initval=np.zeros(size))

    zeta = {
        c: data[f"mu_pilot_{c}"] + (data[f"mu_map_{c}"] * offsets).sum() for c in coordinates.names
    }
    z, log_turn = turn_back(zeta, {x: data[f"mu_log_share_{x}"] for x in law.inputs})
    shared, log_jacobian = coordinates.recover(z, {x: data[f"centre_{x}"] for x in law.inputs})
    for name in names:
        pm.Deterministic(POPULATION.format(name), pt.exp(shared[name]))
    pm.Potential("prior", log_prior(spec, shared, data) + log_jacobian + log_turn)

    centre, log_shares = (
        {x: data[f"{k}_{x}"] for x in law.inputs} for k in ("group_centre", "log_share")
    )
    zeta = {c: data[f"pilot_{c}"] + data[f"map_{c}"] @ offsets for c in coordinates.names}
    z, log_turn = turn_back(zeta, log_shares)
    logs, log_jacobian = coordinates.recover(z, centre)
    mu, sizes = (to_sizes(v, law, log_at) for v in (shared, logs))
    density = sum(
        -0.5 * ((sizes[name] - mu[name]) / spread[name]) ** 2 - pt.log(spread[name])
        for name in names
    )
    pm.Potential(
        "groups", (density + log_jacobian + log_turn - 0.5 * len(names) * np.log(2 * np.pi)).sum()
    )

    log_sigma = _group_sigma(spec, spread["sigma"], data)
    shape = data["pilot_log_sigma"].get_value().shape
    parameters = {
        name: pm.Deterministic(name, specify_shape(pt.exp(logs[name]), shape)) for name in names
    }
    sigma = data["member"] @ pm.Deterministic("sigma", pt.exp(log_sigma))
    scatter = {name: add_parameter(name, spec.priors[name], data) for name in shared_names(spec)}
    inputs = (pt.exp(data[f"log_{x}"]) for x in law.inputs)
    log_law = pt.log(
        law.function(
            *inputs, **{name: data["member"] @ value for name, value in parameters.items()}
        )
    )
    spec.observation.add_log_loss(pm, data, log_law, {"sigma": sigma, **scatter})


def _group_sigma(spec: Spec, spread: Symbol, data: Mapping[str, Symbol]) -> Symbol:
    """Log sigma of each group, around the population's."""
    import pymc as pm
    import pytensor.tensor as pt

    middle = add_parameter(POPULATION.format("sigma"), spec.priors["sigma"], data, numbers="sigma")
    count = data["pilot_log_sigma"].get_value().size
    offset = pm.Flat("sigma_offsets", shape=count, initval=np.zeros(count))
    log_sigma = data["pilot_log_sigma"] + data["pilot_sigma_steps"] * offset
    z = (log_sigma - pt.log(middle)) / spread
    pm.Potential("group_sigma", (-0.5 * z**2 - pt.log(spread) - 0.5 * np.log(2 * np.pi)).sum())
    return log_sigma
