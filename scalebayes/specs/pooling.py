"""How parameters belong to runs: all runs share them, or each group of runs has its own.

`Shared` and `ByGroup` are the two ways, and `pooling_of` gives that of a spec. Everything else asks
these classes. `scalebayes.specs.population` has the distribution of the groups' parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.data.runs import Runs
from scalebayes.errors import RunsError
from scalebayes.specs.population import (
    POPULATION,
    SPREAD,
    pooled_names,
    pooled_prior_draws,
    shared_names,
)
from scalebayes.specs.spec import Spec, prior_draws


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
        traits = self.spec.observation.traits
        return {
            "tune": traits.tune,
            "target_accept": traits.target_accept,
            "adaptation": traits.adaptation,
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
            dims: tuple[str, ...] = ("chain", "draw")
            if values.ndim == 2:
                dims = ("chain", "draw", "group")
            variables[name] = (dims, values[None])
        coords = {"chain": [0], "draw": np.arange(draws), "group": groups}
        return xr.Dataset(variables, coords=coords)

    def label(self, posterior: xr.Dataset, runs: Runs) -> xr.Dataset:
        """Return the draws with one dimension "group" in place of the sampler's."""
        labelled = {}
        for name, variable in posterior.items():
            of_groups = set(variable.dims) - {"chain", "draw"}
            labelled[name] = variable.rename(dict.fromkeys(of_groups, "group"))
        names = list(read_grouping(runs, self.spec).names)
        return xr.Dataset(labelled).drop_vars("group", errors="ignore").assign_coords(group=names)

    def for_runs(self, draws: Mapping[str, np.ndarray], runs: Runs) -> RunDraws:
        """Return the draws with each run in its group's place."""
        return RunDraws(draws, read_grouping(runs, self.spec).of_run)


def pooling_of(spec: Spec) -> Pooling:
    """Return how the parameters of a spec belong to runs."""
    return ByGroup(spec) if spec.is_pooled else Shared(spec)


def variable_names(spec: Spec) -> tuple[str, ...]:
    """Return the names of the posterior's variables in the tree of a fit of a spec."""
    return pooling_of(spec).variable_names()
