"""How well laws of the loss along a run predict other schedules.

The table of Luo et al. (2025) has the losses of models of 25M and 100M parameters under nine
learning-rate schedules. As in the paper, three schedules of a size are fitted and the other six
are predicted from their learning rates alone. Then each of the six is forecast from the first half
of its steps. Run with ``python benchmarks/schedules.py``; ``--models`` chooses laws, ``--sizes``
sizes, and ``--together`` fits all sizes in one fit. The table is read from
``SCALEBAYES_SHARED_DATA`` or from ``--file``.

Printed for each run: the mean and the largest relative error of the median curve over its
checkpoints, the error at its end, the share of its checkpoints in the 90% interval of a checkpoint,
the half width of the interval at the end over the loss, and whether it covers the last checkpoint.
A first line has the authors' own fits on the same rows. As in their table, the errors of a size are
means over its six runs: of the mean errors, and of the largest.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from dev_tables import SHARED

import scalebayes as sb
from scalebayes.curves.laws import multi_power
from scalebayes.curves.models import read_curve_model

FITTED = ("cosine_24000", "constant_24000", "wsdcon_9")
HELD_OUT = (
    *("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000"),
    *("wsdcon_3", "wsdcon_18"),
)
"""Schedules of the paper's training and test sets."""
TAIL = 0.05
"""Probability below a 90% interval, and above it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=SHARED / "schedules2025.csv")
    parser.add_argument("--models", default="multi-power,annealing")
    parser.add_argument("--sizes", default="25M,100M")
    parser.add_argument("--together", action="store_true", help="one fit of all sizes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    curves = sb.read_curves(options.file)
    sizes = options.sizes.split(",")
    for size in sizes:
        print(f"{size}: the authors' fit", describe(authors(curves, size)), sep="\n", flush=True)
    sets = [sizes] if options.together else [[size] for size in sizes]
    for model in options.models.split(","):
        for together in sets:
            fit, seconds = fit_of(curves, together, model, options.seed)
            for size in together:
                fitted = " and ".join(together)
                print(f"\n{size}: {model}, fit of {fitted}, {seconds:.0f} s of CPU")
                print(describe(predicted(fit, curves, size)), flush=True)
                print("  from the first half:", halves(fit, curves, size), flush=True)


def runs_of(size: str, schedules: tuple[str, ...]) -> list[str]:
    """Return the ids of the runs of a size under some schedules."""
    return [f"{size}-{schedule}" for schedule in schedules]


def fit_of(curves: sb.Curves, sizes: list[str], model: str, seed: int) -> tuple[sb.CurveFit, float]:
    """Return the fit of three schedules of each size, and the seconds of processor time it took."""
    fitted = [run for size in sizes for run in runs_of(size, FITTED)]
    started = time.process_time()
    fit = sb.fit(curves.select(fitted), model, seed=seed)
    return fit, time.process_time() - started


def authors(curves: sb.Curves, size: str) -> pd.DataFrame:
    """Return the errors of the published constants of a size on its held-out runs."""
    published = read_curve_model("multi-power").published
    values = next(each.values for each in published if each.label.endswith(f", {size}"))
    rows = {}
    for run in runs_of(size, HELD_OUT):
        curve = curves[run]
        error = multi_power(curve.schedule, curve.steps, **values) / curve.losses - 1
        rows[run] = errors(error)
    return pd.DataFrame(rows).T


def errors(relative: np.ndarray) -> dict[str, float]:
    """Return the mean and the largest of relative errors, and the last, in percent."""
    size = 100 * np.abs(relative)
    return {"mean %": size.mean(), "worst %": size.max(), "end %": 100 * relative[-1]}


def predicted(fit: sb.CurveFit, curves: sb.Curves, size: str) -> pd.DataFrame:
    """Return errors and coverage of the predictions of the held-out runs of a size."""
    rows = {}
    for run in runs_of(size, HELD_OUT):
        curve = curves[run]
        answer = sb.predict(fit, schedule=curve.schedule, at=curve.steps, group=size)
        median = answer["law"].median(("chain", "draw")).values
        low, high = ends(answer)
        is_covered = (low <= curve.losses) & (curve.losses <= high)
        rows[run] = errors(median / curve.losses - 1) | {
            "covered": is_covered.mean(),
            "half width %": 50 * (high[-1] - low[-1]) / median[-1],
            "end covered": is_covered[-1],
        }
    return pd.DataFrame(rows).T


def ends(answer: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 90% intervals of a checkpoint."""
    low, high = answer["new_run"].quantile([TAIL, 1 - TAIL], ("chain", "draw")).values
    return low, high


def halves(fit: sb.CurveFit, curves: sb.Curves, size: str) -> str:
    """Return how many ends of held-out runs are covered by forecasts from their first halves."""
    covered = []
    for run in runs_of(size, HELD_OUT):
        curve = curves[run]
        half = curves.select([run]).before(curve.steps[-1] / 2)
        answer = sb.forecast(fit, run=half, step=curve.steps[-1], plans=False)
        low, high = ends(answer)
        if low[0] <= curve.losses[-1] <= high[0]:
            covered.append(run)
    missed = [run for run in runs_of(size, HELD_OUT) if run not in covered]
    text = f"{len(covered)} of {len(HELD_OUT)} ends covered"
    return f"{text}; missed: {', '.join(missed)}" if missed else text


def describe(table: pd.DataFrame) -> str:
    """Return a table by run with the means over runs as its last row."""
    table = table.astype(float)
    return pd.concat([table, table.mean().to_frame("mean of runs").T]).round(3).to_string()


if __name__ == "__main__":
    main()
