"""Time, memory and accuracy of fits to long tables: the default model, and `chinchilla` for scale.

Tables of a thousand to a hundred thousand runs are simulated: checkpoints of 40 trainings over
two and a half decades of tokens, around a law that bends a little. Each fit runs in a process of
its own after one of the 240 Chinchilla points, so that nothing compiles in the time that is
printed, and memory is what the process needed beyond that fit. Seconds are also printed as ratios
to the fit of 240 runs.

``--jax`` adds NumPyro on JAX, which is meant for a GPU; it compiles for every table anew, and its
seconds include that. ``--docs`` writes the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

import scalebayes as sb

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- long tables: begin -->", "<!-- long tables: end -->"
TRAININGS = 40


def table(rows: int) -> sb.Runs:
    """Checkpoints of 40 trainings, with the noise of a good sweep."""
    rng = np.random.default_rng(rows)
    N = np.repeat(np.geomspace(4e7, 1e10, TRAININGS), rows // TRAININGS)
    D = 1e9 * 10 ** rng.uniform(0.0, 2.5, len(N))
    reducible = 406.4 / N**0.34 + 410.7 / D**0.28
    loss = 1.69 + reducible * np.exp(0.02 * np.sin(1.5 * np.log10(6 * N * D)))
    loss *= np.exp(0.005 * rng.standard_t(6, len(N)))
    return sb.Runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), f"{rows} runs")


def measure(model: str, rows: int, backend: str, seed: int) -> dict[str, object]:
    """Return time, memory and checks of a fit of ``rows`` runs; 0 stands for the 240 points."""
    small = sb.load_runs("hoffmann2022")
    sb.fit(small, model, backend=backend, progress=False)
    if rows > 0:
        runs = table(rows)
        # The kernels of long tables are compiled and kept before the time is taken.
        sb.fit(table(3000), model, backend=backend, progress=False)
    else:
        runs = small
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, used = time.perf_counter(), time.process_time()
    fit = sb.fit(runs, model, backend=backend, progress=False, seed=seed)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tables = sb.diagnose(fit).table
    facts = fit.metadata.get("condensed", {})
    weights = facts.get("weights", {})
    return {
        "rows": len(runs),
        "seconds": seconds,
        "processor": processor,
        "megabytes": (peak - before) / 1024,
        "ess": float(tables[["ess_bulk", "ess_tail"]].to_numpy().min()),
        "passed": not fit.gate_failures,
        "attempts": fit.metadata["attempts"],
        "steps": float(fit.stored["sample_stats"]["n_steps"].mean()),
        "cells": facts.get("cells"),
        "sd": weights.get("log_weight_sd"),
        "k": weights.get("pareto_k"),
        "device": fit.metadata.get("device", "cpu"),
    }


def in_own_process(model: str, rows: int, backend: str, seed: int) -> dict[str, object]:
    """Return what `measure` gives in a new process."""
    command = [sys.executable, __file__, "--one", model, str(rows), backend, "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def line(model: str, backend: str, one: dict, of_240: dict) -> str:
    """Return one row of the table, in Markdown."""
    ratio = one["seconds"] / of_240["seconds"]
    checks = "passed" if one["passed"] else "FAILED"
    if one["attempts"] > 1:
        checks += f" at attempt {one['attempts']}"
    nodes = "" if one["cells"] is None else f"{one['cells']}"
    weights = ""
    if one["sd"] is not None:
        weights = f"{one['sd']:.2f}"
    if one["k"] is not None:
        weights += f"; {one['k']:.2f}"
    return (
        f"| `{model}`, {backend} on {one['device']} | {one['rows']:,} | {one['seconds']:.1f} s | "
        f"{one['processor']:.1f} s | {ratio:.1f} | {one['steps']:.0f} | {one['ess']:.0f} | "
        f"{checks} | {nodes} | {weights} | {one['megabytes']:.0f} MB |"
    )


def main() -> None:
    """Measure, print the table, and with ``--docs`` write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--one", nargs=3, metavar=("MODEL", "ROWS", "BACKEND"))
    parser.add_argument("--rows", default="1000,5000,20000,100000")
    parser.add_argument("--models", default="coupled-drift,chinchilla")
    parser.add_argument("--seed", type=int, default=1, help="of the sampler")
    parser.add_argument("--jax", action="store_true")
    parser.add_argument("--docs", action="store_true")
    arguments = parser.parse_args()
    if arguments.one:
        model, rows, backend = arguments.one
        print(json.dumps(measure(model, int(rows), backend, arguments.seed)))
        return

    today = datetime.date.today()
    print(f"{today}: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before it.\n")
    lines = [
        f"{today}: {os.cpu_count()} cores.",
        "",
        "| model and sampler | runs | wall | processor | wall over 240 runs | steps a draw | "
        "least ESS | convergence checks | nodes | sd of log weights; k-hat | memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines[2:]), flush=True)
    backends = ["nutpie", "jax"] if arguments.jax else ["nutpie"]
    for model in arguments.models.split(","):
        for backend in backends:
            of_240 = in_own_process(model, 0, backend, arguments.seed)
            measured = [of_240]
            lines.append(line(model, backend, of_240, of_240))
            print(lines[-1], flush=True)
            for rows in [int(float(n)) for n in arguments.rows.split(",")]:
                measured.append(in_own_process(model, rows, backend, arguments.seed))
                lines.append(line(model, backend, measured[-1], of_240))
                print(lines[-1], flush=True)
    if arguments.docs:
        page = PAGE.read_text("utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        text = "\n".join(lines)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
