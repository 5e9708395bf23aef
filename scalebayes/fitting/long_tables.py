r"""Long tables: sample a condensed likelihood, then weigh the draws by the exact one.

1. A grid of inputs is laid over the runs of each training.
2. A reference curve is found: the mode given one run of each cell of the grid, and then, with the
   likelihood condensed around that curve, the mode given all runs.
3. The likelihood is condensed around the reference curve (`scalebayes.specs.condensed`).
4. NUTS samples the condensed posterior.
5. Each draw is weighed by its exact likelihood over the condensed one (of very long tables, by that
   on a finer grid), and draws are resampled in proportion to the weights. Pareto's k-hat says
   whether the weights can be relied on (Vehtari et al. 2024).

References
----------
Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling,
arXiv:1507.02646.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.data.cells import Cells, make_cells
from scalebayes.data.distances import log_centres, log_distances
from scalebayes.data.runs import Runs
from scalebayes.fitting.graph import condensed_sampler_data
from scalebayes.fitting.kernel.kernel import Bound, evaluate
from scalebayes.fitting.maps import search_mode
from scalebayes.specs.condensed import (
    Box,
    condensed_data,
    condensed_log_loss,
    parameter,
    transformed,
)
from scalebayes.specs.drift import Drift
from scalebayes.specs.noise import Noise
from scalebayes.specs.spec import Spec
from scalebayes.specs.trainings import read_trainings
from scalebayes.utils.parallel import parts_of

LONG = 2000
"""Tables of more runs are condensed."""
CELLS = 1000
"""Cells that a table is condensed to, at most, unless it has more trainings."""
NEIGHBOURHOOD = 0.5
"""Natural logs of the inputs within which runs tell of the curve at a node, at least."""
DIRECTIONS = 3
"""Directions of the posterior that the runs of a neighbourhood decide, roughly."""
WIDTHS = 8.0
"""Reach of the box of deviations in rough posterior standard deviations of the curve."""
LEAST_DEVIATION = 0.1
"""Least reach of the box of deviations, in noise scales."""
LEAST_RECIPROCAL, MOST_RECIPROCAL = 0.002, 0.49
"""Range of the reciprocal of the degrees of freedom."""
FALL = 25.0
"""How far the log likelihood falls at the edges of the box of the noise."""
NOISE_GROUPS = 5000
"""Most groups of equal residuals, nearly, from which the box of the noise is found."""
NOISE_GRID = 41
"""Values of each parameter of the noise on the grid that finds its box."""
FINE_CELLS = 8000
"""Cells of the finer grid, by which draws are weighed."""
FINE_ENOUGH = 0.15
"""Largest standard deviation of the exact log likelihood minus that on the finer grid."""
CHECKED = 200
"""Draws whose exact likelihood is computed first."""
NEGLIGIBLE = 0.02
"""Standard deviation of the log weights below which they would change no digit that is printed."""
MOST_K = 0.7
"""Largest k-hat of weights that can be relied on."""


@dataclass(frozen=True)
class Condensed:
    """A long table with its cells.

    Attributes
    ----------
    spec, runs
        In one unit, without priors relative to the table.
    cells
        Nodes of a grid with their shares of the runs.
    arrays
        Data of the condensed graph, but for the polynomials and the reference.
    """

    spec: Spec
    runs: Runs
    cells: Cells
    arrays: dict[str, np.ndarray]

    def around(self, reference: Curves) -> dict[str, np.ndarray]:
        """Return the data of the graph that is condensed around a curve. reference: one draw."""
        noise = self.spec.observation.noise
        (curve,) = reference.at(self.runs)
        residual = self.spec.law_object.log_response(self.runs) - curve
        sigma = reference.draws["sigma"].item()
        box = _box(noise, residual, sigma, _runs_nearby(self.cells))
        (at_cells,) = reference.at(_at_cells(self))
        return {
            **self.arrays,
            "reference": at_cells,
            **condensed_data(noise, residual, self.cells, box),
        }


def condense(spec: Spec, runs: Runs, most: int | None = None) -> Condensed:
    """Return a table with its cells. most: number of cells, by default `CELLS`."""
    trainings = np.zeros(len(runs), dtype=np.int64)
    if spec.trainings:
        trainings = read_trainings(runs).of_run
    distances = log_distances(runs, spec.law_object.inputs)
    cells = make_cells(distances, trainings, CELLS if most is None else most)
    return Condensed(spec, runs, cells, condensed_sampler_data(runs, spec, cells))


def typical_runs(condensed: Condensed) -> Runs:
    """Return the nearest run of each cell."""
    chosen = np.unique(condensed.cells.nearest)
    return Runs(condensed.runs.table.iloc[chosen], condensed.runs.name)


def mode_of(bound: Bound) -> xr.Dataset:
    """Return the kept variables of a kernel at its mode, (chain 1, draw 1)."""
    _, kept = evaluate(bound, search_mode(bound, bound.initial))
    variables: dict[str, Any] = {}
    begin = 0
    for name, shape in bound.layout.kept.items():
        end = begin + math.prod(shape)
        dims = [f"{name}_dim_{d}" for d in range(len(shape))]
        variables[name] = (("chain", "draw", *dims), kept[begin:end].reshape(1, 1, *shape))
        begin = end
    return xr.Dataset(variables, coords={"chain": [0], "draw": [0]})


@dataclass(frozen=True)
class Curves:
    """The curves of draws, with the offsets of trainings.

    Attributes
    ----------
    spec, runs
        The spec, and the table of the sampler whose draws these are.
    tree
        Draws of all kept variables, and what a fit keeps of them.
    """

    spec: Spec
    runs: Runs
    tree: xr.DataTree

    @classmethod
    def of(cls, spec: Spec, runs: Runs, posterior: xr.Dataset) -> Curves:
        """Return the curves of draws of all kept variables, (chain, draw, ...)."""
        groups = spec.observation.groups_from_trace(posterior, runs)
        return cls(spec, runs, xr.DataTree.from_dict({"posterior": posterior, **groups}))

    @cached_property
    def draws(self) -> dict[str, np.ndarray]:
        """Draws of the scalar parameters, of all chains in a row."""
        posterior = self.tree["posterior"].to_dataset()
        scalars = [name for name in posterior if posterior[name].ndim == 2]
        return {str(name): posterior[name].values.ravel() for name in scalars}

    @cached_property
    def drift(self) -> Drift:
        """The bent law under each draw."""
        drift = self.spec.observation.drift(self.tree, self.runs, 0)
        assert drift is not None  # laws that can be condensed drift
        return drift

    def at(self, runs: Runs, part: slice = slice(None)) -> np.ndarray:
        """Return the log of the curves of a part of the draws at runs, (draws, runs)."""
        law = self.spec.law_object
        parameters = {name: self.draws[name] for name in law.parameter_names}
        curve = self.drift.log_loss(parameters, [getattr(runs, x) for x in law.inputs], part)
        return curve + self.spec.observation.offsets(self.tree, self.runs, runs)[part]


@dataclass(frozen=True)
class Weighed:
    """Importance weights of draws from a condensed posterior.

    Attributes
    ----------
    places
        Number of the draw that each place takes, (chain, draw).
    spread
        Standard deviation of the log weights.
    k
        Pareto's k-hat, None where the weights are negligible.
    """

    places: np.ndarray
    spread: float
    k: float | None

    @property
    def is_reliable(self) -> bool:
        """Whether the weighted draws can be relied on."""
        return self.k is None or self.k <= MOST_K


@dataclass(frozen=True)
class Likelihood:
    """A likelihood condensed around a reference curve."""

    table: Condensed
    arrays: Mapping[str, np.ndarray]

    @cached_property
    def nodes(self) -> Runs:
        """A table with a run at each node."""
        return _at_cells(self.table)

    def of(self, curves: Curves) -> np.ndarray:
        """Return the condensed log likelihood of draws, (draws,)."""
        noise = self.table.spec.observation.noise
        parameters = {name: curves.draws[name] for name in noise.priors}
        count = len(parameters["sigma"])
        found = np.empty(count)
        for part in parts_of(count, len(self.nodes)):
            for row, curve in enumerate(curves.at(self.nodes, part), start=part.start):
                own = {name: values[row] for name, values in parameters.items()}
                found[row] = condensed_log_loss(_Numpy, self.arrays, curve, own)
        return found


def exact_log_likelihood(table: Condensed, curves: Curves) -> np.ndarray:
    """Return the log likelihood of draws given all runs, (draws,)."""
    noise = table.spec.observation.noise
    log_loss = table.spec.law_object.log_response(table.runs)
    parameters = {name: curves.draws[name] for name in noise.priors}
    count = len(parameters["sigma"])
    found = np.empty(count)
    for part in parts_of(count, len(table.runs)):
        columns = {name: values[part, None] for name, values in parameters.items()}
        residual = log_loss - curves.at(table.runs, part)
        found[part] = noise.logpdf(residual, **columns).sum(axis=1)
    return found


def finer(condensed: Condensed, reference: Curves) -> Likelihood | None:
    """Return the likelihood on a finer grid, or None where there are no more runs than nodes.

    To weigh some thousand draws by it takes a small part of the time that all runs take.
    """
    if len(condensed.runs) <= FINE_CELLS:
        return None
    table = condense(condensed.spec, condensed.runs, FINE_CELLS)
    return Likelihood(table, table.around(reference))


def weigh(
    condensed: Likelihood, fine: Likelihood | None, posterior: xr.Dataset, seed: int
) -> Weighed:
    """Return the weights of draws from a condensed posterior, and the draws resampled by them.

    The exact likelihood is computed of some draws. Where it differs from the condensed one by next
    to nothing, no draw is replaced. Where it differs by next to nothing from that on the finer
    grid, all draws are weighed by the latter, else by the exact one.

    Parameters
    ----------
    fine
        The likelihood on a finer grid, if there is one.
    posterior
        Draws of all kept variables, (chain, draw, ...).
    """
    from arviz_stats.base import array_stats

    table = condensed.table
    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    step = max(1, draws * chains // CHECKED)
    few = Curves.of(table.spec, table.runs, posterior.isel(draw=slice(None, None, step)))
    exact = exact_log_likelihood(table, few)
    spread = float((exact - condensed.of(few)).std())
    own = np.tile(np.arange(draws), (chains, 1))
    if spread < NEGLIGIBLE:
        return Weighed(own, spread, None)

    curves = Curves.of(table.spec, table.runs, posterior)
    if fine is not None and (exact - fine.of(few)).std() < FINE_ENOUGH:
        log_weights = fine.of(curves) - condensed.of(curves)
    else:
        log_weights = exact_log_likelihood(table, curves) - condensed.of(curves)
    smoothed, k = array_stats.psislw(-log_weights, axis=-1)
    weights = np.exp(smoothed - smoothed.max()).reshape(chains, draws)
    rng = np.random.default_rng(seed)
    places = np.stack([_systematic(rng, row) for row in weights])
    return Weighed(places, float(log_weights.std()), float(k))


def resampled(tree: xr.DataTree, places: np.ndarray) -> xr.DataTree:
    """Return a tree with the draws of each chain at the given places, (chain, draw)."""
    groups = {}
    for name, group in tree.children.items():
        data = group.to_dataset()
        chosen = xr.DataArray(places, dims=("chain", "draw"))
        rows = xr.DataArray(np.arange(len(places)), dims="chain")
        groups[name] = data.isel(chain=rows, draw=chosen).assign_coords(draw=data["draw"])
    return xr.DataTree.from_dict(groups)


def _at_cells(condensed: Condensed) -> Runs:
    """Return a table with a run at the node of each cell."""
    runs, cells = condensed.runs, condensed.cells
    table = runs.table.iloc[cells.nearest].reset_index(drop=True)
    table.index = table.index.astype(str)  # several nodes may have the same nearest run
    centres = log_centres(runs, condensed.spec.law_object.inputs)
    for x, distances in cells.distances.items():
        table[x] = np.exp(centres[x] + distances)
    return Runs(table, runs.name)


class _Numpy:
    """NumPy in place of PyMC, for `condensed_log_loss`."""

    math = np


def _systematic(rng: np.random.Generator, weights: np.ndarray) -> np.ndarray:
    """Return places drawn in proportion to weights, in order, with the least possible variance."""
    count = len(weights)
    steps = (rng.random() + np.arange(count)) / count
    shares = np.cumsum(weights) / weights.sum()
    return np.searchsorted(shares, steps).clip(0, count - 1)


def _runs_nearby(cells: Cells) -> np.ndarray:
    """Return how many runs are near each node, roughly, (cells,): more than none."""
    from scipy.spatial import KDTree

    positions = np.stack(list(cells.distances.values()), axis=1)
    # Distances between all pairs of nodes would take half a gigabyte.
    tree = KDTree(positions)
    nearby = tree.query_ball_point(positions, NEIGHBOURHOOD, p=np.inf)
    return np.array([cells.sizes[nodes].sum() for nodes in nearby])


def _box(noise: Noise, residual: np.ndarray, sigma: float, nearby: np.ndarray) -> Box:
    """Return the box in which the polynomials of a condensed likelihood must hold.

    It holds all parameters of the noise whose log likelihood at the reference is within `FALL` of
    the highest, and deviations of the curve of many rough posterior standard deviations, which the
    number of runs nearby decides.
    """
    groups = np.array_split(np.sort(residual), min(len(residual), NOISE_GROUPS))
    sample = np.array([group.mean() for group in groups])
    sizes = np.array([len(group) for group in groups])
    names = tuple(noise.priors)
    axes = []
    for name in names:
        if name == "sigma":
            middle = transformed(name, sigma)
            axes.append(np.linspace(middle - 1.0, middle + 1.0, NOISE_GRID))
        else:
            axes.append(np.linspace(LEAST_RECIPROCAL, MOST_RECIPROCAL, NOISE_GRID))
    for _ in range(2):
        mesh = np.meshgrid(*axes, indexing="ij")
        height = np.empty(mesh[0].shape)
        for place in np.ndindex(height.shape):
            values = {
                name: parameter(name, grid[place]) for name, grid in zip(names, mesh, strict=True)
            }
            height[place] = sizes @ noise.logpdf(sample, **values)
        inside = height > height.max() - FALL
        # Once more on a grid around what is inside.
        for k, grid in enumerate(mesh):
            step = axes[k][1] - axes[k][0]
            low, high = grid[inside].min() - step, grid[inside].max() + step
            if names[k] != "sigma":
                low, high = max(low, LEAST_RECIPROCAL), min(high, MOST_RECIPROCAL)
            axes[k] = np.linspace(low, high, NOISE_GRID)
    centre = {name: float(axis.mean()) for name, axis in zip(names, axes, strict=True)}
    half = {name: float(np.ptp(axis)) / 2 for name, axis in zip(names, axes, strict=True)}
    scale = float(np.exp(centre["sigma"]))
    reach = np.clip(WIDTHS * np.sqrt(DIRECTIONS / nearby), LEAST_DEVIATION, 1.0)
    return Box(centre, half, scale * reach)
