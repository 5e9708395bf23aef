"""Tables of loss and accuracy, or error, of models on tasks: what the stage from loss to accuracy is fitted to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from scalebayes.data.columns import QUANTITIES, usual_columns
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
ERROR = ("error", "err", "error rate", "top 1 error", "average error", "mean error", "avg error")
"""Usual names, whatever the case and the separators."""


def read_scores(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    loss: str | None = None,
    accuracy: str | Sequence[str] | None = None,
    error: str | Sequence[str] | None = None,
    percent: bool = False,
    name: str | None = None,
) -> Runs:
    """Read and check a table of models with the loss and the accuracy, or error, of each.

    Parameters
    ----------
    source
        A file or a table, as `read_runs` takes it.
    loss
        Column of losses in nats per token; by default the one with a usual name. They must be of the validation text
        that the forecasts of loss will be of.
    accuracy, error
        Column of a share between 0 and 1, or several columns, whose mean is taken; by default one with a usual name.
        One of the two; an error e is the accuracy 1 - e.
    percent
        Whether accuracies or errors are in percent.
    name
        What to call the table; by default the file's name.

    Returns
    -------
    Runs
        With columns ``loss`` and ``accuracy``, and N, D, C and the like where the table has them under these names,
        for `scalebayes.fit` with a model such as ``downstream``.

    Raises
    ------
    RunsError
        With all faults at once: columns not found, cells that are no numbers, losses outside 0 to 20, accuracies not
        between 0 and 1 (percents among them), fewer than two different losses or accuracies.

    Examples
    --------
    >>> table = pd.DataFrame({"val_loss": [3.4, 2.9, 2.5], "top1_error": [0.66, 0.60, 0.49]})
    >>> read_scores(table, name="three")
    Runs 'three': 3 runs, loss 2.5 to 3.4, accuracy 0.34 to 0.51
    """
    frame, origin = open_table(source)
    name = name or (short_name(origin) if origin else "scores")
    losses, columns, wrong = _columns(frame, loss, accuracy, error)
    most = QUANTITIES["loss"].high
    faults = [*_check(frame[losses], f"a loss in nats per token, 0 to {most:g}", most)]
    top = 100.0 if percent else 1.0
    allowed = f"{'an error' if wrong else 'an accuracy'} between 0 and {top:g}"
    for column in columns:
        faults += _check(frame[column], allowed, top)
    if faults:
        raise RunsError(
            f"{name}: {len(faults)} fault{'s' * (len(faults) > 1)} in {len(frame)} rows", faults
        )
    shares = np.mean([_numbers(frame[column]) / top for column in columns], axis=0)
    given = {"loss": _numbers(frame[losses]), "accuracy": 1.0 - shares if wrong else shares}
    _refuse_constant(name, given, percent)
    table = pd.DataFrame(given, index=[str(row) for row in frame.index])
    what = f"accuracy is {'1 - ' * wrong}{'the mean of ' * (len(columns) > 1)}{', '.join(columns)}"
    return Runs(
        table,
        name,
        origin,
        (what + " in percent" * percent,) if wrong or percent or len(columns) > 1 else (),
    )


def _columns(
    frame: pd.DataFrame,
    loss: str | None,
    accuracy: str | Sequence[str] | None,
    error: str | Sequence[str] | None,
) -> tuple[str, list[str], bool]:
    """Names of the column of losses and of those of accuracies or errors, and whether they are errors."""
    names = [str(column) for column in frame]
    if accuracy is not None and error is not None:
        raise RunsError("give accuracy or error, not both: an error is 1 less the accuracy")
    if accuracy is None and error is None:
        found = {kind: _usual(names, kind) for kind in (ACCURACY, ERROR)}
        several = [*found[ACCURACY], *found[ERROR]]
        if len(several) != 1:
            got = (
                f"there are {', '.join(several)}"
                if several
                else f"the columns are {', '.join(names)}"
            )
            raise RunsError(
                f"which column is the accuracy, or the error? {got}; say accuracy=COLUMN or error=COLUMN"
            )
        accuracy, error = (several, None) if found[ACCURACY] else (None, several)
    asked = accuracy if error is None else error
    chosen = [asked] if isinstance(asked, str) else list(asked or ())
    losses = (
        [loss] if loss is not None else usual_columns([n for n in names if n not in chosen], "loss")
    )
    if len(losses) != 1:
        raise RunsError(
            f"which column is the loss? say loss=COLUMN; the columns are {', '.join(names)}"
        )
    if missing := [column for column in (*losses, *chosen) if column not in names]:
        raise RunsError(
            f"no column {', '.join(map(repr, missing))}; the columns are {', '.join(names)}"
        )
    if not chosen:
        raise RunsError("no column of accuracies or errors was given")
    return losses[0], chosen, error is not None


def _usual(names: list[str], kind: tuple[str, ...]) -> list[str]:
    plain = {name: "".join(filter(str.isalnum, name.lower())) for name in names}
    return [
        name for name in names if plain[name] in {"".join(filter(str.isalnum, k)) for k in kind}
    ]


def _numbers(cells: pd.Series) -> np.ndarray:
    return np.array([_number(cell) for cell in cells])


def _number(cell: object) -> float:
    try:
        return parse_quantity(cell)
    except ValueError:
        return float("nan")


def _check(cells: pd.Series, allowed: str, top: float) -> Iterator[Fault]:
    """Find cells that are no numbers strictly between 0 and the top."""
    values = _numbers(cells)
    shares = top == 1.0
    for row, cell, value in zip(cells.index, cells, values, strict=True):
        if 0 < value < top:
            continue
        text = str(cell).strip()[:30] or "nothing"
        if shares and (1 < value <= 100 or "%" in text):
            why = "in percent? percent=True (--percent), without signs"
        else:
            why = (
                "all right or all wrong says nothing of the curve: leave it out"
                if value in (0.0, top)
                else ""
            )
        yield Fault(row, str(cells.name), text, allowed, why)


def _refuse_constant(name: str, given: dict[str, np.ndarray], percent: bool) -> None:
    for column, values in given.items():
        if len(np.unique(values)) < 2:
            raise RunsError(
                f"{name}: {column} is {values[0]:g} in every row; a curve needs different ones"
            )
    if percent and max(min(v, 1 - v) for v in given["accuracy"]) < 0.01:
        raise RunsError(
            f"{name}: no accuracy lies between 1 and 99 percent; are they shares? leave percent out"
        )
