r"""Sweeps over learning rate and batch: the valley of each has a place and a depth of its own.

    log L_i = log law(N_i, D_i, rate_i e^(-r_s(i)), batch_i e^(-b_s(i))) + o_s(i) + noise_i

where s(i) is the sweep of row i, the runs of one (N, D). The best rate and batch of a sweep lie off
their powers of N and D by r ~ Normal(0, tau_rate) and b ~ Normal(0, tau_batch), and its best loss
off the law by o ~ Normal(0, omega). The hundred runs of a sweep share these errors, so they tell
less of the law than a hundred sweeps would. Without them the posterior of the best rate would be as
narrow as the number of all runs allows, and the next sweep would lie outside of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.data.runs import Runs
from scalebayes.laws import LAWS, Law
from scalebayes.laws.coordinates import Values
from scalebayes.specs.discrepancy import padded
from scalebayes.specs.noise import DefaultPrior
from scalebayes.specs.observation import Bends, Observation, Symbol, Symbols, Traits, add_weights
from scalebayes.specs.trainings import OMEGA

TAU_RATE: DefaultPrior = {
    "dist": "LogNormal",
    "median": 0.1,
    "sigma": 0.8,
    "reason": (
        "standard deviation of the log best rate of a sweep around its power of N and D: a step of "
        "a grid is 0.35 to 0.7, and the bottom is known to a part of it; 90% in 0.027 to 0.37"
    ),
}
TAU_BATCH: DefaultPrior = {
    "dist": "LogNormal",
    "median": 0.1,
    "sigma": 0.8,
    "reason": "of the log best batch, as for the rate; 90% in 0.027 to 0.37",
}
SHIFTS = "sweeps"
"""Group of a fit's tree that holds the errors of each sweep, (chain, draw, sweep)."""
WEIGHTS = {"tau_rate": "rate_weights", "tau_batch": "batch_weights", "omega": "offset_weights"}
"""Errors of the sweeps over their standard deviation in the graph, by the latter."""
ERRORS = {"tau_rate": "rate_error", "tau_batch": "batch_error", "omega": "offset_error"}
"""Errors of the sweeps in a fit's tree, by their standard deviation."""
FAR_OFF = 3.0
"""Residual at which a run has half its weight in the sampler's guess of an error of a best loss.

It is a multiple of the standard deviation of noise and that error together.
"""
FEWEST_RUNS = 4
"""Fewest runs of a sweep that has errors of its own: fewer do not determine three."""


@dataclass(frozen=True)
class SweepsOfTable:
    """The sweeps of a table.

    Attributes
    ----------
    names
        N and D of each as text, in order of first appearance.
    member
        Whether a run belongs to a sweep, (runs, sweeps), as 0 and 1.
    """

    names: tuple[str, ...]
    member: np.ndarray


def read_sweeps(runs: Runs) -> SweepsOfTable:
    """Return the sweeps of a table: the values of (N, D) that at least `FEWEST_RUNS` runs share."""
    sizes = np.column_stack([runs.N, runs.D])
    distinct, first, of_run, counts = np.unique(
        sizes, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    kept = order[counts[order] >= FEWEST_RUNS]
    names = tuple(f"N {distinct[i, 0]:.3g}, D {distinct[i, 1]:.3g}" for i in kept)
    return SweepsOfTable(names, np.equal.outer(of_run.ravel(), kept).astype(float))


def best_of_sweeps(runs: Runs) -> Runs:
    """Return the run of least loss at each N and D."""
    order = runs.table.sort_values("loss", kind="stable")
    best = order.drop_duplicates(["N", "D"]).sort_values(["C" if "C" in order else "N"])
    return replace(runs, table=best, name=f"{runs.name}, the best run of each sweep")


@dataclass(frozen=True)
class Shifted(Bends):
    """The law with the valley of each sweep moved, in a graph.

    Attributes
    ----------
    shifts
        What the log of each hyperparameter at the bottom exceeds its power by, (runs,).
    omega
        Standard deviation of the errors of the best losses.
    variance
        Variance of Normal noise of equal information.
    """

    shifts: Mapping[str, Symbol]
    omega: Symbol
    variance: Symbol

    def log_curve(self, pm: Any, law: Law, data: Symbols, parameters: Symbols) -> Symbol:
        """Add the errors of the best losses to the model, and return the log of the curve, (runs,).

        They are sampled around a guess from the runs, which determine them better than the law.
        """
        logs = {x: data[f"log_{x}"] for x in law.inputs}
        for x, shift in self.shifts.items():
            logs[x] = logs[x] - shift
        inputs = {x: pm.math.exp(log) for x, log in logs.items()}
        log_valley = pm.math.log(law.evaluate(inputs, parameters))
        name = WEIGHTS["omega"]
        offset = add_weights(
            pm,
            (f"free_{name}", name),
            vectors=data["sweep_vectors"],
            values=data["sweep_counts"],
            residual=self._without_outliers(data["observed"] - log_valley),
            variance=self.variance,
            amplitude=self.omega,
        )
        return log_valley + offset

    def _without_outliers(self, residual: Symbol) -> Symbol:
        """Return residuals from which the sampler guesses the errors of the best losses.

        Those of runs that diverged count next to nothing. The guess is only the origin of the
        sampler's coordinates: the posterior does not depend on it.
        """
        typical = self.variance + self.omega**2
        return residual / (1.0 + residual**2 / (FAR_OFF**2 * typical))


@dataclass(frozen=True)
class Sweeps(Observation):
    """Noise around a law with hyperparameters, and errors that the runs of a sweep share.

    Attributes
    ----------
    law
        Name of the law.
    """

    law: str

    @property
    def traits(self) -> Traits:
        """Few parameters and three for each sweep, nearly Normal."""
        return Traits(
            tune=800,
            target_accept=0.95,
            adaptation="low_rank",
            kept=tuple(WEIGHTS.values()),
            amplitudes=tuple(WEIGHTS),
        )

    @property
    def priors(self) -> dict[str, DefaultPrior]:
        """Default priors of the parameters that are not the law's."""
        own = {"tau_rate": TAU_RATE, "tau_batch": TAU_BATCH, "omega": OMEGA}
        return {**self.noise.priors, **own}

    def structure(self, runs: Runs) -> tuple[object, ...]:
        """Return what the graph depends on: the rounded number of sweeps."""
        return (type(self).__name__, padded(max(1, len(read_sweeps(runs).names))))

    def data(self, runs: Runs) -> dict[str, np.ndarray]:
        """Return the membership of runs in sweeps, (runs, sweeps), filled up with zeros.

        The columns over the root of the number of runs are the eigenvectors of the matrix that says
        which runs share a sweep; its eigenvalues are these numbers.
        """
        member = read_sweeps(runs).member
        more = padded(max(1, member.shape[1])) - member.shape[1]
        sweep = np.pad(member, ((0, 0), (0, more)))
        counts = sweep.sum(axis=0)
        vectors = sweep / np.sqrt(np.maximum(counts, 1.0))
        found = {"sweep": sweep, "sweep_vectors": vectors, "sweep_counts": counts}
        return {**found, **self.noise.data(runs)}

    def add_bends(self, pm: Any, data: Symbols, parameters: Symbols, coordinates: Symbols) -> Bends:
        """Add the errors of the best rates and batches with their prior, and return what bends."""
        member = data["sweep"]
        count = member.get_value().shape[1]
        errors = {}
        for scale in ("tau_rate", "tau_batch"):
            name = WEIGHTS[scale]
            weights = pm.Flat(f"free_{name}", shape=count, initval=np.zeros(count))
            pm.Deterministic(name, 1.0 * weights)
            pm.Potential(f"prior_of_{name}", -0.5 * (weights**2).sum())
            errors[scale] = member @ (parameters[scale] * weights)
        shifts = {"learning_rate": errors["tau_rate"], "batch": errors["tau_batch"]}
        noise = self.symbolic_noise(parameters, {})
        return Shifted(shifts, parameters["omega"], self.noise.equivalent(**noise))

    def add_log_loss(self, pm: Any, data: Symbols, log_curve: Symbol, parameters: Symbols) -> None:
        """Add the density of the log losses around the moved valleys."""
        noise = self.symbolic_noise(parameters, data)
        density = self.noise.log_density(pm, data["observed"] - log_curve, **noise)
        pm.Potential("log_loss", density.sum())

    def groups_from_trace(self, posterior: xr.Dataset, runs: Runs) -> dict[str, xr.Dataset]:
        """Return the errors of each sweep, (chain, draw, sweep), from the sampler's weights."""
        names = read_sweeps(runs).names
        weights = {}
        for scale, name in WEIGHTS.items():
            drawn = posterior[name].transpose("chain", "draw", ...).values
            weights[scale] = drawn[..., : len(names)]
        return {SHIFTS: _errors(weights, posterior, names)}

    def draw_prior(
        self, prior: xr.Dataset, runs: Runs, rng: np.random.Generator
    ) -> dict[str, xr.Dataset]:
        """Return the errors of each sweep, drawn from the prior."""
        names = read_sweeps(runs).names
        weights = {}
        for scale in WEIGHTS:
            weights[scale] = rng.standard_normal((*prior[scale].shape, len(names)))
        return {SHIFTS: _errors(weights, prior, names)}

    def delta_at_runs(self, tree: xr.DataTree, runs: Runs) -> np.ndarray:
        """Return the log of the moved valley over the law at the runs, (chain, draw, run)."""
        law = LAWS[self.law]
        posterior, errors = tree["posterior"].to_dataset(), tree[SHIFTS].to_dataset()
        member = read_sweeps(runs).member.T
        parameters = {name: posterior[name].values[..., None] for name in law.parameter_names}
        moved: dict[str, Any] = {x: getattr(runs, x) for x in law.inputs}
        for x, scale in (("learning_rate", "tau_rate"), ("batch", "tau_batch")):
            moved[x] = moved[x] * np.exp(-(errors[ERRORS[scale]].values @ member))
        # Draws from a wide prior may overflow.
        with np.errstate(over="ignore", invalid="ignore"):
            log_ratio = np.log(law.evaluate(moved, parameters))
            log_ratio -= np.log(law.evaluate(runs, parameters))
        return log_ratio + errors[ERRORS["omega"]].values @ member

    def expected_at_runs(self, tree: xr.DataTree, runs: Runs, residual: np.ndarray) -> np.ndarray:
        """Return the mean of what the draws add to log law at the runs, (runs,)."""
        return self.delta_at_runs(tree, runs).mean(axis=(0, 1))


def _errors(weights: Values, parameters: xr.Dataset, names: tuple[str, ...]) -> xr.Dataset:
    """Return the errors of each sweep, (chain, draw, sweep).

    weights: errors over that, (chain, draw, sweep).
    """
    coords: dict[str, Any] = {"chain": parameters["chain"], "draw": parameters["draw"]}
    coords["sweep"] = list(names)
    variables = {}
    for scale, drawn in weights.items():
        error = parameters[scale].values[..., None] * drawn
        variables[ERRORS[scale]] = (("chain", "draw", "sweep"), error)
    return xr.Dataset(variables, coords)
