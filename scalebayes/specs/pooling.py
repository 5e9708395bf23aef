r"""Partial pooling: each group of runs has parameters of its own, distributed around shared ones.

With u the log of what a prior is stated on (a parameter, or for a scale the size in nats of its
term at the reference),

    u_gj = mu_j + tau_j z_gj,    z_gj ~ Normal(0, 1),
    exp(mu_j) ~ the prior of parameter j,    tau_j ~ the prior of its spread,

for every parameter j of the law, and the same for the log of the noise's sigma. So groups with few
runs borrow from the others, as far as those resemble each other, and a new group is a draw around
mu (Gelman and Hill 2007). The noise's further parameters are shared by all groups.

`Shared` and `ByGroup` are the two ways in which parameters belong to runs; `pooling_of` gives that
of a spec.

References
----------
Gelman and Hill (2007), Data analysis using regression and multilevel/hierarchical models,
ISBN 978-0-521-68689-1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.data.runs import Runs
from scalebayes.errors import RunsError
from scalebayes.laws import Law
from scalebayes.laws.coordinates import Recovered, log_add
from scalebayes.specs.spec import Spec, prior_draws

type Numeric = Any
"""A float, an array, or a PyTensor variable."""

LEAST_SHARE = 0.02
"""Least share of an input in the direction along the runs, so that its log is finite."""
POPULATION = "{}_population"
"""Name of a pooled parameter's population median, in the tree."""
SPREAD = "{}_spread"
"""Name of a pooled parameter's spread between groups, in the tree."""


@dataclass(frozen=True)
class Grouping:
    """The groups of a table.

    Attributes
    ----------
    names
        In order of first appearance.
    of_run
        Place of each run's group among the names, shape (runs,).
    """

    names: tuple[str, ...]
    of_run: np.ndarray

    def rows(self, place: int) -> np.ndarray:
        """Return the row numbers of one group."""
        return np.flatnonzero(self.of_run == place)


def read_grouping(runs: Runs, spec: Spec) -> Grouping:
    """Return the groups of a table.

    Raises
    ------
    RunsError
        When the table has no column ``group``, or a single group.
    """
    if "group" not in runs.table:
        columns = ", ".join(runs.table.columns)
        raise RunsError(
            f"'{spec.name}' pools runs by {spec.pool}, but {runs.name} has no group: its columns "
            f"are {columns}. Name the column that holds the group: read_runs(..., group='COLUMN'), "
            "or --map group=COLUMN"
        )
    groups = runs.table["group"].astype(str)
    names = tuple(groups.unique())
    if len(names) == 1:
        raise RunsError(
            f"'{spec.name}' pools runs by {spec.pool}, but all {len(runs)} runs of {runs.name} "
            f"belong to one group, {names[0]}. Fit them with a model without pool, or add runs of "
            "another group"
        )
    place = {name: i for i, name in enumerate(names)}
    return Grouping(names, groups.map(place).to_numpy())


def pooled_names(spec: Spec) -> tuple[str, ...]:
    """Return the parameters that each group has for itself: those of the law, and sigma."""
    return (*spec.law_object.parameter_names, "sigma")


def shared_names(spec: Spec) -> tuple[str, ...]:
    """Return the parameters that all groups share: those of the noise other than sigma."""
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
    one, other = slopes
    difference = z[one] - z[other] - z.get("delta", 0.0)
    ratio = np.exp(z.get("log_kappa", 0.0)) * difference
    along = log_add(*(share + z[slope] for slope, share in slopes.items()))
    return {**z, one: along, other: ratio}


def turn_back(z: Mapping[str, Numeric], log_shares: Mapping[str, Numeric]) -> Recovered:
    """Return natural coordinates from turned ones, and the log determinant, that of 1/kappa."""
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
        if prior.at is not None:
            logs[name] = float(np.log(prior.at))
    return logs


def pooled_prior_draws(spec: Spec, groups: int, draws: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return draws from the prior of a pooled spec.

    Returns
    -------
    dict
        Parameter name -> array: of each group's parameters (draws, groups), of others (draws,).
    """
    rng = np.random.default_rng(seed)
    medians = {name: prior.draw(rng, draws) for name, prior in spec.priors.items()}
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

    values: draws of the population's medians and spreads by their names in the tree, (chain, draw).
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


class Pooling(ABC):
    """How parameters belong to runs: all shared, or each group's own."""

    @abstractmethod
    def check(self, runs: Runs) -> None:
        """Check that a table has the groups that are needed.

        Raises
        ------
        RunsError
            When it has not.
        """

    @abstractmethod
    def variable_names(self) -> tuple[str, ...]:
        """Return the names of the posterior's variables in the tree of a fit."""

    @abstractmethod
    def structure(self, runs: Runs) -> tuple[object, ...]:
        """Return what the graph depends on beside the law and its priors."""

    @abstractmethod
    def sampler_settings(self) -> dict[str, Any]:
        """Return the settings that suit such a posterior: tune, target_accept and adaptation."""

    @abstractmethod
    def prior(self, runs: Runs, draws: int, seed: int) -> xr.Dataset:
        """Return draws from the prior, (chain, draw) or (chain, draw, group)."""

    @abstractmethod
    def label(self, posterior: xr.Dataset, runs: Runs) -> xr.Dataset:
        """Return a sampler's draws with the dimension of groups named and labelled."""

    @abstractmethod
    def for_runs(self, draws: Mapping[str, np.ndarray], runs: Runs) -> RunDraws:
        """Return the parameters of each run, from draws of shape (draws, groups or 1)."""


@dataclass(frozen=True)
class RunDraws:
    """Draws of parameters, and each run's place among the groups.

    Attributes
    ----------
    draws
        By name, (draws, groups), or (draws, 1) for a parameter that all runs share.
    place
        The group of each run, (runs,).
    """

    draws: Mapping[str, np.ndarray]
    place: np.ndarray

    def of(self, part: slice) -> dict[str, np.ndarray]:
        """Return some of the draws, each (draws, runs), or (draws, 1) where all runs share it."""
        values = {}
        for name, drawn in self.draws.items():
            if drawn.shape[1] > 1:
                values[name] = drawn[part][:, self.place]
            else:
                values[name] = drawn[part]
        return values


@dataclass(frozen=True)
class Shared(Pooling):
    """All runs share all parameters."""

    spec: Spec

    def check(self, runs: Runs) -> None:
        """Accept any table: groups play no part."""

    def variable_names(self) -> tuple[str, ...]:
        """Return the parameters of law, noise and discrepancy."""
        return (*self.spec.law_object.parameter_names, *self.spec.scatter_names)

    def structure(self, runs: Runs) -> tuple[object, ...]:
        """Return nothing."""
        return ()

    def sampler_settings(self) -> dict[str, Any]:
        """Return the settings that suit the noise and the discrepancy."""
        kind = self.spec.observation
        return {
            "tune": kind.tune,
            "target_accept": kind.target_accept,
            "adaptation": kind.adaptation,
        }

    def prior(self, runs: Runs, draws: int, seed: int) -> xr.Dataset:
        """Return draws from the prior, (chain, draw)."""
        drawn = prior_draws(self.spec, draws, seed)
        variables = {name: (("chain", "draw"), values[None]) for name, values in drawn.items()}
        return xr.Dataset(variables, coords={"chain": [0], "draw": np.arange(draws)})

    def label(self, posterior: xr.Dataset, runs: Runs) -> xr.Dataset:
        """Return the draws as they are."""
        return posterior

    def for_runs(self, draws: Mapping[str, np.ndarray], runs: Runs) -> RunDraws:
        """Return the draws with all runs in one place."""
        return RunDraws(draws, np.zeros(len(runs), int))


@dataclass(frozen=True)
class ByGroup(Pooling):
    """Each group of runs has parameters of its own, around those of a population."""

    spec: Spec

    def check(self, runs: Runs) -> None:
        """Check that the table has at least two groups.

        Raises
        ------
        RunsError
            When it has not.
        """
        read_grouping(runs, self.spec)

    def variable_names(self) -> tuple[str, ...]:
        """Return the parameters of groups, shared ones, population medians and spreads."""
        names = pooled_names(self.spec)
        population = [POPULATION.format(name) for name in names]
        spreads = [SPREAD.format(name) for name in names]
        return (*names, *shared_names(self.spec), *population, *spreads)

    def structure(self, runs: Runs) -> tuple[object, ...]:
        """Return the number of groups, and the kinds of the spreads' priors."""
        spreads = tuple((name, prior.dist) for name, prior in self.spec.spread.items())
        return len(read_grouping(runs, self.spec).names), spreads

    def sampler_settings(self) -> dict[str, Any]:
        """Return settings with long tuning and small steps: each group has its own parameters."""
        return {"tune": 2000, "target_accept": 0.98, "adaptation": "low_rank"}

    def prior(self, runs: Runs, draws: int, seed: int) -> xr.Dataset:
        """Return draws from the prior, (chain, draw) and (chain, draw, group)."""
        groups = list(read_grouping(runs, self.spec).names)
        drawn = pooled_prior_draws(self.spec, len(groups), draws, seed)
        variables = {}
        for name, values in drawn.items():
            dims = ("chain", "draw", "group")[: values.ndim + 1]
            variables[name] = (dims, values[None])
        coords = {"chain": [0], "draw": np.arange(draws), "group": groups}
        return xr.Dataset(variables, coords=coords)

    def label(self, posterior: xr.Dataset, runs: Runs) -> xr.Dataset:
        """Return the draws with one dimension "group" in place of the sampler's."""
        labelled = {}
        for name, variable in posterior.items():
            others = _other_dimensions(variable.dims)
            labelled[name] = variable.rename(dict.fromkeys(others, "group"))
        names = list(read_grouping(runs, self.spec).names)
        return xr.Dataset(labelled).drop_vars("group", errors="ignore").assign_coords(group=names)

    def for_runs(self, draws: Mapping[str, np.ndarray], runs: Runs) -> RunDraws:
        """Return the draws with each run in its group's place."""
        return RunDraws(draws, read_grouping(runs, self.spec).of_run)


def _other_dimensions(dims: Iterable[Any]) -> list[Any]:
    return [dim for dim in dims if dim not in ("chain", "draw")]


def pooling_of(spec: Spec) -> Pooling:
    """Return how the parameters of a spec belong to runs."""
    return ByGroup(spec) if spec.is_pooled else Shared(spec)


def variable_names(spec: Spec) -> tuple[str, ...]:
    """Return the names of the posterior's variables in the tree of a fit of a spec."""
    return pooling_of(spec).variable_names()
