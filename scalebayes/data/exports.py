"""Tables as trackers and training code leave them, to runs: exports of Weights & Biases, and one row a checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scalebayes.data.columns import QUANTITIES, usual_columns
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
RUNS = ("run", "run id", "run name", "hyper id", "model", "model name", "name", "id")
"""Usual names of the columns of a table of checkpoints."""
ANNEALED = 0.1
"""Share of a run's peak learning rate at and below which a checkpoint counts as annealed."""


def read_wandb(source: Source, *, state: str = "finished", **columns: Any) -> Runs:
    """Read a table of runs exported from Weights & Biases: those in one state, columns found behind their prefixes.

    ``config.model.n_params`` and ``summary.eval/loss`` are recognised by what follows a dot or a slash, where no column
    has a usual name as it stands. Where two could play one part, say which.

    Parameters
    ----------
    source
        A file or a table; a row a run.
    state
        Runs in another ``State`` (crashed, failed, killed, running) are dropped; how many is in the notes.
    columns
        Further arguments of `read_runs`: ``N="config.params"``, ``loss_unit``, ``skip_incomplete`` ...

    Raises
    ------
    RunsError
        As `read_runs`, or when no run is in that state.
    """
    frame, origin = open_table(source)
    kept, notes = _in_state(frame, state)
    names = [str(column) for column in frame]
    for role in QUANTITIES:
        if columns.get(role) is None and not usual_columns(names, role):
            found = [c for c in names if any(usual_columns([end], role) for end in _ends(c))]
            if len(found) > 1:
                fault = Fault(
                    None,
                    role,
                    " and ".join(found),
                    "one column",
                    f"choose {role}={found[0]} (--map on the command line)",
                )
                raise RunsError(
                    f"{origin or 'the table'}: more than one column could be {role}", [fault]
                )
            columns[role] = found[0] if found else None
    if columns.get("run") is None and "Name" in kept and kept["Name"].is_unique:
        columns["run"] = "Name"  # which people know their runs by, rather than ID
    return _read(kept, origin, notes, columns)


def _in_state(frame: pd.DataFrame, state: str) -> tuple[pd.DataFrame, list[str]]:
    column = next((c for c in frame if str(c).lower() == "state"), None)
    if column is None:
        return frame, ["no State column: every row is taken for a finished run"]
    states = frame[column].fillna("none").astype(str).str.strip().str.lower()
    kept = frame[states == state.lower()]
    others = ", ".join(
        f"{n} {name}" for name, n in states[states != state.lower()].value_counts().items()
    )
    if kept.empty:
        raise RunsError(f"no run is {state!r}: there are {others}")
    return kept, [
        f"{len(kept)} {state} of {len(frame)} runs kept; dropped: {others}"
    ] if others else []


def _ends(column: str) -> list[str]:
    """What follows each dot or slash; never a bare letter, which may be anything's."""
    ends = [column[match.end() :] for match in re.finditer(r"[./]", column)]
    return [end for end in ends if len(end) > 1]


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
    """Read a table with a row a step of every run, and keep the rows that are runs in the sense of a scaling law.

    A checkpoint in the middle of a training is not the end of a shorter one: its learning rate is still high, and so
    is its loss (Hoffmann et al. 2022, section 3.1). ``final`` keeps the last step of each run; ``annealed`` the last
    step of every stretch in which the learning rate is down to a tenth of the run's peak, so that several cooldowns
    of one training count each; ``all`` keeps every row, which is right where each was cooled down already.

    Parameters
    ----------
    source
        A file or a table.
    keep
        ``"final"``, ``"annealed"`` or ``"all"``; which, and how many rows, is in the notes.
    run, step, lr
        Columns of the run's id, the step and the learning rate; by default those with usual names.
    tokens_per_step
        Where the table has no tokens: D is the step times this.
    columns
        Further arguments of `read_runs`: ``N="n_params"``, ``loss="loss_c4"`` ...

    Raises
    ------
    RunsError
        As `read_runs`, or when a column is missing, a step is no number, or nothing is annealed.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556. Haegele et al. (2024), Scaling laws and compute-optimal training beyond
    fixed training durations, arXiv:2405.18392.
    """
    if keep not in ("final", "annealed", "all"):
        raise RunsError(f"keep is 'final', 'annealed' or 'all'; got {keep!r}")
    frame, origin = open_table(source)
    ids, steps = _column(frame, "run", run, RUNS), _column(frame, "step", step, STEPS)
    at = _numbers(frame, steps, low=0.0)
    order = pd.DataFrame(
        {"run": frame[ids].astype(str), "step": at}, index=frame.index
    ).sort_values(["run", "step"])
    if keep == "annealed":
        rate = _column(frame, "learning rate", lr, RATES)
        order = order.assign(
            low=_annealed(_numbers(frame, rate, low=0.0).loc[order.index], order["run"])
        )
        chosen = order[
            order["low"] & ~(order.groupby("run")["low"].shift(-1, fill_value=False).astype(bool))
        ]
        how = (
            f"the last step of every stretch with {rate} at {ANNEALED:g} of the run's peak or less"
        )
    else:
        chosen = order.drop_duplicates("run", keep="last") if keep == "final" else order
        how = f"the last {steps} of each run" if keep == "final" else "every row"
    if chosen.empty:
        raise RunsError(
            f"nothing is annealed: {rate} never falls to {ANNEALED:g} of its peak (keep='final' asks less)"
        )
    kept = frame.loc[sorted(chosen.index)]
    names = [f"{kept[ids][i]}" + f"@{at[i]:.0f}" * (keep != "final") for i in kept.index]
    kept = kept.assign(**{"run @ step": names})
    notes = [
        f"{len(kept)} of {len(frame)} checkpoints of {order['run'].nunique()} runs kept: {how}"
    ]
    if tokens_per_step is not None:
        rate_ = parse_quantity(tokens_per_step)
        kept = kept.assign(**{"step tokens": at[kept.index] * rate_})
        columns["D"] = "step tokens"
        notes.append(f"D = {rate_:g} tokens times {steps}")
    return _read(kept, origin, notes, columns | {"run": "run @ step"})


def _annealed(rates: pd.Series, runs: pd.Series) -> pd.Series:
    return rates <= ANNEALED * rates.groupby(runs).transform("max")


def _column(frame: pd.DataFrame, what: str, asked: str | None, usual: Sequence[str]) -> str:
    """Find the column asked for, else the first with a usual name."""
    columns = [str(column) for column in frame]
    plain = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in reversed(columns)}
    names = (
        [asked]
        if asked
        else [plain[key] for key in (re.sub(r"[^a-z0-9]", "", n) for n in usual) if key in plain]
    )
    if not names or names[0] not in frame:
        got = f"{asked!r}, no such column" if asked else "none with a usual name"
        allowed = f"one of {', '.join(columns[:12])}"
        fault = Fault(
            None, what, got, allowed, "" if asked else f"name yours: {what.split()[0]}=COLUMN"
        )
        raise RunsError(f"a table of checkpoints needs a column of the {what}", [fault])
    return names[0]


def _numbers(frame: pd.DataFrame, column: str, low: float) -> pd.Series:
    numbers = pd.to_numeric(frame[column], errors="coerce").astype(float)
    bad = frame.index[~(np.isfinite(numbers) & (numbers >= low))]
    if len(bad):
        faults = [
            Fault(int(row), column, str(frame[column][row]), "a number, zero or more")
            for row in bad
        ]
        raise RunsError(f"{len(bad)} of {len(frame)} checkpoints have no usable {column}", faults)
    return numbers


def _read(
    kept: pd.DataFrame, origin: str | None, notes: list[str], columns: dict[str, Any]
) -> Runs:
    name = columns.pop("name", None) or (short_name(origin) if origin else "runs")
    runs = read_runs(kept, name=name, **columns)
    return replace(runs, source=origin, notes=(*notes, *runs.notes))
