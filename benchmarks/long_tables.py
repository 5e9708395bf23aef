"""Time and effective draws of `scalebayes.fit` on long tables, by nutpie on the CPU and by JAX.

Tables of ten thousand to a million runs are simulated from Chinchilla's law. For each, nutpie and
NumPyro on JAX sample in the same process, one after the other, and JAX names its device. nutpie
compiles once for all tables, and that is timed separately; JAX compiles for every table, and its
seconds include that. With a GPU run ``python benchmarks/long_tables.py``; on a CPU use
``--rows 1000,10000``. Nothing is asserted, except that both backends give the same posterior.
"""

from __future__ import annotations

import argparse
import time

import arviz_stats as azs
import numpy as np
import pandas as pd

import scalebayes as sb

MODEL = "chinchilla"


def table(rows: int) -> sb.Runs:
    """Runs over three decades of both inputs, with the noise of a good sweep."""
    rng = np.random.default_rng(rows)
    N, D = 10 ** rng.uniform(7, 10, rows), 10 ** rng.uniform(9, 12, rows)
    loss = 1.8172 + 482.01 / N**0.3478 + 2085.43 / D**0.3658
    loss *= np.exp(0.01 * rng.standard_t(5, rows))
    return sb.Runs(pd.DataFrame({"N": N, "D": D, "C": 6 * N * D, "loss": loss}), f"{rows} runs")


def measure(runs: sb.Runs, backend: str, **settings: int) -> sb.Fit:
    """Fit and print one line."""
    started = time.perf_counter()
    fit = sb.fit(runs, MODEL, backend=backend, progress=False, **settings)
    seconds = time.perf_counter() - started
    least = float(azs.ess(fit.stored["posterior"].to_dataset()).to_array().min())
    steps = int(fit.stored["sample_stats"]["n_steps"].sum())
    where = fit.metadata.get("device", "cpu")
    print(
        f"{len(runs):>9,} {backend:>7} {where:>4} {seconds:>9.1f} {least:>9.0f} "
        f"{least / seconds:>9.2f} {steps:>9,} {fit.metadata['attempts']:>8}",
        flush=True,
    )
    return fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--tune", type=int, default=1000)
    arguments = parser.parse_args()
    settings = {"draws": arguments.draws, "tune": arguments.tune}
    started = time.perf_counter()
    sb.fit(sb.load_runs("hoffmann2022"), MODEL, progress=False, draws=1000)
    print(f"nutpie, compiling and 240 runs: {time.perf_counter() - started:.1f} s\n")
    print(
        f"{'runs':>9} {'backend':>7} {'on':>4} {'seconds':>9} {'ESS':>9} "
        f"{'ESS/s':>9} {'steps':>9} {'attempts':>8}"
    )
    for rows in [int(float(n)) for n in arguments.rows.split(",")]:
        runs = table(rows)
        ours = measure(runs, "nutpie", **settings).stored["posterior"].to_dataset()
        other = measure(runs, "jax", **settings).stored["posterior"].to_dataset()
        differences = abs(ours.mean() - other.mean()) / ours.std()
        largest = float(differences.to_array().max())
        assert largest < 0.3, f"the posteriors differ by {largest:.2f} sd"


if __name__ == "__main__":
    main()
