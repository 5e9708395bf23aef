"""The development tables and their splits: what the default model was chosen on.

Seven public tables. Each is split by compute (`scalebayes.data.subsets.make_splits`): a model is
fitted to the 40% to 80% of the runs of least compute, and predicts the others. Two tables have one
further split, which their authors made:

- corpora2025 has one sweep on each of two corpora and one larger run of each. The corpora are split
  apart, and each sweep is fitted to predict its larger run.
- olmo_ladder2024: the runs of up to 1.3B parameters are fitted to predict those of 3B and the two
  targets that were published without a row in the table.

A training is what rows of a table may share: gemstones2025 has 199 checkpoints of 20 trainings. In
the other tables every row is a training of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

import scalebayes as sb
from scalebayes.data.subsets import Split, make_splits

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SCALEBAYES_SHARED_DATA", ROOT.parent / "shared" / "data"))
OLD_TABLES = ("hoffmann2022", "pile2023", "gemstones2025", "muennighoff2023", "misfitting2025")
"""The five tables on which the default of November 2026 was chosen."""
TABLES = (*OLD_TABLES, "corpora2025", "olmo_ladder2024")
OLMO_TARGETS = pd.DataFrame(
    {"params": [6.888e9, 13.202e9], "tokens": [3.945e12, 5e12], "loss": [2.4829, 2.4376]}
)
"""The targets of arXiv:2412.04403, which are no rows of its ladder."""
LARGEST_OF_LADDER = 2e9
"""Parameters between the ladder's runs of 1.3B, which are fitted, and those of 3B."""


def load(name: str) -> sb.Runs | None:
    """Read a table of one sweep as a user would fit it; None if its file is missing."""
    if name in sb.list_runs().query("available == 'embedded'").index:
        return sb.load_runs(name)
    table = read(name)
    if table is None:
        return None
    if name == "muennighoff2023":
        table = table[table["epochs"] <= 1]  # the laws know nothing of repeated data
    if name == "misfitting2025":
        best = table.groupby(["params", "tokens"])["loss"].idxmin()  # of all learning rates
        table = table.loc[best]
    if name == "olmo_ladder2024":
        table = table.drop(columns="run").drop_duplicates(["params", "tokens"])  # without reruns
    return sb.read_runs(table, name=name)


def read(name: str) -> pd.DataFrame | None:
    """Read the file of a table that the package does not embed; None if it is missing."""
    path = SHARED / f"{name}.csv"
    if not path.is_file():
        print(f"skipped {name}: no {path}")
        return None
    return pd.read_csv(path)


def make_dev_splits(name: str) -> tuple[list[Split], list[str]] | None:
    """Return the splits of a development table and notes on them; None if its file is missing.

    Labels of the splits of corpora2025 begin with the corpus.
    """
    if name == "corpora2025":
        return _splits_of_corpora()
    runs = load(name)
    if runs is None:
        return None
    splits, notes = make_splits(runs)
    if name == "olmo_ladder2024":
        splits.append(_targets_of_ladder(runs))
    return splits, notes


def _splits_of_corpora() -> tuple[list[Split], list[str]] | None:
    table = read("corpora2025")
    if table is None:
        return None
    splits = []
    notes: list[str] = []
    for corpus, rows in table.groupby("corpus"):
        sweep = _runs_of_corpus(rows[rows["larger"] == 0])
        target = _runs_of_corpus(rows[rows["larger"] == 1])
        by_compute, more = make_splits(sweep)
        splits += [replace(split, label=f"{corpus}, {split.label}") for split in by_compute]
        splits.append(Split(f"{corpus}, larger run", sweep, target))
        notes += [f"{corpus}: {note}" for note in more]
    return splits, notes


def _runs_of_corpus(rows: pd.DataFrame) -> sb.Runs:
    """Read rows of one corpus. The number of the row is the run's id, unique over the corpora."""
    columns = rows.drop(columns=["corpus", "larger"]).assign(run=rows.index.astype(str))
    return sb.read_runs(columns, name="corpora2025")


def _targets_of_ladder(runs: sb.Runs) -> Split:
    """Return the authors' split of the ladder: fit up to 1.3B, predict 3B and the targets."""
    columns = runs.table[["N", "D", "loss"]].rename(columns={"N": "params", "D": "tokens"})
    small = columns[columns["params"] < LARGEST_OF_LADDER]
    large = columns[columns["params"] > LARGEST_OF_LADDER]
    targets = OLMO_TARGETS.set_index(pd.Index(["target 7B", "target 13B"], name="run"))
    train, held_out = (
        sb.read_runs(part.reset_index(), name=runs.name)
        for part in (small, pd.concat([large, targets]))
    )
    return Split("3B and targets", train, held_out)


def whole_sweeps(name: str) -> list[sb.Runs]:
    """Return a table as its users fit it, whole: one sweep, or one for each corpus."""
    if name == "corpora2025":
        table = read(name)
        if table is None:
            return []
        small = table[table["larger"] == 0]
        return [_runs_of_corpus(rows) for _, rows in small.groupby("corpus")]
    runs = load(name)
    return [] if runs is None else [runs]


def trainings(name: str) -> pd.Series:
    """Return the training of each run of gemstones2025 by the run's id; empty for other tables."""
    runs = load(name) if name == "gemstones2025" else None
    if runs is None:
        return pd.Series(dtype=str)
    # One size for each width and depth: 20 sizes, 20 trainings.
    return runs.table["N"].map("{:.0f} parameters".format)


def each_split() -> Iterator[tuple[str, Split]]:
    """Yield each split of each table whose file is present, with the table's name."""
    for name in TABLES:
        made = make_dev_splits(name)
        if made is None:
            continue
        for split in made[0]:
            yield name, split
