"""Tables with the loss and the accuracy, or error, of models on tasks (`read_scores`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from scalebayes.data.checks import CELL_LENGTH, count
from scalebayes.data.columns import QUANTITIES, usual_columns, with_usual_name
from scalebayes.data.metrics import NATS_PER_TOKEN
from scalebayes.data.runs import Runs
from scalebayes.data.sources import open_table, short_name
from scalebayes.errors import Fault, RunsError
from scalebayes.units import parse_quantity

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
    """Column of the loss, columns of accuracies or errors, and whether those are errors."""

    loss: str
    shares: list[str]
    are_errors: bool


def read_scores(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    loss: str | None = None,
    accuracy: str | Sequence[str] | None = None,
    error: str | Sequence[str] | None = None,
    percent: bool = False,
    name: str | None = None,
) -> Runs:
    """Return a checked table of models, with the loss and the accuracy of each model.

    Parameters
    ----------
    source
        A file or a table, as `read_runs` takes it.
    loss
        Column of losses in nats per token; by default the one with a usual name. The losses must be
        measured on the same validation text as the losses that will be forecast.
    accuracy, error
        Give at most one of the two: a column of shares between 0 and 1, or several columns, whose
        mean is taken. By default the column with a usual name. An error e is the accuracy 1 - e.
    percent
        Whether accuracies or errors are in percent.
    name
        Name of the table; by default the name of the file without its ending, or ``scores``.

    Returns
    -------
    Runs
        With columns ``loss`` and ``accuracy``, for `scalebayes.fit` with a model such as
        ``downstream``.

    Raises
    ------
    RunsError
        With all faults at once: missing columns, cells that are not numbers, losses outside 0 to
        20, accuracies outside 0 to 1 (percentages, say), fewer than two different losses or
        accuracies.

    Examples
    --------
    >>> errors = [0.66, 0.60, 0.49]
    >>> table = pd.DataFrame({"val_loss": [3.4, 2.9, 2.5], "top1_error": errors})
    >>> read_scores(table, name="three")
    Runs 'three': 3 runs, loss 2.5 to 3.4, accuracy 0.34 to 0.51
    """
    frame, origin = open_table(source)
    if not name:
        name = short_name(origin) if origin else "scores"
    columns = _find_columns(frame, loss, accuracy, error)
    highest_share = 100.0 if percent else 1.0
    kind = "an error" if columns.are_errors else "an accuracy"
    allowed = f"{kind} between 0 and {highest_share:g}"
    highest_loss = QUANTITIES["loss"].high
    faults = _check_losses(frame[columns.loss], highest_loss)
    for column in columns.shares:
        faults += _check_shares(frame[column], allowed, highest_share)
    if faults:
        raise RunsError(f"{name}: {count(faults, 'fault')} in {count(frame, 'row')}", faults)

    losses = _numbers(frame[columns.loss])
    shares = [_numbers(frame[column]) / highest_share for column in columns.shares]
    accuracies = np.mean(shares, axis=0)
    if columns.are_errors:
        accuracies = 1.0 - accuracies
    _refuse_constant(name, "loss", losses)
    _refuse_constant(name, "accuracy", accuracies)
    if percent:
        _refuse_shares_as_percent(name, accuracies)
    values = {"loss": losses, "accuracy": accuracies}
    table = pd.DataFrame(values, index=frame.index.astype(str))
    return Runs(table, name, origin, _notes(columns, percent), NATS_PER_TOKEN)


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
    loss: str | None,
    accuracy: str | Sequence[str] | None,
    error: str | Sequence[str] | None,
) -> _Columns:
    """Return the columns that were asked for, else those with a usual name."""
    names = [str(column) for column in frame]
    if accuracy is not None and error is not None:
        raise RunsError("give accuracy or error, not both: an error is 1 - accuracy")
    if accuracy is None and error is None:
        shares, are_errors = _usual_shares(names)
    else:
        asked = accuracy if error is None else error
        shares = [asked] if isinstance(asked, str) else list(asked or ())
        are_errors = error is not None
    if loss is None:
        losses = usual_columns([name for name in names if name not in shares], "loss")
    else:
        losses = [loss]
    if len(losses) != 1:
        raise RunsError(
            f"which column is the loss? say loss=COLUMN; the columns are {', '.join(names)}"
        )
    missing = [column for column in (*losses, *shares) if column not in names]
    if missing:
        raise RunsError(
            f"no column {', '.join(map(repr, missing))}; the columns are {', '.join(names)}"
        )
    if not shares:
        raise RunsError("no column of accuracies or errors was given")
    return _Columns(losses[0], shares, are_errors)


def _usual_shares(names: list[str]) -> tuple[list[str], bool]:
    """Return the column with a usual name of an accuracy or error; True for an error."""
    accuracies = with_usual_name(names, ACCURACY)
    errors = with_usual_name(names, ERROR)
    found = [*accuracies, *errors]
    if len(found) == 1:
        return found, bool(errors)
    got = f"the columns are {', '.join(names)}"
    if found:
        got = f"there are {', '.join(found)}"
    raise RunsError(
        f"which column is the accuracy, or the error? {got}; say accuracy=COLUMN or error=COLUMN"
    )


def _numbers(cells: pd.Series) -> np.ndarray:
    """Return cells as numbers, NaN where a cell holds none."""
    return np.array([_number(cell) for cell in cells])


def _number(cell: object) -> float:
    try:
        return parse_quantity(cell)
    except ValueError:
        return float("nan")


def _check_losses(cells: pd.Series, highest: float) -> list[Fault]:
    """Return faults of cells that are not numbers strictly between 0 and the highest loss."""
    allowed = f"a loss in nats per token, 0 to {highest:g}"
    faults = []
    for row, cell, value in zip(cells.index, cells, _numbers(cells), strict=True):
        if not 0 < value < highest:
            faults.append(Fault(row, str(cells.name), _quote(cell), allowed))
    return faults


def _check_shares(cells: pd.Series, allowed: str, highest: float) -> list[Fault]:
    """Return faults of cells that are not numbers strictly between 0 and the highest share."""
    faults = []
    for row, cell, value in zip(cells.index, cells, _numbers(cells), strict=True):
        if 0 < value < highest:
            continue
        text = _quote(cell)
        hint = ""
        if highest == 1.0 and (1 < value <= 100 or "%" in text):
            hint = "in percent? percent=True (--percent), without % signs"
        elif value in (0.0, highest):
            hint = "0% and 100% do not determine the curve: leave the row out"
        faults.append(Fault(row, str(cells.name), text, allowed, hint))
    return faults


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
