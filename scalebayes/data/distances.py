"""Distances of runs from the centre of their table, the same in whatever unit a column is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.laws.rescaling import SAME_UNIT

DIGITS = 9
"""Decimals of natural logs that are kept: a billionth of a value.

The floating-point error of a product depends on its factors, so further digits would depend on the
unit of the column. Errors of the ratios of values, of which distances are made, are a millionth of
the last decimal kept.
"""


def log_distance(values: np.ndarray, of_centre: np.ndarray) -> np.ndarray:
    """Return logs of values over the geometric mean of others, rounded to `DIGITS`, (runs,)."""
    first = of_centre[0]
    distance = np.log(values / first) - np.mean(np.log(of_centre / first))
    return np.round(distance, DIGITS) + 0.0  # which turns a negative zero into zero


def log_distances(runs: Runs, inputs: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the log of each input over its centre, by name, each of shape (runs,)."""
    names = tuple(inputs)
    distances = {}
    for x in names:
        distances[x] = log_distance(getattr(runs, x), getattr(runs, measured_as(x, names)))
    return distances


def log_centres(runs: Runs, inputs: Iterable[str]) -> dict[str, float]:
    """Return the log of the centre of each input, the mean of its logs."""
    names = tuple(inputs)
    centres = {}
    for x in names:
        centres[x] = float(np.mean(np.log(getattr(runs, measured_as(x, names)))))
    return centres


def measured_as(x: str, inputs: tuple[str, ...]) -> str:
    """Return the input whose centre is that of an input: of unique tokens, the tokens."""
    other = SAME_UNIT.get(x, x)
    return other if other in inputs else x
