"""Where chains start: around PyMC's initial point, or of long tables around the mode, as far as the posterior reaches.

The sampler's units are rough widths of the posterior of a few hundred runs. A million runs show what they inform a
hundred times as closely: chains that start a unit away fall down a steep wall, and what tuning learns of the way down
it must forget again, which one chain in some did not within its tuning.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scalebayes.fitting.kernel.kernel import Bound, evaluate

LONG = 10_000
"""Rows from which on chains start around the mode."""
SPREAD = 5.0
"""How far from it, in standard deviations of the Normal with its curvature: farther apart than draws are."""
MOST = 200
"""Steps towards it."""
SHIFT = 1e-4
"""Over which the gradient is differenced, in units of the sampler."""


def starts(bound: Bound) -> Callable[[int], np.ndarray]:
    """From a chain's seed to where it starts: within a unit of the initial point, or about the mode found from there.

    Each chain looks for a mode of its own, so that where there are several, chains disagree and the gate sees it. With
    a discrepancy that is sampled, whose size keeps the posterior of the law as wide as that of a short table, and with
    groups, chains start about the initial point however long the table is.
    """
    long = len(bound.arrays["observed"]) >= LONG and not any(bound.layout.free.values())

    def start(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        point = bound.initial + rng.uniform(-1.0, 1.0, len(bound.initial))
        mode, spread = (_mode(bound, point) if long else None) or (
            point,
            np.zeros((len(point), len(point))),
        )
        return mode + spread @ rng.uniform(-1.0, 1.0, len(mode))

    return start


def _mode(bound: Bound, point: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The mode next to a point, and what turns a cube into places about it; none where the density has no top there."""
    from scipy.optimize import minimize

    def fall(point: np.ndarray) -> tuple[float, np.ndarray]:
        density, *slopes = evaluate(bound, point)[0]
        return (
            (-density, -np.array(slopes))
            if np.isfinite(density)
            else (np.inf, np.zeros(len(point)))
        )

    def root(point: np.ndarray) -> np.ndarray:
        sides = SHIFT * np.eye(len(point))
        rows = np.array([fall(point + side)[1] - fall(point - side)[1] for side in sides]) / (
            2 * SHIFT
        )
        return np.linalg.cholesky((rows + rows.T) / 2)

    with np.errstate(all="ignore"):  # a density without a top leads anywhere
        point = minimize(fall, point, jac=True, method="BFGS", options={"maxiter": MOST}).x
        try:
            for _ in range(2):
                of_curvature = root(point)
                point = point - np.linalg.solve(
                    of_curvature.T, np.linalg.solve(of_curvature, fall(point)[1])
                )
            of_curvature = root(point)
        except np.linalg.LinAlgError:
            return None
        height, slopes = fall(point)
        arrived = np.isfinite(height) and np.abs(np.linalg.solve(of_curvature, slopes)).max() < 1.0
    spread = SPREAD * np.linalg.inv(of_curvature).T
    spread /= np.maximum(
        1.0, np.abs(spread).max(axis=0)
    )  # never farther than chains of a short table
    return (point, spread) if arrived else None
