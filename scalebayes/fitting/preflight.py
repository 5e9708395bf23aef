"""What a fit refuses before anything compiles: tables and settings with which no sampler could end well."""

from __future__ import annotations

from typing import Any

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.errors import FitError, RunsError
from scalebayes.specs.pooling import read_grouping
from scalebayes.specs.spec import Spec

NOISELESS = 1e-10
"""Scatter of log loss around the best fit below which there is no noise to infer: sigma has no posterior but zero."""

MOST_ROWS = 1000
FAR = 1e3
"""Stands for a log loss that overflows or does not exist."""


def check_settings(settings: dict[str, Any], seed: int) -> None:
    """Check the sampler's settings.

    Raises
    ------
    FitError
        Naming the first that is out of range, or not the caller's to set.
    """
    for name in ("draws", "tune", "chains"):
        if settings[name] < 1:
            raise FitError(f"{name} must be at least 1; got {settings[name]}")
    if not 0 < settings["target_accept"] < 1:
        raise FitError(f"target_accept must lie between 0 and 1; got {settings['target_accept']}")
    if seed < 0:
        raise FitError(f"seed must not be negative; got {seed}")
    ours = {
        "seed",
        "save_warmup",
        "progress_bar",
        "progress_callback",
        "progress_rate",
        "blocking",
    } & settings.keys()
    if ours:
        raise FitError(f"{', '.join(sorted(ours))}: set by fit itself")


def check_table(runs: Runs, spec: Spec) -> None:
    """Check that a table has what the law needs: its columns, rows enough, and losses that scatter at all.

    Raises
    ------
    RunsError
        Saying which of these is missing.
    """
    if not isinstance(runs, Runs):
        raise RunsError(
            f"fit takes Runs, got {type(runs).__name__}: read it first, sb.read_runs(...) or sb.load_runs(...)"
        )
    law = spec.law_object
    for column in (*law.inputs, law.response):
        getattr(runs, column)
    needed = len(law.parameters) + 1
    if len(runs) < needed:
        raise RunsError(
            f"{runs.name} has {len(runs)} runs; '{spec.name}' has {len(law.parameters)} parameters and needs at least "
            f"{needed} runs to say anything about them"
        )
    if spec.pool is not None:
        read_grouping(runs, spec)
    if (scatter := least_scatter(runs, spec)) < NOISELESS:
        raise RunsError(
            f"the losses of {runs.name} follow the law '{law.name}' to {scatter:.0e}: there is no noise to infer, and "
            "a sampler would shrink sigma for ever. Simulated? Then simulate noise too: loss * exp(0.003 * normal)"
        )


def least_scatter(runs: Runs, spec: Spec) -> float:
    """Root mean square of log loss around the law's least-squares fit, from the sampler's own start and coordinates.

    Of a long table a thousand rows are enough to tell.
    """
    from scipy.optimize import least_squares

    law = spec.law_object
    rows = np.unique(np.linspace(0, len(runs) - 1, MOST_ROWS).astype(int))
    log_inputs = {x: values[rows] for x, values in runs.log_inputs(law.inputs).items()}
    log_loss = law.log_response(runs)[rows]
    start, steps = law.coordinates.start(log_inputs, log_loss), law.coordinates.steps()
    centre = {x: values.mean() for x, values in log_inputs.items()}

    def residuals(unit: np.ndarray) -> np.ndarray:
        z = {name: start[name] + steps[name] * u for name, u in zip(steps, unit, strict=True)}
        logs, _ = law.coordinates.recover(z, centre)
        parameters = {name: np.exp(logs[name]) for name in law.parameter_names}
        off = np.log(law.function(*map(np.exp, log_inputs.values()), **parameters)) - log_loss
        return np.nan_to_num(off, nan=FAR).clip(-FAR, FAR)  # finite wherever the search wanders

    with np.errstate(all="ignore"):
        found = least_squares(
            residuals, np.zeros(len(steps)), max_nfev=100, ftol=1e-15, xtol=1e-15, gtol=1e-15
        )
    return float(np.sqrt(2 * found.cost / len(log_loss)))
