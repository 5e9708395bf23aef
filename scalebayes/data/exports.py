"""Runs from exports of Weights & Biases, and from tables with a row for each checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scalebayes.data.reading import recorded
from scalebayes.data.runs import Runs, read_runs
from scalebayes.data.tables.columns import (
    NAMES_LISTED,
    STEPS,
    label,
    with_usual_name,
)
from scalebayes.data.tables.logs import chart_to_rows, is_chart, refuse_logs
from scalebayes.data.tables.names import likely_columns
from scalebayes.data.tables.raw_tables import FILE, RawTable
from scalebayes.data.tables.sources import (
    FileFormat,
    Source,
    as_frame,
    open_table,
    read_source,
    short_name,
    tidy,
    with_fields,
)
from scalebayes.data.tables.text_files import formulas_quoted
from scalebayes.data.tables.unfinished import state_column
from scalebayes.errors import Fault, RunsError
from scalebayes.units import parse_quantity

RATES = ("lr", "learning rate", "train lr", "optimizer lr")
IDS = ("run", "run id", "run name", "hyper id", "model", "model name", "name", "id", FILE)
"""Usual names of the columns of a table of checkpoints."""
ANNEALED = 0.1
"""Share of a run's peak learning rate at or below which a checkpoint counts as annealed."""
KEPT_ID = "run @ step"
KEPT_TOKENS = "step tokens"
"""Columns that `read_checkpoints` adds: ids of the checkpoints kept, and their tokens."""


@recorded
def read_wandb(
    source: Source,
    *,
    state: str = "finished",
    sep: str | None = None,
    decimal: str | None = None,
    name_pattern: str | None = None,
    **columns: Any,
) -> Runs:
    """Return the runs of a Weights & Biases export that are in one state.

    Rows without a loss are skipped, with a note.

    Parameters
    ----------
    source
        A file or a table, one row for each run.
    state
        Runs in another ``State`` or ``status`` (crashed, failed, killed, running) are skipped and
        counted in the notes.
    sep, decimal, name_pattern
        As `read_runs` takes them.
    columns
        Further arguments of `read_runs`: ``N="config.params"``, ``loss_unit``,
        ``skip_incomplete`` ...

    Raises
    ------
    RunsError
        As `read_runs`, or when no run is in that state.

    Examples
    --------
    >>> export = pd.DataFrame({
    ...     "Name": ["a", "b", "c"], "State": ["finished", "finished", "crashed"],
    ...     "config.n_params": [70e6, 160e6, 410e6], "config.tokens": [1.4e9, 3.2e9, 8.2e9],
    ...     "summary.eval/loss": [3.31, 2.98, 4.02],
    ... })
    >>> sb.read_wandb(export, name="export")
    Runs 'export': 2 runs, N 70M to 160M, D 1.4B to 3.2B, C 5.88e17 to 3.07e18, loss 2.98 to 3.31
    """
    frame, raw = open_table(source, FileFormat(sep, decimal, name_pattern))
    refuse_logs(raw, name_pattern)
    kept, notes = _in_state(frame, state, raw.origin or "the table")
    kept, skipped = with_loss(kept, columns.get("loss"))
    if columns.get("run") is None and "Name" in kept and kept["Name"].is_unique:
        columns["run"] = "Name"  # the name that people gave to a run, rather than its ID
    return _read(kept, raw, [*notes, *skipped], columns)


def with_loss(frame: pd.DataFrame, loss: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows with a loss, and a note of how many have none.

    Unchanged if no row has one, or if the column is not known: `read_runs` says so.
    """
    names = [str(column) for column in frame]
    column = loss
    if column is None:
        found = likely_columns(names, "loss")
        column = found[0] if len(found) == 1 else None
    if column is None or column not in names:
        return frame, []
    has_loss = frame[column].map(label) != ""
    missing = int((~has_loss).sum())
    if not missing or not has_loss.any():
        return frame, []
    rows = "1 row" if missing == 1 else f"{missing} rows"
    verb = "was" if missing == 1 else "were"
    return frame[has_loss], [f"{rows} without a loss {verb} skipped"]


def _in_state(frame: pd.DataFrame, state: str, where: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows in a state, and a note of how many rows in other states were skipped."""
    column = state_column([str(name) for name in frame])
    if column is None:
        return frame, ["no State column: every row is taken for a finished run"]
    states = frame[column].fillna("without a state").astype(str).str.strip().str.lower()
    in_state = states == state.lower()
    numbers = states[~in_state].value_counts()
    others = ", ".join(f"{number} {name}" for name, number in numbers.items())
    kept = frame[in_state].drop(columns=column)
    if kept.empty:
        raise RunsError(f"{where}: no run is {state!r}: there are {others}")
    if not others:
        return kept, []
    return kept, [f"{len(kept)} {state} of {len(frame)} runs kept; skipped: {others}"]


def write_runs(runs: Runs, path: Path) -> None:
    """Write a table of runs as CSV, so that names are no formulas when a spreadsheet opens it."""
    table = runs.table.copy()
    table.index = pd.Index(formulas_quoted(table.index), name="run")
    for column in ("group", "training"):
        if column in table:
            table[column] = formulas_quoted(table[column].astype(str))
    table.to_csv(path)


@recorded
def read_checkpoints(
    source: Source,
    *,
    keep: str = "final",
    run: str | None = None,
    step: str | None = None,
    lr: str | None = None,
    tokens_per_step: float | str | None = None,
    sep: str | None = None,
    decimal: str | None = None,
    name_pattern: str | None = None,
    **columns: Any,
) -> Runs:
    """Return the runs of a table that has one row for each step of each training.

    The table may be in several files, one for each training, whose names then tell the trainings
    apart; or a chart exported from Weights & Biases, with a column for each training. Rows without
    a loss are skipped, with a note.

    A checkpoint in the middle of a training is not a shorter run: its learning rate is still high,
    and so is its loss (Hoffmann et al. 2022, section 3.1). ``final`` keeps the last step of each
    training. ``annealed`` keeps the last step of every stretch in which the learning rate is at
    most a tenth of its peak in that training, so that each of several cooldowns counts. ``all``
    keeps every row, which is right if each checkpoint was cooled down.

    Parameters
    ----------
    source
        As `read_runs` takes it.
    keep
        ``"final"``, ``"annealed"`` or ``"all"``. The notes give the rule and the number of rows.
    run, step, lr
        Columns of the id of the training, of the step and of the learning rate; by default those
        with usual names.
    tokens_per_step
        For tables without tokens: D is the step times this.
    sep, decimal
        As `read_runs` takes them.
    name_pattern
        Pattern of the names of the trainings that contain values, as `read_runs` takes it.
    columns
        Further arguments of `read_runs`: ``N="n_params"``, ``loss="loss_c4"`` ...

    Raises
    ------
    RunsError
        As `read_runs`, or when a column is missing, a step is not a number, or no row is annealed.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556. Haegele et al. (2024), Scaling laws and
    compute-optimal training beyond fixed training durations, arXiv:2405.18392.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "run": ["a", "a", "b", "b"], "step": [1000, 2000, 1000, 2000],
    ...     "params": ["70M", "70M", "160M", "160M"], "loss": [3.80, 3.42, 3.45, 3.07],
    ... })
    >>> sb.read_checkpoints(log, tokens_per_step="0.5M", name="log")
    Runs 'log': 2 runs, N 70M to 160M, D 1B, C 4.2e17 to 9.6e17, loss 3.07 to 3.42
    """
    if keep not in ("final", "annealed", "all"):
        raise RunsError(f"keep is 'final', 'annealed' or 'all'; got {keep!r}")
    frame, raw = open_log(source, FileFormat(sep, decimal, name_pattern))
    frame, skipped = with_loss(frame, columns.get("loss"))
    where = raw.origin or "the table"
    id_column = named_column(frame, where, "run", run, IDS)
    step_column = named_column(frame, where, "step", step, STEPS)
    steps = numbers_of(frame, where, step_column)
    checkpoints = pd.DataFrame({"run": frame[id_column].astype(str), "step": steps})
    checkpoints = checkpoints.sort_values(["run", "step"])
    if keep == "annealed":
        rate_column = named_column(frame, where, "learning rate", lr, RATES)
        rates = numbers_of(frame, where, rate_column)
        chosen = _last_annealed(checkpoints, rates.loc[checkpoints.index])
        if chosen.empty:
            raise RunsError(
                f"{where}: no checkpoint is annealed: {rate_column} never falls to {ANNEALED:g} of "
                "its peak (keep='final' keeps the last step of each run)"
            )
        rule = (
            f"the last step of every stretch with {rate_column} at {ANNEALED:g} of the run's peak "
            "or less"
        )
    elif keep == "final":
        chosen = checkpoints.drop_duplicates("run", keep="last")
        rule = f"the last {step_column} of each run"
    else:
        chosen = checkpoints
        rule = "every row"

    kept = frame.loc[sorted(chosen.index)]
    ids = kept[id_column].astype(str)
    if keep != "final":
        ids = ids + "@" + steps.loc[kept.index].map("{:.0f}".format)
        columns = {"training": id_column} | columns  # several checkpoints of one run may be kept
    kept = kept.assign(**{KEPT_ID: ids})
    trainings = checkpoints["run"].nunique()
    notes = [f"{len(kept)} of {len(frame)} checkpoints of {trainings} runs kept: {rule}"]
    notes += skipped
    if tokens_per_step is not None:
        tokens = parse_quantity(tokens_per_step)
        kept = kept.assign(**{KEPT_TOKENS: steps[kept.index] * tokens})
        columns["D"] = KEPT_TOKENS
        notes.append(f"D = {tokens:g} tokens times {step_column}")
    return _read(kept, raw, notes, columns | {"run": KEPT_ID})


def open_log(source: Source, file_format: FileFormat) -> tuple[pd.DataFrame, RawTable]:
    """Return a table of steps; a chart becomes one with a row for each of its values."""
    raw = read_source(source, replace(file_format, name_pattern=None))
    names = [str(column) for column in raw.columns]
    if is_chart(names):
        rows = chart_to_rows(pd.DataFrame(raw.columns))
        note = f"a chart of {rows['run'].nunique()} runs"
        raw = RawTable(tidy(rows, "the chart"), raw.origin, (*raw.notes, note))
    return as_frame(with_fields(raw, file_format.name_pattern))


def _last_annealed(checkpoints: pd.DataFrame, rates: pd.Series) -> pd.DataFrame:
    """Return the last checkpoint of each stretch of a run with a low learning rate.

    checkpoints: sorted by run and step; rates: the learning rate of each.
    """
    peaks = rates.groupby(checkpoints["run"]).transform("max")
    is_low = rates <= ANNEALED * peaks
    is_next_low = is_low.groupby(checkpoints["run"]).shift(-1, fill_value=False).astype(bool)
    return checkpoints[is_low & ~is_next_low]


def named_column(
    frame: pd.DataFrame, where: str, what: str, asked: str | None, usual: Sequence[str]
) -> str:
    """Return the column asked for, else the first with a usual name."""
    names = [str(column) for column in frame]
    if asked:
        if asked in names:
            return asked
        got = f"{asked!r}, no such column"
        hint = ""
    else:
        found = with_usual_name(names, usual)
        if found:
            return found[0]
        got = "none with a usual name"
        hint = f"name yours: {what.split()[0]}=COLUMN"
    fault = Fault(None, what, got, f"one of {', '.join(names[:NAMES_LISTED])}", hint)
    raise RunsError(f"{where}: a table of checkpoints needs a column of the {what}", [fault])


def numbers_of(frame: pd.DataFrame, where: str, column: str) -> pd.Series:
    """Return a column as finite numbers, zero or more."""
    numbers = pd.to_numeric(frame[column], errors="coerce").astype(float)
    is_usable = np.isfinite(numbers) & (numbers >= 0.0)
    faults = [
        Fault(int(row), column, str(frame[column][row]), "a number, zero or more")
        for row in frame.index[~is_usable]
    ]
    if faults:
        raise RunsError(
            f"{where}: {len(faults)} of {len(frame)} checkpoints have no usable {column}", faults
        )
    return numbers


def _read(kept: pd.DataFrame, raw: RawTable, notes: list[str], columns: dict[str, Any]) -> Runs:
    name = columns.pop("name", None) or (short_name(raw.origin) if raw.origin else "runs")
    runs = read_runs(kept, name=name, **columns)
    return replace(runs, source=raw.origin, notes=(*raw.notes, *notes, *runs.notes))
