"""Coverage of pooled models on simulated groups, and their sampling of public tables.

Spreads, population and groups are drawn from the prior of a pooled spec. Runs of three groups, one
with few runs, are simulated at fixed sizes and budgets, and the spec is fitted to them. The results
are how often 90% intervals contain the truth (each group's parameters, the population's, the
spreads, and the loss of the small group at a far target), and how often the convergence checks
fail, at the first attempt and finally. Nothing is asserted.

    python benchmarks/pooling.py --models coupled-pooled --replicates 100 --workers 2
    python benchmarks/pooling.py --tables --seeds 4    # pile2023, and five public families

The second skips the five families if a table is missing that is not committed, as described in
``benchmarks/calibration.py``.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from calibration import load

import scalebayes as sb
from scalebayes.specs.population import POPULATION, pooled_prior_draws
from scalebayes.specs.spec import Spec
from scalebayes.specs.table_units import normalise

ROWS = {"first": 14, "second": 14, "thin": 5}
TYPICAL = 2.5
"""Typical loss of the simulated tables, to which priors are relative."""
TARGET = {"N": 2e10, "D": 2e12}
ONE_FAMILY = ("hoffmann2022", "gemstones2025", "muennighoff2023")
"""Public tables of one family of models each."""


def design(rng: np.random.Generator) -> pd.DataFrame:
    """Sizes and tokens of the runs of every group, over two and a half decades each."""
    parts = []
    for name, rows in ROWS.items():
        N, D = 10 ** rng.uniform(7.5, 10, rows), 10 ** rng.uniform(9, 11.5, rows)
        parts.append(pd.DataFrame({"N": N, "D": D, "group": name}))
    return pd.concat(parts, ignore_index=True)


def simulate(spec: Spec, seed: int) -> tuple[dict[str, np.ndarray], float, sb.Runs] | None:
    """Truth (by group where it varies), the thin group's loss at the target, and a simulated table.

    None if a simulated loss is not finite.
    """
    rng = np.random.default_rng(seed)
    table = design(np.random.default_rng(0))
    typical = sb.Runs(table.assign(loss=TYPICAL), "typical")
    fixed = normalise(typical, spec)
    drawn = pooled_prior_draws(fixed.spec, len(ROWS), 1, seed)
    drawn |= spec.law_object.rescale(drawn, fixed.units)
    names = {name: POPULATION.format(name) for name in spec.law_object.parameter_names}
    medians = {name: drawn[label] for name, label in names.items()}
    for name, values in spec.law_object.rescale(medians, fixed.units).items():
        drawn[names[name]] = values
    truth = {name: values[0] for name, values in drawn.items()}
    place = table["group"].map({name: i for i, name in enumerate(ROWS)}).to_numpy()
    of_run = {name: truth[name][place] for name in spec.law_object.parameter_names}
    scatter = rng.standard_t(truth["nu"], len(table)) * truth["sigma"][place]
    loss = spec.law_object(table["N"].to_numpy(), table["D"].to_numpy(), **of_run)
    loss = loss * np.exp(scatter)
    if not np.isfinite(loss).all():
        return None
    thin = {name: truth[name][-1] for name in spec.law_object.parameter_names}
    far = float(spec.law_object(TARGET["N"], TARGET["D"], **thin))
    table = table.assign(C=6 * table["N"] * table["D"], loss=loss)
    return truth, far, sb.Runs(table, f"simulated {seed}")


def fit_all(jobs: list[sb.Job], workers: int) -> Iterator[tuple[sb.Job, sb.Fit]]:
    """Jobs with their fits, whose files are temporary."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.GateWarning)  # it is counted
        made = sb.fit_many(jobs, folder, workers=workers, progress=False)
        for name, error in made.failures.items():
            print(f"{name} failed: {error}", flush=True)
        yield from ((job, made[job.name]) for job in jobs if job.name not in made.failures)


def gates(metadata: list[dict[str, Any]]) -> str:
    """Shares of fits that pass their convergence checks, and the median time, as a sentence."""
    failed = np.array([bool(one["gate_failures"]) for one in metadata])
    first = np.array([one["attempts"] == 1 for one in metadata]) & ~failed
    seconds = np.median([one["seconds"] for one in metadata])
    return (
        f"{len(metadata)} fits, {seconds:.1f} s each; {first.mean():.0%} pass at the first "
        f"attempt, {failed.mean():.0%} fail after all."
    )


def measure(model: str, replicates: int, workers: int) -> str:
    """Coverage over all replicates, as a table in Markdown."""
    spec = sb.read_model(model)
    simulated, jobs = {}, []
    for seed in range(replicates):
        one = simulate(spec, seed)
        if one is not None:
            simulated[str(seed)] = one
            jobs.append(sb.Job(str(seed), one[-1], spec, seed=seed))
    covered: dict[str, list[bool]] = defaultdict(list)
    metadata = []
    for job, fit in fit_all(jobs, workers):
        truth, far, _ = simulated[job.name]
        posterior = fit.stored["posterior"].to_dataset()
        for name, value in truth.items():
            low, high = np.quantile(posterior[name].values, [0.05, 0.95], axis=(0, 1))
            covered[kind_of(name)] += list(np.ravel((low <= value) & (value <= high)))
        loss = sb.predict(sb.group(fit, "thin"), **TARGET)["loss"]
        is_covered = bool(loss.quantile(0.05) <= far <= loss.quantile(0.95))
        covered["loss of the thin group at 20B on 2T"].append(is_covered)
        metadata.append(fit.metadata)
    lines = [f"`{model}`: {gates(metadata)}", ""]
    lines += ["| 90% intervals of | contain the truth in |", "|---|---|"]
    lines += [f"| {kind} | {np.mean(values):.0%} |" for kind, values in covered.items()]
    return "\n".join(lines)


def kind_of(name: str) -> str:
    """The row of the table that counts a variable of the posterior."""
    if "spread" in name:
        return "spreads"
    if "population" in name:
        return "population"
    return "groups, nu"


def public_tables() -> Iterator[sb.Runs]:
    """The two families of pile2023, and five families: these and three tables of one family each.

    The five are skipped if one of their tables is missing.
    """
    pile = sb.load_runs("pile2023")
    yield pile
    others = [load(name) for name in ONE_FAMILY]
    if None not in others:
        parts = [pile.table, *(runs.table.assign(group=runs.name) for runs in others)]
        table = pd.concat(parts, ignore_index=True)[["N", "D", "C", "loss", "group"]]
        yield sb.Runs(table, "five families")


def try_tables(model: str, seeds: int, workers: int) -> str:
    """Results of the convergence checks of public tables with several seeds, a line a table."""
    lines = []
    for runs in public_tables():
        jobs = [sb.Job(f"{runs.name} {seed}", runs, model, seed=seed) for seed in range(seeds)]
        text = gates([fit.metadata for _, fit in fit_all(jobs, workers)])
        lines.append(f"`{model}` on {runs.name} ({len(runs)} runs): {text}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="chinchilla-pooled,coupled-pooled")
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument(
        "--tables", action="store_true", help="fit public tables in place of simulated ones"
    )
    parser.add_argument("--seeds", type=int, default=4, help="fits of each public table")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    for model in arguments.models.split(","):
        if arguments.tables:
            text = try_tables(model, arguments.seeds, arguments.workers)
        else:
            text = measure(model, arguments.replicates, arguments.workers)
        print(text, flush=True)


if __name__ == "__main__":
    main()
