"""Whether default fits pass their convergence checks: every table at hand, several seeds.

Every sweep of the development tables (`dev_tables`) and every small table of
``SCALEBAYES_SHARED_DATA/cases`` is fitted as ``sb.fit(runs, seed=...)`` does by default. Run with
``python benchmarks/default_checks.py``; ``--seeds 5`` sets the number of seeds. One line is printed
for each table: the checks that failed in any of its fits, how many fits were repeated, the least
effective sample size, and the most evaluations of the density that one draw took, on average.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from dev_tables import SHARED, TABLES, whole_sweeps

import scalebayes as sb
from scalebayes.posterior.diagnostics import diagnose

PETA = 1e15
"""Factor of the column of compute of the case that is stated in petaFLOP."""
CASES = {
    "01-tiny-transformer-seeds": {
        "N": "num_params",
        "D": "actual_train_tokens",
        "loss": "final_val_loss",
    },
    "02-insurance-deviance": {"D": "n_train", "loss": "test_poisson_deviance"},
    "05-olmo-ladder": {"N": "n", "D": "tokens", "loss": "c4_en_ce"},
    "06-loss-to-loss-starcoder": {"N": "params", "D": "tokens", "loss": "val_loss"},
    "07-toy-laws-long": {"N": "parameters", "D": "tokens", "loss": "loss"},
    "09-fvlm-steps": {"C": "FLOPs (P)", "loss": "Loss"},
    "10-mobilellm-ppl": {"N": "num_params", "loss": "perplexity"},
    "11-whisper-hours": {"D": "hours", "loss": "english_wer_percent"},
    "13-rl-gsm8k": {"N": "model", "loss": "val_loss"},
    "15-double-descent": {"N": "n", "loss": "test_loss"},
}
"""Cases with positive losses, and which of their columns are a model's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    rows = []
    for runs in [*dev_sweeps(), *cases()]:
        row = fit_with(runs, seeds)
        rows.append(row)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    print(f"{table['failed fits'].sum()} of {table['fits'].sum()} fits failed a check")


def dev_sweeps() -> Iterator[sb.Runs]:
    """Yield the whole sweeps of the development tables."""
    for name in TABLES:
        yield from whole_sweeps(name)


def cases() -> Iterator[sb.Runs]:
    """Yield the cases as a user would read them: perplexities become losses, sizes numbers."""
    for name, columns in CASES.items():
        path = SHARED / "cases" / f"{name}.csv"
        if not path.is_file():
            print(f"skipped {name}: no {path}")
            continue
        table = pd.read_csv(path)
        ours = pd.DataFrame({ours: table[theirs] for ours, theirs in columns.items()}).dropna()
        if name == "10-mobilellm-ppl":
            ours["loss"] = np.log(ours["loss"])
        if name == "13-rl-gsm8k":
            ours["N"] = 1e9 * ours["N"].str.removesuffix("B").astype(float)
        if name == "09-fvlm-steps":
            ours["C"] *= PETA
        yield sb.Runs(ours.reset_index(drop=True).rename_axis("run"), name)


def fit_with(runs: sb.Runs, seeds: range) -> dict[str, object]:
    """Return what became of the default fits of a table, one a seed."""
    failures, attempts, effective, evaluations = [], [], [], []
    for seed in seeds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # checks that fail are counted here
            fit = sb.fit(runs, seed=seed, progress=False)
        failures.append(fit.gate_failures)
        attempts.append(fit.metadata["attempts"])
        ess = diagnose(fit).table[["ess_bulk", "ess_tail"]]
        effective.append(ess.to_numpy().min())
        evaluations.append(fit.tree["sample_stats"]["n_steps"].values.mean())
    codes = {code for each in failures for code in each}
    return {
        "table": runs.name,
        "runs": len(runs),
        "model": fit.spec.name,
        "fits": len(failures),
        "failed fits": sum(bool(each) for each in failures),
        "codes": " ".join(sorted(codes)) or "-",
        "repeated": sum(attempt > 1 for attempt in attempts),
        "least ESS": round(min(effective)),
        "steps a draw": round(max(evaluations)),
    }


if __name__ == "__main__":
    main()
