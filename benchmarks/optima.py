"""Accuracy of the search for optima of laws that drift, against a grid of all sizes.

Prints how many draws of a default fit of the Chinchilla points end in another minimum than that of
the grid, and how far their loss lies above it; also for draws whose exponents wander far more. Each
budget is searched by itself, and all are followed together. Takes half a minute.

    .venv/bin/python benchmarks/optima.py
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.queries.curves import Curve, curve_of
from scalebayes.queries.optima import expected_optimum, newton
from scalebayes.queries.optima.optimum import optimal_sizes

BUDGETS = np.geomspace(1e19, 1e26, 15)
WILD = 0.4
"""Standard deviation of a step of the exponents' paths that is added in the second case."""


def by_fine_grid(curve: Curve, budget: float) -> np.ndarray:
    """Return N* of each draw at a budget, (S,), by trying every size of a fine grid."""
    start = curve.law.optimise(np.array([budget / 6]), newton.columns(curve.parameters))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expected_optimum, "PASSES", (1,))
        return expected_optimum.expected_optimum(
            curve, start[:, 0], budget, sb.SIX_ND, distance=expected_optimum.DISTANCE_OF_DRIFT
        )


def wandering(curve: Curve) -> Curve:
    """Return curves whose exponents wander, so that many have several minima along a budget."""
    assert curve.drift is not None
    rng = np.random.default_rng(0)
    paths = dict(curve.drift.paths)
    for name, path in curve.drift.paths.items():
        steps = WILD * rng.standard_normal(path.g.shape).cumsum(axis=1)
        paths[name] = replace(path, g=(path.g + steps - steps.mean(axis=1, keepdims=True)) / 2)
    return replace(curve, drift=replace(curve.drift, paths=paths))


def compare(label: str, curve: Curve, found: np.ndarray, expected: np.ndarray) -> None:
    """Print a row: how many searches ended in another minimum, and their excess loss."""
    excess = curve.loss_each(found, BUDGETS / (6 * found))
    excess -= curve.loss_each(expected, BUDGETS / (6 * expected))
    is_missed = np.abs(np.log(found / expected)) > expected_optimum.STEP
    print(f"| {label} | {is_missed.sum()} of {is_missed.size} | {excess.max():.1e} |")


def main() -> None:
    """Print the table."""
    curve = curve_of(sb.fit(sb.load_runs("hoffmann2022")), "expected")
    print("| draws, search | in another minimum | largest excess loss |\n|---|---|---|")
    for label, some in (("default", curve), ("exponents that wander", wandering(curve))):
        expected = np.stack([by_fine_grid(some, float(budget)) for budget in BUDGETS], axis=1)
        alone = [optimal_sizes(some, np.array([budget]), sb.SIX_ND) for budget in BUDGETS]
        compare(f"{label}, each budget alone", some, np.hstack(alone), expected)
        compare(f"{label}, followed", some, optimal_sizes(some, BUDGETS, sb.SIX_ND), expected)


if __name__ == "__main__":
    main()
