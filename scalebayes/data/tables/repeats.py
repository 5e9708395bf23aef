"""Rows with equal numbers: replicates of a run, copies of a row, or a run given twice."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from scalebayes.data.tables.columns import QUANTITIES
from scalebayes.data.tables.raw_tables import Table
from scalebayes.errors import Fault

MOST_DIGITS = 5
"""Significant digits up to which losses count as rounded: seeds of one run may then agree."""
ROWS_NAMED = 8
"""Rows that a note lists by number; it counts the others."""


def check_repeats(
    table: Table,
    values: Mapping[str, Sequence[Any]],
    columns: Mapping[str, str],
    rows: Sequence[int],
) -> tuple[list[Fault], list[str]]:
    """Return faults of rows that repeat the numbers of another row, and notes of copied rows.

    Rows with equal numbers are replicates if another column, such as a seed or an id, tells them
    apart, or if losses are rounded and other runs of equal inputs have different losses. A row that
    equals another in every column is a copy, and noted, if some column tells rows apart at all.
    Otherwise it cannot be told from a run that was given twice, and is a fault.

    Parameters
    ----------
    table
        All columns, with a cell for each row of the file.
    values, columns
        Values and column of each role, as they were given.
    rows
        Numbers of the rows with these values, from 1.
    """
    repeated = _rows_of_equal_numbers(values, rows)
    if not repeated:
        return [], []
    others = _other_columns(table, values, columns)
    copies = [pair for pair in repeated if _are_equal_in(others, *pair)]
    tells_rows_apart = any(_varies(cells) for cells in others)
    if tells_rows_apart:
        return [], _copy_notes(copies)
    if _has_rounded_replicates(values):
        return [], []
    names = ", ".join(columns[role] for role in QUANTITIES if role in values)
    hint = "a seed or an id in another column tells replicates apart"
    faults = []
    for row, earlier in copies:
        faults.append(Fault(row, names, f"the values of row {earlier}", "each run once", hint))
    return faults, []


def _rows_of_equal_numbers(
    values: Mapping[str, Sequence[Any]], rows: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the rows that repeat the values of an earlier row, each as (row, earlier row).

    Ids are not compared.
    """
    compared = [found for role, found in values.items() if role != "run"]
    keys = []
    for row, key in zip(rows, zip(*compared, strict=True), strict=True):
        has_nan = any(value != value for value in key)
        if not has_nan:
            keys.append((row, key))
    return list(repeats(keys))


def _other_columns(
    table: Table, values: Mapping[str, Sequence[Any]], columns: Mapping[str, str]
) -> list[list[Any]]:
    """Return the cells of the columns that have no role, and of the ids."""
    used = {column for role, column in columns.items() if role in values and role != "run"}
    return [list(table[name]) for name in table if str(name) not in used]


def _are_equal_in(columns: Sequence[Sequence[Any]], row: int, other: int) -> bool:
    """Whether two rows, numbered from 1, have equal cells in all columns."""
    return all(_equal(cells[row - 1], cells[other - 1]) for cells in columns)


def repeats(rows: Iterable[tuple[int, Hashable]]) -> Iterator[tuple[int, int]]:
    """Yield each row whose key occurred before, with the first row of that key."""
    first: dict[Hashable, int] = {}
    for row, key in rows:
        earlier = first.setdefault(key, row)
        if earlier != row:
            yield row, earlier


def listed_rows(rows: Sequence[int]) -> str:
    """Return numbers of rows as text: ``row 2``, or ``rows 2, 3 and 5 more``."""
    noun = "row" if len(rows) == 1 else "rows"
    which = ", ".join(map(str, rows[:ROWS_NAMED]))
    if len(rows) > ROWS_NAMED:
        which += f" and {len(rows) - ROWS_NAMED} more"
    return f"{noun} {which}"


def _equal(one: Any, other: Any) -> bool:
    """Whether two cells hold the same, or both nothing."""
    both_missing = bool(one != one) and bool(other != other)
    return both_missing or str(one) == str(other)


def _varies(cells: Sequence[Any]) -> bool:
    """Whether not all cells hold the same."""
    return any(not _equal(cell, cells[0]) for cell in cells)


def _copy_notes(same: Sequence[tuple[int, int]]) -> list[str]:
    """Return a note of the rows that equal an earlier one in every column."""
    if not same:
        return []
    copies = [row for row, _ in same]
    verb = "equals" if len(copies) == 1 else "equal"
    text = (
        f"{listed_rows(copies)} {verb} an earlier row in every column: kept, as runs of their own"
    )
    return [text]


def is_rounded(value: float) -> bool:
    """Whether a number has at most `MOST_DIGITS` significant digits."""
    return float(f"{value:.{MOST_DIGITS}g}") == value


def _has_rounded_replicates(values: Mapping[str, Sequence[Any]]) -> bool:
    """Whether losses have few digits, and some runs of equal inputs have different losses."""
    losses = values.get("loss", [])
    if not all(is_rounded(loss) for loss in losses if loss == loss):
        return False
    inputs = [found for role, found in values.items() if role not in ("run", "loss")]
    losses_at: dict[Hashable, set[float]] = {}
    for key, loss in zip(zip(*inputs, strict=True), losses, strict=True):
        losses_at.setdefault(key, set()).add(loss)
    return any(len(found) > 1 for found in losses_at.values())
