r"""Observations of a law whose local exponents drift (`scalebayes.specs.drift`), with any noise.

The sampler moves in y and in sheared slopes, which changes nothing but its speed:

    g = tau B V z,    z_k = y_k (tau / tau_0)^(-c_k),    log G_x = (sampled) - w' g_x - w_L' g_L.

V turns the steps of a path so that each z_k moves the runs in a direction of its own. c_k is the
share of what the runs tell of z_k in all that is known of it: where they tell much, g itself is
known and y = g, so that tau and y do not depend on each other (Papaspiliopoulos et al. 2007). The
runs show the slope of a path on average over the table, and not the slope at the centre, hence the
shear with the weights w.

Where a law has a floor, its share of the loss bends the reducible part: a higher floor with larger
exponents where the loss is low is nearly the same curve. So z is also moved by what keeps the curve
where it is when the floor changes (`_steeper`, `_steeper_at`): of the path along the loss, or of
the only path of a law of one input.

References
----------
Papaspiliopoulos, Roberts and Skoeld (2007), A general framework for the parametrization of
hierarchical models, doi:10.1214/088342307000000014.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.data.cells import Cells
from scalebayes.data.distances import log_centres, log_distances
from scalebayes.data.runs import Runs
from scalebayes.laws import LAWS, Law
from scalebayes.laws.coordinates import local_fit
from scalebayes.specs.condensed import MARK, condensed_log_loss
from scalebayes.specs.drift import (
    AXES,
    CONTINUATION,
    LOSS_KNOTS,
    STEP,
    STEP_LOG,
    Drift,
    Knots,
    Paths,
)
from scalebayes.specs.noise import DefaultPrior
from scalebayes.specs.observation import Bends, Observation, Symbol, Symbols, Traits
from scalebayes.utils.parallel import parts_of

TAU: DefaultPrior = {
    "dist": "LogNormal",
    "median": 0.2,
    "sigma": 0.5,
    "reason": (
        "local exponents measured over neighbouring decades of one sweep differ by tens of "
        "percent; 90% in 9% to 46% after a decade"
    ),
}
TAU_LOSS: DefaultPrior = {
    "dist": "LogNormal",
    "median": 0.25,
    "sigma": 0.5,
    "reason": (
        "all runs of a recipe bend together by as much, over a tenfold change of the reducible "
        "loss; 90% in 11% to 57%"
    ),
}

GROUP = "drift"
"""Group of a fit's tree with g at the knots: g_N (chain, draw, knot_N) ... and g_loss."""

TYPICAL_SIGMA = 0.005
"""Noise scale at which the sampler's coordinates are laid out."""
TYPICAL_FLOOR = 0.4
"""Floor's share of the loss at the centre at which they are laid out."""
MOST_EXPECTED = 20_000_000
"""Most values, runs times draws, of which the expected log losses of runs are means."""
LAYOUT_RUNS = 1000
"""Most runs that decide how the coordinates are laid out."""
LEAST_REDUCIBLE = 0.05
"""Least reducible loss of a run over that at the centre, for the layout."""
SKIPPED_REWRITES = ("local_greedy_distributor", "dot_diag_to_elemwise")
"""PyTensor's rewrites of products of sums and of diagonal matrices, which find nothing in the graph
and take six times as long as all others together."""


@dataclass(frozen=True)
class DriftingLaw(Observation):
    """Noise around a law whose local exponents drift.

    Attributes
    ----------
    law
        Name of the law.
    """

    law: str

    @property
    def traits(self) -> Traits:
        """Some fifty coordinates, which share what the runs tell in a curved way.

        A floor, a path along the loss just below the centre, kappa and the ratio of the exponents
        can make up for each other, the more the farther that path drifts. So the posterior bends
        along these.
        """
        curved = ("logit_phi", *(f"y_{axis}[0]" for axis in self.axes))
        if self.bends_loss:
            # The first steps of the path are those above the centre.
            first_below = LOSS_KNOTS[-1]
            first_step = f"y_loss[{first_below}]"
            curved = ("logit_phi", "log_kappa", "delta", first_step, "tau_loss_log__")
        return Traits(
            tune=1500,
            # With one input, curves that bend to their floor need smaller steps.
            target_accept=0.97 if self.bends_loss else 0.99,
            adaptation="draw_diag",
            samples_discrepancy=True,
            kept=tuple(f"path_{name}" for name in self.paths),
            references=("ramsay1988", "kennedy2001", "papaspiliopoulos2007"),
            amplitudes=("tau", "tau_loss") if self.bends_loss else ("tau",),
            skipped_rewrites=SKIPPED_REWRITES,
            curved=curved,
            condenses=bool(self.noise.pymc),
        )

    @property
    def law_object(self) -> Law:
        """The law."""
        return LAWS[self.law]

    @property
    def axes(self) -> tuple[str, ...]:
        """Quantities with a path of their own, in the order of the law's inputs."""
        named = [AXES[x] for x in self.law_object.inputs if x in AXES]
        return tuple(dict.fromkeys(named))

    @property
    def bends_loss(self) -> bool:
        """Whether there is a path along the loss: with one input it would be the same bend."""
        return len(self.law_object.inputs) > 1

    @property
    def paths(self) -> tuple[str, ...]:
        """Names of the paths: the axes, and "loss"."""
        return (*self.axes, "loss") if self.bends_loss else self.axes

    @property
    def priors(self) -> dict[str, DefaultPrior]:
        """Default priors of the parameters that are not the law's."""
        own = {"tau": TAU, "tau_loss": TAU_LOSS} if self.bends_loss else {"tau": TAU}
        return {**self.noise.priors, **own}

    def knots(self, runs: Runs) -> dict[str, Knots]:
        """Return the knots of each path on a table, by quantity and "loss"."""
        distances = self._distances(runs)
        knots = {}
        for axis in self.axes:
            along = [distances[x] for x in distances if AXES[x] == axis]
            knots[axis] = Knots.around(np.concatenate(along))
        if self.bends_loss:
            knots["loss"] = Knots(LOSS_KNOTS[0], LOSS_KNOTS[-1])
        return knots

    def centre(self, runs: Runs) -> dict[str, float]:
        """Return the log of each input at the table's centre; paths of one quantity share it."""
        return log_centres(runs, self.law_object.inputs)

    def _distances(self, runs: Runs) -> dict[str, np.ndarray]:
        """Return the distances of the runs from the centre along each input that has a path."""
        distances = log_distances(runs, self.law_object.inputs)
        return {x: values for x, values in distances.items() if x in AXES}

    def structure(self, runs: Runs) -> tuple[object, ...]:
        """Return what the graph depends on: here also the numbers of knots."""
        counts = tuple(len(knots) for knots in self.knots(runs).values())
        return (*super().structure(runs), counts)

    def data(self, runs: Runs) -> dict[str, np.ndarray]:
        """Return weights of the paths at the runs, and the layout of the sampler's coordinates."""
        own = self._weights(runs, self._distances(runs)) | self._layout_data(runs)
        return own | self.noise.data(runs)

    def condensed(self, runs: Runs, cells: Cells) -> dict[str, np.ndarray]:
        """Return what `data` does, with the weights at the nodes of the cells."""
        return self._weights(runs, cells.distances) | self._layout_data(runs)

    def _weights(self, runs: Runs, at: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the weights of a table's paths at distances from its centre, by input."""
        knots = self.knots(runs)
        weights = {}
        for x in self._distances(runs):
            distances = at[x]
            # Products with few long rows are faster than those with many short ones.
            weights[f"weights_{x}"] = knots[AXES[x]].weights(distances).T
        return weights

    def _layout_data(self, runs: Runs) -> dict[str, np.ndarray]:
        """Return the layout of the sampler's coordinates.

        Of a long table a sample of the runs decides: the layout changes nothing but the speed.
        """
        law = self.law_object
        log_inputs, log_loss = log_distances(runs, law.inputs), law.log_response(runs)
        slopes = local_fit(log_inputs, log_loss)
        distances, knots = self._distances(runs), self.knots(runs)

        count = min(len(runs), LAYOUT_RUNS)
        sample = np.linspace(0, len(runs) - 1, count).astype(int)
        more_runs = np.sqrt(len(runs) / count)
        log_loss = log_loss[sample]

        data: dict[str, np.ndarray] = {}
        for axis in self.axes:
            first = next(x for x in distances if AXES[x] == axis)
            along = distances[first][sample]
            weights = knots[axis].weights(along)
            slope = np.exp(slopes[f"log_G_{first}"] - slopes["log_T"])
            layout = _layout(knots[axis], weights, slope * TAU["median"] * more_runs)
            data[f"turned_{axis}"] = layout.turned
            data[f"told_{axis}"] = layout.told
            data[f"shear_{axis}"] = _mean_slope(along, weights)
            if law.floor is not None and not self.bends_loss:
                data[f"profile_{axis}"] = _profile(knots[axis], along, log_loss)
                data[f"follow_{axis}"] = layout.told[:, None] * np.linalg.pinv(layout.turned)
        if self.bends_loss:
            relative_loss = np.exp(log_loss - slopes["log_T"])
            data |= self._loss_data(relative_loss, knots["loss"], more_runs)
        return data

    def _loss_data(
        self, relative_loss: np.ndarray, knots: Knots, more_runs: float
    ) -> dict[str, np.ndarray]:
        """Return the layout of the path along the loss.

        Parameters
        ----------
        relative_loss
            Loss of a sample of the runs over that at the centre.
        more_runs
            Root of the number of runs for each in the sample.
        """
        floor = TYPICAL_FLOOR if self.law_object.floor else 0.0
        reducible = (relative_loss - floor) / (1.0 - floor)
        distances = np.log(reducible.clip(LEAST_REDUCIBLE))
        weights = knots.weights(distances)
        scale = (1.0 - floor) * float(TAU_LOSS["median"]) * more_runs
        steps = np.linalg.norm(weights @ knots.brownian(), axis=0)
        told = _told(scale * steps)
        shear = _mean_slope(distances, weights)
        data = {"turned_loss": knots.brownian(), "told_loss": told, "shear_loss": shear}
        if self.law_object.floor is not None:
            data["at_loss"] = knots.numbers * STEP_LOG
            data["follow_loss"] = told[:, None] * np.linalg.pinv(knots.brownian())
        data["changes_loss"] = _changes_of_rate(len(knots))
        data["centre_loss"] = np.maximum(-knots.numbers * STEP_LOG, 0.0) ** 2
        # A graph cannot take entries out of a vector, so each is a product with a unit vector.
        for k, unit in enumerate(np.eye(len(knots))):
            data[f"unit_loss_{k}"] = unit
        return data

    # The graph.

    def add_bends(self, pm: Any, data: Symbols, parameters: Symbols, coordinates: Symbols) -> Bends:
        """Add the paths with their prior to the model that is being built, and return them."""
        inputs, shears = {}, {}
        for axis in self.axes:
            steeper = None
            if f"profile_{axis}" in data:
                phi = pm.math.sigmoid(coordinates["logit_phi"])
                steeper = _steeper(pm, data[f"profile_{axis}"], phi)
            tau = parameters["tau"], float(TAU["median"])
            g = self._add_path(pm, data, axis, tau, steeper)
            inputs[axis] = pm.math.exp(g)
            shears[axis] = (data[f"shear_{axis}"] * g).sum()
        loss = None
        if self.bends_loss:
            steeper = None
            if "at_loss" in data:
                phi = pm.math.sigmoid(coordinates["logit_phi"])
                steeper = _steeper_at(pm, data["at_loss"], phi)
            tau = parameters["tau_loss"], float(TAU_LOSS["median"])
            g = self._add_path(pm, data, "loss", tau, steeper)
            loss = pm.math.exp(g)
            shears["loss"] = (data["shear_loss"] * g).sum()
        return Drifting(inputs, loss, shears)

    def _add_path(
        self,
        pm: Any,
        data: Symbols,
        name: str,
        tau: tuple[Symbol, float],
        steeper: Symbol | None,
    ) -> Symbol:
        """Add one path with its prior to the model that is being built, and return g, (knots,).

        Parameters
        ----------
        pm, data
            As for `add_bends`.
        name
            The path's quantity, or "loss".
        tau
            How far it drifts, and the median of that.
        steeper
            g at the knots by which the path follows the floor, (knots,), if it does.
        """
        size, median = tau
        told = data[f"told_{name}"]
        entries = told.get_value().size
        y = pm.Flat(f"y_{name}", shape=entries, initval=np.zeros(entries))
        log_ratio = pm.math.log(size / median)
        z = y * pm.math.exp(-told * log_ratio)
        if steeper is not None:
            z = z + data[f"follow_{name}"] @ steeper / size
        z = pm.Deterministic(f"path_{name}", z)
        log_prior = -0.5 * (z**2).sum() - log_ratio * told.sum()
        pm.Potential(f"prior_of_path_{name}", log_prior)
        return size * (data[f"turned_{name}"] @ z)

    def add_log_loss(self, pm: Any, data: Symbols, log_curve: Symbol, parameters: Symbols) -> None:
        """Add the density of the log losses around the bent law."""
        noise = {name: parameters[name] for name in self.noise.priors}
        if MARK in data:
            pm.Potential("log_loss", condensed_log_loss(pm, data, log_curve, noise))
            return
        residual = data["observed"] - log_curve
        at_runs = self.symbolic_noise(parameters, data)
        pm.Potential("log_loss", self.noise.log_density(pm, residual, **at_runs).sum())

    # What a fit keeps.

    def groups_from_trace(self, posterior: xr.Dataset, runs: Runs) -> dict[str, xr.Dataset]:
        """Return g at the knots, (chain, draw, knot), from the sampler's draws."""
        data = self._layout_data(runs)
        motions = {}
        for name in self.knots(runs):
            z = posterior[f"path_{name}"].transpose("chain", "draw", ...).values
            motions[name] = z @ data[f"turned_{name}"].T
        return {GROUP: self._paths_at_knots(motions, posterior, runs)}

    def draw_prior(
        self, prior: xr.Dataset, runs: Runs, rng: np.random.Generator
    ) -> dict[str, xr.Dataset]:
        """Return g at the knots, (chain, draw, knot), drawn from the prior."""
        motions = {}
        for name, knots in self.knots(runs).items():
            brownian = knots.brownian()
            z = rng.standard_normal((*prior["tau"].shape, brownian.shape[1]))
            motions[name] = z @ brownian.T
        return {GROUP: self._paths_at_knots(motions, prior, runs)}

    def _paths_at_knots(
        self, motions: Mapping[str, np.ndarray], parameters: xr.Dataset, runs: Runs
    ) -> xr.Dataset:
        """Return g at the knots, (chain, draw, knot), from g over tau, of the same shape."""
        coords: dict[str, Any] = {"chain": parameters["chain"], "draw": parameters["draw"]}
        variables = {}
        for name, knots in self.knots(runs).items():
            dim = f"knot_{name}"
            coords[dim] = knots.numbers * STEP
            g = _tau(parameters, name)[..., None] * motions[name]
            variables[f"g_{name}"] = (("chain", "draw", dim), g)
        return xr.Dataset(variables, coords)

    def drift(self, tree: xr.DataTree, runs: Runs, seed: int) -> Drift:
        """Return the paths of a fit's draws, continued beyond the runs."""
        rng = np.random.default_rng([CONTINUATION, seed])
        posterior, drawn = tree["posterior"].to_dataset(), tree[GROUP].to_dataset()
        paths = {}
        for name, knots in self.knots(runs).items():
            g = drawn[f"g_{name}"].values.reshape(-1, len(knots))
            known = Paths(knots, g)
            # Runs may lie beyond the knots of the loss: the likelihood bends them no further there.
            is_loss = name == "loss"
            tau = _tau(posterior, name).ravel()
            paths[name] = known if is_loss else known.continued(tau, rng)
        return Drift(self.law_object, self.centre(runs), paths)

    def expected_at_runs(self, tree: xr.DataTree, runs: Runs, residual: np.ndarray) -> np.ndarray:
        """Return the mean log of the bent law over the law at the median parameters, (runs,)."""
        law = self.law_object
        # The mean of a long table's rows is taken over fewer draws: it needs no more digits.
        sizes = tree["posterior"].sizes
        step = 1 + sizes["chain"] * sizes["draw"] * len(runs) // MOST_EXPECTED
        every = slice(None, None, step)
        kept = {name: tree[name].to_dataset().isel(draw=every) for name in ("posterior", GROUP)}
        parameters = {name: kept["posterior"][name].values.ravel() for name in law.parameter_names}
        inputs = [getattr(runs, x) for x in law.inputs]
        drift = self.drift(xr.DataTree.from_dict(kept), runs, 0)
        draws = len(parameters[law.parameter_names[0]])
        total = np.zeros(len(runs))
        for part in parts_of(draws, len(runs)):
            total += drift.log_loss(parameters, inputs, part).sum(axis=0)
        log_law = law.log_response(runs) - residual
        return total / draws - log_law

    def delta_at_runs(self, tree: xr.DataTree, runs: Runs) -> np.ndarray:
        """Return the log of the bent law over the law at the runs, (chain, draw, run)."""
        posterior = tree["posterior"].to_dataset()
        law = self.law_object
        parameters = {name: posterior[name].values.ravel() for name in law.parameter_names}
        inputs = [getattr(runs, x) for x in law.inputs]
        columns = {name: values[:, None] for name, values in parameters.items()}
        bent = self.drift(tree, runs, 0).log_loss(parameters, inputs)
        shape = (posterior.sizes["chain"], posterior.sizes["draw"], len(runs))
        return (bent - np.log(law(*inputs, **columns))).reshape(shape)


def _tau(posterior: xr.Dataset, path: str) -> np.ndarray:
    """Return the draws of the parameter that says how far a path drifts, (chain, draw)."""
    name = "tau_loss" if path == "loss" else "tau"
    return posterior[name].values


@dataclass(frozen=True)
class Drifting(Bends):
    """The paths in a graph.

    Attributes
    ----------
    inputs
        exp(g) at the knots along each quantity, (knots,).
    loss
        exp(g) at the knots along the loss, (knots,); None without that path.
    shears
        What the mean slope of each path exceeds that at the centre by, in logs, by quantity and
        "loss".
    """

    inputs: Mapping[str, Symbol]
    loss: Symbol | None
    shears: Mapping[str, Symbol]

    def shear(self, coordinate: str) -> Symbol:
        """Return what a coordinate of the sampler exceeds the law's own by.

        The coordinate ``log_G_N`` is the log of a slope at the centre, and what the sampler moves
        is its mean over the runs.
        """
        prefix, _, quantity = coordinate.rpartition("_")
        if prefix != "log_G" or quantity not in self.shears:
            return 0.0
        return self.shears[quantity] + self.shears.get("loss", 0.0)

    def log_curve(self, pm: Any, law: Law, data: Symbols, parameters: Symbols) -> Symbol:
        """Return the log of the bent law at the runs, (runs,). parameters: the law's, by name."""
        inputs, centre = {}, {}
        for x in law.inputs:
            middle = data[f"centre_{AXES.get(x, x)}"]
            log_x = data[f"log_{x}"]
            if x in AXES:
                log_x = middle + data[f"weights_{x}"].T @ self.inputs[AXES[x]]
            inputs[x] = pm.math.exp(log_x)
            centre[x] = pm.math.exp(middle)
        log_reducible = pm.math.log(law.reducible(inputs, parameters))
        if self.loss is not None:
            log_at_centre = pm.math.log(law.reducible(centre, parameters))
            distance = log_reducible - log_at_centre
            log_reducible = log_at_centre + _bent_loss(distance, self.loss, data)
        if law.floor is None:
            return log_reducible
        return pm.math.log(parameters[law.floor] + pm.math.exp(log_reducible))


@dataclass(frozen=True)
class Layout:
    """Layout of the sampler's coordinates of one path.

    Attributes
    ----------
    turned
        Matrix from z to g over tau at the knots, (knots, knots - 1).
    told
        Share of what the runs tell of each z in all that is known of it, (knots - 1,).
    """

    turned: np.ndarray
    told: np.ndarray


def _layout(knots: Knots, weights: np.ndarray, slope: float) -> Layout:
    """Return the layout of a path. slope: of the log loss along h, times a typical tau."""
    brownian = knots.brownian()
    _, sizes, axes = np.linalg.svd(weights @ brownian, full_matrices=True)
    all_sizes = np.zeros(len(axes))
    all_sizes[: len(sizes)] = sizes
    return Layout(brownian @ axes.T, _told(slope * all_sizes))


def _profile(knots: Knots, distances: np.ndarray, log_loss: np.ndarray) -> np.ndarray:
    """Return the loss at the knots over that at the centre, smoothed by a Normal kernel.

    Beyond the runs it is that at the last of them.
    """
    at = (knots.numbers * STEP_LOG).clip(distances.min(), distances.max())
    kernel = np.exp(-0.5 * ((at[:, None] - distances) / STEP_LOG) ** 2)
    smooth = kernel @ log_loss / kernel.sum(axis=1)
    return np.exp(smooth - smooth[-knots.first])


def _steeper(pm: Any, profile: Symbol, phi: Symbol) -> Symbol:
    """Return g at the knots that keeps a curve where it is, with a floor's share phi in place of 0.

    The local exponent is the slope of the loss over what lies above the floor. So a higher floor is
    made up for by larger exponents where the loss is low.
    """
    above = _smoothly_positive(pm, profile - phi)
    return pm.math.log(profile * (1.0 - phi) / above)


def _steeper_at(pm: Any, distances: Symbol, phi: Symbol) -> Symbol:
    """Return g at the knots of the loss that keeps a curve where it is, whatever the floor's share.

    distances: of the knots from the centre, along the log of the reducible loss. phi: floor's share
    of the loss at the centre. The curve is that of `TYPICAL_FLOOR`, with which g is 0.
    """
    typical = TYPICAL_FLOOR
    reducible = pm.math.exp(distances * (1.0 - phi) / (1.0 - typical))
    above = _smoothly_positive(pm, typical + (1.0 - typical) * reducible - phi)
    return pm.math.log((1.0 - phi) * reducible / above)


def _smoothly_positive(pm: Any, above: Symbol) -> Symbol:
    """Return what lies above the floor, or a small positive number where nothing does."""
    return (above + pm.math.sqrt(above**2 + LEAST_REDUCIBLE**2)) / 2


def _told(effects: np.ndarray) -> np.ndarray:
    """Return what the runs tell of standard Normal variables, as a share of all that is known.

    effects: root sum of squares over the runs of what each does to the log loss.
    """
    information = (effects / TYPICAL_SIGMA) ** 2
    return information / (1.0 + information)


def _mean_slope(distances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weights of exp(g) in the least-squares slope of a path over the runs, (knots,)."""
    total = distances @ distances
    if total == 0:
        return np.zeros(weights.shape[1])
    return distances @ weights / total


def _changes_of_rate(knots: int) -> np.ndarray:
    """Return the matrix from slopes at the knots to half the changes of their rate there.

    Slopes are constant before the first knot and after the last. Shape (knots, knots).
    """
    rates = np.zeros((knots + 1, knots))
    within = np.arange(1, knots)
    rates[within, within] = 1.0 / STEP_LOG
    rates[within, within - 1] = -1.0 / STEP_LOG
    return np.diff(rates, axis=0) / 2


def _bent_loss(distance: Symbol, slopes: Symbol, data: Symbols) -> Symbol:
    """Return H at distances from the centre, (runs,), given slopes at the knots, (knots,).

    The slope is linear between knots: that of the first one, and from each knot on a change of its
    rate. So H is a sum of squares of how far a distance lies beyond each knot, or 0 before it.
    """
    changes = data["changes_loss"] @ slopes
    bent = distance * (data["unit_loss_0"] * slopes).sum()
    for k, number in enumerate(LOSS_KNOTS):
        change = (data[f"unit_loss_{k}"] * changes).sum()
        bent = bent + change * _positive(distance - number * STEP_LOG) ** 2
    return bent - (data["centre_loss"] * changes).sum()


def _positive(x: Symbol) -> Symbol:
    """Return x where it is positive, and otherwise 0."""
    return (x + abs(x)) / 2
