"""Measured coverage of intervals on held-out runs of public tables."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from scalebayes.datasets.clusters import share_interval

if TYPE_CHECKING:
    import pandas as pd

FILE = "coverage.csv"
COLUMNS = [
    *("method", "spec", "low", "high", "forecasts", "runs", "trainings", "tables"),
    *("cover50", "cover50_low", "cover50_high", "cover90", "cover90_low", "cover90_high"),
    *("cover90_worst", "worst_table", "left_out"),
]
"""Columns of `coverage`."""
DIGITS = 12
"""Leading digits of hashes of tables and specs in the file."""


def coverage(leave_out: Collection[str] = ()) -> pd.DataFrame:
    """Return the measured coverage of intervals by method and distance beyond the runs.

    Every table counts the same. The tables were in sight when the default model was chosen. The
    file has one row for each table, so that the table of a user's own fit can be left out;
    ``benchmarks/calibration.py`` writes it.

    Parameters
    ----------
    leave_out
        Names of tables, or the first `DIGITS` digits of their hashes.

    Returns
    -------
    pandas.DataFrame
        One row for each method and range of distances that has a table: ``method``; ``spec`` (the
        hash of the spec, or of all specs of an equal pool); ``low`` and ``high`` (decades of
        compute beyond the training runs); the numbers of ``forecasts``, distinct ``runs`` and
        ``trainings``, and ``tables``; means over tables of the share of losses inside 50% and 90%
        intervals (``cover50``, ``cover90``) with 90% intervals of the means (``_low``, ``_high``;
        NaN with one table); ``cover90_worst``, the least of a table, and ``worst_table``; and
        ``left_out``, the names of the tables that were left out, joined by commas.
    """
    return _coverage(frozenset(leave_out)).copy()


def coverage_at(distance: float, leave_out: Collection[str] = ()) -> pd.DataFrame:
    """Return the rows of `coverage` whose range contains a distance, in decades beyond the runs.

    Every answer asks for them, and the intervals of all rows would take as long as the answer.
    """
    table = _read()
    contains = (table["low"] < distance) & (distance <= table["high"])
    lows = frozenset(table.loc[contains, "low"])
    return _coverage(frozenset(leave_out), lows).copy()


@lru_cache(maxsize=32)
def _coverage(leave_out: frozenset[str], lows: frozenset[float] | None = None) -> pd.DataFrame:
    """Return `coverage`, or its rows with some lower ends of the distance, computed once."""
    import pandas as pd

    table = _read()
    if lows is not None:
        table = table[table["low"].isin(lows)]
    is_left_out = table["table"].isin(leave_out) | _any_hash(table["hash"], leave_out)
    left_out = ", ".join(table.loc[is_left_out, "table"].unique())
    rows = []
    keys = ["method", "spec", "low", "high"]
    for key, own in table[~is_left_out].groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        rows.append({**row, **_mean_over_tables(own), "left_out": left_out})
    return pd.DataFrame(rows, columns=COLUMNS)


@lru_cache(maxsize=1)
def _read() -> pd.DataFrame:
    """Return the file: a row for each table, method and distance."""
    import pandas as pd

    with as_file(files("scalebayes.datasets") / FILE) as path:
        return pd.read_csv(path, dtype={"spec": str, "hash": str}, keep_default_na=False)


def _any_hash(hashes: pd.Series[str], leave_out: Collection[str]) -> pd.Series[bool]:
    """Return which tables have one of these hashes. A table of several sweeps has one for each."""
    return hashes.map(lambda joined: not set(joined.split("+")).isdisjoint(leave_out))


def _mean_over_tables(own: pd.DataFrame) -> dict[str, float | int | str]:
    """Return counts and means of the rows of one method and distance, one row for each table."""
    counts = own[["forecasts", "runs", "trainings"]].sum()
    worst = own["cover90"].argmin()
    trainings = int(counts["trainings"])
    row: dict[str, float | int | str] = {str(name): int(n) for name, n in counts.items()}
    row["tables"] = len(own)
    for name in ("cover50", "cover90"):
        row[name] = float(own[name].mean())
        row[f"{name}_low"], row[f"{name}_high"] = share_interval(own[name].to_numpy(), trainings)
    row["cover90_worst"] = float(own["cover90"].iloc[worst])
    row["worst_table"] = str(own["table"].iloc[worst])
    return row


def describe_tables(row: pd.Series) -> str:
    """Return the coverage of 90% intervals of a row of `coverage` as text.

    As in "93% as a mean over 5 public tables (worst 88%; 90% interval of the mean 85% to 97%; 1128
    forecasts of 342 distinct runs of 163 trainings)".
    """
    counts = f"{row['forecasts']:.0f} forecasts of {row['runs']:.0f} distinct runs"
    if row["trainings"] < row["runs"]:
        counts += f" of {row['trainings']:.0f} trainings"
    if row["tables"] == 1:
        return f"{row['cover90']:.0%} on 1 public table ({counts})"
    return (
        f"{row['cover90']:.0%} as a mean over {row['tables']:.0f} public tables (worst "
        f"{row['cover90_worst']:.0%}; 90% interval of the mean {row['cover90_low']:.0%} to "
        f"{row['cover90_high']:.0%}; {counts})"
    )


def describe_choice(row: pd.Series) -> str:
    """Return the sentence that qualifies a row of `coverage`: what was known, what is left out."""
    text = "these tables were used when the default model was chosen"
    if row["left_out"]:
        text += f"; your own table, {row['left_out']}, is not among them"
    return text
