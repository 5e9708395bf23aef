"""Do the runs that `next_runs` chooses narrow a target more than an isoFLOP sweep of equal cost? Simulation says.

A law is fitted to every sixth of the Chinchilla points. Five or fifteen runs are chosen for a target within a budget;
the rivals are one isoFLOP sweep or three over a decade of compute, of five sizes each around the fitted optimum, at the
same cost. For each of some posterior draws, taken for the truth, both sets of runs get losses from that draw (noise and
discrepancy included), the model is refitted to the old and the new runs, and the width of the target's interval is
noted. Run with ``python benchmarks/next_runs.py``, or with the names of models behind it; about ten minutes a model.
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
    """Keep every so many rows, in order of compute."""
    return sb.Runs(runs.table.sort_values("C").iloc[::step], f"{runs.name}, one run in {step}")


def with_losses(runs: sb.Runs, new: pd.DataFrame, loss: np.ndarray) -> sb.Runs:
    """Add runs with their losses to a table."""
    more = (
        new[["N", "D"]]
        .assign(C=6 * new["N"] * new["D"], loss=loss)
        .set_axis([f"new {i}" for i in range(len(new))])
    )
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
    """Widths after the chosen runs and after as many of some sweeps, one row a truth, over the width before."""
    levels = np.geomspace(0.1, 1.0, sweeps) if sweeps > 1 else np.ones(1)
    designs = {
        "chosen": sb.next_runs(base, budget=BUDGET, target=target, batch=SIZES * sweeps).table,
        "sweep": sb.plan(
            BUDGET / SIZES * levels / levels.sum(), sizes=SIZES, around=base, strict=False
        ).table,
    }
    both = pd.concat(designs.values())
    losses = sb.predict(base, N=both["N"], D=both["D"], seed=seed)["new_run"].values.reshape(
        -1, len(both)
    )
    before, rows = width(base, target), []
    for truth in np.random.default_rng(seed).choice(len(losses), truths, replace=False):
        row = {}
        for name, part in zip(
            designs, np.split(losses[truth], [len(designs["chosen"])]), strict=True
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", sb.GateWarning)  # counted
                after = sb.fit(
                    with_losses(base.runs, designs[name], part), base.spec, seed=seed, **SAMPLER
                )
            row |= {
                name: width(after, target) / before,
                f"{name} failed": bool(after.gate_failures),
            }
        rows.append(row)
    expected = np.sqrt(designs["chosen"]["variance_left"].iloc[-1])
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
            chosen, sweep, expected = (
                np.exp(np.log(table[x]).mean()) for x in ("chosen", "sweep", "expected")
            )
            failed = int(table[["chosen failed", "sweep failed"]].to_numpy().sum())
            print(
                f"{model}, {name}, {SIZES * sweeps} runs: chosen {chosen:.2f} (expected {expected:.2f}), "
                f"sweep {sweep:.2f}, ratio {ratio:.2f} (s.e. {ratio * logs.sem():.2f}); "
                f"{failed} of {2 * len(table)} failed the gate",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:] or ("chinchilla", "coupled-discrepancy"))
