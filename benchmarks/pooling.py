"""Do pooled models find what was planted? Simulations from their own prior, three groups of runs, one of them thin.

Spreads, population and groups are drawn from the prior of a pooled spec, runs simulated at fixed sizes and budgets, and
the spec fitted to them. Counted are how often 90% intervals hold the truth (of each group's parameters, of the
population's, of the spreads, and of the loss at a far target of the thin group and of a group without runs), and how
often the gate fails, at the first attempt and after all. Run with
``python benchmarks/pooling.py --models chinchilla-pooled,coupled-pooled --replicates 100``; nothing is asserted.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict

import numpy as np
import pandas as pd

import scalebayes as sb
from scalebayes.pooling import pooled_prior_draws
from scalebayes.spec import Spec

ROWS = {"first": 14, "second": 14, "thin": 5}
TARGET = {"N": 2e10, "D": 2e12}


def design(rng: np.random.Generator) -> pd.DataFrame:
    """Sizes and tokens of the runs of every group, over two and a half decades each."""
    parts = []
    for name, rows in ROWS.items():
        N, D = 10 ** rng.uniform(7.5, 10, rows), 10 ** rng.uniform(9, 11.5, rows)
        parts.append(pd.DataFrame({"N": N, "D": D, "group": name}))
    return pd.concat(parts, ignore_index=True)


def simulate(spec: Spec, seed: int) -> tuple[dict[str, np.ndarray], float, sb.Runs] | None:
    """Truth, by group or alone, the thin group's loss at the target, and a table; None where no loss is finite."""
    rng = np.random.default_rng(seed)
    table = design(np.random.default_rng(0))
    truth = {name: values[0] for name, values in pooled_prior_draws(spec, len(ROWS), 1, seed).items()}
    place = table["group"].map({name: i for i, name in enumerate(ROWS)}).to_numpy()
    of_run = {name: truth[name][place] for name in spec.law_object.parameter_names}
    scatter = rng.standard_t(truth["nu"], len(table)) * truth["sigma"][place]
    loss = spec.law_object(table["N"].to_numpy(), table["D"].to_numpy(), **of_run) * np.exp(scatter)
    if not np.isfinite(loss).all():
        return None
    thin = {name: truth[name][-1] for name in spec.law_object.parameter_names}
    far = float(spec.law_object(TARGET["N"], TARGET["D"], **thin))
    return truth, far, sb.Runs(table.assign(C=6 * table["N"] * table["D"], loss=loss), f"simulated {seed}")


def measure(model: str, replicates: int) -> str:
    """Fit every replicate; a table in Markdown."""
    spec, held, attempts, failed, seconds = sb.read_model(model), defaultdict(list), [], 0, []
    for seed in range(replicates):
        made = simulate(spec, seed)
        if made is None:
            continue
        truth, far, runs = made
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = sb.fit(runs, spec, seed=seed, progress=False)
        seconds.append(time.perf_counter() - started)
        attempts.append(fit.metadata["attempts"])
        failed += bool(fit.gate_failures)
        posterior = fit.tree["posterior"].to_dataset()
        for name, value in truth.items():
            kind = "spreads" if "spread" in name else "population" if "population" in name else "groups, nu"
            low, high = np.quantile(posterior[name].values, [0.05, 0.95], axis=(0, 1))
            held[kind] += list(np.ravel((low <= value) & (value <= high)))
        loss = sb.predict(sb.group(fit, "thin"), **TARGET)["loss"]
        held["loss of the thin group at 20B on 2T"].append(bool(loss.quantile(0.05) <= far <= loss.quantile(0.95)))
    first = np.mean(np.array(attempts) == 1)
    lines = [f"`{model}`: {len(attempts)} replicates, {np.median(seconds):.1f} s each; {first:.0%} pass at the first"]
    lines[0] += f" attempt, {failed / len(attempts):.0%} fail after all."
    lines += ["", "| 90% intervals of | hold the truth in |", "|---|---|"]
    return "\n".join([*lines, *(f"| {kind} | {np.mean(values):.0%} |" for kind, values in held.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", default="chinchilla-pooled,coupled-pooled")
    parser.add_argument("--replicates", type=int, default=100)
    arguments = parser.parse_args()
    for model in arguments.models.split(","):
        print(measure(model, arguments.replicates), flush=True)


if __name__ == "__main__":
    main()
