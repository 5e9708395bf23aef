"""Whether knowledge of language models helps on tables of a few runs.

Specs whose priors are in nats per token at 1e9 parameters and 2e10 tokens are set beside the models
of the same laws, whose priors are relative to the table. Runs are taken at random
from those that cost at most a tenth of the largest run of a development table. Each model is
fitted to them and predicts the runs that cost at least three times the dearest of them. The means
over tables of coverage and CRPS are printed by the number of runs. Nothing is asserted.

In November 2026, with three replicates, priors in nats were worse at every size: CRPS of log loss
.0165, .0146 and .0160 at 6, 8 and 12 runs against .0138, .0126 and .0143 (additive law), .0139 and
.0130 at 8 and 12 runs against .0114 and .0120 (coupled law). 90% intervals covered .89 to .94
against .90 to .95. So models/ has no such specs.

    python benchmarks/language_priors.py --replicates 4
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd
from dev_tables import OLD_TABLES, load

import scalebayes as sb
from scalebayes.validation.scoring_rules import score

MODELS = ("chinchilla", "coupled")
NATS: dict[str, dict[str, object]] = {
    "L_inf": {"dist": "Gamma", "alpha": 2.0, "beta": 1.2},
    "N_c": {"at": 1e9, "dist": "LogNormal", "median": 0.4, "sigma": 1.0},
    "D_c": {"at": 2e10, "dist": "LogNormal", "median": 0.4, "sigma": 1.0},
}
"""Priors from what is known of language models: floors and terms as published sweeps found them."""
TABLES = (*OLD_TABLES, "olmo_ladder2024")
SIZES = (6, 8, 12)
"""Numbers of runs in a small table."""
CHEAP = 0.1
"""Largest cost of a run in a small table, over that of the largest run."""
BEYOND = 3.0
"""Least cost of a run that is predicted, over that of the dearest run of the small table."""
MOST_TARGETS = 20
DRAWS = 500


def small_table(runs: sb.Runs, size: int, rng: np.random.Generator) -> tuple[sb.Runs, sb.Runs]:
    """Return a small table and the runs beyond it; where few runs are cheap, the cheapest ones."""
    count = max(size, int((CHEAP * runs.C.max() >= runs.C).sum()))
    cheap = np.argsort(runs.C)[:count]
    chosen = rng.choice(cheap, size, replace=False)
    beyond = np.flatnonzero(BEYOND * runs.C[chosen].max() <= runs.C)
    targets = rng.choice(beyond, min(len(beyond), MOST_TARGETS), replace=False)
    table = runs.table.iloc[chosen]
    return sb.Runs(table, f"{size} of {runs.name}"), sb.Runs(runs.table.iloc[targets], "beyond")


def specs() -> list[sb.Spec]:
    """Return the models, and the same with priors in nats."""
    made = []
    for model in MODELS:
        relative = sb.read_model(model)
        stated = relative.model_dump()
        for name, prior in NATS.items():
            stated["priors"][name] = prior | {"reason": "published sweeps of language models"}
        in_nats = sb.Spec.model_validate(stated | {"name": f"{model}-in-nats"})
        made += [relative, in_nats]
    return made


def scores_of(spec: sb.Spec, runs: sb.Runs, targets: sb.Runs) -> dict[str, float]:
    """Return the mean scores of a spec's forecasts of log losses, and whether checks failed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = sb.fit(runs, spec, draws=DRAWS, progress=False)
    answer = sb.predict(fit, N=targets.N, D=targets.D, new_run=True)
    drawn = np.log(answer["new_run"].values.reshape(-1, len(targets)))
    found = score(drawn, np.log(targets.loss))
    kept = ("inside50", "inside90", "crps", "bias", "interval_score")
    means = {name: float(np.mean(found[name])) for name in kept}
    return means | {"failed": float(bool(fit.gate_failures))}


def measure(name: str, replicates: int) -> list[dict[str, object]]:
    """Return the scores of every model on the small tables of one development table."""
    runs = load(name)
    if runs is None:
        return []
    rows: list[dict[str, object]] = []
    for size in SIZES:
        for replicate in range(replicates):
            rng = np.random.default_rng([size, replicate])
            table, targets = small_table(runs, size, rng)
            if not len(targets):
                continue
            for spec in specs():
                if size <= len(spec.law_object.parameters):
                    continue  # too few runs for this law
                about = {"table": name, "runs": size, "replicate": replicate, "model": spec.name}
                rows.append(about | scores_of(spec, table, targets))
    return rows


def main() -> None:
    """Print the means over tables by the number of runs and the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=4)
    parser.add_argument("--tables", nargs="+", default=TABLES)
    asked = parser.parse_args()
    rows = []
    for name in asked.tables:
        rows += measure(name, asked.replicates)
        print(f"{name}: {len(rows)} forecasts so far", flush=True)
    table = pd.DataFrame(rows)
    of_table = table.groupby(["runs", "model", "table"]).mean(numeric_only=True)
    print(of_table["crps"].unstack("model").round(4).to_string())
    means = of_table.groupby(["runs", "model"]).mean().drop(columns="replicate")
    print(means.round(4).to_string())


if __name__ == "__main__":
    main()
