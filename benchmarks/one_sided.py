"""One-sided against Student-t noise: LOO of whole tables, and forecasts of their largest runs.

Both are fitted with the additive law and the same priors of it: `chinchilla` (Student-t) and
`chinchilla-one-sided` (Normal noise plus a gap that falls with compute).

- The seven development tables (`dev_tables.py`): difference in expected log predictive density by
  leave-one-out, and for the splits by compute the mean log predictive density of the held-out runs,
  the share of them within 90% intervals, and the mean error of the median.
- Step Law's grids with the learning rate and batch forgotten: some runs of each sweep at random,
  none of them diverged. The loss of well-tuned runs is known there: the least of each sweep.

    python benchmarks/one_sided.py
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from dev_tables import TABLES, each_split, whole_sweeps
from tuning import read_table

import scalebayes as sb
from scalebayes.queries.predictive_density import log_predictive_density

MODELS = ("chinchilla", "chinchilla-one-sided")
SAMPLER = {"chains": 2, "progress": False, "seed": 0}
PICKED = 8
"""Runs of each sweep of Step Law that are kept."""
CONVERGED = 1.1
"""Runs with a loss above this multiple of the least of their sweep count as diverged."""


def compare_whole(name: str) -> list[dict[str, object]]:
    """Return LOO of one-sided minus Student-t noise on a whole table, with its standard error."""
    rows = []
    for runs in whole_sweeps(name):
        fits = {model: sb.fit(runs, model, **SAMPLER) for model in MODELS}
        pointwise = [_loo(fits[model]) for model in MODELS]
        difference = pointwise[1] - pointwise[0]
        gap = sb.summary(fits[MODELS[1]])["median"]
        error = np.sqrt(len(difference)) * difference.std(ddof=1)
        row = {"table": name, "runs": len(runs), "elpd difference": difference.sum(), "se": error}
        rows.append(row | {"sigma": gap["sigma"], "gap": gap["gap"], "decay": gap["decay"]})
    return rows


def _loo(fit: sb.Fit) -> np.ndarray:
    """Return the pointwise leave-one-out log density, (runs,)."""
    import arviz_stats

    return np.asarray(arviz_stats.loo(fit.tree, pointwise=True).elpd_i).ravel()


def score(fit: sb.Fit, held: sb.Runs) -> dict[str, float]:
    """Return scores of forecasts of held-out runs."""
    inputs = {"N": held.N, "D": held.D}
    drawn = sb.predict(fit, **inputs)["new_run"].values.reshape(-1, len(held))
    low, middle, high = np.quantile(drawn, [0.05, 0.5, 0.95], axis=0)
    return {
        "density": log_predictive_density(fit, held).mean(),
        "covered": ((low <= held.loss) & (held.loss <= high)).mean(),
        "error": np.mean(np.log(held.loss / middle)),
    }


def compare_splits() -> pd.DataFrame:
    """Return scores of every split of every table, one row a split and model."""
    rows = []
    for table, split in each_split():
        for model in MODELS:
            fit = sb.fit(split.train, model, **SAMPLER)
            scores = score(fit, split.held_out)
            rows.append({"table": table, "split": split.label, "model": model} | scores)
    return pd.DataFrame(rows)


def untuned_steps(seed: int) -> pd.DataFrame:
    """Return each sweep's least loss beside the curve fitted to some of its runs, per model."""
    table = read_table(raw=False)
    least = table.groupby(["N", "D"])["loss"].transform("min")
    converged = table[table["loss"] <= CONVERGED * least]
    sample = converged.groupby(["N", "D"]).sample(PICKED, random_state=seed)
    runs = sb.read_runs(sample[["N", "D", "loss"]], name="steplaw2025", strict=False)
    best = table.groupby(["N", "D"], as_index=False)["loss"].min()
    rows = []
    for model in MODELS:
        fit = sb.fit(runs, model, **SAMPLER)
        curve = sb.predict(fit, N=best["N"].to_numpy(), D=best["D"].to_numpy(), new_run=False)
        drawn = curve["loss"].values.reshape(-1, len(best))
        low, middle, high = np.quantile(drawn, [0.05, 0.5, 0.95], axis=0)
        rows.append(
            {
                "seed": seed,
                "model": model,
                "curve above the best": np.mean(middle - best["loss"]),
                "width": np.mean(high - low),
                "covered": ((low <= best["loss"]) & (best["loss"] <= high)).mean(),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Print the three comparisons."""
    warnings.simplefilter("ignore")
    untuned = pd.concat([untuned_steps(seed) for seed in range(3)])
    print(untuned.to_string(index=False, float_format="{:.4f}".format), flush=True)
    whole = [row for name in TABLES for row in compare_whole(name)]
    print(pd.DataFrame(whole).to_string(index=False, float_format="{:.4f}".format), flush=True)
    splits = compare_splits()
    means = splits.groupby(["table", "model"])[["density", "covered", "error"]].mean().unstack()
    print(means.to_string(float_format="{:.3f}".format))
    overall = splits.groupby(["table", "model"])[["density", "covered", "error"]].mean()
    print(overall.groupby("model").mean().to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
