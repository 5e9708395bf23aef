"""Coverage of the intervals: backtests of every method on every public table, against our targets.

Each table is split by compute; each method is fitted to the runs of least compute and scored on the
others (`dev_tables`, `scalebayes.validation.backtest`). Five of the seven tables are not committed:
they are read from ``SCALEBAYES_SHARED_DATA``, by default ``../shared/data``, and skipped if they
are missing. The results are printed. If no table is missing, they are also written between the
markers of ``docs/calibration.md`` and to ``scalebayes/datasets/coverage.csv``, from which the
package reads the coverage at the distance of a user's question. Run with ``python
benchmarks/calibration.py``; ``--keep FOLDER`` stores each table's scores in a folder and reuses
them the next time.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from dev_tables import ROOT, TABLES, make_dev_splits, trainings, whole_sweeps

import scalebayes as sb
from scalebayes.baselines import huber
from scalebayes.data.subsets import Split
from scalebayes.datasets.measured import DIGITS
from scalebayes.validation import backtest as bt

PAGE = ROOT / "docs" / "calibration.md"
COVERAGE = ROOT / "scalebayes" / "datasets" / "coverage.csv"
BEGIN, END = "<!-- begin: written by benchmarks/calibration.py -->", "<!-- end -->"

SPECS = ("chinchilla", "coupled", "coupled-drift")
METHODS: dict[str, bt.Method] = {name: name for name in SPECS} | {
    "equal pool": SPECS,
    "log-huber": huber.forecast,
}
DEFAULT, POOL, ADDITIVE, HUBER = "coupled-drift", "equal pool", "chinchilla", "log-huber"
TARGETS = (
    ("90% intervals cover", "cover90", 0.87, 0.95),
    ("the same, worst table", "cover90_worst", 0.75, 1.0),
    ("50% intervals cover", "cover50", 0.45, 0.60),
    (f"CRPS over that of {ADDITIVE}", "crps_ratio", 0.0, 0.85),
    (f"CRPS over that of {HUBER}", "huber_ratio", 0.0, 0.75),
)
"""Name, column of the table of scores, and target range, chosen before anything was measured."""


def measure(name: str, keep: Path | None, workers: int) -> bt.Backtest | None:
    """Score the splits of a table, or reuse its scores; None if its file is missing."""
    made = make_dev_splits(name)
    if made is None:
        return None
    splits, notes = made
    kept = keep / f"{name}-{key_of(splits)}.csv" if keep else None
    if kept and kept.is_file():
        scores = pd.read_csv(kept, dtype={"run": str})
    else:
        started = time.perf_counter()
        scores = bt.score_splits(splits, METHODS, workers=workers).scores
        seconds = time.perf_counter() - started
        print(f"{name}: {len(splits)} splits, {seconds:.0f} s", flush=True)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            scores.to_csv(kept, index=False)
    shared = trainings(name)
    if len(shared):
        scores = scores.assign(training=scores["run"].map(shared))
    return bt.Backtest(scores, tuple(notes))


def key_of(splits: Sequence[Split]) -> str:
    """Return the first digits of a hash of the splits and of the models that are scored on them."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(f"{split.label} {split.train.hash} {split.held_out.hash}".encode())
    for model in SPECS:
        digest.update(sb.read_model(model).hash.encode())
    return digest.hexdigest()[:12]


def targets(result: bt.Backtest) -> pd.DataFrame:
    """Scores of the default and the pool beside each target.

    Rows are for all distances together and for two ranges of distances.
    """
    by_decades = scores_with_ratios(result, ["decades"])
    tables = {"all distances": scores_with_ratios(result, [])}
    for decades in ("0.5-1", "1-2"):
        tables[decades] = by_decades.xs(decades, level="decades")
    lines = []
    for where, table in tables.items():
        for what, name, low, high in TARGETS:
            line = {"decades beyond": where, "what": what, "target": range_in_words(low, high)}
            for method in (DEFAULT, POOL):
                text = score_in_words(table.loc[method], name)
                is_met = low <= round(table.loc[method, name], 2) <= high  # as it is printed
                line[method] = text if is_met else f"{text}, **missed**"
            lines.append(line)
    return pd.DataFrame(lines)


def score_in_words(scores: pd.Series, name: str) -> str:
    """A score as text: with the interval of a coverage, or the standard error of a ratio."""
    if f"{name}_low" in scores:
        return bt.with_interval(scores[name], scores[f"{name}_low"], scores[f"{name}_high"])
    return bt.with_error(scores[name], scores.get(f"{name}_se", np.nan))


def scores_with_ratios(result: bt.Backtest, by: list[str]) -> pd.DataFrame:
    """Table of scores, with ratios of the CRPS to the additive law's and to log-Huber's."""
    to_additive = result.table(by, ADDITIVE)
    to_huber = result.table(by, HUBER)
    return to_additive.assign(
        huber_ratio=to_huber["crps_ratio"], huber_ratio_se=to_huber["crps_ratio_se"]
    )


def range_in_words(low: float, high: float) -> str:
    """A target range as text, without the bounds 0 and 1 that every score obeys."""
    if low == 0:
        return f"at most {high}"
    if high >= 1:
        return f"at least {low}"
    return f"{low:.2f} to {high:.2f}"


def markdown(table: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    rows = [[str(name) for name in table.columns], ["---"] * len(table.columns)]
    rows += table.astype(str).to_numpy().tolist()
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def page_sections(result: bt.Backtest) -> Iterator[str]:
    """Sections of the page in Markdown: what was tried, the targets, and what was left out."""
    own = result.scores[result.scores["method"] == DEFAULT]
    splits = own.groupby("table", sort=False)["split"].nunique()
    yield (
        f"{len(splits)} tables and {splits.sum()} splits, {len(own)} forecasts for each method. "
        "All tables were used when the default was chosen."
    )
    yield f"{result.sentence(DEFAULT, ADDITIVE)}."
    yield f"{result.sentence(ADDITIVE, ADDITIVE)}."
    yield "### Against the targets\n\n" + markdown(targets(result))
    if result.notes:
        yield "### Splits not made, and splits to read with care\n\n" + "\n".join(
            f"- {note}" for note in result.notes
        )


def further_sections(result: bt.Backtest) -> Iterator[str]:
    """Sections in Markdown that are printed and are not on the page."""
    overall = result.table(baseline=ADDITIVE)
    by_distance = result.table(["decades"], ADDITIVE)
    by_table = result.table(["table"], ADDITIVE)
    tables = {
        "Splits of each table": splits_of_tables(result),
        "Every method, all distances": bt.readable(overall).reset_index(),
        "By decades beyond the training runs": bt.readable(by_distance).reset_index(),
        "By table": bt.readable(by_table).reset_index(),
        "Warning signs": signals(result),
    }
    for heading, table in tables.items():
        yield f"### {heading}\n\n{markdown(table)}"


def splits_of_tables(result: bt.Backtest) -> pd.DataFrame:
    """Return the number of splits of each table."""
    own = result.scores[result.scores["method"] == DEFAULT]
    counts = own.groupby("table", sort=False)["split"].nunique()
    return counts.rename("splits").reset_index()


def signals(result: bt.Backtest) -> pd.DataFrame:
    """Warning signs of each fitted method beside its errors, over splits."""
    scores = result.scores.assign(error=result.scores["abs_error"] / result.scores["loss"])
    rows = []
    for name, own in scores.groupby("method", sort=False):
        far = own["distance_ratio"] > 1
        splits = own.groupby(["table", "split"]).agg(
            {"inside90": "mean", "scatter": "first", "z": lambda z: (z**2).mean()}
        )
        spearman = splits["scatter"].corr(splits["inside90"], method="spearman")
        near = own[~far].groupby("table")["error"].median()
        beyond = own[far].groupby("table")["error"].median()
        correlation = "-" if np.isnan(spearman) else f"{spearman:+.2f}"
        median_z = splits["z"].median()
        share_above = (splits["z"] > bt.ROLLING_Z).mean()
        row = {
            "method": name,
            "median error, nearer than the runs span": f"{near.mean():.1%} ({len(near)} tables)",
            "further": f"{beyond.mean():.1%} ({len(beyond)} tables)",
            "rank correlation of scatter and coverage over splits": correlation,
            "mean squared z, median of splits": f"{median_z:.1f}",
            "splits above 4": f"{share_above:.0%}",
        }
        rows.append(row)
    return pd.DataFrame(rows)


def write_coverage(result: bt.Backtest) -> None:
    """Write the coverage on each table at each distance to the file that the package reads."""
    hashes = {name: sb.read_model(name).hash[:DIGITS] for name in SPECS}
    specs = hashes | {POOL: "+".join(sorted(hashes.values()))}
    bins = dict(zip(bt.BINS, itertools.pairwise((0.0, *bt.EDGES, np.inf)), strict=True))
    table_hashes = {name: hash_of(name) for name in TABLES}
    scores = result.with_decades()
    kept = scores[scores["method"].isin([*specs])]
    keys = ["method", "decades", "table"]
    rows = []
    for (method, decades, table), own in kept.groupby(keys, observed=True, sort=True):
        low, high = bins[decades]
        row = {
            "method": method,
            "spec": specs[method],
            "low": low,
            "high": high,
            "table": table,
            "hash": table_hashes[table],
            "forecasts": len(own),
            "runs": own["run"].nunique(),
            "trainings": own["training"].nunique(),
            "cover50": round(own["inside50"].mean(), 3),
            "cover90": round(own["inside90"].mean(), 3),
        }
        rows.append(row)
    pd.DataFrame(rows).to_csv(COVERAGE, index=False)


def hash_of(name: str) -> str:
    """Return the first digits of the hashes of a table's sweeps, joined by plus signs."""
    sweeps = [sweep.hash[:DIGITS] for sweep in whole_sweeps(name)]
    return "+".join(sweeps)


def write_page(text: str) -> None:
    """Put the results between the markers of the page."""
    page = PAGE.read_text("utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", type=Path, help="folder of scores to store and reuse")
    parser.add_argument("--workers", type=int, default=1, help="processes that fit side by side")
    arguments = parser.parse_args()
    measured = {name: measure(name, arguments.keep, arguments.workers) for name in TABLES}
    there = [one for one in measured.values() if one is not None]
    result = bt.combine(there)
    text = "\n\n".join(page_sections(result))
    print(text, *further_sections(result), sep="\n\n")
    if len(there) == len(TABLES):
        write_page(text)
        write_coverage(result)


if __name__ == "__main__":
    main()
