"""Initial points of chains: around PyMC's initial point, or for long tables around the mode.

The sampler's units are rough widths of the posterior of a few hundred runs. The posterior of a
million runs is a hundredth as wide: chains that start a unit away fall down a steep wall, and what
tuning learns on the way down it must forget again. Some chains did not within their tuning.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scalebayes.errors import FitError
from scalebayes.fitting.kernel.kernel import NO_START, Bound, evaluate
from scalebayes.fitting.maps import curvature, search_mode

LONG = 10_000
"""Rows from which on chains start around the mode."""
SPREAD = 5.0
"""Largest distance from the mode, in standard deviations of the Normal with its curvature."""

TRIED = 500
"""Initial points that are tried before a table is said to have none."""


def require_start(bound: Bound, seed: int) -> None:
    """Check that the posterior has a density at one of many initial points.

    nutpie finds out too, but leaves threads behind, which crash the process when it ends soon.

    Raises
    ------
    FitError
        When it has none.
    """
    start = starts(bound)
    for k in range(TRIED):
        density, _ = evaluate(bound, start(seed + k))
        if np.isfinite(density[0]):
            return
    raise FitError(NO_START)


def starts(bound: Bound) -> Callable[[int], np.ndarray]:
    """Return the function from a chain's seed to its initial point.

    The point is within a unit of the initial point of PyMC, or about the mode that is found from
    there. Each chain looks for a mode of its own, so that where there are several, chains disagree
    and the convergence checks fail.

    With a sampled discrepancy, whose size keeps the posterior of the law as wide as that of a short
    table, and with groups, chains start about the initial point however long the table is. Both
    have vectors among the free variables.
    """
    is_long = len(bound.arrays["observed"]) >= LONG
    has_vectors = any(bound.layout.free.values())

    def start(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        size = len(bound.initial)
        point = bound.initial + rng.uniform(-1.0, 1.0, size)
        around_point = rng.uniform(-1.0, 1.0, size)
        if not is_long or has_vectors:
            return point
        found = _mode(bound, point)
        if found is None:
            return point
        mode, spread = found
        return mode + spread @ around_point

    return start


def _mode(bound: Bound, point: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the mode next to a point and a matrix from a cube to points about it, or None.

    There is none where the density has no maximum near the point.
    """
    # A density without a maximum leads the search anywhere, and the factor fails there.
    mode = search_mode(bound, point)
    try:
        factor = np.linalg.cholesky(curvature(bound, mode))
    except np.linalg.LinAlgError:
        return None
    height, *slopes = evaluate(bound, mode)[0]
    # The gradient in units of standard deviations: at the mode it is almost zero.
    distance = np.abs(np.linalg.solve(factor, slopes)).max()
    if not (np.isfinite(height) and distance < 1.0):
        return None

    spread = SPREAD * np.linalg.inv(factor).T
    # Never farther than the chains of a short table.
    spread /= np.maximum(1.0, np.abs(spread).max(axis=0))
    return mode, spread
