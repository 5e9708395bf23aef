r"""The population of a pooled spec: each group's parameters are distributed around shared ones.

With u the log of what a prior is stated on (a parameter, or for a scale the size of its term at
the reference input),

    u_gj = mu_j + tau_j z_gj,    z_gj ~ Normal(0, 1),
    exp(mu_j) ~ the prior of parameter j,    tau_j ~ the prior of its spread,

for every parameter j of the law, and the same for the log of the noise's sigma. So groups with few
runs borrow from the others, as far as those resemble each other, and a new group is a draw around
mu (Gelman and Hill 2007). The noise's further parameters are shared by all groups.

References
----------
Gelman and Hill (2007), Data analysis using regression and multilevel/hierarchical models,
ISBN 978-0-521-68689-1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scalebayes.laws import Law
from scalebayes.laws.coordinates import Recovered, log_add
from scalebayes.specs.spec import Spec, stated_draws

type Numeric = Any
"""A float, an array, or a PyTensor variable."""

LEAST_SHARE = 0.02
"""Least share of an input in the direction along the runs, so that its log is finite."""
POPULATION = "{}_population"
"""Name of a pooled parameter's population median, in the tree."""
SPREAD = "{}_spread"
"""Name of a pooled parameter's spread between groups, in the tree."""


def pooled_names(spec: Spec) -> tuple[str, ...]:
    """Return the names of parameters that each group has: the law's parameters, and sigma."""
    return (*spec.law_object.parameter_names, "sigma")


def shared_names(spec: Spec) -> tuple[str, ...]:
    """Return the names of parameters that all groups share: the noise's, except sigma."""
    return tuple(name for name in spec.scatter_names if name != "sigma")


def to_sizes(
    logs: Mapping[str, Numeric], law: Law, log_at: Mapping[str, Numeric]
) -> dict[str, Numeric]:
    """Return the logs of what priors are stated on, from logs of parameters.

    log_at: log reference of each scale, by name.
    """
    sizes = {}
    for parameter in law.parameters:
        name = parameter.name
        if parameter.exponent and name in log_at:
            sizes[name] = np.exp(logs[parameter.exponent]) * (logs[name] - log_at[name])
        else:
            sizes[name] = logs[name]
    return sizes


def from_sizes(
    sizes: Mapping[str, Numeric], law: Law, log_at: Mapping[str, Numeric]
) -> dict[str, Numeric]:
    """Return the logs of parameters: the inverse of `to_sizes`."""
    logs = {}
    for parameter in law.parameters:
        name = parameter.name
        if parameter.exponent and name in log_at:
            logs[name] = log_at[name] + sizes[name] * np.exp(-sizes[parameter.exponent])
        else:
            logs[name] = sizes[name]
    return logs


def turn(z: Mapping[str, Numeric], log_shares: Mapping[str, Numeric]) -> dict[str, Numeric]:
    """Return natural coordinates turned along the runs, in which what the runs show is straight.

    The slope along the runs, c_N G_N + c_D G_D, and log(n/d) take the places of G_N and G_D. Runs
    along a line, D in proportion to N or all with one D, show the slope along it and nothing of the
    ratio. The ratio is that of the terms at the centre: of a law with kappa, log(G_N/G_D) is
    delta + log(n/d)/kappa, which varies the more the smaller kappa is. A law with fewer than two
    slopes among its coordinates stays as it is.

    log_shares: logs of c by input.
    """
    slopes = _slopes(z, log_shares)
    if len(slopes) != 2:
        return dict(z)
    (one, of_one), (other, of_other) = slopes.items()
    difference = z[one] - z[other] - z.get("delta", 0.0)
    ratio = np.exp(z.get("log_kappa", 0.0)) * difference
    along = log_add(of_one + z[one], of_other + z[other])
    return {**z, one: along, other: ratio}


def turn_back(z: Mapping[str, Numeric], log_shares: Mapping[str, Numeric]) -> Recovered:
    """Return natural coordinates from turned ones, and the log determinant, -log kappa."""
    slopes = _slopes(z, log_shares)
    if len(slopes) != 2:
        return dict(z), 0.0
    (one, of_one), (other, of_other) = slopes.items()
    log_kappa = z.get("log_kappa", 0.0)
    ratio = z.get("delta", 0.0) + z[other] * np.exp(-log_kappa)
    second = z[one] - log_add(of_one + ratio, of_other)
    return {**z, one: second + ratio, other: second}, -log_kappa


def _slopes(z: Mapping[str, Numeric], log_shares: Mapping[str, Numeric]) -> dict[str, Numeric]:
    """Return log shares by slope; some inputs have none (unique tokens, experts)."""
    return {f"log_G_{x}": share for x, share in log_shares.items() if f"log_G_{x}" in z}


def log_shares_of(log_inputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the logs of the inputs' shares c in the direction along which the runs lie."""
    centred = np.column_stack([values - values.mean() for values in log_inputs.values()])
    _, axes = np.linalg.eigh(centred.T @ centred)
    direction = axes[:, -1]  # of the largest eigenvalue: the first principal axis
    shares = np.maximum(np.abs(direction), LEAST_SHARE)
    return dict(zip(log_inputs, np.log(shares / shares.sum()), strict=True))


def references(spec: Spec) -> dict[str, float]:
    """Return the logs of the inputs at which priors of scales are stated, by name."""
    logs = {}
    for name, prior in spec.priors.items():
        if prior.log_at is not None:
            logs[name] = prior.log_at
    return logs


def pooled_prior_draws(spec: Spec, groups: int, draws: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return draws from the prior of a pooled spec that is not relative to a table.

    Returns
    -------
    dict
        Parameter name -> array: of each group's parameters (draws, groups), of others (draws,).
    """
    rng = np.random.default_rng(seed)
    medians = stated_draws(spec, rng, draws)
    spreads = {name: prior.draw(rng, draws) for name, prior in spec.spread.items()}
    centres = {name: np.log(medians[name]) for name in pooled_names(spec)}

    out = {name: medians[name] for name in shared_names(spec)}
    for name, values in spreads.items():
        out[SPREAD.format(name)] = values
    for name, values in _parameters(centres, spec).items():
        out[POPULATION.format(name)] = values

    sizes = {}
    for name, centre in centres.items():
        z = rng.standard_normal((draws, groups))
        sizes[name] = centre[:, None] + spreads[name][:, None] * z
    return out | _parameters(sizes, spec)


def around_population(
    values: Mapping[str, np.ndarray], spec: Spec, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the parameters of a new group, exp(mu + tau z), for each draw of the population.

    values: draws of the population's medians and spreads by their names in the tree, (chain, draw),
    in the units in which the spec is stated.
    """
    medians = {name: np.log(values[POPULATION.format(name)]) for name in pooled_names(spec)}
    centres = to_sizes(medians, spec.law_object, references(spec))
    centres["sigma"] = medians["sigma"]
    drawn = {}
    for name, centre in centres.items():
        z = rng.standard_normal(centre.shape)
        drawn[name] = centre + values[SPREAD.format(name)] * z
    return _parameters(drawn, spec)


def _parameters(sizes: Mapping[str, np.ndarray], spec: Spec) -> dict[str, np.ndarray]:
    """Return parameters from logs of what priors are stated on."""
    logs = from_sizes(sizes, spec.law_object, references(spec)) | {"sigma": sizes["sigma"]}
    # A scale whose exponent is almost zero overflows, and infinite serves every purpose.
    with np.errstate(over="ignore"):
        return {name: np.exp(value) for name, value in logs.items()}
