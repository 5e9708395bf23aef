"""Whether default fits pass their convergence checks: every table at hand, several seeds.

Every sweep of the development tables (`dev_tables`) and the small tables of `CASES`, from
``SCALEBAYES_SHARED_DATA/cases``, are fitted as ``sb.fit(runs, seed=...)`` does by default. Run with
``python benchmarks/default_checks.py``; ``--seeds 5`` sets the number of seeds. One line is printed
for each table: the checks that failed in any of its fits, how many fits were repeated, the least
effective sample size of all fits, and the largest mean number of leapfrog steps a draw.
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
    fits = [_default_fit(runs, seed) for seed in seeds]
    failed = [fit for fit in fits if fit.gate_failures]
    repeated = [fit for fit in fits if fit.metadata["attempts"] > 1]
    codes = sorted({code for fit in failed for code in fit.gate_failures})
    least_ess = min(_least_ess(fit) for fit in fits)
    most_steps = max(_steps_a_draw(fit) for fit in fits)
    return {
        "table": runs.name,
        "runs": len(runs),
        "model": fits[0].spec.name,
        "fits": len(fits),
        "failed fits": len(failed),
        "codes": " ".join(codes) or "-",
        "repeated": len(repeated),
        "least ESS": round(least_ess),
        "steps a draw": round(most_steps),
    }


def _default_fit(runs: sb.Runs, seed: int) -> sb.Fit:
    """Return the default fit of a table, without a warning if it fails a check: that is counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sb.fit(runs, seed=seed, progress=False)


def _least_ess(fit: sb.Fit) -> float:
    """Return the least effective sample size of a parameter, of the bulk or of a tail."""
    table = diagnose(fit).table[["ess_bulk", "ess_tail"]]
    return float(table.to_numpy().min())


def _steps_a_draw(fit: sb.Fit) -> float:
    """Return the mean number of leapfrog steps of a draw."""
    return float(fit.stored["sample_stats"]["n_steps"].values.mean())


if __name__ == "__main__":
    main()
