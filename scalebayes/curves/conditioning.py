"""Draws of how a run deviates from the law, given its own checkpoints or none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalebayes.curves.condensed import (
    MODES,
    Condensed,
    Family,
    condense,
    correlation,
    families,
)
from scalebayes.curves.curve_fit import CurveFit
from scalebayes.curves.curves import Curve, Curves
from scalebayes.curves.laws import Points, evaluate
from scalebayes.errors import QueryError

JITTER = 1e-9
"""Share of the variance that is added to a covariance matrix, so that its root exists."""
ALONE = np.array([[np.inf]])
"""Where a single run parts from itself: nowhere."""


@dataclass(frozen=True)
class Deviations:
    """Draws of the deviations of one run.

    Attributes
    ----------
    offset
        Offset of the run, of log loss, (draws,).
    drop_error
        Amplitudes of the modes of the error of what annealing saves, (draws, modes).
    along
        Correlated deviation at the targets, of log loss, (draws, targets).
    """

    offset: np.ndarray
    drop_error: np.ndarray
    along: np.ndarray


def curve_draws(
    fit: CurveFit, group: str, points: Points, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of the law, and the share of it that annealing has saved, (draws, rows)."""
    layout = fit.layout
    parameters = layout.parameters(positions)[group]
    losses = np.empty((len(positions), len(points.log_area)))
    saved = np.empty_like(losses)
    for draw, values in enumerate(parameters):
        losses[draw], _, saved[draw] = evaluate(layout.law, values, points)
    if not (losses > 0).all():
        raise QueryError(
            "the law has a loss below zero there in some draws: the schedule lies too far from "
            "those of the runs"
        )
    return losses, saved / losses


def new_deviations(
    positions: np.ndarray, fit: CurveFit, log_area: np.ndarray, rng: np.random.Generator
) -> Deviations:
    """Return the deviations of a run without checkpoints. log_area: of the targets."""
    _, s, tau, kappa = fit.layout.noise(positions).T
    draws = len(positions)
    root = _root(log_area)
    along = s[:, None] * (rng.normal(size=(draws, len(log_area))) @ root.T)
    return Deviations(
        offset=tau * rng.normal(size=draws),
        drop_error=kappa[:, None] * rng.normal(size=(draws, MODES)),
        along=along,
    )


def _root(log_area: np.ndarray) -> np.ndarray:
    """Return the Cholesky factor of the covariance of u over s squared."""
    branch = np.zeros(len(log_area), dtype=int)
    covariance = correlation(log_area, branch, log_area, branch, ALONE)
    covariance += JITTER * np.eye(len(log_area))
    return np.linalg.cholesky(covariance)


def deviations_given(
    fit: CurveFit,
    curve: Curve,
    positions: np.ndarray,
    log_area: np.ndarray,
    rng: np.random.Generator,
) -> Deviations:
    """Return the deviations of a run given its checkpoints.

    A draw of everything from its prior is corrected by the distance of the checkpoints from what it
    gives there (Matheron's rule), so that one Cholesky factor serves all draws.

    Parameters
    ----------
    fit
        The fit.
    curve
        The run's checkpoints.
    positions
        Draws of the position, (draws, entries).
    log_area
        Log areas of the targets over the typical one.
    """
    layout = fit.layout
    found = _only_family(fit, curve)
    if found is None:  # no checkpoint after the transient
        return new_deviations(positions, fit, log_area, rng)
    middle = {curve.group: np.median(layout.parameters(positions)[curve.group], axis=0)}
    data = condense([found], layout.law, middle, layout.scale)
    nodes = data.points[curve.group].log_area
    losses, _ = curve_draws(fit, curve.group, data.points[curve.group], positions)
    residual = data.estimate[0] - (np.log(losses) - data.reference[curve.group])

    draws = len(positions)
    sigma, s, tau, kappa = (values[:, None] for values in layout.noise(positions).T)
    both = np.concatenate([nodes, log_area])
    order = np.argsort(both, kind="stable")
    joint = np.empty((draws, len(both)))
    joint[:, order] = s * (rng.normal(size=(draws, len(both))) @ _root(both[order]).T)
    at_nodes, at_targets = joint[:, : len(nodes)], joint[:, len(nodes) :]
    offset = tau * rng.normal(size=(draws, 1))
    drop_error = kappa * rng.normal(size=(draws, MODES))
    of_offset, of_drop = _columns(data)
    noise = sigma * rng.normal(size=(draws, len(nodes)))
    basis = data.basis[0].T
    simulated = at_nodes @ basis + offset * of_offset + drop_error @ of_drop.T + noise
    # A simulated run becomes a draw given the real one by what its checkpoints are off by.
    off = residual @ basis - simulated
    solved = _solve(data, off, (sigma, s, tau, kappa), of_offset, of_drop)

    branch, of = np.zeros(len(log_area), dtype=int), np.zeros(len(nodes), dtype=int)
    across = correlation(log_area, branch, nodes, of, ALONE) @ basis
    correction = tau**2 * (solved @ of_offset)[:, None]
    return Deviations(
        offset=(offset + correction)[:, 0],
        drop_error=drop_error + kappa**2 * (solved @ of_drop),
        along=at_targets + s**2 * (solved @ across.T),
    )


def _only_family(fit: CurveFit, curve: Curve) -> Family | None:
    """Return a run as a family of its own, or None where it has no checkpoint to condition on."""
    alone = families(Curves({curve.run: curve}, fit.curves.name), fit.layout.scale)
    return alone[0] if alone else None


def _columns(data: Condensed) -> tuple[np.ndarray, np.ndarray]:
    """Return z of an offset of one, and of the modes of the drop: zero where no rate has fallen."""
    loads = data.loads[0]
    modes = loads[:, 1:] if loads.shape[1] > 1 else np.zeros((len(loads), MODES))
    return loads[:, 0], modes


def _solve(
    data: Condensed,
    right: np.ndarray,
    noise: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    of_offset: np.ndarray,
    of_drop: np.ndarray,
) -> np.ndarray:
    """Return the inverse covariance of z times right sides, (draws, nodes), by Woodbury."""
    sigma, s, tau, kappa = noise
    diagonal = s**2 * data.variance[0] + sigma**2
    columns = np.column_stack([of_offset, of_drop])
    factors = np.repeat(kappa, columns.shape[1], axis=1)
    factors[:, :1] = tau
    loads = columns * factors[:, None, :]
    weighted = loads / diagonal[..., None]
    inner = np.eye(columns.shape[1]) + np.matmul(loads.transpose(0, 2, 1), weighted)
    shifts = np.linalg.solve(inner, np.matmul(weighted.transpose(0, 2, 1), right[..., None]))
    return right / diagonal - np.matmul(weighted, shifts)[..., 0]
