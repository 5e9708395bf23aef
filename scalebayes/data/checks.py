"""What a table of runs must hold: its columns found, its cells read, and all that is wrong with them said at once.

In plain Python: to import pandas takes longer than to refuse a table.
"""

from __future__ import annotations

import itertools
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
from scalebayes.data.sources import Table
from scalebayes.errors import Fault, RunsError
from scalebayes.units import parse_quantity

type Values = dict[str, list[Any]]
"""By the part they play: numbers of N, D, C, S, U, E and loss, names of group and run."""


def check_table(
    table: Table,
    name: str,
    asked: Mapping[str, str | None],
    strict: bool = True,
    skip_incomplete: bool = False,
    loss_unit: str = "nats",
    tokens_per_byte: float | None = None,
) -> tuple[Values, tuple[str, ...]]:
    """Read the columns that play a part, as `read_runs` says, or raise all faults at once; say what was assumed."""
    if unknown := set(asked) - {*QUANTITIES, *LABELS}:
        raise RunsError(
            f"no column is called for by {', '.join(sorted(unknown))}: allowed are {', '.join(QUANTITIES)}"
        )
    columns, faults = match_columns(
        table, {role: asked.get(role) for role in (*QUANTITIES, *LABELS)}
    )
    rows = list(range(1, 1 + len(table[str(next(iter(table)))])))
    cells = {role: list(table[column]) for role, column in columns.items()}
    skipped: list[str] = []
    if skip_incomplete:
        rows, cells, skipped = _complete(rows, cells, columns, name)
    values: Values = {
        role: list(map(_number if role in QUANTITIES else label, found))
        for role, found in cells.items()
    }
    units = _to_nats(values, columns, loss_unit, tokens_per_byte)
    ids = values.get("run")
    every, notes = _with_third(values)
    suspicions = []
    if not faults:  # of the columns: where one is wrong or missing the checks below would cry wolf
        suspicions = [
            *check_units(every, columns, rows, loss_unit == "nats"),
            *_check_repeats(values, columns, rows),
        ]
    faults += _check_cells(rows, cells, values, columns)
    if faults or (strict and suspicions):
        raise _refusal(name, rows, ids, faults, suspicions if strict else [])
    return {**every, "run": ids or list(map(str, rows))}, (
        *skipped,
        *units,
        *notes,
        *_as_notes(suspicions),
    )


def _complete(
    rows: list[int], cells: Values, columns: dict[str, str], name: str
) -> tuple[list[int], Values, list[str]]:
    """Leave out rows without a value in a column that plays a part; the others keep their numbers."""
    whole = [all(map(label, row)) for row in zip(*cells.values(), strict=True)] or [True] * len(
        rows
    )
    if not any(whole):
        raise RunsError(
            f"{name}: all {count(rows, 'row')} miss a value in {', '.join(columns.values())}"
        )
    skipped = [row for row, sound in zip(rows, whole, strict=True) if not sound]
    some = ", ".join(map(str, skipped[:8])) + (
        f" and {len(skipped) - 8} more" if len(skipped) > 8 else ""
    )
    words = f"{len(skipped)} of {count(rows, 'row')} left out for missing values: {_plural(skipped, 'row')} {some}"
    kept = {role: list(itertools.compress(found, whole)) for role, found in cells.items()}
    return list(itertools.compress(rows, whole)), kept, [words] if skipped else []


def _to_nats(
    values: Values, columns: dict[str, str], unit: str, tokens_per_byte: float | None
) -> list[str]:
    """Turn losses into nats per token, NaN where that is not positive, and say how they became so."""
    if unit == "nats" and tokens_per_byte is None:
        return []
    import numpy as np

    losses = to_nats(np.array(values.get("loss", [])), unit, tokens_per_byte=tokens_per_byte)
    if "loss" not in values:
        return []
    values["loss"] = np.where(losses > 0, losses, np.nan).tolist()
    rate = f" ({tokens_per_byte:g})" if tokens_per_byte is not None else ""
    return [f"loss in nats per token from {columns['loss']}: {UNITS[unit].formula}{rate}"]


def _number(cell: object) -> float:
    try:
        number = parse_quantity(cell)
    except ValueError:
        return float("nan")
    return (
        number if 1e-100 < number < 1e100 else float("nan")
    )  # so that products of three stay finite


def _with_third(given: Values) -> tuple[Values, list[str]]:
    """Add whichever of N, D and C the other two determine, and say so."""
    values, notes = dict(given), []
    N, D, C = (given.get(role) for role in BASIC)
    if N and D and C:
        ratios = known(c / (6 * n * d) for n, d, c in zip(N, D, C, strict=True))
        if any(abs(ratio - 1) > 0.1 for ratio in ratios):
            notes = [f"C is kept as given: {min(ratios):.3g} to {max(ratios):.3g} times 6ND"]
    elif N and D:
        values["C"], notes = (
            [6 * n * d for n, d in zip(N, D, strict=True)],
            ["C = 6ND, from N and D"],
        )
    elif N and C:
        values["D"], notes = (
            [c / (6 * n) for n, c in zip(N, C, strict=True)],
            ["D = C/6N, from N and C"],
        )
    elif D and C:
        values["N"], notes = (
            [c / (6 * d) for d, c in zip(D, C, strict=True)],
            ["N = C/6D, from D and C"],
        )
    return {role: values[role] for role in (*QUANTITIES, "group") if role in values}, notes


def _check_cells(
    rows: list[int], cells: Values, values: Values, columns: dict[str, str]
) -> Iterator[Fault]:
    """Find what cannot be used at all: cells missing, no numbers, not positive; an id given twice; a constant loss."""
    for role, column in columns.items():
        allowed = (
            f"a positive number of {QUANTITIES[role].unit}" if role in QUANTITIES else "a name"
        )
        for row, cell, value in zip(rows, cells[role], values[role], strict=True):
            if value == "" or value != value:
                got = label(cell)[:30] or "nothing"
                percent = "a percent is no loss" if role == "loss" and "%" in got else ""
                yield Fault(row, column, got, allowed, percent)
    named = (
        (row, name)
        for row, name in zip(rows, values.get("run", [""] * len(rows)), strict=True)
        if name
    )
    for row, earlier in _repeats(named):
        yield Fault(row, columns["run"], f"the id of row {earlier}", "an id of its own")
    losses = values.get("loss", [])
    if len(losses) > 1 and all(loss == losses[0] for loss in losses):
        yield Fault(None, columns["loss"], f"{losses[0]:g} in every row", "a loss that varies")


def _check_repeats(given: Values, columns: dict[str, str], rows: list[int]) -> Iterator[Fault]:
    """Find runs with the very numbers of an earlier one: a copied row more often than a coincidence."""
    names = ", ".join(columns[role] for role in QUANTITIES if role in given)
    keys = zip(
        rows,
        zip(*(found for role, found in given.items() if role != "run"), strict=True),
        strict=True,
    )
    for row, earlier in _repeats((row, key) for row, key in keys if all(x == x for x in key)):
        yield Fault(row, names, f"the values of row {earlier}", "each run once")


def _repeats(rows: Iterable[tuple[int, Hashable]]) -> Iterator[tuple[int, int]]:
    """Yield the rows whose key was met before, each with the first row that had it."""
    first: dict[Hashable, int] = {}
    for row, key in rows:
        if (earlier := first.setdefault(key, row)) != row:
            yield row, earlier


def _refusal(
    name: str,
    rows: list[int],
    ids: list[str] | None,
    faults: Sequence[Fault],
    suspicions: Sequence[Fault],
) -> RunsError:
    """Gather what is wrong in the order of the rows, each with its run's id."""
    found = sorted([*faults, *suspicions], key=lambda fault: fault.row or 0)
    if ids is not None:
        called = dict(zip(rows, ids, strict=True))
        found = [replace(fault, run=called[fault.row]) if fault.row else fault for fault in found]
    way_out = "" if faults else "; strict=False (--lenient) keeps what is only suspicious"
    if faults and all(fault.got == "nothing" for fault in found):
        way_out = "; skip_incomplete=True (--skip-incomplete) leaves such rows out"
    return RunsError(f"{name}: {count(found, 'fault')} in {count(rows, 'run')}{way_out}", found)


def count(things: Sized, noun: str) -> str:
    """Say how many, as ``2 runs``."""
    return f"{len(things)} {_plural(things, noun)}"


def _plural(things: Sized, noun: str) -> str:
    return noun + "s" * (len(things) != 1)


def _as_notes(suspicions: Iterable[Fault]) -> Iterator[str]:
    """One note for all the rows that a check suspects."""
    for (column, allowed), faults in itertools.groupby(
        suspicions, key=lambda fault: (fault.column, fault.allowed)
    ):
        first, *more = faults
        row = (
            f" in row {first.row}" + (f" and {len(more)} more" if more else "") if first.row else ""
        )
        yield f"kept although suspicious: {column}, {first.got}{row} (expected {allowed})"
