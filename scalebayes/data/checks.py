"""Checks of a table of runs: find its columns, read its cells and report all faults at once.

In plain Python, because importing pandas takes longer than checking a table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from typing import Any

from scalebayes.data.columns import (
    BASIC,
    LABELS,
    QUANTITIES,
    check_units,
    known,
    label,
    match_columns,
)
from scalebayes.data.loss_units import UNITS, to_nats
from scalebayes.data.metrics import NATS_PER_TOKEN, read_metric
from scalebayes.data.sources import Table
from scalebayes.errors import Fault, RunsError
from scalebayes.units import parse_quantity

type Values = dict[str, list[Any]]
"""By role: numbers of N, D, C, S, U, E and loss, and names of group, training and run."""

SMALLEST, LARGEST = 1e-100, 1e100
"""Range of the numbers that a cell may hold, so that products of three of them stay finite."""
COMPUTE_TOLERANCE = 0.1
"""Relative difference of C from 6ND above which a note says that C was kept as given."""
ROWS_NAMED = 8
"""Incomplete rows that a note lists by number; it counts the others."""
CELL_LENGTH = 30
"""Characters of a faulty cell that an error quotes."""


def check_table(
    table: Table,
    name: str,
    asked: Mapping[str, str | None],
    strict: bool = True,
    skip_incomplete: bool = False,
    loss_unit: str = "nats",
    tokens_per_byte: float | None = None,
    metric: str | None = None,
) -> tuple[Values, tuple[str, ...]]:
    """Return the values of the columns that have a role, and notes of what was assumed.

    Parameters
    ----------
    table, name
        Columns by name, and what errors call the table.
    asked
        Column chosen for each role; None or absent where it is to be recognised by its name.
    strict, skip_incomplete, loss_unit, tokens_per_byte, metric
        As `scalebayes.read_runs` takes them.

    Raises
    ------
    RunsError
        With all faults of the table at once.
    """
    roles = (*QUANTITIES, *LABELS)
    unknown = set(asked).difference(roles)
    if unknown:
        raise RunsError(
            f"no such role of a column: {', '.join(sorted(unknown))}; "
            f"allowed are {', '.join(QUANTITIES)}"
        )
    metric = read_metric(metric, loss_unit) or NATS_PER_TOKEN
    columns, faults = match_columns(table, {role: asked.get(role) for role in roles})
    first_column = str(next(iter(table)))
    rows = list(range(1, 1 + len(table[first_column])))
    cells = {role: list(table[column]) for role, column in columns.items()}
    notes: list[str] = []
    if skip_incomplete:
        rows, cells = _complete(rows, cells, columns, name, notes)
    values = {role: _read_cells(role, found) for role, found in cells.items()}
    _convert_losses(values, columns, loss_unit, tokens_per_byte, notes)
    with_third = _with_third(values, notes)

    suspicions = []
    # With a column wrong or missing, these checks would report faults that are not there.
    if not faults:
        suspicions += check_units(
            with_third, columns, rows, in_nats=loss_unit == "nats", metric=metric
        )
        suspicions += _check_repeats(values, columns, rows)
    faults += _check_cells(rows, cells, values, columns, metric)
    ids = values.get("run")
    if faults or (strict and suspicions):
        raise _refusal(name, rows, ids, faults, suspicions if strict else [])
    notes += _as_notes(suspicions)
    return {**with_third, "run": ids or [str(row) for row in rows]}, tuple(notes)


def _complete(
    rows: list[int], cells: Values, columns: dict[str, str], name: str, notes: list[str]
) -> tuple[list[int], Values]:
    """Return the rows, by their original numbers, that have a value in each column with a role."""
    if not cells:
        return rows, cells
    is_complete = [all(map(label, row)) for row in zip(*cells.values(), strict=True)]
    if not any(is_complete):
        raise RunsError(
            f"{name}: none of the {count(rows, 'row')} has a value in every one of "
            f"{', '.join(columns.values())}"
        )
    skipped = [row for row, complete in zip(rows, is_complete, strict=True) if not complete]
    if skipped:
        which = ", ".join(map(str, skipped[:ROWS_NAMED]))
        if len(skipped) > ROWS_NAMED:
            which += f" and {len(skipped) - ROWS_NAMED} more"
        notes.append(
            f"{len(skipped)} of {count(rows, 'row')} skipped for missing values: "
            f"{_plural(skipped, 'row')} {which}"
        )
    kept = {role: list(itertools.compress(found, is_complete)) for role, found in cells.items()}
    return list(itertools.compress(rows, is_complete)), kept


def _read_cells(role: str, cells: list[Any]) -> list[Any]:
    """Return numbers, NaN where a cell holds no usable one, or names, empty where there is none."""
    if role in QUANTITIES:
        return [_number(cell) for cell in cells]
    return [label(cell) for cell in cells]


def _number(cell: object) -> float:
    try:
        number = parse_quantity(cell)
    except ValueError:
        return math.nan
    return number if SMALLEST < number < LARGEST else math.nan


def _convert_losses(
    values: Values,
    columns: dict[str, str],
    unit: str,
    tokens_per_byte: float | None,
    notes: list[str],
) -> None:
    """Convert losses to nats per token in place, NaN where the result is not positive."""
    if unit == "nats" and tokens_per_byte is None:
        return
    import numpy as np

    # Converted even without a column of losses, so that a wrong unit is always an error.
    losses = to_nats(np.array(values.get("loss", [])), unit, tokens_per_byte=tokens_per_byte)
    if "loss" not in values:
        return
    values["loss"] = np.where(losses > 0, losses, np.nan).tolist()
    note = f"loss in nats per token from {columns['loss']}: {UNITS[unit].formula}"
    if tokens_per_byte is not None:
        note += f" ({tokens_per_byte:g})"
    notes.append(note)


def _with_third(given: Values, notes: list[str]) -> Values:
    """Return the values by role, with N, D or C added where the two others are given."""
    values = dict(given)
    N, D, C = (given.get(role) for role in BASIC)
    if N and D and C:
        ratios = known(c / (6 * n * d) for n, d, c in zip(N, D, C, strict=True))
        if any(abs(ratio - 1) > COMPUTE_TOLERANCE for ratio in ratios):
            notes.append(f"C is kept as given: {min(ratios):.3g} to {max(ratios):.3g} times 6ND")
    elif N and D:
        values["C"] = [6 * n * d for n, d in zip(N, D, strict=True)]
        notes.append("C was computed as 6 N D")
    elif N and C:
        values["D"] = [c / (6 * n) for n, c in zip(N, C, strict=True)]
        notes.append("D = C/6N, from N and C")
    elif D and C:
        values["N"] = [c / (6 * d) for d, c in zip(D, C, strict=True)]
        notes.append("N = C/6D, from D and C")
    return {role: values[role] for role in (*QUANTITIES, "group", "training") if role in values}


def _check_cells(
    rows: list[int], cells: Values, values: Values, columns: dict[str, str], metric: str
) -> Iterator[Fault]:
    """Yield faults of unusable cells (missing or not positive), repeated ids, a constant loss.

    metric: unit of the losses.
    """
    for role, column in columns.items():
        allowed = "a name"
        if role in QUANTITIES:
            unit = metric if role == "loss" else QUANTITIES[role].unit
            allowed = f"a positive number of {unit}"
        for row, cell, value in zip(rows, cells[role], values[role], strict=True):
            if not _is_missing(value):
                continue
            got = label(cell)[:CELL_LENGTH] or "nothing"
            hint = ""
            if role == "loss" and "%" in got and metric == NATS_PER_TOKEN:
                hint = "a percentage is not a loss"
            yield Fault(row, column, got, allowed, hint)
    ids = values.get("run", [])
    named = [(row, run) for row, run in zip(rows, ids, strict=False) if run]
    for row, earlier in _repeats(named):
        yield Fault(row, columns["run"], f"the id of row {earlier}", "a different id for each run")
    losses = values.get("loss", [])
    if len(losses) > 1 and all(loss == losses[0] for loss in losses):
        yield Fault(None, columns["loss"], f"{losses[0]:g} in every row", "a loss that varies")


def _is_missing(value: Any) -> bool:
    """Whether a value is an empty name or NaN, which alone differs from itself."""
    return value == "" or bool(value != value)


def _check_repeats(given: Values, columns: dict[str, str], rows: list[int]) -> Iterator[Fault]:
    """Yield a fault for each row that repeats the numbers of an earlier row."""
    names = ", ".join(columns[role] for role in QUANTITIES if role in given)
    compared = [found for role, found in given.items() if role != "run"]
    keys = []
    for row, key in zip(rows, zip(*compared, strict=True), strict=True):
        has_nan = any(value != value for value in key)
        if not has_nan:
            keys.append((row, key))
    for row, earlier in _repeats(keys):
        yield Fault(row, names, f"the values of row {earlier}", "each run once")


def _repeats(rows: Iterable[tuple[int, Hashable]]) -> Iterator[tuple[int, int]]:
    """Yield each row whose key occurred before, with the first row of that key."""
    first: dict[Hashable, int] = {}
    for row, key in rows:
        earlier = first.setdefault(key, row)
        if earlier != row:
            yield row, earlier


def _refusal(
    name: str,
    rows: list[int],
    ids: list[str] | None,
    faults: Sequence[Fault],
    suspicions: Sequence[Fault],
) -> RunsError:
    """Return the error with all faults in the order of the rows, each with the id of its run."""
    found = sorted([*faults, *suspicions], key=lambda fault: fault.row or 0)
    if ids is not None:
        run_of = dict(zip(rows, ids, strict=True))
        found = [replace(fault, run=run_of[fault.row]) if fault.row else fault for fault in found]
    remedy = ""
    if not faults:
        remedy = "; strict=False (--lenient) keeps suspicious values"
    elif all(fault.got == "nothing" for fault in found):
        remedy = "; skip_incomplete=True (--skip-incomplete) skips such rows"
    return RunsError(f"{name}: {count(found, 'fault')} in {count(rows, 'run')}{remedy}", found)


def count(things: Sized, noun: str) -> str:
    """Return the number of things with their noun, as ``2 runs``."""
    return f"{len(things)} {_plural(things, noun)}"


def _plural(things: Sized, noun: str) -> str:
    return noun if len(things) == 1 else f"{noun}s"


def _as_notes(suspicions: Iterable[Fault]) -> Iterator[str]:
    """Yield one note for all rows that one check suspects; their faults follow each other."""
    for (column, allowed), faults in itertools.groupby(
        suspicions, key=lambda fault: (fault.column, fault.allowed)
    ):
        first, *others = faults
        where = ""
        if first.row:
            where = f" in row {first.row}"
            if others:
                where += f" and {len(others)} more"
        yield f"kept although suspicious: {column}, {first.got}{where} (expected {allowed})"
