"""Where chains start: around PyMC's initial point, or of long tables around the mode, as far as the posterior reaches.

The sampler's units are rough widths of the posterior of a few hundred runs. A million runs show a posterior a
hundredth as wide: chains that start a unit away fall down a steep wall, and what tuning learns of the way down it must
forget again, which one chain in some did not within its tuning.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache

import numpy as np

from scalebayes.engine.kernel import Bound, evaluate

LONG = 10_000
"""Rows from which on chains start around the mode."""
SPREAD = 5.0
"""How far from it, in standard deviations of the Normal with its curvature: farther apart than draws are."""
MOST = 200
"""Steps towards it."""
SHIFT = 1e-4
"""Over which the gradient is differenced, in units of the sampler."""


def starts(bound: Bound) -> Callable[[int], np.ndarray]:
    """From a chain's seed to where it starts.

    With a discrepancy that is sampled, whose size keeps the posterior of the law as wide as that of a short table, and
    with groups, chains start around the initial point however long the table is.
    """
    only_scalars, lock = not any(bound.layout.free.values()), threading.Lock()

    @cache
    def middle() -> tuple[np.ndarray, np.ndarray]:
        found = _mode(bound) if only_scalars and len(bound.arrays["observed"]) >= LONG else None
        return found or (bound.initial, np.eye(len(bound.initial)))

    def start(seed: int) -> np.ndarray:
        with lock:  # nutpie asks for all chains at once
            mode, spread = middle()
        return mode + spread @ np.random.default_rng(seed).uniform(-1.0, 1.0, len(mode))

    return start


def _mode(bound: Bound) -> tuple[np.ndarray, np.ndarray] | None:
    """The mode, and what turns a cube into places about it; none where the density has no such top near the start."""
    from scipy.optimize import minimize

    def fall(point: np.ndarray) -> tuple[float, np.ndarray]:
        density, *slopes = evaluate(bound, point)[0]
        return (-density, -np.array(slopes)) if np.isfinite(density) else (np.inf, np.zeros(len(point)))

    def curvature(point: np.ndarray) -> np.ndarray:
        sides = SHIFT * np.eye(len(point))
        rows = np.array([fall(point + side)[1] - fall(point - side)[1] for side in sides]) / (2 * SHIFT)
        return (rows + rows.T) / 2

    with np.errstate(all="ignore"):  # a density without a top leads anywhere
        point = minimize(fall, bound.initial, jac=True, method="BFGS", options={"maxiter": MOST}).x
        try:
            for _ in range(3):
                root = np.linalg.cholesky(curvature(point))
                point = point - np.linalg.solve(root.T, np.linalg.solve(root, fall(point)[1]))
        except np.linalg.LinAlgError:
            return None
    return (point, SPREAD * np.linalg.inv(root).T) if np.isfinite(point).all() else None
