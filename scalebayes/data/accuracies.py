"""Tables with the accuracy, or error, of models on tasks at losses or compute (`read_scores`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from scalebayes.data.metrics import NATS_PER_TOKEN
from scalebayes.data.reading import recorded
from scalebayes.data.runs import Runs
from scalebayes.data.tables.checks import CELL_LENGTH, count
from scalebayes.data.tables.columns import QUANTITIES, label, listed, usual_columns, with_usual_name
from scalebayes.data.tables.loss_units import UNITS, convert_loss
from scalebayes.data.tables.names import likely_columns
from scalebayes.data.tables.sources import FileFormat, Source, open_table, short_name
from scalebayes.data.tables.unit_names import not_nats
from scalebayes.errors import Fault, RunsError
from scalebayes.units import number_or_nan

ACCURACY = (
    "accuracy",
    "acc",
    "top 1 accuracy",
    "average accuracy",
    "mean accuracy",
    "avg accuracy",
    "score",
)
"""Usual names of columns of accuracies, compared without case and separators."""
ERROR = ("error", "err", "error rate", "top 1 error", "average error", "mean error", "avg error")
"""Usual names of columns of errors, compared in the same way."""
ONE_PERCENT = 0.01
"""Percentages, divided by 100, that all lie within this of 0 or 1 were probably shares already."""


class _Columns(NamedTuple):
    """Column of the input, columns of accuracies or errors, and whether those are errors."""

    input: str
    shares: list[str]
    are_errors: bool


@recorded
def read_scores(
    source: Source,
    *,
    loss: str | None = None,
    accuracy: str | Sequence[str] | None = None,
    error: str | Sequence[str] | None = None,
    C: str | None = None,
    start: float | str | None = None,
    percent: bool = False,
    loss_unit: str = "nats",
    tokens_per_byte: float | None = None,
    scale: Mapping[str, float | str] | None = None,
    sep: str | None = None,
    decimal: str | None = None,
    name: str | None = None,
) -> Runs:
    """Return a checked table of models, with the loss (or compute) and the accuracy of each.

    Parameters
    ----------
    source
        A file or a table, as `read_runs` takes it.
    loss
        Column of losses in `loss_unit`; by default the one with a usual name. The losses must be
        measured on the same validation text as the losses that will be forecast.
    accuracy, error
        Give at most one of the two: a column of shares between 0 and 1, or several columns, whose
        mean is taken. By default the column with a usual name. An error e is the accuracy 1 - e.
    C
        Column of compute in place of the loss, for a law of compute such as ``bounded-score``: of
        checkpoints of one run, in FLOP, GPU hours or any other unit.
    start
        Least compute of the rows that are kept, a number or text such as "1.5K", with C only: the
        first part of a curve may not follow the law of the rest.
    percent
        Whether accuracies or errors are in percent. Cells with a % sign always are.
    loss_unit, tokens_per_byte, scale, sep, decimal
        As `read_runs` takes them; `scale` may have the column of the loss only.
    name
        Name of the table; by default the name of the file without its ending, or ``scores``.

    Returns
    -------
    Runs
        With columns ``loss`` and ``accuracy``, for `scalebayes.fit` with a model such as
        ``downstream``; or with ``C`` and ``accuracy``, for ``bounded-score``.

    Raises
    ------
    RunsError
        With all faults at once: missing columns, cells that are not numbers, losses outside 0 to
        20, compute that is not positive, accuracies outside 0 to 1 (percentages, say), fewer than
        two different losses or accuracies.

    Examples
    --------
    >>> errors = [0.66, 0.60, 0.49]
    >>> table = pd.DataFrame({"val_loss": [3.4, 2.9, 2.5], "top1_error": errors})
    >>> sb.read_scores(table, name="three")
    Runs 'three': 3 runs, loss 2.5 to 3.4, accuracy 0.34 to 0.51
    """
    frame, raw = open_table(source, FileFormat(sep, decimal))
    if not name:
        name = short_name(raw.origin) if raw.origin else "scores"
    frame, notes = _from_start(frame, name, C, start)
    if C is not None and loss is not None:
        raise RunsError("give loss or C, not both: the accuracy is a function of one of them")
    columns = _find_columns(frame, name, C or loss, accuracy, error)
    highest_share = 100.0 if percent else 1.0
    kind = "an error" if columns.are_errors else "an accuracy"
    allowed = f"{kind} between 0 and {highest_share:g}"
    cells = frame[columns.input]
    if C is None:
        role = "loss"
        inputs, notes = _losses(cells, loss_unit, tokens_per_byte, scale or {})
        faults = _check_losses(cells, inputs)
    else:
        role = "C"
        inputs = _numbers(cells)
        faults = _check_compute(cells, inputs)
    for column in columns.shares:
        faults += _check_shares(frame[column], allowed, highest_share)
    if faults:
        raise RunsError(f"{name}: {count(faults, 'fault')} in {count(frame, 'row')}", faults)

    accuracies = _mean_accuracies(frame, columns, highest_share)
    _refuse_constant(name, role, inputs)
    _refuse_constant(name, "accuracy", accuracies)
    if percent:
        _refuse_shares_as_percent(name, accuracies)
    table = pd.DataFrame({role: inputs, "accuracy": accuracies}, index=frame.index.astype(str))
    is_usual = bool(usual_columns([columns.input], role))
    if not is_usual and loss is None:
        notes.insert(0, f"{role} is {columns.input}")
    notes = [*raw.notes, *notes, *_notes(columns, percent)]
    return Runs(table, name, raw.origin, tuple(notes), NATS_PER_TOKEN)


def _mean_accuracies(frame: pd.DataFrame, columns: _Columns, highest: float) -> np.ndarray:
    """Return the mean accuracy of each row, (rows,), from accuracies or errors."""
    means = np.mean([_shares(frame[column], highest) for column in columns.shares], axis=0)
    return 1.0 - means if columns.are_errors else means


def _from_start(
    frame: pd.DataFrame, name: str, C: str | None, start: float | str | None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows from a compute on, and a note of how many were left out."""
    if start is not None and C is None:
        raise RunsError("start= leaves out rows by their compute: give its column, C=")
    if start is None or C not in frame:
        return frame, []
    least = number_or_nan(start)
    if not least > 0:
        raise RunsError(f"{name}: start is a positive number; got {start!r}")
    is_before = _numbers(frame[C]) < least
    if is_before.all():
        raise RunsError(f"{name}: all {count(frame, 'row')} have less compute than start = {start}")
    if not is_before.any():
        return frame, []
    left_out = count(frame[is_before], "row")
    return frame[~is_before], [f"{left_out} with {C} below {start} left out"]


def _check_compute(cells: pd.Series, values: np.ndarray) -> list[Fault]:
    """Return faults of compute that is not positive and finite."""
    faults = []
    for row, cell, value in zip(cells.index, cells, values, strict=True):
        if not 0 < value < np.inf:
            faults.append(Fault(row, str(cells.name), _quote(cell), "a positive amount", ""))
    return faults


def _losses(
    cells: pd.Series,
    unit: str,
    tokens_per_byte: float | None,
    scale: Mapping[str, float | str],
) -> tuple[np.ndarray, list[str]]:
    """Return losses in nats per token, NaN where a cell holds none, and notes of the conversion."""
    notes = []
    losses = _numbers(cells)
    for column, factor in scale.items():
        if column not in (cells.name, "loss"):
            raise RunsError(f"scale has {column!r}; only the loss, {cells.name!r}, can be scaled")
        number = number_or_nan(factor)
        if not number > 0:
            raise RunsError(f"a scale is a positive number; got {factor!r} for {column!r}")
        losses = losses * number
        notes.append(f"loss is {cells.name} times {factor}")
    if UNITS.get(unit, UNITS["nats"]).result != NATS_PER_TOKEN:
        raise RunsError(f"a score depends on a loss in nats per token; {unit} does not become one")
    is_positive = losses > 0
    converted = convert_loss(np.where(is_positive, losses, np.nan), unit, tokens_per_byte)
    if unit != "nats":
        notes.append(f"loss in nats per token from {cells.name}: {UNITS[unit].formula}")
    return converted, notes


def _notes(columns: _Columns, percent: bool) -> tuple[str, ...]:
    """Return a note of how the accuracy was computed, none where a column was taken as it is."""
    several = len(columns.shares) > 1
    if not (columns.are_errors or percent or several):
        return ()
    note = "accuracy is "
    if columns.are_errors:
        note += "1 - "
    if several:
        note += "the mean of "
    note += ", ".join(columns.shares)
    if percent:
        note += " in percent"
    return (note,)


def _find_columns(
    frame: pd.DataFrame,
    table: str,
    given: str | None,
    accuracy: str | Sequence[str] | None,
    error: str | Sequence[str] | None,
) -> _Columns:
    """Return the columns that were asked for, else those with a usual name.

    table: what errors call the table. given: the column of the loss or of compute.
    """
    names = [str(column) for column in frame]
    if accuracy is not None and error is not None:
        raise RunsError("give accuracy or error, not both: an error is 1 - accuracy")
    if accuracy is None and error is None:
        shares, are_errors = _usual_shares(names, table)
    else:
        asked = accuracy if error is None else error
        shares = [asked] if isinstance(asked, str) else list(asked or ())
        are_errors = error is not None
    if given is None:
        losses = likely_columns([name for name in names if name not in shares], "loss")
    else:
        losses = [given]
    if len(losses) != 1:
        raise RunsError(
            f"{table}: which column is the loss? say loss=COLUMN (--loss); "
            f"the columns are {listed(names)}"
        )
    missing = [column for column in (*losses, *shares) if column not in names]
    if missing:
        raise RunsError(
            f"{table}: no column {', '.join(map(repr, missing))}; the columns are {listed(names)}"
        )
    if not shares:
        raise RunsError(f"{table}: no column of accuracies or errors was given")
    return _Columns(losses[0], shares, are_errors)


def _usual_shares(names: list[str], table: str) -> tuple[list[str], bool]:
    """Return the column with a usual name of an accuracy or error; True for an error."""
    accuracies = with_usual_name(names, ACCURACY)
    errors = with_usual_name(names, ERROR)
    found = [*accuracies, *errors]
    if len(found) == 1:
        return found, bool(errors)
    got = f"the columns are {listed(names)}"
    if found:
        got = f"there are {', '.join(found)}"
    raise RunsError(
        f"{table}: which column is the accuracy, or the error? {got}; say accuracy=COLUMN "
        "(--accuracy) or error=COLUMN (--error)"
    )


def _numbers(cells: pd.Series) -> np.ndarray:
    """Return cells as numbers, NaN where a cell holds none."""
    return np.array([number_or_nan(cell) for cell in cells])


def _check_losses(cells: pd.Series, losses: np.ndarray) -> list[Fault]:
    """Return faults of losses that are not strictly between 0 and the highest one."""
    highest = QUANTITIES["loss"].high
    allowed = f"a loss in nats per token, 0 to {highest:g}"
    hint = not_nats(str(cells.name))
    faults = []
    for row, cell, value in zip(cells.index, cells, losses, strict=True):
        if not 0 < value < highest:
            faults.append(Fault(row, str(cells.name), _quote(cell), allowed, hint))
    return faults


def _shares(cells: pd.Series, highest: float) -> np.ndarray:
    """Return accuracies or errors as shares, NaN where a cell holds none.

    Either all cells have a % sign, or none.

    highest: 100 where numbers without a % sign are in percent, else 1.
    """
    texts = [str(cell).strip() for cell in cells]
    have_signs = all(text.endswith("%") for text in texts if label(text))
    if not have_signs:
        return _numbers(cells) / highest
    return np.array([number_or_nan(text.removesuffix("%")) for text in texts]) / 100.0


def _check_shares(cells: pd.Series, allowed: str, highest: float) -> list[Fault]:
    """Return faults of cells that are not numbers strictly between 0 and the highest share."""
    faults = []
    for row, cell, share in zip(cells.index, cells, _shares(cells, highest), strict=True):
        is_plain_share = highest == 100.0 and 0 < share < ONE_PERCENT and "%" not in str(cell)
        if 0 < share < 1 and not (is_plain_share and _has_large_percentages(cells)):
            continue
        text = _quote(cell)
        hint = "a share among percentages?" if is_plain_share else ""
        if highest == 1.0 and 1 < share <= 100 and "%" not in text:
            hint = "in percent? percent=True (--percent)"
        elif share in (0.0, 1.0):
            hint = "0% and 100% do not determine the curve: leave the row out"
        faults.append(Fault(row, str(cells.name), text, allowed, hint))
    return faults


def _has_large_percentages(cells: pd.Series) -> bool:
    """Whether some cells can only be percentages: shares are not above one."""
    return bool((_numbers(cells) > 1).any())


def _quote(cell: object) -> str:
    return str(cell).strip()[:CELL_LENGTH] or "nothing"


def _refuse_constant(name: str, column: str, values: np.ndarray) -> None:
    if len(np.unique(values)) < 2:
        raise RunsError(
            f"{name}: {column} is {values[0]:g} in every row; a curve needs different values"
        )


def _refuse_shares_as_percent(name: str, accuracies: np.ndarray) -> None:
    """Refuse shares declared as percentages: divided by 100, all of them are close to 0 or 1."""
    distance_from_end = np.minimum(accuracies, 1.0 - accuracies)
    if distance_from_end.max() < ONE_PERCENT:
        raise RunsError(
            f"{name}: no accuracy lies between 1 and 99 percent; are they shares? leave percent out"
        )
