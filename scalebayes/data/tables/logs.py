"""Logs of trainings: charts exported from Weights & Biases, and files with a row for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scalebayes.data.tables.columns import STEPS, usual_columns, with_usual_name
from scalebayes.data.tables.raw_tables import FILE, RawTable
from scalebayes.errors import RunsError

if TYPE_CHECKING:
    import pandas as pd

STEP_NAMES = {"step", "_step", "global_step", "trainer/global_step", "train/step"}
"""Names of the first column of a chart, in lower case."""
TIME_NAMES = {"relative time (process)", "relative time (wall)", "wall time", "runtime"}
"""Names of the first column of a chart along time, in lower case."""
BETWEEN = " - "
"""What separates the name of a run from the metric in the name of a column."""
BOUNDS = ("__MIN", "__MAX")
"""Endings of the columns that hold the range of a smoothed line."""


def is_chart(names: Sequence[str]) -> bool:
    """Whether columns are those of a chart.

    A chart has the step in its first column, and one column for each run, all of the same metric.
    """
    if len(names) < 2 or names[0].strip().lower() not in STEP_NAMES | TIME_NAMES:
        return False
    lines = _lines(names)
    has_others = any(BETWEEN not in name for name in names[1:])
    return bool(lines) and not has_others and len(set(lines.values())) == 1


def refuse_logs(raw: RawTable, name_pattern: str | None) -> None:
    """Refuse tables of steps where a row for each run is read.

    name_pattern: as it was given, for the advice.

    Raises
    ------
    RunsError
        If the table is a chart, or if it is made of several files with a row for each step.
    """
    names = [str(column) for column in raw.columns]
    where = raw.origin or "the table"
    if is_chart(names):
        runs = [_run(name) for name in _lines(names)]
        raise RunsError(
            f"{where} is a chart exported from Weights & Biases: a row for each step of "
            f"{len(runs)} runs ({runs[0]} ...), without N. Export the table of runs instead; or, "
            "if the names of the runs contain N: scalebayes convert FILE --format checkpoints "
            "--name-pattern '{N}-*' --tokens-per-step TOKENS -o runs.csv"
        )
    if FILE not in names:
        return
    files = list(raw.columns[FILE])
    steps = [name for name in with_usual_name(names, STEPS) if not usual_columns([name], "S")]
    option = f" --name-pattern '{name_pattern}'" if name_pattern else ""
    if steps and len(set(files)) < len(files):
        raise RunsError(
            f"{where}: each file has a row for each {steps[0]} of a training. To keep the last: "
            f"scalebayes convert {where} --format checkpoints{option} -o runs.csv "
            "(read_checkpoints)"
        )


def chart_to_rows(chart: pd.DataFrame) -> pd.DataFrame:
    """Return a table with a row for each value in a chart: run, step, and the metric as loss."""
    import pandas as pd

    names = [str(name) for name in chart]
    step = names[0]
    if step.strip().lower() in TIME_NAMES:
        raise RunsError(f"the chart is along {step}, not along steps: export it with Step")
    parts = []
    for name in _lines(names):
        part = pd.DataFrame({"run": _run(name), "step": chart[step], "loss": chart[name]})
        parts.append(part[part["loss"].notna()])
    rows = pd.concat(parts, ignore_index=True)
    rows.index = pd.RangeIndex(1, len(rows) + 1)
    return rows


def _lines(names: Sequence[str]) -> dict[str, str]:
    """Return the metric of each column that is the line of a run."""
    lines = {}
    for name in names[1:]:
        metric = name.rpartition(BETWEEN)[2]
        is_bound = name.endswith(BOUNDS) or metric.lower() in STEP_NAMES
        if BETWEEN in name and not is_bound:
            lines[name] = metric
    return lines


def _run(name: str) -> str:
    return name.rpartition(BETWEEN)[0]
