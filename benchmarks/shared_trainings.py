"""Coverage of the curve where checkpoints share a training, with and without offsets of trainings.

Losses are simulated on the design of gemstones2025 (199 checkpoints of 20 trainings): the additive
law at Besiroglu's constants, an offset of each training and noise. The table is fitted with its
column ``training``, which gives each training an offset, and without it. The results are how often
intervals contain the true curve at targets among the runs and beyond. Nothing is asserted.

    python benchmarks/shared_trainings.py ../shared/data/gemstones2025.csv --replicates 40
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import scalebayes as sb

TRUTH = sb.LAWS["additive"].from_notation(
    {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
)
TARGETS = {"N": np.array([2e8, 1e9, 5e9, 7e10]), "D": np.array([4e10, 1e11, 2e11, 1.4e12])}


def simulated(path: Path, omega: float, sigma: float, seed: int) -> pd.DataFrame:
    """Return the design with simulated losses and the name of each training."""
    design = pd.read_csv(path)
    training = design["width"].astype(str) + "x" + design["depth"].astype(str)
    rng = np.random.default_rng(seed)
    names = training.unique()
    offsets = dict(zip(names, omega * rng.standard_normal(len(names)), strict=True))
    error = training.map(offsets) + sigma * rng.standard_normal(len(design))
    N, D = design["params"], design["tokens"]
    loss = sb.LAWS["additive"](N, D, **TRUTH) * np.exp(error)
    return pd.DataFrame({"N": N, "D": D, "loss": loss, "training": training})


def covered(table: pd.DataFrame, model: str, seed: int) -> np.ndarray:
    """Return whether 90% intervals of the curve contain the truth, (targets,)."""
    runs = sb.read_runs(table, name="simulated")
    fit = sb.fit(runs, model, seed=seed, draws=500, progress=False)
    answer = sb.predict(fit, **TARGETS, new_run=False)
    low, high = answer["loss"].quantile([0.05, 0.95], dim=("chain", "draw")).values
    truth = sb.LAWS["additive"](TARGETS["N"], TARGETS["D"], **TRUTH)
    return (low <= truth) & (truth <= high)


def main() -> None:
    """Print the coverage at each target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--model", default="chinchilla")
    parser.add_argument("--replicates", type=int, default=40)
    parser.add_argument("--omega", type=float, default=0.01)
    parser.add_argument("--sigma", type=float, default=0.003)
    arguments = parser.parse_args()
    results: dict[str, list[np.ndarray]] = {"with trainings": [], "without": []}
    for seed in range(arguments.replicates):
        table = simulated(arguments.table, arguments.omega, arguments.sigma, seed)
        results["with trainings"].append(covered(table, arguments.model, seed))
        results["without"].append(covered(table.drop(columns="training"), arguments.model, seed))
    columns = [f"{N:.3g} on {D:.3g}" for N, D in zip(TARGETS["N"], TARGETS["D"], strict=True)]
    shares = {name: np.mean(rows, axis=0) for name, rows in results.items()}
    summary = pd.DataFrame(shares, index=columns).T
    summary["mean"] = summary.mean(axis=1)
    print(summary.to_string(float_format="{:.2f}".format))


if __name__ == "__main__":
    main()
