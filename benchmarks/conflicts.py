"""How often NOT_MONOTONE and ONE_SIDED are reported: of tables from a law, and of public tables.

Tables are simulated on the designs of the public tables in a folder (``../shared/data``): the
additive law at Besiroglu's constants, with heavy-tailed noise of .3% or Normal noise of 2%. There
both warnings are false alarms. Nothing is asserted.

    python benchmarks/conflicts.py ../shared/data --replicates 100
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import scalebayes as sb
from scalebayes.data.findings.monotone import rises
from scalebayes.posterior.conflicts import one_sided

TRUTH = sb.LAWS["additive"].from_notation(
    {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
)
LAWS = ("additive", "coupled")
NOISES = {"Student-t, 0.3%": (0.003, 3.0), "Normal, 2%": (0.02, np.inf)}
"""Scale and degrees of freedom."""


def public_tables(folder: Path) -> Iterator[sb.Runs]:
    """Yield the public tables of N and D."""
    yield sb.load_runs("hoffmann2022")
    yield sb.load_runs("pile2023")
    yield sb.read_runs(folder / "gemstones2025.csv")
    yield sb.read_runs(folder / "misfitting2025.csv", N="params", strict=False)
    yield sb.read_runs(folder / "olmo_ladder2024.csv", strict=False)
    repeated = pd.read_csv(folder / "muennighoff2023.csv")
    fitted = repeated[repeated["published_fit"]]
    yield sb.read_runs(fitted, name="muennighoff2023", strict=False)
    for corpus, rows in pd.read_csv(folder / "corpora2025.csv").groupby("corpus"):
        yield sb.read_runs(rows.drop(columns="corpus"), name=str(corpus))


def simulated(runs: sb.Runs, scale: float, freedom: float, seed: int) -> sb.Runs:
    """Return the design of a table with losses of the additive law."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(len(runs))
    if np.isfinite(freedom):
        noise = rng.standard_t(freedom, len(runs))
    loss = sb.LAWS["additive"](runs.N, runs.D, **TRUTH) * np.exp(scale * noise)
    return sb.Runs(runs.table.assign(loss=loss), runs.name)


def reports(runs: sb.Runs) -> dict[str, bool]:
    """Return whether each warning is given."""
    found = {f"ONE_SIDED {law}": bool(one_sided(runs, sb.LAWS[law])) for law in LAWS}
    return {"NOT_MONOTONE": bool(rises(runs))} | found


def main() -> None:
    """Print the shares of tables with each warning."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--replicates", type=int, default=100)
    arguments = parser.parse_args()
    rows = []
    for runs in public_tables(arguments.folder):
        rows.append({"table": runs.name, "noise": "as published"} | reports(runs))
        for name, (scale, freedom) in NOISES.items():
            made = [simulated(runs, scale, freedom, s) for s in range(arguments.replicates)]
            shares = pd.DataFrame([reports(one) for one in made]).mean()
            rows.append({"table": runs.name, "noise": name} | shares.to_dict())
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
