"""Time of fits and of the alternatives, in paired runs: only ratios compare across machines.

Run with ``python benchmarks/speed.py``; it prints the table and writes it to
``docs/performance.md``. Whole processes are timed in wall and processor seconds, one route after
the other within each round, and ratios are medians over the rounds. ``--ssl PYTHON`` names an
interpreter with simple-scaling-laws 0.2; brms is used if R has it. ``--route start`` prints the
time of starting alone. Nothing is asserted.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SIMPLE = """
import sys
import polars as pl
from simple_scaling_laws import fit
t = pl.read_csv(sys.argv[1])
runs = {"training_run_id": [str(i) for i in range(len(t))], "model_size__n_params": t["N"]}
runs |= {"dataset_size__n_tokens": t["D"], "test_loss__cross_entropy": t["loss"]}
fit(pl.DataFrame(runs), law="separable-power", n_draws=1000, seed=0)
"""
STAN = """
suppressMessages({library(brms); library(rstan)})
boost <- rstan_options("boost_lib")
if (!nzchar(boost)) boost <- "/usr/include"  # Debian's BH package has no headers of its own
t <- read.csv(commandArgs(TRUE)[1])
t$y <- log(t$loss); t$lN <- log(t$N) - log(1e9); t$lD <- log(t$D) - log(2e10)
f <- bf(y ~ log(exp(lE) + exp(la - exp(lalpha) * lN) + exp(lb - exp(lbeta) * lD)),
        lE + la + lalpha + lb + lbeta ~ 1, nl = TRUE)
p <- c(prior(normal(0.5, 0.7), nlpar = "lE"), prior(normal(-0.9, 1), nlpar = "la"),
       prior(normal(-0.9, 1), nlpar = "lb"), prior(normal(-1.2, 0.6), nlpar = "lalpha"),
       prior(normal(-1.2, 0.6), nlpar = "lbeta"))
m <- brm(f, t, student(), p, chains = 4, iter = 2000, seed = 1, refresh = 0, cores = 2,
         stan_model_args = list(boost_lib = boost))
cat(sprintf('{"ess_bulk": %f, "seconds": %f}\\n', min(posterior::summarise_draws(m)$ess_bulk),
            sum(rstan::get_elapsed_time(m$fit)) / 2))
"""


def plain(runs: object) -> object:
    """The additive law as a user writes it, amplitudes at N = D = 1."""
    import numpy as np
    import pymc as pm

    with pm.Model() as model:
        E = pm.Gamma("E", 2.0, 1.2)
        A = pm.LogNormal("A", np.log(400), 2.0)
        B = pm.LogNormal("B", np.log(400), 2.0)
        alpha = pm.LogNormal("alpha", np.log(0.3), 0.6)
        beta = pm.LogNormal("beta", np.log(0.3), 0.6)
        sigma = pm.HalfNormal("sigma", 0.1)
        nu = 2.0 + pm.Gamma("nu_above_2", 2.0, 0.1)
        log_loss = pm.math.log(E + A / runs.N**alpha + B / runs.D**beta)
        pm.StudentT("log_loss", nu=nu, mu=log_loss, sigma=sigma, observed=np.log(runs.loss))
    return model


def quality(tree: object) -> dict[str, float]:
    """Worst R-hat and least bulk effective draws of the posterior of a route, and divergences."""
    import arviz_stats as azs

    kept = tree["posterior"].to_dataset()
    ess, r_hat = azs.ess(kept, method="bulk"), azs.rhat(kept)
    return {
        "ess_bulk": min(float(ess[name].min()) for name in ess),
        "r_hat": max(float(r_hat[name].max()) for name in r_hat),
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
    }


def route_pymc(by_hand: bool) -> dict[str, float]:
    """pm.sample with its defaults, 4 x 1000 draws."""
    import pymc as pm

    import scalebayes as sb
    from scalebayes.fitting.graph import pymc_model

    runs = sb.load_runs("hoffmann2022")
    with plain(runs) if by_hand else pymc_model(runs, "chinchilla"):
        started = time.perf_counter()
        tree = pm.sample(chains=4, draws=1000, random_seed=0, progressbar=False)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, **quality(tree)}


def route_fit(cache: bool) -> dict[str, float]:
    """`scalebayes.fit` as a script calls it."""
    import scalebayes as sb

    fit = sb.fit(sb.load_runs("hoffmann2022"), "chinchilla", cache=cache)
    return {
        "route": fit.metadata["engine"]["route"],
        "cached": "cached" in fit.metadata,
        "ok": not fit.gate_failures,
    }


def route_refits() -> dict[str, float]:
    """Refits of other rows in one process: the usual fit, and many small ones."""
    import numpy as np

    import scalebayes as sb

    whole = sb.load_runs("hoffmann2022")
    sb.fit(sb.load_runs("pile2023"), "chinchilla")
    seconds, cpu, ess, failed = [], [], [], 0
    for seed in range(5):
        rows = whole.table.drop(index=whole.table.index[seed : 2 * seed])
        started, used = time.perf_counter(), time.process_time()
        fit = sb.fit(sb.Runs(rows, "rows"), "chinchilla", seed=seed)
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
        ess.append(quality(fit.stored)["ess_bulk"])
        failed += bool(fit.gate_failures)
    rng = np.random.default_rng(0)
    tables = []
    for i in range(20):
        rows = whole.table.sample(int(rng.integers(60, 241)), random_state=i)
        tables.append(sb.Runs(rows, f"{i}"))
    passed = 0
    started, used = time.perf_counter(), time.process_time()
    for table in tables:
        fit = sb.fit(table, "chinchilla", chains=2, draws=500)
        passed += not fit.gate_failures
    many, many_cpu = time.perf_counter() - started, time.process_time() - used
    rates = [draws / s for draws, s in zip(ess, seconds, strict=True)]
    cpu_rates = [draws / s for draws, s in zip(ess, cpu, strict=True)]
    return {
        "seconds": statistics.median(seconds),
        "cpu": statistics.median(cpu),
        "rate": statistics.median(rates),
        "cpu_rate": statistics.median(cpu_rates),
        "ess_bulk": min(ess),
        "failed": failed,
        "small": 20 / many,
        "small_cpu": 20 / many_cpu,
        "small_passed": passed,
    }


def route_rows() -> dict[str, object]:
    """Processor time of a gradient by rows, and a fit of 1e6 rows end to end with its memory."""
    import ctypes

    import numpy as np

    import scalebayes as sb
    from scalebayes.fitting import samplers
    from scalebayes.fitting.graph import sampler_data

    whole, spec = sb.load_runs("hoffmann2022").table, sb.read_model("chinchilla")

    def table(rows: int) -> sb.Runs:
        sample = whole.sample(rows, replace=True, random_state=0, ignore_index=True)
        noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(rows))
        return sb.Runs(sample.assign(loss=sample["loss"] * noise), f"{rows} rows")

    by_rows = {}
    for rows in (1_000, 10_000, 100_000, 1_000_000):
        runs = table(rows)
        bound = samplers.engine(spec, runs).sampler.kernel.bind(sampler_data(runs, spec))
        n, pointer = len(bound.layout.free), ctypes.c_void_p
        density = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *(pointer,) * 4)(
            bound.log_density
        )
        x, out = bound.initial.copy(), np.empty(n + 1)
        arguments = (
            n,
            x.ctypes.data,
            out[1:].ctypes.data,
            out.ctypes.data,
            bound.pointers.ctypes.data,
        )
        repeats, best = max(1, 2_000_000 // rows), np.inf
        for _ in range(7):
            used = time.process_time()
            for _ in range(repeats):
                density(*arguments)
            best = min(best, (time.process_time() - used) / repeats)
        by_rows[rows] = best / rows * 1e9
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, used = time.perf_counter(), time.process_time()
    fit = sb.fit(runs, spec, draws=500, tune=400)
    wall, cpu = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "ns": by_rows,
        "wall": wall,
        "cores": cpu / wall,
        "bytes": (peak - before) * 1024 / len(runs),
        "ok": not fit.gate_failures,
    }


def route_start() -> dict[str, str]:
    """Time of light commands, as a ratio to the time that importing their library takes.

    Each is the least of nine rounds, from compiled bytecode as after an installation by pip.
    """
    import scalebayes as sb

    with tempfile.TemporaryDirectory() as folder:
        sb.save(sb.fit(sb.load_runs("hoffmann2022"), "chinchilla"), f"{folder}/fit.nc")
        Path(folder, "bad.csv").write_text("N,D,loss\n1e9,1e10,abc\n")
        predict = ["predict", f"{folder}/fit.nc", "--N", "70B", "--D", "1.4T"]
        commands = {
            "`scalebayes --help`": ["--help"],
            "a file that is not there": ["fit", f"{folder}/none.csv"],
            "a file refused for its contents": ["fit", f"{folder}/bad.csv"],
            "`scalebayes predict` from a saved fit": predict,
        }
        python = {what: ["-m", "scalebayes", *command] for what, command in commands.items()}
        python |= {library: ["-c", f"import {library}"] for library in ("typer", "xarray")}
        flags = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        wall = dict.fromkeys(python, float("inf"))
        cpu = dict.fromkeys(python, float("inf"))
        for _ in range(9):
            for what, arguments in python.items():
                one = timed([sys.executable, *arguments], flags, check=False)
                wall[what] = min(wall[what], one["whole"])
                cpu[what] = min(cpu[what], one["whole_cpu"])
    found = {}
    for what in commands:
        library = "xarray" if "predict" in what else "typer"
        wall_ratio, cpu_ratio = wall[what] / wall[library], cpu[what] / cpu[library]
        text = f"{wall_ratio:.1f} wall, {cpu_ratio:.1f} processor"
        found[f"{what}, over importing {library}"] = text
    return found


ROUTES = {
    "plain": lambda: route_pymc(by_hand=True),
    "graph": lambda: route_pymc(by_hand=False),
    "fit": lambda: route_fit(cache=False),
    "cached": lambda: route_fit(cache=True),
    "refits": route_refits,
    "rows": route_rows,
    "start": route_start,
}


def timed(command: list[str], flags: dict[str, str], check: bool = True) -> dict[str, float]:
    """Wall and processor seconds of a process, with the JSON object that it printed last, if any.

    The flags are variables of its environment.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **flags}
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr[-2000:]}")
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = {"whole": wall, "whole_cpu": cpu}
    lines = done.stdout.strip().splitlines()
    if lines and lines[-1].startswith("{"):
        result |= json.loads(lines[-1])
    return result


def ours(route: str, folder: str | None = None) -> dict[str, float]:
    """Run one route in a process of its own; a folder holds all its caches."""
    flags = {}
    if folder is not None:
        flags["SCALEBAYES_CACHE_DIR"] = f"{folder}/scalebayes"
        flags["NUMBA_CACHE_DIR"] = f"{folder}/numba"
        flags["PYTENSOR_FLAGS"] = f"base_compiledir={folder}/pytensor"
    return timed([sys.executable, __file__, "--route", route], flags)


def processes(rounds: int, ssl: str | None, points: str) -> list[dict[str, dict[str, float]]]:
    """Times of new processes by round: nothing cached, a second time, cached, and alternatives."""
    made = []
    for i in range(rounds):
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as theirs:
            one = {
                "plain": ours("plain", theirs),
                "first": ours("fit", folder),
                "second": ours("fit", folder),
            }
            if ssl:
                one["simple"] = timed([ssl, "-c", SIMPLE, points], {})
            one["again"] = ours("fit", folder)
            ours("cached", folder)
            one["cached"] = ours("cached", folder)
        made.append(one)
        seconds = {
            name: (round(run["whole"], 1), round(run["whole_cpu"], 2)) for name, run in one.items()
        }
        print(f"round {i + 1}: (wall, processor) seconds {seconds}", flush=True)
    return made


def stan(points: str) -> dict[str, float] | str:
    """Sampling times of the same law by brms, or why brms could not be run."""
    look = ["Rscript", "-e", "library(brms)"]
    try:
        found = subprocess.run(look, capture_output=True, check=False)
    except FileNotFoundError:
        return "R is not installed"
    if found.returncode != 0:
        return "brms is not installed for R"
    return timed(["Rscript", "-e", STAN, points], {})


def ratio(rounds: list[dict[str, dict[str, float]]], a: str, b: str) -> str:
    """Median over the rounds of the ratio of two processes, in wall and in processor seconds."""
    wall = statistics.median(one[a]["whole"] / one[b]["whole"] for one in rounds)
    cpu = statistics.median(one[a]["whole_cpu"] / one[b]["whole_cpu"] for one in rounds)
    return f"{wall:.2f} wall, {cpu:.2f} processor"


def report(arguments: argparse.Namespace) -> str:
    """The table in Markdown, from new measurements of everything."""
    import scalebayes as sb

    with tempfile.TemporaryDirectory() as folder:
        points = f"{folder}/points.csv"
        sb.load_runs("hoffmann2022").table.to_csv(points, index=False)
        rounds = processes(arguments.rounds, arguments.ssl, points)
        ours("fit")  # so that what follows compiles nothing
        refits, graph = ours("refits"), ours("graph")
        rows, start, brms = ours("rows"), route_start(), stan(points)
    lines = [
        *_sampling(rounds, refits, graph, brms),
        *_refits(refits),
        *_processes(rounds, bool(arguments.ssl)),
    ]
    lines += _rows(rows)
    for what, found in start.items():
        wanted = "" if "predict" in what else "1.5"
        lines.append((what, wanted, found))
    names = ("scalebayes", "pymc", "nutpie", "pytensor", "numpy")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    machine = f"{os.cpu_count()} cores, {platform.machine()} {platform.system()}"
    where = f"{machine}, load {load:.1f} after it"
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    what = f"Python {platform.python_version()}, {versions}"
    head = f"{datetime.date.today()}: {where}; {what}; {arguments.rounds} rounds."
    body = [f"| {what} | {target} | {got} |" for what, target, got in lines]
    return "\n".join([head, "", "| what | wanted | measured |", "|---|---|---|", *body])


type Line = tuple[str, str, str]
"""Name of a measurement, target, and result."""


def _sampling(rounds: list, refits: dict, graph: dict, brms: dict | str) -> list[Line]:
    rate, least = refits["rate"], refits["ess_bulk"]
    hand = statistics.median(r["plain"]["ess_bulk"] / r["plain"]["seconds"] for r in rounds)
    r_hat = max(r["plain"]["r_hat"] for r in rounds)
    ours = rate * graph["seconds"] / graph["ess_bulk"]
    if isinstance(brms, str):
        stan = brms
    else:
        stan = f"{rate * brms['seconds'] / brms['ess_bulk']:.0f} times its sampling"
    return [
        (
            "bulk effective draws a second of a refit, worst parameter",
            "",
            f"{rate:.0f}; at least {least:.0f} of 4000",
        ),
        (
            "... over pm.sample on the plain script",
            "100 times",
            f"{rate / hand:.0f} times (its R-hat: {r_hat:.2f})",
        ),
        ("... over pm.sample on our graph", "100 times", f"{ours:.0f} times"),
        ("... over brms (Stan)", "300 times", stan),
    ]


def _refits(refits: dict) -> list[Line]:
    one = (
        f"{refits['seconds']:.2f} s wall, {refits['cpu']:.2f} s processor; "
        f"{refits['failed']} of 5 failed the convergence checks"
    )
    many = f"{refits['small']:.1f} a second wall, {refits['small_cpu']:.1f} a processor second"
    passed = f"{refits['small_passed']} of 20 passed the convergence checks"
    return [
        ("refit of other rows, 4 x 1000 draws", "1.0 s", one),
        ("small fits, 2 x 500 draws, 60 to 240 rows", "5 a second", f"{many}; {passed}"),
    ]


def _processes(rounds: list, simple: bool) -> list[Line]:
    over_simple = "skipped: no --ssl PYTHON given"
    if simple:
        over_simple = ratio(rounds, "again", "simple")
    return [
        (
            "new process, nothing cached, over the plain script",
            "0.5",
            ratio(rounds, "first", "plain"),
        ),
        (
            "new process, second time, over the plain script",
            "0.35",
            ratio(rounds, "again", "plain"),
        ),
        (
            "... over simple-scaling-laws 0.2",
            "1",
            over_simple,
        ),
        (
            "new process, the same fit saved, over the plain script",
            "",
            ratio(rounds, "cached", "plain"),
        ),
    ]


def _rows(rows: dict) -> list[Line]:
    checks = "passed" if rows["ok"] else "failed"
    fit = f"{rows['wall']:.0f} s wall, {rows['cores']:.1f} cores used, convergence checks {checks}"
    gradients = []
    for n, ns in rows["ns"].items():
        wanted = "24 ns a row" if int(n) == 1_000_000 else ""
        gradients.append((f"gradient on {int(n):,} rows, one core", wanted, f"{ns:.1f} ns a row"))
    memory = ("... memory beyond the table", "100 bytes a row", f"{rows['bytes']:.0f} bytes a row")
    return [*gradients, ("fit of 1,000,000 rows, 4 x 500 draws, 400 to tune", "", fit), memory]


def main() -> None:
    """Measure, print the table, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--route", choices=ROUTES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ssl", metavar="PYTHON")
    arguments = parser.parse_args()
    if arguments.route:
        print(json.dumps(ROUTES[arguments.route]()))
        return
    text = report(arguments)
    print(text)
    page = PAGE.read_text("utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
