"""Fit a model of curves: the mode, coordinates around it, and the sampler."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import linalg, optimize

from scalebayes.curves.condensed import Family, condense, families
from scalebayes.curves.curve_fit import CurveFit, layout_of, posterior_of
from scalebayes.curves.curves import Curves
from scalebayes.curves.density import Density, Layout, prior_of
from scalebayes.curves.laws import evaluate, points_of
from scalebayes.curves.models import DEFAULT, CurveModel, read_curve_model
from scalebayes.errors import FitError, GateWarning
from scalebayes.fitting.fit import sample_until_the_gate_passes, versions
from scalebayes.fitting.nutpie import python_model
from scalebayes.fitting.preflight import check_settings
from scalebayes.fitting.samplers import STATS, Sampler, run_nutpie
from scalebayes.posterior.fit import METADATA
from scalebayes.utils.progress import Progress

PASSES = 3
"""How often the checkpoints are condensed around the last mode: the second time is near enough."""
STEP = 1e-4
"""Step of the differences of the gradient, which give the curvature at the mode."""
LEAST_CURVATURE = 0.25
"""Least curvature by a log; along flatter directions the prior has at least this much."""
SPIKE = 8.0
"""Distance from the neighbouring checkpoints, in robust standard deviations, that is a spike."""
NEIGHBOURS = 11
"""Checkpoints among which a spike stands out."""
PRIOR_DRAWS = 2000
SETTINGS: dict[str, Any] = {"target_accept": 0.93, "tune": 400, "cores": 2}
"""In standard coordinates around the mode little is left to tune. Python evaluates one density at a
time, so more than two threads would only wait for each other."""
CHECKED_DRAWS = 20
"""Draws at which the interpolation between nodes is compared with the law at every checkpoint."""


def fit_curves(
    curves: Curves,
    model: str | Path | CurveModel = DEFAULT,
    *,
    seed: int = 0,
    draws: int = 1000,
    tune: int | None = None,
    chains: int = 4,
    progress: bool | None = None,
    **sampler: Any,
) -> CurveFit:
    """Return the posterior of a law of the loss along runs, given their checkpoints.

    Runs of several groups, such as model sizes, are fitted together: each group has parameters of
    its own, whose prior ties them as far as published fits of several sizes agree.

    Parameters
    ----------
    curves
        The checkpoints (`scalebayes.read_curves`).
    model
        ``"multi-power"``, ``"annealing"``, or the path of a TOML file like those in
        ``models/curves/``.
    seed, draws, tune, chains, progress, **sampler
        As `scalebayes.fit` takes them.

    Returns
    -------
    CurveFit
        To ask with `scalebayes.forecast`, `scalebayes.predict` and `scalebayes.summary`.

    Raises
    ------
    SpecError, FitError
        An unknown model; a posterior without a mode; arguments that the sampler does not take.
    """
    spec = read_curve_model(model)
    settings = SETTINGS | {"draws": draws, "chains": chains, **sampler}
    if tune is not None:
        settings["tune"] = tune
    check_settings(settings, seed)
    started = time.perf_counter()
    with Progress(progress) as bar:
        found = bar.during("looking for the mode", find_mode, curves, spec, layout_of(curves, spec))
        prepared = sampler_around(found)
        kept = sample_until_the_gate_passes(prepared, settings, seed, spec.name, bar)
    sampled = kept.sampled["sampled"].to_dataset()["position"]
    groups = {
        "posterior": posterior_of(found.density.layout, sampled),
        "sampled": sampled.to_dataset(name="position"),
        "sample_stats": kept.sampled["sample_stats"].to_dataset(),
        "prior": _prior(found, seed),
    }
    tree = xr.DataTree.from_dict(groups)
    scale = found.density.layout.scale
    how = {
        "hashes": {"spec": spec.hash, "runs": curves.hash},
        "seed": int(seed),
        "asked": settings,
        "sampler": kept.settings,
        "versions": versions(),
        "backend": "nutpie",
        "attempts": kept.attempt,
        "partial": kept.partial,
        "gate_failures": [message.code for message in kept.gate.messages],
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - started, 2),
    }
    condensing = {
        "scale": {"area": scale.area, "rate": scale.rate},
        "nodes": int(found.density.data.is_node.sum()),
        "spikes": {run: steps for run, steps in found.spikes.items() if steps},
        "interpolation_error": _interpolation_error(found, sampled),
    }
    tree.attrs[METADATA] = json.dumps(how | condensing, sort_keys=True, default=str)
    if not kept.gate.ok:
        warnings.warn(f"{spec.name} on {curves.name}: {kept.gate}", GateWarning, stacklevel=3)
    return CurveFit(spec, curves, tree)


@dataclass(frozen=True)
class Mode:
    """The mode of a posterior.

    Attributes
    ----------
    density
        Log density of positions, condensed around the mode.
    position
        The mode.
    spread
        Matrix from standard coordinates to distances from the mode: the inverse root of the
        curvature there.
    families
        The runs, without spikes.
    spikes
        Steps of the checkpoints that were left out, by run.
    """

    density: Density
    position: np.ndarray
    spread: np.ndarray
    families: list[Family]
    spikes: dict[str, list[float]]


def find_mode(curves: Curves, spec: CurveModel, layout: Layout) -> Mode:
    """Return the mode, found with the checkpoints condensed around it.

    Raises
    ------
    FitError
        When there is no checkpoint to fit, or no mode.
    """
    prior = prior_of(spec, len(layout.groups))
    found = families(curves, layout.scale)
    if not found:
        raise FitError(f"{curves.name} has no checkpoint after the transient of its warm-ups")
    position = prior.mean
    spikes: dict[str, list[float]] = {}
    for number in range(PASSES):
        parameters = layout.parameters(position)
        if number == 1:
            found, spikes = _without_spikes(found, layout, parameters)
        density = Density(layout, prior, condense(found, layout.law, parameters, layout.scale))
        position = _climb(density, position)
    curvature = _curvature(density, position)
    values, vectors = linalg.eigh(curvature)
    spread = vectors / np.sqrt(np.maximum(values, LEAST_CURVATURE))
    return Mode(density, position, spread, found, spikes)


def _climb(density: Density, position: np.ndarray) -> np.ndarray:
    """Return the mode next to a position.

    Raises
    ------
    FitError
        When the density is zero at the position.
    """

    def downwards(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = density(x)
        return (-value, -slope) if np.isfinite(value) else (1e12, np.zeros_like(x))

    if not np.isfinite(density(position)[0]):
        raise FitError("the law has no positive loss at the prior's medians: change the priors")
    for _ in range(2):  # a second search starts with a fresh estimate of the curvature
        position = optimize.minimize(
            downwards, position, jac=True, method="BFGS", options={"maxiter": 500}
        ).x
    return position


def _curvature(density: Density, position: np.ndarray) -> np.ndarray:
    """Return minus the matrix of second derivatives of a log density."""
    size = len(position)
    hessian = np.empty((size, size))
    for row, side in zip(hessian, STEP * np.eye(size), strict=True):
        row[:] = (density(position - side)[1] - density(position + side)[1]) / (2 * STEP)
    return (hessian + hessian.T) / 2


def _without_spikes(
    found: list[Family], layout: Layout, parameters: dict[str, np.ndarray]
) -> tuple[list[Family], dict[str, list[float]]]:
    """Return the families without single checkpoints far from their neighbours, and their steps."""
    kept_families = []
    spikes: dict[str, list[float]] = {}
    for family in found:
        branches = []
        for branch in family.branches:
            points = points_of(branch.curve.schedule, branch.curve.steps[branch.rows], layout.scale)
            loss = evaluate(layout.law, parameters[family.group], points)[0]
            is_spike = _spikes(branch.log_loss - np.log(loss))
            spikes[branch.curve.run] = branch.curve.steps[branch.rows[is_spike]].tolist()
            branches.append(
                type(branch)(
                    branch.curve,
                    branch.rows[~is_spike],
                    branch.log_area[~is_spike],
                    branch.log_loss[~is_spike],
                )
            )
        kept_families.append(Family(tuple(branches), family.parting))
    return kept_families, spikes


def _spikes(residual: np.ndarray) -> np.ndarray:
    """Return which residuals stand out among their neighbours.

    The first and last rows have too few neighbours to be judged, and a rate that jumps moves the
    residuals of many rows, not of one.
    """
    if len(residual) < 2 * NEIGHBOURS:
        return np.zeros(len(residual), dtype=bool)
    windows = np.lib.stride_tricks.sliding_window_view(residual, NEIGHBOURS)
    half = NEIGHBOURS // 2
    distance = np.zeros(len(residual))
    distance[half:-half] = residual[half:-half] - np.median(windows, axis=1)
    # The noise of a row, from differences of neighbours, whatever trend the residuals have.
    spread = 1.4826 * np.median(np.abs(np.diff(residual))) / np.sqrt(2)
    return np.abs(distance) > SPIKE * max(spread, np.finfo(float).eps)


def sampler_around(mode: Mode) -> Sampler:
    """Return the sampler of a density in standard coordinates around its mode."""
    position, spread, density = mode.position, mode.spread, mode.density
    size = len(position)

    def standard(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = density(position + spread @ x)
        return value, spread.T @ slope

    def expand(x: np.ndarray) -> dict[str, np.ndarray]:
        at = position + spread @ x
        return {"position": at, "sigma": np.asarray(density.layout.noise(at)[0])}

    def start(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).uniform(-1.0, 1.0, size)

    compiled = python_model(standard, expand, {"position": (size,), "sigma": ()}, start, size)

    def run(
        settings: dict[str, Any], seed: int, callback: Callable[..., None]
    ) -> tuple[xr.DataTree, bool]:
        raw, partial = run_nutpie(compiled, settings, seed, callback)
        draws = raw["posterior"].to_dataset()["position"]
        draws = draws.rename({draws.dims[-1]: "entry"})
        statistics = raw["sample_stats"].to_dataset()
        stats = {name: statistics[theirs] for name, theirs in STATS.items()}
        groups = {
            "posterior": posterior_of(density.layout, draws),
            "sampled": draws.to_dataset(name="position"),
            "sample_stats": xr.Dataset(stats),
        }
        return xr.DataTree.from_dict(groups), partial

    return Sampler(run, {"backend": "nutpie", "engine": "numpy"})


def _prior(mode: Mode, seed: int) -> xr.Dataset:
    """Return draws of the prior, as the posterior has them."""
    rng = np.random.default_rng(seed)
    positions = mode.density.prior.draw(rng, PRIOR_DRAWS)[None]
    return posterior_of(
        mode.density.layout, xr.DataArray(positions, dims=("chain", "draw", "entry"))
    )


def _interpolation_error(mode: Mode, sampled: xr.DataArray) -> float:
    """Return the largest error of the interpolated log curve at a checkpoint, at some draws."""
    layout, data = mode.density.layout, mode.density.data
    flat = sampled.transpose("chain", "draw", "entry").values.reshape(-1, sampled.sizes["entry"])
    chosen = flat[np.linspace(0, len(flat) - 1, CHECKED_DRAWS).astype(int)]
    reference = layout.parameters(mode.position)
    worst = 0.0
    for family in mode.families:
        for branch in family.branches:
            steps = branch.curve.steps[branch.rows]
            points = points_of(branch.curve.schedule, steps, layout.scale)
            at_mode = evaluate(layout.law, reference[family.group], points)[0]
            nodes = _nodes_of(data.points[family.group].log_area, branch.log_area)
            for position in chosen:
                parameters = layout.parameters(position)[family.group]
                loss = evaluate(layout.law, parameters, points)[0]
                distance = np.log(loss / at_mode)
                between = np.interp(branch.log_area, branch.log_area[nodes], distance[nodes])
                worst = max(worst, float(np.abs(between - distance).max()))
    return worst


def _nodes_of(nodes: np.ndarray, log_area: np.ndarray) -> np.ndarray:
    """Return places of the checkpoints that are nodes."""
    return np.flatnonzero(np.isin(log_area, nodes))
