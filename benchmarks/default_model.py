"""Score models against the criteria for the default model, benchmarks/default_model.toml.

Every model is fitted to the splits of the development tables (`dev_tables`) and predicts the runs
that were held out. Run with ``python benchmarks/default_model.py``; ``--model NAME``, which may be
repeated, names the models (by default the package's default), and ``--keep FOLDER`` stores the
scores of each model and table and reuses them the next time. Two baselines are scored too: the
default of November 2026 and Chinchilla's law.

What is printed for each model:

- every criterion with its value, its bounds and whether it is met;
- the scores of each table, with the numbers of forecasts, distinct held-out runs and trainings. A
  run is forecast from several splits, and forecasts from overlapping splits are no independent
  trials. So intervals of means over tables are t intervals between the tables
  (`scalebayes.datasets.clusters`).

All tables were in sight while the default was chosen.
"""

from __future__ import annotations

import argparse
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dev_tables import OLD_TABLES, TABLES, make_dev_splits, trainings

import scalebayes as sb
from scalebayes.data.subsets import Split
from scalebayes.datasets.clusters import mean_interval, share_interval
from scalebayes.specs.defaults import default_model
from scalebayes.validation import backtest as bt
from scalebayes.validation import sensitivity

CRITERIA = Path(__file__).with_suffix(".toml")
OLD_DEFAULT, CHINCHILLA = "coupled-discrepancy", "chinchilla"
SAMPLER = {"draws": 1000, "chains": 2, "progress": False}
SEED = 0

FAR = 1.0
"""Decades beyond the training runs from which the bias is scored."""
DISTANCES = ("0.5-1", "1-2")
"""Bins of decades beyond the training runs whose coverage has criteria of its own."""
STARTS = (0.0, 1.0, 2.0)
"""Decades of compute beyond the largest run from which N and D, or D alone, are raised."""
WIDE, WIDER = 3.0, 5.0
"""Decades of compute beyond the largest run at which widths are compared."""
LENGTHS = (0.5, 1.0, 2.0)
"""Lengths in decades of a discrepancy whose length is fixed, for `optimum_moves`."""
RUNNING_EXAMPLE, EXAMPLE_BUDGET = "hoffmann2022", 5.76e23
"""Table and budget of N* in `optimum_moves`: the Chinchilla points and Gopher's compute."""


def score_table(model: str | sb.Spec, name: str) -> pd.DataFrame | None:
    """Return the scores of the held-out runs of a table, or None if its file is missing.

    Columns as `scalebayes.validation.backtest.Backtest.scores`, and ``more_hurts`` and
    ``width_ratio`` of the fit.
    """
    made = make_dev_splits(name)
    if made is None:
        return None
    parts = [score_one(model, split) for split in made[0]]
    scores = pd.concat(parts, ignore_index=True)
    shared = trainings(name)
    if len(shared):
        scores = scores.assign(training=scores["run"].map(shared))
    return scores


def score_one(model: str | sb.Spec, split: Split) -> pd.DataFrame:
    """Fit the training runs of a split and score the forecasts of the others."""
    spec = sb.read_model(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.GateWarning)  # counted in the scores instead
        fit = sb.fit(split.train, spec, seed=SEED, **SAMPLER)
    held_out = split.held_out
    losses = sb.predict(fit, N=held_out.N, D=held_out.D, seed=SEED)["new_run"].values
    drawn = bt.Drawn(losses.reshape(-1, len(held_out)), bool(fit.gate_failures))
    scores = bt.score_split(split, spec.name, drawn)
    return scores.assign(more_hurts=more_hurts(fit), width_ratio=width_ratio(fit))


def largest_run(fit: sb.Fit) -> tuple[float, float]:
    """Return N and D of the run of largest compute."""
    runs = fit.runs
    row = int(runs.C.argmax())
    return float(runs.N[row]), float(runs.D[row])


def more_hurts(fit: sb.Fit) -> float:
    """Return the largest probability that ten times D, or ten times C, makes the loss worse.

    It is asked zero, one and two decades of compute beyond the largest run, along its D/N. Ten
    times C raises N and D by the square root of ten each.
    """
    N, D = largest_run(fit)
    probabilities = []
    for decades in STARTS:
        factor = 10 ** (decades / 2)
        start = np.array([factor * N, factor * D])
        more_data = start * [1.0, 10.0]
        more_compute = start * np.sqrt(10.0)
        sizes, tokens = np.transpose([start, more_data, more_compute])
        # One call, because draws of a discrepancy are joint over the targets of a call.
        loss = sb.predict(fit, N=sizes, D=tokens, new_run=False, seed=SEED)["loss"]
        is_worse = loss.isel(target=slice(1, None)) > loss.isel(target=0)
        probabilities.append(float(is_worse.mean(("chain", "draw")).max()))
    return max(probabilities)


def width_ratio(fit: sb.Fit) -> float:
    """Return the width of the curve's 90% interval at 5 decades beyond the runs over that at 3."""
    N, D = largest_run(fit)
    factors = 10 ** (np.array([WIDE, WIDER]) / 2)
    loss = sb.predict(fit, N=factors * N, D=factors * D, new_run=False, seed=SEED)["loss"]
    low, high = loss.quantile([0.05, 0.95], ("chain", "draw")).values
    at_3, at_5 = high - low
    return float(at_5 / at_3)


def optimum_moves(model: str | sb.Spec) -> float:
    """Return how far the median of N* moves between settings of the model, in half widths.

    The settings are the `LENGTHS` of a discrepancy whose length is fixed, exponents that drift half
    and twice as far, and otherwise priors twice as wide. The distance is that of log N*, in half
    widths of its 90% interval as fitted; the largest is returned.
    """
    runs = sb.load_runs(RUNNING_EXAMPLE)
    spec = sb.read_model(model)
    fitted = _log_optimum(runs, spec)
    low, high = np.quantile(fitted, [0.05, 0.95])
    half_width = (high - low) / 2
    moves = []
    for changed in own_settings(spec):
        shift = np.median(_log_optimum(runs, changed)) - np.median(fitted)
        moves.append(abs(shift) / half_width)
    return float(max(moves))


def own_settings(spec: sb.Spec) -> list[sb.Spec]:
    """Return the spec under its other settings (`optimum_moves`)."""
    variants = sensitivity.variants(spec)
    if spec.drift is not None:
        return [variants[f"exponents drift {words} as far"] for words in ("half", "twice")]
    if spec.discrepancy is None:
        return [variants["priors twice as wide"]]
    fields = spec.model_dump()
    changed = []
    for length in LENGTHS:
        discrepancy = fields["discrepancy"] | {"length": length}
        name = f"{spec.name}-length-{length:g}"
        changed.append(
            type(spec).model_validate(fields | {"name": name, "discrepancy": discrepancy})
        )
    return changed


def _log_optimum(runs: sb.Runs, spec: sb.Spec) -> np.ndarray:
    """Return draws of log N* at the budget of the running example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.GateWarning)
        fit = sb.fit(runs, spec, seed=SEED, **SAMPLER)
    return np.log(sb.frontier(fit, C=EXAMPLE_BUDGET)["N"].values.ravel())


def kept_scores(model: str | sb.Spec, keep: Path | None) -> pd.DataFrame:
    """Return the scores of a model on all tables that are there, from the folder where it can.

    A file is found by the table and the hash of the spec. Delete the folder after a change of the
    code that fits.
    """
    spec = sb.read_model(model)
    parts = []
    for name in TABLES:
        path = keep / f"{name}-{spec.name}-{spec.hash[:12]}.csv" if keep else None
        if path and path.is_file():
            parts.append(pd.read_csv(path, dtype={"run": str, "training": str}))
            continue
        scores = score_table(model, name)
        if scores is None:
            continue
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            scores.to_csv(path, index=False)
        print(f"scored {spec.name} on {name}", flush=True)
        parts.append(scores)
    return pd.concat(parts, ignore_index=True)


def values_of(scores: pd.DataFrame, model: str, moves: float) -> dict[str, Any]:
    """Return the value of each column that a criterion may name, a list where it has several.

    scores: of the model and both baselines. moves: of `optimum_moves`.
    """
    result = bt.Backtest(scores)
    overall = result.table().loc[model]
    by_decades = result.table(["decades"]).loc[model]
    own = scores[scores["method"] == model]
    bias = far_bias(own)
    return {
        "cover90": overall["cover90"],
        "cover90_worst": overall["cover90_worst"],
        "cover50": overall["cover50"],
        "cover90_by_decades": [by_decades["cover90"].get(bin, np.nan) for bin in DISTANCES],
        "cover50_by_decades": [by_decades["cover50"].get(bin, np.nan) for bin in DISTANCES],
        "crps_over_old_default": crps_ratio(scores, model, OLD_DEFAULT, OLD_TABLES),
        "crps_over_chinchilla": crps_ratio(scores, model, CHINCHILLA, TABLES),
        "bias_far": float(bias.abs().mean()),
        "more_hurts": float(own["more_hurts"].max()),
        "width_5_over_3": float(fits_of(own).groupby("table")["width_ratio"].mean().mean()),
        "optimum_moves": moves,
    }


def far_bias(own: pd.DataFrame) -> pd.Series:
    """Return the mean bias in nats of each table's forecasts more than one decade beyond."""
    return own[own["decades_beyond"] > FAR].groupby("table")["bias"].mean()


def fits_of(own: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each fit of a model."""
    return own.drop_duplicates(["table", "split"])


def crps_ratio(scores: pd.DataFrame, model: str, baseline: str, tables: Iterable[str]) -> float:
    """Return the geometric mean over tables of the mean CRPS over that of the baseline."""
    crps = scores.groupby(["method", "table"])["crps"].mean()
    there = [table for table in tables if table in crps[model].index]
    log_ratios = np.log(crps[model][there] / crps[baseline][there])
    return float(np.exp(log_ratios.mean()))


def check(values: Mapping[str, Any], criteria: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row for each criterion and value: the value, its bounds, and whether it is met.

    A value is rounded to three decimals, as it is printed, before it is compared.
    """
    rows = []
    for criterion in criteria:
        low = criterion.get("low", -np.inf)
        high = criterion.get("high", np.inf)
        found = values[criterion["column"]]
        for value in np.atleast_1d(found):
            rounded = round(float(value), 3)
            row = {
                "criterion": criterion["name"],
                "value": f"{rounded:.3f}",
                "bounds": bounds_in_words(low, high),
                "met": "yes" if low <= rounded <= high else "NO",
            }
            rows.append(row)
    return pd.DataFrame(rows)


def bounds_in_words(low: float, high: float) -> str:
    """Return the bounds of a criterion as text."""
    if np.isinf(low):
        return f"at most {high:g}"
    if np.isinf(high):
        return f"at least {low:g}"
    return f"{low:g} to {high:g}"


def by_table(scores: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return the scores of a model on each table, and their means with 90% t intervals."""
    own = scores[scores["method"] == model]
    groups = own.groupby("table", sort=False)
    crps = scores.groupby(["method", "table"])["crps"].mean()
    table = pd.DataFrame(
        {
            "splits": groups["split"].nunique(),
            "forecasts": groups.size(),
            "runs": groups["run"].nunique(),
            "trainings": groups["training"].nunique(),
            "in 50%": groups["inside50"].mean(),
            "in 90%": groups["inside90"].mean(),
            "CRPS": groups["crps"].mean(),
            "over old default": crps[model] / crps[OLD_DEFAULT],
            "over Chinchilla": crps[model] / crps[CHINCHILLA],
            "bias beyond 1 decade": far_bias(own),
            "more hurts": groups["more_hurts"].max(),
            "width 5/3, least": groups["width_ratio"].min(),
            "checks failed": fits_of(own).groupby("table")["gate_failed"].sum(),
        }
    )
    return table.loc[list(groups.groups)].round(3)


def sentence(scores: pd.DataFrame, model: str) -> str:
    """Return the coverage in one sentence, with counts and an interval of the mean over tables."""
    own = scores[scores["method"] == model]
    shares = own.groupby("table")["inside90"].mean()
    trained = len(own.drop_duplicates(["table", "training"]))
    runs = len(own.drop_duplicates(["table", "run"]))
    low, high = share_interval(shares, trained)
    bias = far_bias(own)
    lower, upper = mean_interval(bias)
    return (
        f"{model}: 90% intervals covered {shares.mean():.1%} as a mean over {len(shares)} tables "
        f"(90% t interval between tables {low:.1%} to {high:.1%}; worst {shares.idxmin()} "
        f"{shares.min():.1%}), in {len(own)} forecasts of {runs} distinct held-out runs of "
        f"{trained} trainings. Mean bias beyond one decade {bias.mean():+.3f} nats (t interval "
        f"{lower:+.3f} to {upper:+.3f}). The tables were in sight when the default was chosen."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--model", action="append", help="a model; may be repeated (default: the package's default)"
    )
    parser.add_argument("--keep", type=Path, help="folder of scores to store and reuse")
    arguments = parser.parse_args()
    models = arguments.model or [default_model(sb.load_runs(RUNNING_EXAMPLE))]
    criteria = tomllib.loads(CRITERIA.read_text("utf-8"))["criterion"]

    specs = {}
    for model in (*models, OLD_DEFAULT, CHINCHILLA):
        spec = sb.read_model(model)
        specs[spec.name] = spec
    scores = pd.concat(
        [kept_scores(spec, arguments.keep) for spec in specs.values()], ignore_index=True
    )
    for model in models:
        name = sb.read_model(model).name
        values = values_of(scores, name, optimum_moves(model))
        print(f"\n{sentence(scores, name)}\n")
        print(check(values, criteria).to_string(index=False))
        print(f"\n{by_table(scores, name).T.to_string()}")


if __name__ == "__main__":
    main()
