"""Checks of a table of runs: find its columns, read its cells and report all faults at once.

In plain Python, because importing pandas takes longer than checking a table.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Any

from scalebayes.data.metrics import LOSS, NATS_PER_TOKEN, read_metric
from scalebayes.data.tables.columns import (
    BASIC,
    LABELS,
    QUANTITIES,
    label,
)
from scalebayes.data.tables.loss_units import UNITS, convert_loss
from scalebayes.data.tables.matching import match_columns
from scalebayes.data.tables.names import has_own_unit
from scalebayes.data.tables.raw_tables import Table
from scalebayes.data.tables.repeats import check_repeats, listed_rows, repeats
from scalebayes.data.tables.unfinished import check_finished
from scalebayes.data.tables.unit_checks import check_units, compute_ratios
from scalebayes.data.tables.unit_names import is_per_byte, not_nats
from scalebayes.errors import Fault, RunsError
from scalebayes.units import number_or_nan

type Values = dict[str, list[Any]]
"""By role: numbers of N, D, C, S, U, E and loss, and names of group, training and run."""

SMALLEST, LARGEST = 1e-100, 1e100
"""Range of the numbers that a cell may hold, so that products of three of them stay finite."""
COMPUTE_TOLERANCE = 0.1
"""Relative difference of C from 6ND above which a note says that C was kept as given."""
SAME_FACTOR = 0.05
"""Relative spread of C over 6ND up to which the two differ by a constant factor."""
CELL_LENGTH = 30
"""Characters of a faulty cell that an error quotes."""
NEGATIVE_LOSSES = (
    "the models describe the logarithm of the loss, so every loss must be above zero. Densities "
    "can have a negative log likelihood: score the data as discrete values instead (in nats, or "
    "--loss-unit bits), or add a constant to all losses if it has a meaning"
)
"""What to do with losses below zero."""


@dataclass(frozen=True)
class Conventions:
    """How cells are read and what is checked, as `scalebayes.read_runs` takes it."""

    strict: bool = True
    own_units: bool = False
    skip_incomplete: bool = False
    loss_unit: str = "nats"
    tokens_per_byte: float | None = None
    metric: str | None = None
    scale: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def metric_to_check(self) -> str:
        """Metric of the losses in the checks: nats per token where nothing else is known."""
        named = read_metric(self.metric, self.loss_unit)
        if named is not None:
            return named
        is_other = self.loss_unit == "percent" or self.own_units
        return LOSS if is_other else NATS_PER_TOKEN


def check_table(
    table: Table, name: str, asked: Mapping[str, str | None], conventions: Conventions
) -> tuple[Values, tuple[str, ...]]:
    """Return the values of the columns that have a role, and notes of what was assumed.

    Parameters
    ----------
    table, name
        Columns by name, and what errors call the table.
    asked
        Column chosen for each role; None or absent where it is to be recognised by its name.
    conventions
        How cells are read and what is checked.

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
    notes: list[str] = []
    columns, faults = match_columns(table, {role: asked.get(role) for role in roles}, notes)
    first_column = next(iter(table))
    rows = list(range(1, 1 + len(table[first_column])))
    cells = {role: list(table[column]) for role, column in columns.items()}
    factors = _factors(conventions.scale, columns, cells, name)
    if conventions.skip_incomplete:
        rows, cells = _complete(rows, cells, columns, name, notes)
    given = _read_values(cells, columns, factors, conventions, notes)
    values = _convert_losses(given, columns, conventions, notes)
    own_data_unit = "D" in columns and has_own_unit(columns["D"])
    with_third = _with_third(values, notes, counts_tokens=not own_data_unit)

    wrong_units: list[Fault] = []
    suspicions: list[Fault] = []
    # With a column wrong or missing, these checks would report faults that are not there.
    if not faults:
        faults += _check_loss_name(columns, conventions)
        wrong_units, suspicions = _check_units(
            with_third, columns, rows, conventions, is_misnamed=bool(faults)
        )
        repeated, copies = check_repeats(table, given, columns, rows)
        suspicions += repeated
        suspicions += check_finished(table, rows)
        notes += copies
    faults += _check_cells(rows, cells, values, columns, conventions.metric_to_check)
    faults += wrong_units
    ids = values.get("run")
    if faults or (conventions.strict and suspicions):
        shown = suspicions if conventions.strict else []
        remedy = _remedy(faults, wrong_units, shown, cells.get("loss", []))
        raise _refusal(name, rows, ids, [*faults, *shown], remedy)
    notes += _as_notes(suspicions)
    return {**with_third, "run": ids or [str(row) for row in rows]}, tuple(notes)


def _have_suffixes(cells: Sequence[Any]) -> bool:
    """Whether a cell is text with a suffix, such as 70M, which a factor would multiply again."""
    return any(isinstance(cell, str) and cell.strip()[-1:].isalpha() for cell in cells)


def _read_values(
    cells: Values,
    columns: Mapping[str, str],
    factors: Mapping[str, float],
    conventions: Conventions,
    notes: list[str],
) -> Values:
    """Return numbers and names by role, scaled, with NaN or an empty name where there is none."""
    values = {role: _read_cells(role, found) for role, found in cells.items()}
    if "loss" in cells:
        values["loss"] = _read_losses(cells["loss"], columns["loss"], conventions, notes)
    for role, factor in factors.items():
        # The factor comes first: of losses below zero it may be -1.
        values[role] = [_within_range(factor * number_or_nan(cell)) for cell in cells[role]]
        notes.append(f"{role} is {columns[role]} times {factor:g}")
    return values


def _check_units(
    values: Values,
    columns: Mapping[str, str],
    rows: Sequence[int],
    conventions: Conventions,
    is_misnamed: bool,
) -> tuple[list[Fault], list[Fault]]:
    """Return faults of whole columns whose unit is wrong, and suspicions of single rows.

    is_misnamed: whether the name of the loss says another unit, which is a fault already.
    """
    if conventions.own_units:
        return [], []
    metric = LOSS if is_misnamed else conventions.metric_to_check
    found = check_units(values, columns, rows, metric)
    of_columns = [fault for fault in found if fault.row is None]
    of_rows = [fault for fault in found if fault.row is not None]
    return of_columns, of_rows


def _factors(
    scale: Mapping[str, float | str], columns: Mapping[str, str], cells: Values, name: str
) -> dict[str, float]:
    """Return the factor of each role whose column is scaled; columns may be named by their role.

    cells: those of the columns, by role.
    """
    role_of = {column: role for role, column in columns.items() if role in QUANTITIES}
    factors = {}
    faults = []
    for column, given in scale.items():
        role = role_of.get(column, column if column in columns else None)
        if role is None:
            allowed = f"one of {', '.join(role_of)}"
            faults.append(Fault(None, "scale", f"{column!r}, no column that is read", allowed))
            continue
        factor = number_or_nan(given)
        may_be_negative = role == "loss"  # log likelihoods change their sign
        if math.isnan(factor) or factor == 0 or (factor < 0 and not may_be_negative):
            faults.append(Fault(None, column, f"a scale of {given}", "a positive number"))
        if _have_suffixes(cells[role]):
            got = f"a scale of {given}, and cells such as {cells[role][0]}"
            faults.append(Fault(None, column, got, "a scale of cells without a suffix"))
        factors[role] = factor
    if faults:
        raise RunsError(f"{name}: a scale cannot be used", faults)
    return factors


def _check_loss_name(columns: Mapping[str, str], conventions: Conventions) -> list[Fault]:
    """Return a fault if the name of the loss says another unit, and no unit or metric was given."""
    column = columns.get("loss")
    is_other_metric = conventions.metric not in (None, NATS_PER_TOKEN)
    if column is None or conventions.own_units or is_other_metric:
        return []
    advice = not_nats(column)
    if not advice or conventions.loss_unit != "nats":
        return []
    return [Fault(None, column, "a loss of this name", NATS_PER_TOKEN, advice)]


def _complete(
    rows: list[int], cells: Values, columns: dict[str, str], name: str, notes: list[str]
) -> tuple[list[int], Values]:
    """Return the rows, by their original numbers, that have a value in each column with a role.

    An infinite loss, of a run that diverged, is none.
    """
    if not cells:
        return rows, cells
    reasons = [_incomplete(row, cells) for row in zip(*cells.values(), strict=True)]
    is_complete = [reason is None for reason in reasons]
    if not any(is_complete):
        raise RunsError(
            f"{name}: none of the {count(rows, 'row')} has a value in every one of "
            f"{', '.join(columns.values())}"
        )
    skipped = [row for row, complete in zip(rows, is_complete, strict=True) if not complete]
    if skipped:
        counts = Counter(reason for reason in reasons if reason is not None)
        what = " and ".join(f"{counted(n, 'row')} {why}" for why, n in counts.items())
        verb = "was" if len(skipped) == 1 else "were"
        notes.append(f"{what} {verb} skipped ({listed_rows(skipped)})")
    kept = {role: list(itertools.compress(found, is_complete)) for role, found in cells.items()}
    return list(itertools.compress(rows, is_complete)), kept


def _incomplete(row: Sequence[Any], roles: Iterable[str]) -> str | None:
    """Return what the first incomplete cell of a row lacks, None where all have a value."""
    articles = {"loss": "a loss", "run": "an id", "group": "a group", "training": "a training"}
    for role, cell in zip(roles, row, strict=True):
        text = label(cell).lower()
        what = articles.get(role, role)
        if not text:
            return f"without {what}"
        if role in QUANTITIES and _is_infinite(text):
            return "with an infinite loss" if role == "loss" else f"with an infinite {what}"
    return None


def _read_cells(role: str, cells: list[Any]) -> list[Any]:
    """Return numbers, NaN where a cell holds no usable one, or names, empty where there is none."""
    if role in QUANTITIES:
        return [_number(cell) for cell in cells]
    return [label(cell) for cell in cells]


def _number(cell: object) -> float:
    """Return a cell as a number in the range that it may hold, else NaN."""
    return _within_range(number_or_nan(cell))


def _within_range(number: float) -> float:
    """Return a number in the range that a cell may hold, else NaN."""
    return number if SMALLEST < number < LARGEST else math.nan


def _read_losses(
    cells: list[Any], column: str, conventions: Conventions, notes: list[str]
) -> list[float]:
    """Return losses as numbers; if all have a % sign, as shares, or in percent where so asked."""
    texts = [label(cell) for cell in cells]
    are_percentages = all(text.endswith("%") or not text for text in texts)
    if not are_percentages or not any(texts):
        return [_number(cell) for cell in cells]
    numbers = [_number(text.removesuffix("%")) for text in texts]
    if conventions.loss_unit == "percent":
        return numbers
    shares = [number / 100.0 for number in numbers]
    notes.append(f"{column} has % signs: {texts[0]} was read as {shares[0]:g}")
    return shares


def _convert_losses(
    given: Values, columns: dict[str, str], conventions: Conventions, notes: list[str]
) -> Values:
    """Return the values with converted losses, NaN where the result is not positive."""
    unit, tokens_per_byte = conventions.loss_unit, conventions.tokens_per_byte
    if unit == "nats" and tokens_per_byte is None:
        return given
    import numpy as np

    # Converted even without a column of losses, so that a wrong unit is always an error.
    losses = convert_loss(np.array(given.get("loss", [])), unit, tokens_per_byte)
    if "loss" not in given:
        return given
    result = "as a share" if unit == "percent" else f"in {UNITS[unit].result}"
    note = f"loss {result} from {columns['loss']}: {UNITS[unit].formula}"
    if tokens_per_byte is not None:
        note += f" ({tokens_per_byte:g})"
    notes.append(note)
    if is_per_byte(columns["loss"]) and not UNITS[unit].per_byte:
        notes.append(f"the name {columns['loss']} says per byte, but {unit} were given as its unit")
    return given | {"loss": np.where(losses > 0, losses, np.nan).tolist()}


def _with_third(given: Values, notes: list[str], counts_tokens: bool) -> Values:
    """Return the values by role, with N, D or C added where the two others are given.

    counts_tokens: whether D is in tokens, as 6ND requires.
    """
    values = dict(given)
    N, D, C = (given.get(role) for role in BASIC)
    if N and D and C:
        if counts_tokens:
            notes += _compute_notes(given)
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


def _compute_notes(values: Values) -> list[str]:
    """Return a note of how C, given beside N and D, differs from 6ND."""
    ratios = compute_ratios(values)
    if all(abs(ratio - 1) <= COMPUTE_TOLERANCE for ratio in ratios):
        return []
    low, high = min(ratios), max(ratios)
    if high > low * (1 + SAME_FACTOR):
        return [f"C is kept as given: {low:.3g} to {high:.3g} times 6ND"]
    ratio = statistics.median(ratios)
    return [f"C is kept as given: {ratio:.3g} times 6ND in every row{_why_factor(ratio)}"]


def _why_factor(ratio: float) -> str:
    """Return what may explain a constant ratio of C and 6ND, as the end of a sentence."""
    if 0.3 < ratio < 0.37:
        return ", which is 2ND: does it count the forward pass only?"
    if 0.45 < ratio < 0.55:
        return ": does it count multiply-accumulates (2 FLOP each)?"
    if 1 < ratio < 2:
        return (
            ": does N leave out embeddings, or C include attention? Queries count 6ND of this N "
            "unless a rule is given (--count)"
        )
    return ": are N, D or C in another unit, or does one leave something out (embeddings, a pass)?"


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
            allowed = "a positive number" if unit == LOSS else f"a positive number of {unit}"
        for row, cell, value in zip(rows, cells[role], values[role], strict=True):
            if not _is_missing(value):
                continue
            got = label(cell)[:CELL_LENGTH] or "nothing"
            hint = ""
            if role == "loss" and "%" in got:
                hint = "either all losses have a % sign or none"
            yield Fault(row, column, got, allowed, hint)
    ids = values.get("run", [])
    named = [(row, run) for row, run in zip(rows, ids, strict=False) if run]
    for row, earlier in repeats(named):
        yield Fault(row, columns["run"], f"the id of row {earlier}", "a different id for each run")
    losses = values.get("loss", [])
    if len(losses) > 1 and all(loss == losses[0] for loss in losses):
        yield Fault(None, columns["loss"], f"{losses[0]:g} in every row", "a loss that varies")


def _is_missing(value: Any) -> bool:
    """Whether a value is an empty name or NaN, which alone differs from itself."""
    return value == "" or bool(value != value)


def _remedy(
    faults: Sequence[Fault],
    unit_suspicions: Sequence[Fault],
    row_suspicions: Sequence[Fault],
    losses: Sequence[Any],
) -> str:
    """Return the options that help against the faults, as the end of a sentence.

    losses: the cells of the losses.
    """
    if len(faults) == len(unit_suspicions):
        remedies = []
        if unit_suspicions:
            remedies.append(
                "own_units=True (--own-units) if the units of N, D and loss are the table's own"
            )
        if row_suspicions:
            remedies.append("strict=False (--lenient) keeps suspicious rows")
        return "; " + "; ".join(remedies)
    if losses and all(map(_is_negative, losses)):
        return "; are they log likelihoods? scale={'loss': -1} (--scale loss=-1) changes the sign"
    if any(map(_is_negative, losses)):
        return f"; {NEGATIVE_LOSSES}"
    if all(_has_no_value(fault) for fault in [*faults, *row_suspicions]):
        return "; skip_incomplete=True (--skip-incomplete) skips such rows"
    return ""


def _has_no_value(fault: Fault) -> bool:
    """Whether a fault is of a missing or infinite cell."""
    return fault.got == "nothing" or _is_infinite(fault.got)


def _is_infinite(text: str) -> bool:
    return text.lower().lstrip("+-") in ("inf", "infinity")


def _is_negative(cell: object) -> bool:
    return number_or_nan(cell) < 0


def _refusal(
    name: str, rows: list[int], ids: list[str] | None, faults: Sequence[Fault], remedy: str
) -> RunsError:
    """Return the error with all faults in the order of the rows, each with the id of its run."""
    found = sorted(faults, key=lambda fault: fault.row or 0)
    if ids is not None:
        run_of = dict(zip(rows, ids, strict=True))
        found = [replace(fault, run=run_of[fault.row]) if fault.row else fault for fault in found]
    return RunsError(f"{name}: {count(found, 'fault')} in {count(rows, 'run')}{remedy}", found)


def count(things: Sized, noun: str) -> str:
    """Return the number of things with their noun, as ``2 runs``."""
    return counted(len(things), noun)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as ``1 run`` or ``2 runs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _as_notes(suspicions: Iterable[Fault]) -> Iterator[str]:
    """Yield one note for all rows that one check suspects; their faults follow each other."""
    for (column, allowed), faults in itertools.groupby(
        suspicions, key=lambda fault: (fault.column, fault.allowed)
    ):
        first, *others = faults
        where = f"row {first.row}"
        if others:
            where += f" and {len(others)} more"
        yield f"kept although suspicious: {column}, {first.got} in {where} (expected {allowed})"
