"""Intervals of a target after runs chosen by `next_runs` and after isoFLOP sweeps of equal cost.

A law is fitted to every sixth of the Chinchilla points. Five or fifteen runs are chosen for a
target within a budget. They are compared with one isoFLOP sweep, or three over a decade of compute,
of five sizes each around the fitted optimum, at the same cost. Some posterior draws are taken as
the truth. For each, both sets of runs get losses from that draw (noise and discrepancy included),
the model is refitted to the old and the new runs, and the width of the target's interval is
recorded. Run with ``python benchmarks/next_runs.py``, or with the names of models after it; about
ten minutes a model.
"""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

import scalebayes as sb

BUDGET = 1e22
SIZES = 5
TRUTHS = 12
TARGETS: dict[str, dict[str, Any]] = {
    "loss of 70B on 1.4T": {"N": 70e9, "D": 1.4e12},
    "N* at 5.76e23": {"C": 5.76e23},
}
SAMPLER = {"chains": 2, "draws": 1000, "progress": False}


def thinned(runs: sb.Runs, step: int = 6) -> sb.Runs:
    """Every `step`-th run in order of compute."""
    return sb.Runs(runs.table.sort_values("C").iloc[::step], f"{runs.name}, one run in {step}")


def with_losses(runs: sb.Runs, new: pd.DataFrame, loss: np.ndarray) -> sb.Runs:
    """Add runs with their losses to a table."""
    more = new[["N", "D"]].assign(C=6 * new["N"] * new["D"], loss=loss)
    more.index = [f"new {i}" for i in range(len(new))]
    return sb.Runs(pd.concat([runs.table, more]), f"{runs.name}, and new runs")


def width(fit: sb.Fit, target: Mapping[str, Any]) -> float:
    """Width of the target's 90% interval: nats of the loss, or of log N*."""
    if set(target) == {"C"}:
        draws = np.log(sb.frontier(fit, **target)["N"].values)
    else:
        draws = sb.predict(fit, **target)["loss"].values
    return float(np.diff(np.quantile(draws, [0.05, 0.95]))[0])


def compare(
    base: sb.Fit, target: Mapping[str, Any], sweeps: int = 1, truths: int = TRUTHS, seed: int = 0
) -> pd.DataFrame:
    """Widths after chosen runs and after sweeps of as many runs, over the width before.

    The table has a row for each truth.
    """
    levels = np.geomspace(0.1, 1.0, sweeps) if sweeps > 1 else np.ones(1)
    budgets = BUDGET / SIZES * levels / levels.sum()
    chosen = sb.next_runs(base, budget=BUDGET, target=target, batch=SIZES * sweeps).table
    sweep = sb.plan(budgets, sizes=SIZES, around=base, strict=False).table
    both = pd.concat([chosen, sweep])
    # One joint prediction, so that the losses of both designs share a truth and its discrepancy.
    predicted = sb.predict(base, N=both["N"], D=both["D"], seed=seed)
    losses = predicted["new_run"].values.reshape(-1, len(both))
    before = width(base, target)
    rows = []
    for truth in np.random.default_rng(seed).choice(len(losses), truths, replace=False):
        of_chosen, of_sweep = np.split(losses[truth], [len(chosen)])
        row = {}
        for name, new, loss in (("chosen", chosen, of_chosen), ("sweep", sweep, of_sweep)):
            runs = with_losses(base.runs, new, loss)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", sb.GateWarning)  # failures are counted
                after = sb.fit(runs, base.spec, seed=seed, **SAMPLER)
            row[name] = width(after, target) / before
            row[f"{name} failed"] = bool(after.gate_failures)
        rows.append(row)
    expected = np.sqrt(chosen["variance_left"].iloc[-1])
    return pd.DataFrame(rows).assign(expected=expected)


def main(models: Sequence[str]) -> None:
    runs = thinned(sb.load_runs("hoffmann2022"))
    print(
        f"{len(runs)} runs, {BUDGET:g} FLOP for more, {TRUTHS} truths; widths over the width before"
    )
    for model in models:
        base = sb.fit(runs, model, seed=0, progress=False)
        for sweeps, (name, target) in itertools.product((1, 3), TARGETS.items()):
            table = compare(base, target, sweeps)
            logs = np.log(table["chosen"] / table["sweep"])
            ratio = np.exp(logs.mean())
            chosen, sweep, expected = np.exp(np.log(table[["chosen", "sweep", "expected"]]).mean())
            failed = int(table[["chosen failed", "sweep failed"]].to_numpy().sum())
            print(
                f"{model}, {name}, {SIZES * sweeps} runs: "
                f"chosen {chosen:.2f} (expected {expected:.2f}), sweep {sweep:.2f}, "
                f"ratio {ratio:.2f} (s.e. {ratio * logs.sem():.2f}); "
                f"{failed} of {2 * len(table)} fits failed the convergence checks",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:] or ("chinchilla", "coupled-discrepancy"))
