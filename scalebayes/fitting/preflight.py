"""Checks before anything compiles: tables and settings with which no sampler could end well."""

from __future__ import annotations

from typing import Any

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError, RunsError
from scalebayes.laws import Law
from scalebayes.laws.least_squares import least_squares
from scalebayes.specs.pooling import pooling_of
from scalebayes.specs.spec import Spec
from scalebayes.utils.shares import check_probability

NOISELESS = 1e-10
"""Least noise scale of log loss around the best fit: below it sigma has no posterior but zero."""
MOST_ROWS = 1000
"""Rows of a long table that the noise scale is estimated from."""
TOLERANCE = 1e-15
"""Of least squares: tight, because the question is whether any noise is left at all."""
SET_BY_FIT = (
    "seed",
    "save_warmup",
    "progress_bar",
    "progress_callback",
    "progress_rate",
    "blocking",
)
"""Arguments of `nutpie.sample` that `fit` sets itself."""


def check_settings(settings: dict[str, Any], seed: int) -> None:
    """Check the settings of the sampler.

    Raises
    ------
    FitError
        Naming the first that is out of range, or those that the caller cannot set.
    """
    for name in ("draws", "tune", "chains"):
        if settings[name] < 1:
            raise FitError(f"{name} must be at least 1; got {settings[name]}")
    check_probability("target_accept", settings["target_accept"], FitError)
    if seed < 0:
        raise FitError(f"seed must not be negative; got {seed}")
    ours = sorted(settings.keys() & set(SET_BY_FIT))
    if ours:
        raise FitError(f"{', '.join(ours)}: set by fit itself")


def check_table(runs: Runs, spec: Spec) -> None:
    """Check a table: the law's columns with usable values, enough rows, losses with any noise.

    Raises
    ------
    RunsError
        Saying which of these is missing.
    """
    if not isinstance(runs, Runs):
        raise RunsError(
            f"fit takes Runs, got {type(runs).__name__}: read it first, sb.read_runs(...) or "
            "sb.load_runs(...)"
        )
    law = spec.law_object
    for column in (*law.inputs, law.response):
        getattr(runs, column)  # raises where there is none
    _check_values(runs, law)
    needed = len(law.parameters) + 1
    if len(runs) < needed:
        raise RunsError(
            f"{runs.name} has {len(runs)} runs; '{spec.name}' has {len(law.parameters)} parameters "
            f"and needs at least {needed} runs"
        )
    pooling_of(spec).check(runs)
    scale = least_noise_scale(runs, spec)
    if scale < NOISELESS:
        raise RunsError(
            f"the losses of {runs.name} follow the law '{law.name}' to {scale:.0e}: there is no "
            "noise to infer, and sigma would shrink without end. If the losses are simulated, "
            "simulate noise too: loss * exp(0.003 * normal)"
        )


def _check_values(runs: Runs, law: Law) -> None:
    """Raise when a value has no log: `read_runs` refuses such tables, `Runs` itself does not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = dict(runs.log_inputs(law.inputs))
        logs[law.response] = law.log_response(runs)
    for column, values in logs.items():
        is_bad = ~np.isfinite(values)
        if is_bad.any():
            row = int(np.argmax(is_bad))
            raise RunsError(
                f"{runs.name} has no usable {column} in run {runs.table.index[row]}: got "
                f"{getattr(runs, column)[row]:g}"
            )


def least_noise_scale(runs: Runs, spec: Spec) -> float:
    """Return the root mean square of the residuals of log loss at the law's least-squares fit.

    The fit begins at the sampler's start and moves in its coordinates. Of a long table, evenly
    spaced rows are used.
    """
    law = spec.law_object
    rows = np.unique(np.linspace(0, len(runs) - 1, MOST_ROWS).astype(int))
    log_inputs = {x: values[rows] for x, values in runs.log_inputs(law.inputs).items()}
    point = least_squares(law, log_inputs, law.log_response(runs)[rows], TOLERANCE)
    return float(np.sqrt(np.mean(point.residual**2)))
