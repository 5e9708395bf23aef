r"""Distribution of observed losses around a law: noise, perhaps with a discrepancy of the law.

    log L_i = log law(x_i) + delta(x_i) + noise_i

`scalebayes.specs.discrepancy` has the Gaussian process delta, and derives the two ways to treat it.
Each class here is one way, with its piece of the PyMC graph, the data of that piece, what a fit
keeps of it, the density of each run and what the draws tell of delta. Everything else asks these
classes, and never which of them it has.

PyMC is passed in as ``pm``, so that this module imports without it.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.data.cells import Cells
from scalebayes.data.distances import log_centres, log_distances
from scalebayes.data.runs import Runs
from scalebayes.laws import Law
from scalebayes.specs.discrepancy import (
    LN_10,
    Basis,
    Conditional,
    given_others,
    make_basis,
    padded,
)
from scalebayes.specs.discrepancy import PRIORS as ETA_PRIORS
from scalebayes.specs.drift import Drift
from scalebayes.specs.noise import DefaultPrior, Noise

type Symbol = Any
"""A PyTensor variable."""
type Symbols = Mapping[str, Symbol]
"""PyTensor variables by name."""
type Draws = Mapping[str, np.ndarray]
"""Draws of parameters by name."""

SAMPLED = "discrepancy"
"""Group of a fit's tree that holds a sampled discrepancy: delta at the runs, (chain, draw, run)."""
REFERENCES = ("kennedy2001",)
"""Keys of the papers behind a discrepancy."""
AMPLITUDES = ("eta",)
"""Parameters that are the standard deviation of a discrepancy."""


class Bends:
    """What bends a law in a graph: nothing here, so that the curve is the law itself."""

    def shear(self, coordinate: str) -> Symbol:
        """Return what a coordinate of the sampler exceeds the law's own by."""
        return 0.0

    def log_curve(self, pm: Any, law: Law, data: Symbols, parameters: Symbols) -> Symbol:
        """Return the log of the curve at the runs, (runs,). parameters: the law's, by name."""
        inputs = {x: pm.math.exp(data[f"log_{x}"]) for x in law.inputs}
        return pm.math.log(law.evaluate(inputs, parameters))


@dataclass(frozen=True)
class Traits:
    """What the sampler, and whoever uses its draws, needs to know of an observation.

    Attributes
    ----------
    tune, target_accept, adaptation
        Settings of the sampler that suit this kind of posterior.
    samples_discrepancy
        Whether the draws contain the discrepancy at the runs.
    runs_are_independent
        Whether runs are independent given a draw.
    kept
        Variables of the graph that a fit needs beside the parameters.
    references
        Keys of the papers behind it, as in ``models/references.bib``.
    amplitudes
        Parameters that are the standard deviation of something else that is unknown beside the
        parameters: the discrepancy, the drift, the offsets of trainings.
    skipped_rewrites
        PyTensor's rewrites that find nothing in the graph, and take long.
    curved
        Entries of the sampled vector along which the posterior bends. Where there are any, the
        sampler moves in coordinates that it learns from short runs (`scalebayes.fitting.maps`).
    condenses
        Whether the likelihood of a long table can be condensed (`scalebayes.specs.condensed`).
    """

    tune: int
    target_accept: float
    adaptation: str
    samples_discrepancy: bool = False
    runs_are_independent: bool = True
    kept: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    amplitudes: tuple[str, ...] = ()
    skipped_rewrites: tuple[str, ...] = ()
    curved: tuple[str, ...] = ()
    condenses: bool = False


@dataclass(frozen=True)
class Observation(ABC):
    """Distribution of the log losses of a table given the law's curve.

    Attributes
    ----------
    noise
        The noise of each run.
    """

    noise: Noise

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What the sampler, and whoever uses its draws, needs to know."""

    @property
    def priors(self) -> dict[str, DefaultPrior]:
        """Default priors of the parameters that are not the law's."""
        return dict(self.noise.priors)

    def basis(self, runs: Runs) -> Basis:
        """Return the eigenbasis of the discrepancy on a table.

        Raises
        ------
        TypeError
            When there is no discrepancy.
        """
        raise TypeError(f"a model without a discrepancy has no basis on {runs.name}")

    def structure(self, runs: Runs) -> tuple[object, ...]:
        """Return what the graph depends on: equal structures share a compiled sampler."""
        return (type(self).__name__,)

    def data(self, runs: Runs) -> dict[str, np.ndarray]:
        """Return the data of this piece of the graph beside the log losses, as arrays by name."""
        return self.noise.data(runs)

    def condensed(self, runs: Runs, cells: Cells) -> dict[str, np.ndarray]:
        """Return what `data` does, for the cells of a long table in place of its runs.

        Raises
        ------
        TypeError
            When the likelihood cannot be condensed (`Traits.condenses`).
        """
        raise TypeError(f"the likelihood of {type(self).__name__} cannot be condensed")

    def add_bends(self, pm: Any, data: Symbols, parameters: Symbols, coordinates: Symbols) -> Bends:
        """Add what bends the law to the model that is being built, and return it.

        Here nothing does.

        Parameters
        ----------
        pm, data
            As for `add_log_loss`.
        parameters
            Those of noise and discrepancy, by name.
        coordinates
            Those of the law that the sampler moves, by name.
        """
        return Bends()

    @abstractmethod
    def add_log_loss(self, pm: Any, data: Symbols, log_curve: Symbol, parameters: Symbols) -> None:
        """Add the density of the log losses to the model that is being built.

        Parameters
        ----------
        pm
            The module pymc.
        data
            The data of the graph, ``observed`` and those of `data`.
        log_curve
            Log of the law at the runs, (runs,).
        parameters
            Those of noise and discrepancy, by name.
        """

    def groups_from_trace(self, posterior: xr.Dataset, runs: Runs) -> dict[str, xr.Dataset]:
        """Return the groups of a fit's tree that hold the discrepancy, from a trace."""
        return {}

    def delta_at_runs(self, tree: xr.DataTree, runs: Runs) -> np.ndarray | float:
        """Return a drawn discrepancy at the runs from a fit's tree, (chain, draw, run), or 0."""
        return 0.0

    def offsets(self, tree: xr.DataTree, runs: Runs, at: Runs) -> np.ndarray:
        """Return what draws add to the log curve of runs for their training, (draws, runs) or 1.

        Parameters
        ----------
        tree, runs
            Draws, and the table that they were sampled on.
        at
            Runs of the trainings of that table.
        """
        posterior = tree["posterior"]
        return np.zeros((posterior.sizes["chain"] * posterior.sizes["draw"], 1))

    def drift(self, tree: xr.DataTree, runs: Runs, seed: int) -> Drift | None:
        """Return the bent law under each draw of a fit's tree, or None where nothing bends it.

        seed: of the fit. It decides how the law bends beyond the runs.
        """
        return None

    def pointwise(self, residual: np.ndarray, parameters: Draws, runs: Runs) -> np.ndarray:
        """Return the log density of each run, (draws, runs).

        Where runs are not independent it is that given all other runs.

        Parameters
        ----------
        residual
            Log loss minus log curve, minus the discrepancy where it is sampled, (draws, runs).
        parameters
            Draws by name, (draws, 1) or (draws, runs); further names are ignored.
        """
        return self.noise.logpdf(residual, **self.noise_at(parameters, runs))

    def noise_at(self, parameters: Draws, runs: Runs) -> dict[str, Any]:
        """Return the noise's parameters at runs of the table, as its methods take them."""
        own = {name: parameters[name] for name in self.noise.priors}
        return self.noise.at(own, self.noise.log_scale(runs, runs))

    def symbolic_noise(self, parameters: Symbols, data: Symbols) -> dict[str, Symbol]:
        """Return the noise's parameters at the runs as PyTensor variables."""
        own = {name: parameters[name] for name in self.noise.priors}
        return self.noise.at(own, data.get("log_scale", 0.0))

    def replicate(
        self, rng: np.random.Generator, residual: np.ndarray, parameters: Draws, runs: Runs
    ) -> np.ndarray:
        """Return a random residual of each run, distributed as `pointwise` says, (draws, runs).

        The parameters are those of `pointwise`.
        """
        return self.noise.draw(rng, residual.shape, **self.noise_at(parameters, runs))

    def draw_prior(
        self, prior: xr.Dataset, runs: Runs, rng: np.random.Generator
    ) -> dict[str, xr.Dataset]:
        """Return the groups that `groups_from_trace` gives, drawn from the prior.

        Parameters
        ----------
        prior
            Draws of the parameters from the prior, (chain, draw).
        """
        return {}

    def conditional(
        self, tree: xr.DataTree, runs: Runs, residual: Callable[[], np.ndarray]
    ) -> Conditional | None:
        """Return what the draws of a fit tell of the discrepancy, or None if there is none.

        Parameters
        ----------
        residual
            Called for log loss minus log law, (draws, runs), where it is needed.
        """
        return None

    def expected_at_runs(self, tree: xr.DataTree, runs: Runs, residual: np.ndarray) -> np.ndarray:
        """Return the expected discrepancy at the runs, (runs,), at the median parameters.

        Parameters
        ----------
        residual
            Log loss minus log law at the median parameters, (runs,).
        """
        return np.zeros_like(residual)


@dataclass(frozen=True)
class NoiseOnly(Observation):
    """The law is exact: log losses are independent around its curve."""

    @property
    def traits(self) -> Traits:
        """Few parameters, some of them correlated, which a low-rank mass matrix learns."""
        return Traits(tune=600, target_accept=0.95, adaptation="low_rank")

    def add_log_loss(self, pm: Any, data: Symbols, log_curve: Symbol, parameters: Symbols) -> None:
        """Add an observed random variable, the log losses; of some kinds of noise a potential."""
        if not self.noise.pymc:
            noise = self.symbolic_noise(parameters, data)
            density = self.noise.log_density(pm, data["observed"] - log_curve, **noise)
            pm.Potential("log_loss", density.sum())
            return
        distribution = getattr(pm, self.noise.pymc)
        arguments = self.noise.pymc_arguments(**parameters)
        distribution("log_loss", mu=log_curve, observed=data["observed"], **arguments)


@dataclass(frozen=True)
class WithDiscrepancy(Observation):
    """Noise and a Gaussian process of the given kernel.

    Attributes
    ----------
    kernel, length
        Of the Gaussian process; the length in decades.
    inputs
        Those of the law.
    """

    kernel: str
    length: float
    inputs: tuple[str, ...]

    @property
    def priors(self) -> dict[str, DefaultPrior]:
        """Default priors of the parameters that are not the law's."""
        return {**self.noise.priors, **ETA_PRIORS}

    def basis(self, runs: Runs) -> Basis:
        """Return the eigenbasis of the discrepancy on a table, kept as long as the table is."""
        return BASES.get(self, runs)

    def make_basis(
        self, distances: Mapping[str, np.ndarray], centres: Mapping[str, float]
    ) -> Basis:
        """Return the eigenbasis of the discrepancy on a table, found anew.

        Parameters
        ----------
        distances, centres
            As `scalebayes.specs.discrepancy.make_basis` takes them.
        """
        return make_basis(distances, centres, self.length, self.kernel)

    def data(self, runs: Runs) -> dict[str, np.ndarray]:
        """Return the eigenvectors, (runs, rank), and the eigenvalues, (rank,)."""
        basis = self.basis(runs)
        own = {"eigenvectors": basis.vectors, "eigenvalues": basis.values}
        return own | self.noise.data(runs)

    def draw_prior(
        self, prior: xr.Dataset, runs: Runs, rng: np.random.Generator
    ) -> dict[str, xr.Dataset]:
        """Return the discrepancy at the runs, drawn from the prior."""
        rank = len(self.basis(runs).values)
        weights = rng.standard_normal((*prior["eta"].shape, rank))
        return {SAMPLED: self.delta_of(weights, prior, runs)}

    def delta_of(self, weights: np.ndarray, parameters: xr.Dataset, runs: Runs) -> xr.Dataset:
        """Return the discrepancy at the runs, (chain, draw, run).

        Parameters
        ----------
        weights
            Standard Normal weights of the eigenvectors, (chain, draw, rank).
        parameters
            Draws of the parameters, (chain, draw).
        """
        basis = self.basis(runs)
        unit = (weights * np.sqrt(basis.values)) @ basis.vectors.T
        delta = parameters["eta"].values[..., None] * unit
        coords = {
            "chain": parameters["chain"],
            "draw": parameters["draw"],
            "run": runs.table.index.to_numpy(),
        }
        return xr.Dataset({"delta": (("chain", "draw", "run"), delta)}, coords)

    def delta_at_runs(self, tree: xr.DataTree, runs: Runs) -> np.ndarray | float:
        """Return the discrepancy at the runs from a tree that holds it, (chain, draw, run), or 0.

        The prior's draws hold it always, those of a posterior only where it is sampled.
        """
        if SAMPLED not in tree.children:
            return 0.0
        return tree[SAMPLED].to_dataset()["delta"].values


@dataclass(frozen=True)
class IntegratedDiscrepancy(WithDiscrepancy):
    """Normal noise and a discrepancy that is integrated out of the likelihood."""

    @property
    def traits(self) -> Traits:
        """Small steps, because the posterior of the amplitude of an integrated process bends."""
        return Traits(
            tune=2000,
            target_accept=0.97,
            adaptation="low_rank",
            runs_are_independent=False,
            references=REFERENCES,
            amplitudes=AMPLITUDES,
        )

    def add_log_loss(self, pm: Any, data: Symbols, log_curve: Symbol, parameters: Symbols) -> None:
        """Add the marginal log density of the log losses as a potential."""
        residual = data["observed"] - log_curve
        sigma, eta = parameters["sigma"], parameters["eta"]

        # Inside the basis the entries are independent; outside it there is noise alone.
        rotated = data["eigenvectors"].T @ residual
        variance = sigma**2 + eta**2 * data["eigenvalues"]
        outside = (residual**2).sum() - (rotated**2).sum()
        rows, rank = residual.shape[0], rotated.shape[0]
        inside = -0.5 * (rotated**2 / variance + pm.math.log(variance)).sum()
        log_density = (
            inside
            - 0.5 * outside / sigma**2
            - (rows - rank) * pm.math.log(sigma)
            - 0.5 * rows * np.log(2 * np.pi)
        )
        pm.Potential("log_loss", log_density)

    def pointwise(self, residual: np.ndarray, parameters: Draws, runs: Runs) -> np.ndarray:
        """Return the log density of each run given all other runs, (draws, runs)."""
        sigma, eta = parameters["sigma"].ravel(), parameters["eta"].ravel()
        mean, deviation = given_others(self.basis(runs), residual, sigma, eta)
        return self.noise.logpdf(residual - mean, sigma=deviation)

    def replicate(
        self, rng: np.random.Generator, residual: np.ndarray, parameters: Draws, runs: Runs
    ) -> np.ndarray:
        """Return a random residual of each run given all other runs, (draws, runs)."""
        sigma, eta = parameters["sigma"].ravel(), parameters["eta"].ravel()
        mean, deviation = given_others(self.basis(runs), residual, sigma, eta)
        return mean + self.noise.draw(rng, residual.shape, sigma=deviation)

    def conditional(
        self, tree: xr.DataTree, runs: Runs, residual: Callable[[], np.ndarray]
    ) -> Conditional:
        """Return what the draws tell of the discrepancy through the noisy losses."""
        basis = self.basis(runs)
        posterior = tree["posterior"].to_dataset()
        eta, sigma = posterior["eta"].values.ravel(), posterior["sigma"].values.ravel()
        return Conditional(basis, eta, sigma, residual() @ basis.vectors)

    def expected_at_runs(self, tree: xr.DataTree, runs: Runs, residual: np.ndarray) -> np.ndarray:
        """Return the expected discrepancy at the runs given their residuals, (runs,)."""
        basis = self.basis(runs)
        median = tree["posterior"].to_dataset()[["sigma", "eta"]].median()
        noise_to_signal = float(median["sigma"] / median["eta"]) ** 2
        shrinkage = basis.values / (basis.values + noise_to_signal)
        return basis.vectors @ (shrinkage * (basis.vectors.T @ residual))


@dataclass(frozen=True)
class SampledDiscrepancy(WithDiscrepancy):
    """Any noise and a discrepancy that is sampled at the runs.

    The graph has weights of the leading eigenvectors.
    """

    @property
    def traits(self) -> Traits:
        """Some hundred coordinates, all nearly standard Normal.

        To estimate their correlations would cost more than it saves.
        """
        return Traits(
            tune=1000,
            target_accept=0.97,
            adaptation="draw_diag",
            samples_discrepancy=True,
            kept=("weights",),
            references=REFERENCES,
            amplitudes=AMPLITUDES,
        )

    def make_basis(
        self, distances: Mapping[str, np.ndarray], centres: Mapping[str, float]
    ) -> Basis:
        """Return the leading part of the eigenbasis of the discrepancy on a table, found anew."""
        return super().make_basis(distances, centres).leading()

    def structure(self, runs: Runs) -> tuple[object, ...]:
        """Return what the graph depends on: here also the number of weights."""
        return (*super().structure(runs), padded(len(self.basis(runs).values)))

    def data(self, runs: Runs) -> dict[str, np.ndarray]:
        """Return the eigenvectors and eigenvalues, filled up with zeros to one of few ranks."""
        basis = self.basis(runs)
        rank = len(basis.values)
        more = padded(rank) - rank
        return {
            "eigenvectors": np.pad(basis.vectors, ((0, 0), (0, more))),
            "eigenvalues": np.pad(basis.values, (0, more)),
            **self.noise.data(runs),
        }

    def add_log_loss(self, pm: Any, data: Symbols, log_curve: Symbol, parameters: Symbols) -> None:
        """Add the weights of the discrepancy, and the density of the log losses given them.

        The density is a potential and no observed random variable, because PyMC would write the law
        twice, in two forms.
        """
        noise = self.symbolic_noise(parameters, data)
        at_centre = self.symbolic_noise(parameters, {})
        residual = data["observed"] - log_curve
        residual -= add_weights(
            pm,
            ("v", "weights"),
            vectors=data["eigenvectors"],
            values=data["eigenvalues"],
            residual=residual,
            variance=self.noise.equivalent(**at_centre),
            amplitude=parameters["eta"],
        )
        pm.Potential("log_loss", self.noise.log_density(pm, residual, **noise).sum())

    def groups_from_trace(self, posterior: xr.Dataset, runs: Runs) -> dict[str, xr.Dataset]:
        """Return the discrepancy at the runs, (chain, draw, run), from the sampler's weights."""
        rank = len(self.basis(runs).values)  # the graph's weights are filled up with zeros
        weights = posterior["weights"].transpose("chain", "draw", ...).values[..., :rank]
        return {SAMPLED: self.delta_of(weights, posterior, runs)}

    def conditional(
        self, tree: xr.DataTree, runs: Runs, residual: Callable[[], np.ndarray]
    ) -> Conditional:
        """Return what the draws tell of the discrepancy: its values at the runs, without noise."""
        basis = self.basis(runs)
        eta = tree["posterior"].to_dataset()["eta"].values.ravel()
        delta = np.reshape(self.delta_at_runs(tree, runs), (-1, len(runs)))
        return Conditional(basis, eta, np.zeros_like(eta), delta @ basis.vectors)

    def expected_at_runs(self, tree: xr.DataTree, runs: Runs, residual: np.ndarray) -> np.ndarray:
        """Return the mean of the discrepancy's draws at the runs."""
        return np.mean(self.delta_at_runs(tree, runs), axis=(0, 1))


def add_weights(
    pm: Any,
    names: tuple[str, str],
    *,
    vectors: Symbol,
    values: Symbol,
    residual: Symbol,
    variance: Symbol,
    amplitude: Symbol,
) -> Symbol:
    """Add the weights of a Gaussian process with their prior, and return it at the runs, (runs,).

    Parameters
    ----------
    names
        Of the free variable and of the weights.
    vectors, values
        Eigenvectors of its correlation, (runs, rank), and eigenvalues, (rank,).
    residual
        What it explains up to the noise, (runs,).
    variance, amplitude
        Variance of Normal noise of equal information, and the standard deviation of the process.
    """
    size = amplitude * pm.math.sqrt(values)
    total = variance + size**2

    # The free variable v is nearly standard Normal (the change of variables in discrepancy.py).
    free, kept = names
    rank = len(values.get_value())
    v = pm.Flat(free, shape=rank, initval=np.zeros(rank))
    narrowing = pm.math.sqrt(variance / total)
    expected = size * (vectors.T @ residual) / total
    weights = pm.Deterministic(kept, expected + narrowing * v)
    log_prior = pm.math.log(narrowing) - 0.5 * weights**2
    pm.Potential(f"prior_of_{kept}", log_prior.sum())
    return vectors @ (size * weights)


class Bases:
    """The eigenbasis of each pair of a table and a discrepancy, for as long as the table is alive.

    A fit asks for its basis in many places, and on a long table the decomposition takes seconds.
    The basis of distances from the centre serves every table that has them, in whatever units.
    """

    def __init__(self) -> None:
        self._of_distances: weakref.WeakValueDictionary[tuple[object, ...], Basis]
        self._of_distances = weakref.WeakValueDictionary()
        self._kept: weakref.WeakKeyDictionary[Runs, dict[WithDiscrepancy, Basis]]
        self._kept = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def get(self, discrepancy: WithDiscrepancy, runs: Runs) -> Basis:
        """Return the basis of a discrepancy on a table."""
        with self._lock:
            bases = self._kept.setdefault(runs, {})
            if discrepancy not in bases:
                bases[discrepancy] = self._make(discrepancy, runs)
            return bases[discrepancy]

    def _make(self, discrepancy: WithDiscrepancy, runs: Runs) -> Basis:
        """Return the basis of a table, that of another table with the same distances if known."""
        distances = log_distances(runs, discrepancy.inputs)
        centres = log_centres(runs, discrepancy.inputs)
        key = (discrepancy, *[values.tobytes() for values in distances.values()])
        known = self._of_distances.get(key)
        if known is not None:
            in_decades = np.array(list(centres.values())) / LN_10
            return replace(known, centre=in_decades)
        made = discrepancy.make_basis(distances, centres)
        self._of_distances[key] = made
        return made


BASES = Bases()
