"""Read tables of checkpoints as curves: run, step, learning rate and loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scalebayes.curves.curves import Curve, Curves
from scalebayes.curves.schedules import Schedule, schedule_of_array
from scalebayes.data.exports import IDS, RATES, named_column, numbers_of, open_log
from scalebayes.data.tables.columns import STEPS, with_usual_name
from scalebayes.data.tables.names import likely_columns
from scalebayes.data.tables.sources import FileFormat, Source, short_name
from scalebayes.errors import Fault, QueryError, RunsError

GROUPS = ("group", "family", "size", "model size", "N", "params", "n params")
"""Usual names of columns that tell models of different sizes apart."""
MANY_REPEATS = 0.5
"""Share of the steps with several losses from which a run is taken for several runs."""
FEWEST_ROWS = 8
"""Checkpoints after the warm-up that a run needs, so that its slope can be told from its noise."""
FLAT = 1e-3
"""Relative change of the learning rate between rows below which it counts as constant."""


def read_curves(
    source: Source,
    *,
    run: str | None = None,
    step: str | None = None,
    lr: str | None = None,
    loss: str | None = None,
    group: str | None = None,
    warmup: float | None = None,
    schedules: Mapping[str, Any] | None = None,
    name: str | None = None,
    sep: str | None = None,
    decimal: str | None = None,
    name_pattern: str | None = None,
) -> Curves:
    """Return the curves of a table with one row for each checkpoint of each run.

    The learning rate between two rows is taken as a straight line. Where a constant rate changes
    between two rows and is constant again, it jumps at the second row. Rows in which the learning
    rate first rises are the warm-up: their area S_W counts, their losses do not. Rows without a
    loss tell of the schedule alone, so that histories that log the loss now and then can be read.

    Parameters
    ----------
    source
        A file, a folder with a file for each run, several files, or a DataFrame. A chart exported
        from Weights & Biases has no learning rates: give ``schedules``.
    run, step, lr, loss
        Columns of the id of the run, the step, the learning rate and the loss; by default those
        with usual names.
    group
        Column that tells groups of runs apart, such as models of different size, which have laws of
        their own; by default one with a usual name, such as ``size``, if there is one.
    warmup
        Steps of the warm-up, for tables that begin after it: the rate is taken to have risen
        linearly. By default it lasted until the first row, and a note says so.
    schedules
        Learning rates by run, for tables without them: an array with the rate of each step, or
        rows (step, rate), or a `Schedule`.
    name
        Name of the table; by default that of the file.
    sep, decimal, name_pattern
        As `scalebayes.read_runs` takes them.

    Raises
    ------
    RunsError
        When a column is missing or not numeric, or no run has enough checkpoints.
    QueryError
        When the warm-up is negative.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "run": "a", "step": range(1000, 11_000, 1000), "lr": 3e-4,
    ...     "loss": [4.1, 3.8, 3.65, 3.56, 3.50, 3.46, 3.43, 3.40, 3.38, 3.36],
    ... })
    >>> sb.read_curves(log, name="log")
    Curves 'log': 10 checkpoints of 1 runs, steps 1000 to 10000, loss 3.36 to 4.1
    """
    if warmup is not None and not warmup >= 0:
        raise QueryError(f"warmup={warmup:g}; a warm-up has zero or more steps")
    frame, raw = open_log(source, FileFormat(sep, decimal, name_pattern))
    where = raw.origin or "the table"
    columns = pd.DataFrame({"run": _ids(frame, where, run)}, index=frame.index)
    columns["step"] = numbers_of(frame, where, named_column(frame, where, "step", step, STEPS))
    columns["loss"] = _losses(frame, where, loss)
    columns["group"] = _groups(frame, where, group)
    columns["lr"] = np.nan
    if schedules is None:
        column = named_column(frame, where, "lr (the learning rate)", lr, RATES)
        columns["lr"] = _optional_numbers(frame, where, column, lowest=0.0)

    notes = [*raw.notes]
    curves: dict[str, Curve] = {}
    for run_id, rows in columns.groupby("run", sort=False):
        _check_repeats(where, str(run_id), rows, notes)
        given = None if schedules is None else _given_schedule(schedules, str(run_id))
        found = _curve(str(run_id), rows.sort_values("step", kind="stable"), given, warmup, notes)
        if found is not None:
            curves[found.run] = found
    if not curves:
        reasons = "; ".join(notes)
        raise RunsError(
            f"{where}: no run has {FEWEST_ROWS} checkpoints with a loss and a learning rate after "
            f"its warm-up ({reasons})"
        )
    if name is None:
        name = short_name(raw.origin) if raw.origin else "curves"
    return Curves(curves, name, raw.origin, tuple(dict.fromkeys(notes)))


def _ids(frame: pd.DataFrame, where: str, asked: str | None) -> pd.Series:
    """Return the id of the run of each row; a table of one run needs no column for it."""
    names = [str(column) for column in frame]
    if asked is None and not with_usual_name(names, IDS):
        labels = _columns_of_labels(frame)
        if labels:
            fault = Fault(None, "run", "none with a usual name", "a column", "run=COLUMN")
            raise RunsError(
                f"{where}: no column names the run, but {', '.join(labels)} tells rows apart",
                [fault],
            )
        return pd.Series("run", index=frame.index)
    return frame[named_column(frame, where, "run", asked, IDS)].astype(str)


def _columns_of_labels(frame: pd.DataFrame) -> list[str]:
    """Return the names of columns of text that tell groups of rows apart."""
    found = []
    for column in frame:
        values = frame[column].dropna()
        is_text = not pd.api.types.is_numeric_dtype(values)
        if is_text and 1 < values.nunique() <= len(values) / FEWEST_ROWS:
            found.append(str(column))
    return found


def _losses(frame: pd.DataFrame, where: str, asked: str | None) -> pd.Series:
    """Return the loss of each row, NaN where there is none."""
    names = [str(column) for column in frame]
    found = [asked] if asked else likely_columns(names, "loss")
    allowed = f"one of {', '.join(names[:12])}"
    if len(found) != 1 or found[0] not in names:
        got = "none with a usual name"
        if asked:
            got = f"{asked!r}, no such column"
        elif found:
            got = f"several: {', '.join(map(str, found))}"
        fault = Fault(None, "loss", got, allowed, "name yours: loss=COLUMN")
        raise RunsError(f"{where}: curves need one column of the loss", [fault])
    losses = _optional_numbers(frame, where, found[0], lowest=np.nextafter(0.0, 1.0))
    if losses.isna().all():
        raise RunsError(f"{where}: no row has a {found[0]}")
    return losses


def _groups(frame: pd.DataFrame, where: str, asked: str | None) -> pd.Series:
    """Return the name of the group of each row, empty where there are no groups."""
    if asked is not None:
        return frame[named_column(frame, where, "group", asked, ())].astype(str)
    found = with_usual_name([str(column) for column in frame], GROUPS)
    if not found:
        return pd.Series("", index=frame.index)
    return frame[found[0]].astype(str)


def _optional_numbers(frame: pd.DataFrame, where: str, column: str, lowest: float) -> pd.Series:
    """Return a column as numbers, NaN where a cell is empty.

    Raises
    ------
    RunsError
        When a cell is neither empty nor a finite number from the lowest on.
    """
    cells = frame[column]
    numbers = pd.to_numeric(cells, errors="coerce").astype(float)
    is_empty = cells.isna() | (cells.astype(str).str.strip().str.lower().isin(["", "nan", "none"]))
    is_usable = is_empty | (np.isfinite(numbers) & (numbers >= lowest))
    allowed = "a number, zero or more" if lowest == 0.0 else "a positive number"
    hint = "leave it empty to skip it"
    faults = [
        Fault(int(row), column, str(cells[row]), allowed, hint) for row in frame.index[~is_usable]
    ]
    if faults:
        raise RunsError(f"{where}: {len(faults)} rows have no usable {column}", faults)
    return numbers


def _check_repeats(where: str, run: str, rows: pd.DataFrame, notes: list[str]) -> None:
    """Note how many rows of a run have the step of a later row, or raise if that is half of them.

    A run that was resumed repeats some steps. Several runs under one name repeat most of them.
    """
    with_loss = rows[rows["loss"].notna()].drop_duplicates(["step", "loss"])
    repeated = int(with_loss["step"].duplicated().sum())
    if repeated == 0:
        return
    if repeated >= MANY_REPEATS * with_loss["step"].nunique():
        fault = Fault(
            None, "run", run, "one run", "name another column: run=COLUMN or group=COLUMN"
        )
        raise RunsError(
            f"{where}: {repeated} steps of {run} have several losses, as if it was several runs",
            [fault],
        )
    notes.append(
        f"{repeated} checkpoints of {run} were left out: a later row has the same step, as after a "
        "restart"
    )


def _given_schedule(schedules: Mapping[str, Any], run: str) -> Schedule:
    """Return the schedule that was given for a run."""
    if run not in schedules:
        raise RunsError(
            f"schedules has no schedule of run {run!r}; it has {', '.join(map(str, schedules))}"
        )
    given = schedules[run]
    return given if isinstance(given, Schedule) else schedule_of_array(given)


def _curve(
    run: str,
    rows: pd.DataFrame,
    given: Schedule | None,
    warmup: float | None,
    notes: list[str],
) -> Curve | None:
    """Return the curve of one run, or None where it has too few rows; notes say what was done."""
    schedule = given
    if schedule is None:
        with_rate = rows[rows["lr"].notna()].drop_duplicates("step", keep="last")
        if len(with_rate) < FEWEST_ROWS:
            notes.append(f"{run} was skipped: {len(with_rate)} rows have a learning rate")
            return None
        schedule = schedule_of_rows(
            with_rate["step"].to_numpy(), with_rate["lr"].to_numpy(), warmup, notes
        )
    with_loss = rows[rows["loss"].notna()].drop_duplicates("step", keep="last")
    # The state at a step has been trained up to it, so a row at the end of the warm-up counts.
    is_after = with_loss["step"] >= max(schedule.warmup, 1.0)
    is_within = with_loss["step"] <= schedule.end
    kept = with_loss[is_after & is_within]
    if not is_after.all():
        notes.append(f"{(~is_after).sum()} rows of the warm-up of {run} were kept apart")
    if len(kept) < FEWEST_ROWS:
        notes.append(f"{run} was skipped: {len(kept)} checkpoints after its warm-up")
        return None
    group = str(rows["group"].iloc[0])
    return Curve(run, kept["step"].to_numpy(), kept["loss"].to_numpy(), schedule, group)


def schedule_of_rows(
    steps: np.ndarray, rates: np.ndarray, warmup: float | None, notes: list[str]
) -> Schedule:
    """Return the schedule through the learning rates at some steps, with its warm-up before them.

    Parameters
    ----------
    steps, rates
        Increasing steps and their learning rates, shape (rows,).
    warmup
        Steps of the warm-up, or None.
    notes
        Receives what was assumed.
    """
    at, values = _with_jumps(steps, rates)
    end = _end_of_rise(steps, rates)
    if end is not None:
        # The warm-up is among the rows.
        if steps[0] > 0:
            at, values = np.append(0.0, at), np.append(0.0, values)
        return Schedule(*_without_needless_points(at, values), warmup=end)
    first = float(steps[0])
    if first <= 1:
        return Schedule(*_without_needless_points(at, values))
    if warmup is None:
        notes.append(
            "the learning rate is taken to have risen linearly until the first row (warmup= says "
            "otherwise)"
        )
        warmup = first
    warmup = min(warmup, first)
    before = [0.0, warmup] if warmup < first else [0.0]
    risen = [0.0, rates[0]] if warmup < first else [0.0]
    at, values = np.append(before, at), np.append(risen, values)
    return Schedule(*_without_needless_points(at, values), warmup=warmup)


def _with_jumps(steps: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a schedule, with two at each step where the rate jumps.

    A change is a jump if the rate is constant before and after it.
    """
    larger = np.maximum(rates[1:], rates[:-1])
    is_flat = np.abs(np.diff(rates)) <= FLAT * larger
    is_flat_before = np.append(False, is_flat[:-1])
    is_flat_after = np.append(is_flat[1:], False)
    jumps = np.flatnonzero(~is_flat & is_flat_before & is_flat_after) + 1
    return np.insert(steps.astype(float), jumps, steps[jumps]), np.insert(
        rates.astype(float), jumps, rates[jumps - 1]
    )


def _end_of_rise(steps: np.ndarray, rates: np.ndarray) -> float | None:
    """Return the step at which the rise of the rate at the beginning ends, or None."""
    falls = np.flatnonzero(np.diff(rates) < 0)
    stretch = rates[: falls[0] + 1] if len(falls) else rates
    top = stretch[-1]
    if stretch[0] > (1 - FLAT) * top:
        return None
    return float(steps[np.argmax(stretch >= (1 - FLAT) * top)])


def _without_needless_points(steps: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points without those in the middle of stretches of constant rate."""
    is_same = np.diff(rates) == 0
    is_needless = np.append(False, is_same[:-1] & is_same[1:])
    is_needless = np.append(is_needless, False)
    return steps[~is_needless], rates[~is_needless]
