"""Time of queries of a posterior of 4000 draws: every law, decisions, long lists of targets.

Draws of laws without a discrepancy are made by hand around sensible values; the others come from a
fit of the Chinchilla points. Prints a table for docs/performance.md: medians of repeats after one
call that is not counted, in wall and processor seconds, and the peak memory of the process so far.
Each repeat asks about another budget, size or loss, because searches for optima are kept with
their fit.

A second table has answers of a saved fit of the default model, each in processes of its own: the
first call, the next one, and the whole process and the whole command, both over a process that
imports xarray and NumPy, run in turn. All of them are in processor seconds.

    .venv/bin/python benchmarks/queries.py            # prints both
    .venv/bin/python benchmarks/queries.py --docs     # and writes them into the page
    .venv/bin/python benchmarks/queries.py --saved    # prints the second alone
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import scalebayes as sb
from scalebayes.posterior.fit import METADATA

DOCS = Path(__file__).parents[1] / "docs" / "performance.md"
MARKERS = ("<!-- questions: begin -->", "<!-- questions: end -->")
SHAPE = (4, 1000)
MIDDLE = {
    "L_inf": 1.8,
    "L_0": 2.6,
    "alpha_N": 0.35,
    "alpha_D": 0.37,
    "alpha_ND": 0.36,
    "kappa": 0.8,
}
MIDDLE |= {"sigma": 0.01, "nu": 6.0, "eta": 0.01, "R_N": 5.0, "R_D": 15.0}
REFERENCE = {"N": 1e9, "D": 2e10, "U": 2e10, "C": 1e21}
"""Inputs at which the terms have the sizes of `MIDDLE`, or 0.4."""
BUDGETS = np.geomspace(1e20, 1e25, 200)
TARGETS = 10_000
REPEATS = 3
ANSWERS = {
    "predict": "sb.predict(fit, N=70e9 * x, D=1.4e12)",
    "frontier": "sb.frontier(fit, C=1e24 * x)",
    "summary": "sb.summary(fit)",
    "decide": "sb.decide(fit, C=1e24 * x)",
    "regret": "sb.regret(fit, N=70e9 * x, D=1.4e12)",
    "reach": "sb.reach(fit, loss=2.0 * x)",
    "near_optimum": "sb.near_optimum(fit, C=1e24 * x)",
    "next_runs": "sb.next_runs(fit, budget=1e21, target={'N': 70e9 * x, 'D': 1.4e12})",
    "diagnose": "sb.diagnose(fit)",
    "frontier of 200 budgets": "sb.frontier(fit, C=x * np.geomspace(1e20, 1e25, 200))",
}
"""Questions to the saved fit of the default model; x differs between the calls of a question."""
COMMANDS = {
    "predict": "predict {path} --N 70B --D 1.4T",
    "frontier": "frontier {path} --C 1e24",
    "summary": "summary {path}",
    "decide": "decide {path} --C 1e24",
    "regret": "regret {path} --N 70B --D 1.4T",
    "reach": "reach {path} --loss 2.0",
    "next_runs": "next-runs {path} --budget 1e21 --N 70B --D 1.4T",
}
"""The same questions on the command line, where there is a command for one alone."""
IMPORTS = "import numpy as np\nimport xarray"
ASKING = """
import time
import scalebayes as sb
fit = sb.load({path!r})
x = 1.0
start = time.process_time()
{question}
first = time.process_time()
x = 1.01
{question}
print(first - start, time.process_time() - first)
"""
"""A process that loads the fit, asks twice and prints the processor seconds of both calls."""


def runs_for(spec: sb.Spec) -> sb.Runs:
    """The Chinchilla points, with all tokens unique where the law asks for these."""
    runs = sb.load_runs("hoffmann2022")
    if "U" in spec.law_object.inputs:
        return sb.Runs(runs.table.assign(U=runs.D), runs.name)
    return runs


def handmade(model: str) -> sb.Fit:
    """A fit of the Chinchilla points whose draws lie within about 2% of sensible values."""
    spec = sb.read_model(model)
    runs = runs_for(spec)
    rng = np.random.default_rng(0)
    values = {
        x: MIDDLE.get(x, 0.4) * np.exp(0.02 * rng.standard_normal(SHAPE)) for x in spec.priors
    }
    for parameter in spec.law_object.parameters:
        if parameter.scale_of:
            size, exponent = values[parameter.name], values[str(parameter.exponent)]
            values[parameter.name] = REFERENCE[parameter.scale_of] * size ** (1 / exponent)
    posterior = xr.Dataset({name: (("chain", "draw"), value) for name, value in values.items()})
    posterior = posterior.assign_coords(chain=np.arange(SHAPE[0]), draw=np.arange(SHAPE[1]))
    tree = xr.DataTree.from_dict({"posterior": posterior})
    tree.attrs[METADATA] = json.dumps({"partial": False, "gate_failures": []})
    return sb.Fit(spec, runs, tree)


def fit_of(model: str) -> sb.Fit:
    """A fit to query: sampled if it has a discrepancy or drifts, otherwise made by hand."""
    spec = sb.read_model(model)
    if spec.discrepancy is not None or spec.drift is not None:
        return sb.fit(runs_for(spec), model)
    return handmade(model)


def timed(what: str, query: Callable[[float], object]) -> str:
    """A row of the table: medians over repeats, or no answer if a law has no optimum.

    query: asks about a budget, size or loss times a factor.
    """
    try:
        query(1.0)
    except sb.QueryError as error:
        print(f"{what}: {error}", flush=True)
        return f"| {what} | no answer | | |"
    wall, used = [], []
    for factor in np.linspace(1.01, 1.05, REPEATS):
        start, start_used = time.perf_counter(), time.process_time()
        query(float(factor))
        wall.append(time.perf_counter() - start)
        used.append(time.process_time() - start_used)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line = (
        f"| {what} | {statistics.median(wall):.3f} | {statistics.median(used):.3f} | {memory:.2f} |"
    )
    print(line, flush=True)
    return line


def table() -> Iterator[str]:
    """Lines of the table: the machine, the header, and a row for each query of each fit."""
    python = platform.python_version()
    yield f"{date.today()}: {os.cpu_count()} cores, Python {python}, numpy {np.__version__}.\n"
    yield "| question, 4000 draws unless stated | seconds | of the processor | GiB at most |"
    yield "|---|---|---|---|"
    sizes, tokens = np.geomspace(1e8, 1e12, TARGETS), np.geomspace(1e12, 1e10, TARGETS)
    for model in ("chinchilla", "coupled-discrepancy"):
        fit, name = fit_of(model), f"`predict`, {TARGETS} targets, `{model}`"
        yield timed(
            f"{name}, no new runs",
            lambda x, fit=fit: sb.predict(fit, N=x * sizes, D=tokens, new_run=False),
        )
        yield timed(
            f"{name}, with new runs", lambda x, fit=fit: sb.predict(fit, N=x * sizes, D=tokens)
        )
    for model in map(str, sb.list_models().index):
        spec = sb.read_model(model)
        if spec.law_object.inputs in (("N", "D"), ("N", "D", "U")) and spec.pool is None:
            limit = {"U": 1e12} if "U" in spec.law_object.inputs else {}
            fit = fit_of(model)
            frontier = partial(frontier_of, fit, **limit)
            yield timed(f"`frontier`, {len(BUDGETS)} budgets, `{model}`{repeated(fit)}", frontier)
            if model in ("chinchilla", "coupled", "kaplan"):
                yield timed(
                    f"`frontier`, {len(BUDGETS)} budgets with serving, `{model}`",
                    partial(frontier, cost=sb.with_inference("1T")),
                )
    for model in ("coupled", "coupled-discrepancy"):
        fit = fit_of(model)
        questions = {
            "reach": lambda x, fit=fit: sb.reach(fit, loss=2.1 * x),
            "regret": lambda x, fit=fit: sb.regret(fit, N=70e9 * x, D=1.4e12),
            "decide": lambda x, fit=fit: sb.decide(fit, C=5.76e23 * x),
            "near_optimum": lambda x, fit=fit: sb.near_optimum(fit, C=5.76e23 * x),
        }
        for name, question in questions.items():
            yield timed(f"`{name}`, `{model}`", question)


def repeated(fit: sb.Fit) -> str:
    """Words for the number of draws where it is not 4000, because an attempt was repeated."""
    sizes = fit.stored["posterior"].sizes
    draws = sizes["chain"] * sizes["draw"]
    return "" if draws == math.prod(SHAPE) else f", {draws} draws"


def frontier_of(fit: sb.Fit, factor: float, **options: Any) -> xr.Dataset:
    """The frontier at many budgets, all times a factor."""
    return sb.frontier(fit, C=factor * BUDGETS, **options)


def processor_seconds(*arguments: str) -> tuple[float, str]:
    """Run Python with some arguments; return its processor seconds and its output.

    It may keep bytecode, as an installed package has it.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-W", "ignore", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, done.stdout


def answers_of_a_saved_fit() -> Iterator[str]:
    """Lines of the second table: the least of some repeats, which other work disturbs least."""
    yield "| answer of a saved default fit | first call, s | next, s | process | command |"
    yield "|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        path = str(sb.save(sb.fit(sb.load_runs("hoffmann2022")), Path(folder) / "fit.nc"))
        for name, question in ANSWERS.items():
            asking = IMPORTS + ASKING.format(path=path, question=question)
            once = asking.replace(f"x = 1.01\n{question}\n", "")
            imports, whole, command, first, following = [], [], [], [], []
            for _ in range(REPEATS):
                imports.append(processor_seconds("-c", IMPORTS)[0])
                whole.append(processor_seconds("-c", once)[0])
                _, printed = processor_seconds("-c", asking)
                seconds = [float(value) for value in printed.split()]
                first.append(seconds[0])
                following.append(seconds[1])
                if name in COMMANDS:
                    words = COMMANDS[name].format(path=path).split()
                    command.append(processor_seconds("-m", "scalebayes", *words)[0])
            line = f"| `{name}` | {min(first):.2f} | {min(following):.2f} "
            line += f"| {min(whole) / min(imports):.1f} "
            line += f"| {min(command) / min(imports):.1f} |" if command else "| |"
            print(line, flush=True)
            yield line


def main() -> None:
    """Print the tables; with --docs, write them into docs/performance.md too."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--saved", action="store_true", help="time answers of a saved fit alone")
    asked = parser.parse_args()
    saved = list(answers_of_a_saved_fit())
    if asked.saved:
        return
    written = asked.docs
    lines = "\n".join([*table(), "", *saved])
    if written:
        before, rest = DOCS.read_text().split(MARKERS[0])
        DOCS.write_text(f"{before}{MARKERS[0]}\n{lines}\n{MARKERS[1]}{rest.split(MARKERS[1])[1]}")


if __name__ == "__main__":
    main()
