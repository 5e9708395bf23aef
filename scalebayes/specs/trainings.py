r"""Runs that share a training: each training has an offset of its own from the curve.

    log L_i = log curve(x_i) + offset_t(i) + noise_i,   offset_t ~ Normal(0, omega)

where t(i) is the training of row i. Checkpoints of one training share its seed, its shape and its
order of the data, so n of them tell less of the curve than n trainings do. A new run has a new
training, so its loss has both errors.

This is a Gaussian process whose correlation is 1 within a training and 0 between trainings. Its
eigenvectors are the columns of membership over the root of their sizes n_t, and its eigenvalues are
n_t. So the offsets are sampled as any discrepancy is (`scalebayes.specs.discrepancy`): in
coordinates that are nearly standard Normal whatever omega is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.data.cells import Cells
from scalebayes.data.runs import Runs
from scalebayes.specs.condensed import MARK
from scalebayes.specs.discrepancy import Basis, Conditional, padded
from scalebayes.specs.drift import Drift
from scalebayes.specs.noise import DefaultPrior, Noise
from scalebayes.specs.observation import (
    Bends,
    Draws,
    Observation,
    Symbol,
    Symbols,
    Traits,
    add_weights,
)

OMEGA: DefaultPrior = {
    "dist": "LogNormal",
    "median": 0.005,
    "sigma": 1.0,
    "reason": (
        "whole trainings of one recipe differ by about as much as noise does; 90% in 0.1% to 2.6%"
    ),
}
OFFSETS = "trainings"
"""Group of a fit's tree that holds the offset of each training, (chain, draw, training)."""
WEIGHTS = "offset_weights"
"""Offsets over omega in the graph."""
NODES = np.linspace(-5.0, 5.0, 101)
"""Offsets over omega at which a density is summed: exact to rounding from sigma = omega / 10 on."""


@dataclass(frozen=True)
class NewTraining(Noise):
    """Error of a run of a new training: its offset and its noise.

    Attributes
    ----------
    of_run
        The noise of a run given its training.
    """

    of_run: Noise

    @property
    def label(self) -> str:
        """What a person calls this noise."""
        return f"{self.of_run.label} noise and an offset of each training"

    @property
    def priors(self) -> Mapping[str, DefaultPrior]:
        """Default prior of each parameter."""
        return {**self.of_run.priors, "omega": OMEGA}

    @property
    def alternative(self) -> str:
        """Name of the noise that a sensitivity check sets beside that of the runs."""
        return self.of_run.alternative

    def log_scale(self, at: Mapping[str, Any] | Any, runs: Any) -> Any:
        """Return the log of the compute of runs over that of the centre of a table, or 0."""
        return self.of_run.log_scale(at, runs)

    def at(self, parameters: Mapping[str, Any], log_scale: Any) -> dict[str, Any]:
        """Return the parameters at runs of a log scale."""
        own = {name: value for name, value in parameters.items() if name != "omega"}
        return self.of_run.at(own, log_scale) | {"omega": parameters["omega"]}

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], *, omega: Any, **parameters: Any
    ) -> np.ndarray:
        """Return random residuals, each of a training of its own."""
        error = self.of_run.draw(rng, shape, **parameters)
        error += omega * rng.standard_normal(shape)
        return error

    def logpdf(self, residual: np.ndarray, *, omega: Any, **parameters: Any) -> np.ndarray:
        """Return the log density of residuals, summed over the offset."""
        log_weights = -0.5 * NODES**2
        log_weights -= np.log(np.exp(log_weights).sum())
        total = np.full(np.broadcast(residual, omega, *parameters.values()).shape, -np.inf)
        for node, log_weight in zip(NODES, log_weights, strict=True):
            given = self.of_run.logpdf(residual - node * omega, **parameters)
            np.logaddexp(total, log_weight + given, out=total)
        return total

    def tail(self, residual: np.ndarray, *, omega: Any, **parameters: Any) -> np.ndarray:
        """Return the probability of a residual at least as large in absolute value."""
        weights = np.exp(-0.5 * NODES**2)
        weights /= weights.sum()
        total = np.zeros(np.broadcast(residual, omega, *parameters.values()).shape)
        for node, weight in zip(NODES, weights, strict=True):
            # Two-sided probabilities of a symmetric noise: half of each lies on either side.
            for bound in (np.abs(residual) - node * omega, np.abs(residual) + node * omega):
                half = 0.5 * self.of_run.tail(bound, **parameters)
                total += weight * np.where(bound >= 0, half, 1 - half)
        return total

    def middle(self, *, omega: Any, **parameters: Any) -> np.ndarray:
        """Return the root of the sum of squares of omega and that of the noise of a run."""
        return np.hypot(self.of_run.middle(**parameters), omega)

    def equivalent(self, *, omega: Any, **parameters: Any) -> Any:
        """Return the variance of Normal noise of equal information, of one run of a training."""
        return self.of_run.equivalent(**parameters) + omega**2


@dataclass(frozen=True)
class Trainings:
    """The trainings of a table.

    Attributes
    ----------
    names
        In order of first appearance.
    of_run
        Place of each run's training among the names, (runs,).
    """

    names: tuple[str, ...]
    of_run: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of runs of each training."""
        return np.bincount(self.of_run)


def read_trainings(runs: Runs) -> Trainings:
    """Return the trainings of a table with a column ``training``."""
    column = runs.table["training"].astype(str)
    names = tuple(column.unique())
    place = {name: i for i, name in enumerate(names)}
    return Trainings(names, column.map(place).to_numpy())


@dataclass(frozen=True)
class SharedTrainings(Observation):
    """An observation with an offset of each training.

    Attributes
    ----------
    given_offsets
        Distribution of the log losses around the curve with the offsets added.
    """

    given_offsets: Observation

    @property
    def traits(self) -> Traits:
        """Those without offsets, with the weights and the amplitude of the offsets added."""
        of_rest = self.given_offsets.traits
        return replace(
            of_rest,
            kept=(*of_rest.kept, WEIGHTS),
            amplitudes=(*of_rest.amplitudes, "omega"),
        )

    @property
    def priors(self) -> dict[str, DefaultPrior]:
        """Default priors of the parameters that are not the law's."""
        return {**self.given_offsets.priors, "omega": OMEGA}

    def basis(self, runs: Runs) -> Basis:
        """Return the eigenbasis of the discrepancy on a table."""
        return self.given_offsets.basis(runs)

    def structure(self, runs: Runs) -> tuple[object, ...]:
        """Return what the graph depends on: here also the number of trainings."""
        number = padded(len(read_trainings(runs).names))
        return (type(self).__name__, number, *self.given_offsets.structure(runs))

    def data(self, runs: Runs) -> dict[str, np.ndarray]:
        """Return the eigenvectors and eigenvalues of membership, filled up with zeros."""
        trainings = read_trainings(runs)
        return self.given_offsets.data(runs) | _membership(trainings, trainings.of_run)

    def condensed(self, runs: Runs, cells: Cells) -> dict[str, np.ndarray]:
        """Return what `data` does, for cells of runs of the same training."""
        trainings = read_trainings(runs)
        own = _membership(trainings, cells.near(trainings.of_run))
        return self.given_offsets.condensed(runs, cells) | own

    def add_log_loss(self, pm: Any, data: Symbols, log_curve: Symbol, parameters: Symbols) -> None:
        """Add the offsets with their prior, and the density of the log losses given them."""
        noise = self.symbolic_noise(parameters, {})
        # Of a condensed table the sum over the runs of each cell is observed.
        counts = data.get(MARK, 1.0)
        residual = data["observed"] - counts * log_curve
        offsets = add_weights(
            pm,
            ("free_offsets", WEIGHTS),
            vectors=data["training_vectors"],
            values=data["training_values"],
            residual=residual,
            variance=self.noise.equivalent(**noise),
            amplitude=parameters["omega"],
        )
        others = {name: parameters[name] for name in self.given_offsets.priors}
        self.given_offsets.add_log_loss(pm, data, log_curve + offsets, others)

    def add_bends(self, pm: Any, data: Symbols, parameters: Symbols, coordinates: Symbols) -> Bends:
        """Add what bends the law to the model that is being built, and return it."""
        return self.given_offsets.add_bends(pm, data, parameters, coordinates)

    def groups_from_trace(self, posterior: xr.Dataset, runs: Runs) -> dict[str, xr.Dataset]:
        """Return the groups of a fit's tree that hold the discrepancy and the offsets."""
        names = read_trainings(runs).names
        weights = posterior[WEIGHTS].transpose("chain", "draw", ...).values[..., : len(names)]
        own = _offsets(weights, posterior, names)
        return self.given_offsets.groups_from_trace(posterior, runs) | {OFFSETS: own}

    def draw_prior(
        self, prior: xr.Dataset, runs: Runs, rng: np.random.Generator
    ) -> dict[str, xr.Dataset]:
        """Return the groups that hold the discrepancy and the offsets, drawn from the prior."""
        names = read_trainings(runs).names
        weights = rng.standard_normal((*prior["omega"].shape, len(names)))
        own = _offsets(weights, prior, names)
        return self.given_offsets.draw_prior(prior, runs, rng) | {OFFSETS: own}

    def offsets_at_runs(self, tree: xr.DataTree, runs: Runs) -> np.ndarray:
        """Return the offset of each run's training, (chain, draw, run)."""
        offset = tree[OFFSETS].to_dataset()["offset"].values
        return offset[..., read_trainings(runs).of_run]

    def offsets(self, tree: xr.DataTree, runs: Runs, at: Runs) -> np.ndarray:
        """Return the offset of each run's training, (draws, runs)."""
        names = read_trainings(runs).names
        own = read_trainings(at)
        place = [names.index(name) for name in own.names]
        offset = tree[OFFSETS].to_dataset()["offset"].values
        return offset.reshape(-1, len(names))[:, np.array(place)[own.of_run]]

    def delta_at_runs(self, tree: xr.DataTree, runs: Runs) -> np.ndarray:
        """Return the drawn discrepancy and the offset at the runs, (chain, draw, run)."""
        return self.given_offsets.delta_at_runs(tree, runs) + self.offsets_at_runs(tree, runs)

    def drift(self, tree: xr.DataTree, runs: Runs, seed: int) -> Drift | None:
        """Return the bent law under each draw, or None where nothing bends it."""
        return self.given_offsets.drift(tree, runs, seed)

    def pointwise(self, residual: np.ndarray, parameters: Draws, runs: Runs) -> np.ndarray:
        """Return the log density of each run given the offsets, (draws, runs)."""
        return self.given_offsets.pointwise(residual, parameters, runs)

    def replicate(
        self, rng: np.random.Generator, residual: np.ndarray, parameters: Draws, runs: Runs
    ) -> np.ndarray:
        """Return a random residual of each run given the offsets, (draws, runs)."""
        return self.given_offsets.replicate(rng, residual, parameters, runs)

    def conditional(
        self, tree: xr.DataTree, runs: Runs, residual: Callable[[], np.ndarray]
    ) -> Conditional | None:
        """Return what the draws of a fit tell of the discrepancy, or None if there is none."""

        def without_offsets() -> np.ndarray:
            return residual() - self.offsets_at_runs(tree, runs).reshape(-1, len(runs))

        return self.given_offsets.conditional(tree, runs, without_offsets)

    def expected_at_runs(self, tree: xr.DataTree, runs: Runs, residual: np.ndarray) -> np.ndarray:
        """Return the expected discrepancy and offset at the runs, (runs,)."""
        offset = self.offsets_at_runs(tree, runs).mean(axis=(0, 1))
        return offset + self.given_offsets.expected_at_runs(tree, runs, residual - offset)


def _membership(trainings: Trainings, of_row: np.ndarray) -> dict[str, np.ndarray]:
    """Return the eigenvectors of membership at rows of given trainings, and the eigenvalues."""
    number = len(trainings.names)
    counts = trainings.counts
    vectors = np.zeros((len(of_row), padded(number)))
    vectors[np.arange(len(of_row)), of_row] = 1 / np.sqrt(counts[of_row])
    values = np.zeros(padded(number))
    values[:number] = counts
    return {"training_vectors": vectors, "training_values": values}


def _offsets(weights: np.ndarray, parameters: xr.Dataset, names: tuple[str, ...]) -> xr.Dataset:
    """Return the offset of each training, (chain, draw, training).

    weights: offsets over omega, (chain, draw, training).
    """
    offset = parameters["omega"].values[..., None] * weights
    coords = {
        "chain": parameters["chain"],
        "draw": parameters["draw"],
        "training": list(names),
    }
    return xr.Dataset({"offset": (("chain", "draw", "training"), offset)}, coords)
