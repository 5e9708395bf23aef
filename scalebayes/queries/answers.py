"""The datasets that questions return: names, units, coordinates and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.posterior.fit import Fit, draw_labels
from scalebayes.posterior.provenance import provenance_of_fit, with_provenance

UNITS = {"N": "parameters", "D": "tokens", "C": "FLOP"}
LONG_NAMES = {
    "law": "loss of the law alone",
    "loss": "loss of the curve",
    "new_run": "loss of a new run",
}


def to_dataset(
    fit: Fit,
    values: Mapping[str, np.ndarray],
    dim: str,
    along: Mapping[str, np.ndarray],
    reached: Mapping[str, np.ndarray],
    about: Mapping[str, Mapping[str, str]] | None = None,
) -> xr.Dataset:
    """Return the answer of one fit: quantities of dims (chain, draw, dim) with their provenance.

    Parameters
    ----------
    fit
        The fit that answers.
    values
        Arrays by quantity: (chain, draw, points), or what broadcasts to (chain * draw, points).
    dim
        The dimension of the points: "target" or "budget".
    along
        Coordinates of the points, each of shape (points,).
    reached
        Inputs of the points that measure how far they lie beyond the runs, each (points,).
    about
        Attributes of quantities, such as units.

    Returns
    -------
    xarray.Dataset
        Along the points also ``decades_beyond``: orders of magnitude beyond the largest run, in
        compute where runs and points have it, else in the input of the law that lies furthest
        out. Its attribute ``of`` names that input.
    """
    sizes = fit.stored["posterior"].sizes
    points = len(next(iter(reached.values())))
    shape = (sizes["chain"], sizes["draw"], points)
    variables = {}
    for name, value in values.items():
        if np.size(value) != np.prod(shape):
            # A copy, because a broadcast array is read-only and answers may be changed.
            value = np.broadcast_to(value, (shape[0] * shape[1], points)).copy()
        attributes = dict((about or {}).get(name, {}))
        variables[name] = (("chain", "draw", dim), np.reshape(value, shape), attributes)
    furthest, decades = _decades_beyond(fit, reached)
    coords: dict[str, Any] = {name: (dim, one) for name, one in along.items()}
    coords |= draw_labels(fit)
    coords["decades_beyond"] = (dim, decades, {"of": furthest})
    values_of_runs = getattr(fit.runs, furthest)
    span = float(np.log10(values_of_runs.max() / values_of_runs.min()))
    return with_provenance(xr.Dataset(variables, coords), provenance_of_fit(fit, span))


def _decades_beyond(fit: Fit, reached: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """Return the input that lies furthest beyond the runs, and the distance, (points,)."""
    runs = fit.runs
    measured = fit.spec.law_object.inputs
    if "C" in reached and "C" in runs.table:
        measured = ("C",)
    beyond = {}
    for x in measured:
        if x in reached:
            beyond[x] = np.log10(reached[x] / getattr(runs, x).max())
    decades = np.maximum(0.0, np.max(list(beyond.values()), axis=0))
    furthest = max(beyond, key=lambda x: np.max(beyond[x]))
    return furthest, decades
