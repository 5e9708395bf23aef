"""Learning rate and batch of the largest sweeps, predicted from the smaller ones.

The public grids of Step Law (Li et al. 2025, arXiv:2503.04715): rate by batch at thirteen (N, D).
The five (N, D) of most compute are left out whole, `tuned` is fitted to the rest, and its best rate
and batch there are compared with those of the sweep itself.

    python benchmarks/tuning.py [--held 5] [--raw] [--fit FILE]

What the best of a sweep is has two readings. The best run is a point of the grid, on steps of
1.4 in rate and 1.4 to 2 in batch, and one lucky run among a hundred. The bottom is that of a
parabola in the logs, fitted to the runs within 1% of the best loss. Losses are the smoothed ones of
the authors. Those of the last batch, which --raw fits, have an error of 1% that all rates of a
batch share. The sweeps that were left out are judged by the smoothed ones all the same.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

import scalebayes as sb
from scalebayes.laws.tuned import STEP_LAW, step_law

SHARED = Path(
    os.environ.get(
        "SCALEBAYES_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"
    )
)
NEAR = 0.01
"""Runs of a sweep with a loss at most this share above its best determine the parabola."""


def read_table(raw: bool) -> pd.DataFrame:
    """Return the table of the grids with columns N, D, learning_rate, batch, loss and C."""
    table = pd.read_csv(SHARED / "steplaw2025.csv").astype(float)
    if not raw:
        table["loss"] = table["loss_smooth"]
    # As floats: 6 N D is beyond the integers of 64 bits.
    names = {"params_non_embedding": "N", "tokens": "D", "batch_tokens": "batch"}
    table = table.rename(columns=names)[["N", "D", "learning_rate", "batch", "loss"]]
    return table.assign(C=6.0 * table["N"] * table["D"])


def parabola(sweep: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the bottom (log rate, log batch) of a sweep, its curvature (2, 2), and the loss there.

    Least squares on the log losses of the runs near the best one.
    """
    near = sweep[sweep["loss"] <= (1 + NEAR) * sweep["loss"].min()]
    logs = np.log(near[["learning_rate", "batch"]].to_numpy())
    centre = logs.mean(axis=0)
    x, z = (logs - centre).T
    design = np.column_stack([np.ones(len(x)), x, z, x * x, x * z, z * z])
    value = np.linalg.lstsq(design, np.log(near["loss"].to_numpy()), rcond=None)[0]
    hessian = np.array([[2 * value[3], value[4]], [value[4], 2 * value[5]]])
    bottom = -np.linalg.solve(hessian, value[1:3])
    log_loss = value[0] + 0.5 * value[1:3] @ bottom
    return bottom + centre, hessian, float(np.exp(log_loss))


def excess_at(sweep: pd.DataFrame, rate: float, batch: float) -> float:
    """Return the excess loss of a choice over the bottom, by the parabola of the sweep itself."""
    bottom, hessian, loss = parabola(sweep)
    off = np.log([rate, batch]) - bottom
    return loss * float(np.expm1(0.5 * off @ hessian @ off))


def excess_of_nearest(sweep: pd.DataFrame, rate: float, batch: float) -> float:
    """Return the loss of the run of the grid nearest to a choice, minus the least of the grid."""
    off = np.log(sweep[["learning_rate", "batch"]].to_numpy()) - np.log([rate, batch])
    nearest = int(np.argmin((off**2).sum(axis=1)))
    return float(sweep["loss"].iloc[nearest] - sweep["loss"].min())


def inside(draws: np.ndarray, value: float) -> bool:
    """Return whether a value lies in the central 90% of draws."""
    low, high = np.quantile(draws, [0.05, 0.95])
    return bool(low <= value <= high)


def inside_region(draws: np.ndarray, value: np.ndarray) -> bool:
    """Return whether a point lies in the 90% ellipse of draws (S, 2).

    The ellipse is that of the mean and covariance of the draws with 90% of the draws in it.
    """
    mean, precision = draws.mean(axis=0), np.linalg.inv(np.cov(draws.T))
    off = draws - mean
    distance = np.einsum("si,ij,sj->s", off, precision, off)
    own = (value - mean) @ precision @ (value - mean)
    return bool(own <= np.quantile(distance, 0.9))


def compare(fit: sb.Fit, sweep: pd.DataFrame) -> dict[str, object]:
    """Return our choice for a sweep that was left out, beside its own best."""
    N, D = float(sweep["N"].iloc[0]), float(sweep["D"].iloc[0])
    answer = sb.tune(fit, N=N, D=D)
    names = ("best_learning_rate", "best_batch")
    logs = np.column_stack([np.log(answer[name].values.ravel()) for name in names])
    rate, batch = np.exp(np.median(logs, axis=0))
    best = sweep.loc[sweep["loss"].idxmin()]
    bottom = parabola(sweep)[0]
    of_step_law = step_law(N, D)
    theirs = float(of_step_law["learning_rate"]), float(of_step_law["batch"])
    return {
        "N": f"{N / 1e6:.0f}M",
        "D": f"{D / 1e9:.1f}B",
        "rate": f"{rate:.2e}",
        "batch": f"{batch / 1e3:.0f}K",
        "bottom": f"{np.exp(bottom[0]):.2e} {np.exp(bottom[1]) / 1e3:.0f}K",
        "grid's best": f"{best['learning_rate']:.2e} {best['batch'] / 1e3:.0f}K",
        "rate in": inside(logs[:, 0], bottom[0]),
        "batch in": inside(logs[:, 1], bottom[1]),
        "both in": inside_region(logs, bottom),
        "best run in": _best_run_in(answer, best),
        "excess": excess_at(sweep, rate, batch),
        "nearest run": excess_of_nearest(sweep, rate, batch),
        "Step Law": excess_at(sweep, *theirs),
    }


def _best_run_in(answer: object, best: pd.Series) -> bool:
    """Return whether the best run of the grid lies where our choice loses at most 0.005."""
    ranges = answer[["rate_from", "rate_to", "batch_from", "batch_to"]].median(("chain", "draw"))
    rate_fits = ranges["rate_from"] <= best["learning_rate"] <= ranges["rate_to"]
    batch_fits = ranges["batch_from"] <= best["batch"] <= ranges["batch_to"]
    return bool(rate_fits and batch_fits)


def main() -> None:
    """Fit the smaller sweeps, and print what they say of the larger ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held", type=int, default=5, help="sweeps of most compute left out")
    parser.add_argument("--raw", action="store_true", help="losses of the last batch")
    parser.add_argument("--fit", type=Path, help="a saved fit, or where to save it")
    options = parser.parse_args()

    table = read_table(options.raw)
    held = np.sort(table["C"].unique())[-options.held :]
    if options.fit and options.fit.exists():
        fit = sb.load(options.fit)
    else:
        runs = sb.read_runs(table[~table["C"].isin(held)].drop(columns="C"), name="steplaw2025")
        start, cpu = time.perf_counter(), time.process_time()
        fit = sb.fit(runs, "tuned", seed=0)
        seconds = time.perf_counter() - start
        print(f"{fit!r}: {seconds:.0f} s, {time.process_time() - cpu:.0f} s of processor time")
        if options.fit:
            sb.save(fit, options.fit)
    smooth = read_table(raw=False)
    found = pd.DataFrame([compare(fit, smooth[smooth["C"] == C]) for C in held])
    print(found.to_string(index=False, float_format="{:.4f}".format))
    for name in ("rate in", "batch in", "both in", "best run in"):
        print(f"{name}: {int(found[name].sum())} of {len(found)}")
    print(f"largest excess of our choice {found['excess'].max():.4f}", end="; ")
    print(f"of Step Law's {found['Step Law'].max():.4f}")
    summary = sb.summary(fit)
    for name, of_step_law in STEP_LAW.items():
        row = summary.loc[name]
        low, high = row["eti90_lb"], row["eti90_ub"]
        print(f"{name:16} {row['median']:.3f} [{low:.3f}, {high:.3f}], Step Law {of_step_law}")


if __name__ == "__main__":
    main()
