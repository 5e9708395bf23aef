"""Runs from exports of Weights & Biases, and from tables with a row for each checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scalebayes.data.columns import (
    NAMES_LISTED,
    QUANTITIES,
    ambiguous,
    usual_columns,
    with_usual_name,
)
from scalebayes.data.runs import Runs, read_runs
from scalebayes.data.sources import open_table, short_name
from scalebayes.errors import Fault, RunsError
from scalebayes.units import parse_quantity

type Source = str | os.PathLike[str] | pd.DataFrame

STEPS = (
    "step",
    "global step",
    "_step",
    "train step",
    "training step",
    "steps",
    "iteration",
    "iter",
)
RATES = ("lr", "learning rate", "train lr", "optimizer lr")
IDS = ("run", "run id", "run name", "hyper id", "model", "model name", "name", "id")
"""Usual names of the columns of a table of checkpoints."""
ANNEALED = 0.1
"""Share of a run's peak learning rate at or below which a checkpoint counts as annealed."""
KEPT_ID = "run @ step"
KEPT_TOKENS = "step tokens"
"""Columns that `read_checkpoints` adds: ids of the checkpoints kept, and their tokens."""


def read_wandb(source: Source, *, state: str = "finished", **columns: Any) -> Runs:
    """Return the runs of a Weights & Biases export that are in one state.

    If no column has a usual name for a role, the part of each name behind a dot or a slash is
    compared instead, so ``config.model.n_params`` and ``summary.eval/loss`` are recognised. If two
    columns match one role, choose one.

    Parameters
    ----------
    source
        A file or a table, one row for each run.
    state
        Runs in another ``State`` (crashed, failed, killed, running) are skipped and counted in the
        notes.
    columns
        Further arguments of `read_runs`: ``N="config.params"``, ``loss_unit``,
        ``skip_incomplete`` ...

    Raises
    ------
    RunsError
        As `read_runs`, or when no run is in that state.
    """
    frame, origin = open_table(source)
    kept, notes = _in_state(frame, state)
    names = [str(column) for column in frame]
    for role in QUANTITIES:
        is_chosen = columns.get(role) is not None
        if is_chosen or usual_columns(names, role):
            continue
        found = [name for name in names if _ends_in_usual_name(name, role)]
        if len(found) > 1:
            raise RunsError(
                f"{origin or 'the table'}: more than one column could be {role}",
                [ambiguous(role, found)],
            )
        columns[role] = found[0] if found else None
    if columns.get("run") is None and "Name" in kept and kept["Name"].is_unique:
        columns["run"] = "Name"  # the name that people gave to a run, rather than its ID
    return _read(kept, origin, notes, columns)


def _in_state(frame: pd.DataFrame, state: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows in a state, and a note of how many rows in other states were skipped."""
    column = next((name for name in frame if str(name).lower() == "state"), None)
    if column is None:
        return frame, ["no State column: every row is taken for a finished run"]
    states = frame[column].fillna("without a state").astype(str).str.strip().str.lower()
    in_state = states == state.lower()
    numbers = states[~in_state].value_counts()
    others = ", ".join(f"{number} {name}" for name, number in numbers.items())
    kept = frame[in_state]
    if kept.empty:
        raise RunsError(f"no run is {state!r}: there are {others}")
    if not others:
        return kept, []
    return kept, [f"{len(kept)} {state} of {len(frame)} runs kept; skipped: {others}"]


def _ends_in_usual_name(column: str, role: str) -> bool:
    """Whether what follows a dot or slash is a usual name; single letters are too ambiguous."""
    ends = [column[match.end() :] for match in re.finditer(r"[./]", column)]
    return any(usual_columns([end], role) for end in ends if len(end) > 1)


def read_checkpoints(
    source: Source,
    *,
    keep: str = "final",
    run: str | None = None,
    step: str | None = None,
    lr: str | None = None,
    tokens_per_step: float | str | None = None,
    **columns: Any,
) -> Runs:
    """Return the runs of a table that has one row for each step of each training.

    A checkpoint in the middle of a training is not a shorter run: its learning rate is still high,
    and so is its loss (Hoffmann et al. 2022, section 3.1). ``final`` keeps the last step of each
    training. ``annealed`` keeps the last step of every stretch in which the learning rate is at
    most a tenth of its peak in that training, so that each of several cooldowns counts. ``all``
    keeps every row, which is right if each checkpoint was cooled down.

    Parameters
    ----------
    source
        A file or a table.
    keep
        ``"final"``, ``"annealed"`` or ``"all"``. The notes give the rule and the number of rows.
    run, step, lr
        Columns of the id of the training, of the step and of the learning rate; by default those
        with usual names.
    tokens_per_step
        For tables without tokens: D is the step times this.
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
    """
    if keep not in ("final", "annealed", "all"):
        raise RunsError(f"keep is 'final', 'annealed' or 'all'; got {keep!r}")
    frame, origin = open_table(source)
    id_column = _column(frame, "run", run, IDS)
    step_column = _column(frame, "step", step, STEPS)
    steps = _numbers(frame, step_column)
    checkpoints = pd.DataFrame({"run": frame[id_column].astype(str), "step": steps})
    checkpoints = checkpoints.sort_values(["run", "step"])
    if keep == "annealed":
        rate_column = _column(frame, "learning rate", lr, RATES)
        rates = _numbers(frame, rate_column)
        chosen = _last_annealed(checkpoints, rates.loc[checkpoints.index])
        if chosen.empty:
            raise RunsError(
                f"no checkpoint is annealed: {rate_column} never falls to {ANNEALED:g} of its peak "
                "(keep='final' keeps the last step of each run)"
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
    if tokens_per_step is not None:
        tokens = parse_quantity(tokens_per_step)
        kept = kept.assign(**{KEPT_TOKENS: steps[kept.index] * tokens})
        columns["D"] = KEPT_TOKENS
        notes.append(f"D = {tokens:g} tokens times {step_column}")
    return _read(kept, origin, notes, columns | {"run": KEPT_ID})


def _last_annealed(checkpoints: pd.DataFrame, rates: pd.Series) -> pd.DataFrame:
    """Return the last checkpoint of each stretch of a run with a low learning rate.

    checkpoints: sorted by run and step; rates: the learning rate of each.
    """
    peaks = rates.groupby(checkpoints["run"]).transform("max")
    is_low = rates <= ANNEALED * peaks
    is_next_low = is_low.groupby(checkpoints["run"]).shift(-1, fill_value=False).astype(bool)
    return checkpoints[is_low & ~is_next_low]


def _column(frame: pd.DataFrame, what: str, asked: str | None, usual: Sequence[str]) -> str:
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
    raise RunsError(f"a table of checkpoints needs a column of the {what}", [fault])


def _numbers(frame: pd.DataFrame, column: str) -> pd.Series:
    """Return a column as finite numbers, zero or more."""
    numbers = pd.to_numeric(frame[column], errors="coerce").astype(float)
    is_usable = np.isfinite(numbers) & (numbers >= 0.0)
    faults = [
        Fault(int(row), column, str(frame[column][row]), "a number, zero or more")
        for row in frame.index[~is_usable]
    ]
    if faults:
        raise RunsError(
            f"{len(faults)} of {len(frame)} checkpoints have no usable {column}", faults
        )
    return numbers


def _read(
    kept: pd.DataFrame, origin: str | None, notes: list[str], columns: dict[str, Any]
) -> Runs:
    name = columns.pop("name", None) or (short_name(origin) if origin else "runs")
    runs = read_runs(kept, name=name, **columns)
    return replace(runs, source=origin, notes=(*notes, *runs.notes))
