"""Time what a saved posterior is asked: seconds of 4000 draws, every law, decisions, long lists of targets.

Fits are made by hand around sensible values, so nothing is sampled. Prints the machine and medians of repeats, in
seconds of the processor (other jobs on the machine do not count), and the most memory that the process took.

    .venv/bin/python benchmarks/queries.py
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import xarray as xr

import scalebayes as sb
from scalebayes.posterior import METADATA

SHAPE = (4, 1000)
MIDDLE = {"L_inf": 1.8, "L_0": 2.6, "alpha_N": 0.35, "alpha_D": 0.37, "alpha_ND": 0.36, "kappa": 0.8}
MIDDLE |= {"sigma": 0.01, "nu": 6.0, "eta": 0.01}
BUDGETS = np.geomspace(1e20, 1e25, 200)
TARGETS = 10_000
REPEATS = 3


def handmade(model: str) -> sb.Fit:
    """A fit of the Chinchilla points whose draws scatter by two percent around sensible values."""
    spec, runs, rng = sb.read_model(model), sb.load_runs("hoffmann2022"), np.random.default_rng(0)
    values = {x: MIDDLE.get(x, 0.4) * np.exp(0.02 * rng.standard_normal(SHAPE)) for x in spec.priors}
    for parameter in spec.law_object.parameters:
        if parameter.scale_of:
            size = values[parameter.name]
            values[parameter.name] = spec.priors[parameter.name].at * size ** (1 / values[str(parameter.exponent)])
    posterior = xr.Dataset({name: (("chain", "draw"), value) for name, value in values.items()})
    posterior = posterior.assign_coords(chain=np.arange(SHAPE[0]), draw=np.arange(SHAPE[1]))
    tree = xr.DataTree.from_dict({"posterior": posterior})
    tree.attrs[METADATA] = json.dumps({"partial": False, "gate_failures": []})
    return sb.Fit(spec, runs, tree)


def seconds(query: Callable[[], object], repeats: int = REPEATS) -> str:
    """Median of the processor's seconds, after one call that is not counted; or why there is no answer."""
    try:
        query()
    except sb.ScaleBayesError as error:
        return f"no answer: {error}"[:90]
    times = []
    for _ in range(repeats):
        start = time.process_time()
        query()
        times.append(time.process_time() - start)
    return f"{statistics.median(times):7.3f} s"


def peak() -> str:
    """Most memory this process has taken so far."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB at most so far"


def main() -> None:
    """Run everything."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    sizes, tokens = np.geomspace(1e8, 1e12, TARGETS), np.geomspace(1e12, 1e10, TARGETS)
    small = handmade("chinchilla")
    print(f"predict, {SHAPE[0] * SHAPE[1]} draws x {TARGETS} targets (chinchilla)")
    print(f"  curve alone      {seconds(lambda: sb.predict(small, N=sizes, D=tokens, new_run=False), 1)}, {peak()}")
    print(f"  with new runs    {seconds(lambda: sb.predict(small, N=sizes, D=tokens), 1)}, {peak()}")
    print(f"frontier, {SHAPE[0] * SHAPE[1]} draws x {len(BUDGETS)} budgets")
    for model in sb.list_models().index:
        fit = handmade(str(model))
        print(f"  {model:24}{seconds(lambda fit=fit: sb.frontier(fit, C=BUDGETS), 1)}")
    for model in ("chinchilla", "coupled", "kaplan"):
        fit, cost = handmade(model), sb.with_inference("1T")
        taken = seconds(lambda fit=fit, cost=cost: sb.frontier(fit, C=BUDGETS, cost=cost), 1)
        print(f"  {model + ', serving 1T':24}{taken}")
    print("decisions, one target each")
    for model in ("coupled", "coupled-discrepancy"):
        fit = handmade(model)
        queries = {
            "reach": lambda fit=fit: sb.reach(fit, loss=2.1),
            "regret": lambda fit=fit: sb.regret(fit, N="70B", D="1.4T"),
            "decide": lambda fit=fit: sb.decide(fit, C="5.76e23"),
            "near_optimum": lambda fit=fit: sb.near_optimum(fit, C="5.76e23"),
        }
        for name, query in queries.items():
            print(f"  {model + ', ' + name:34}{seconds(query)}")


if __name__ == "__main__":
    main()
