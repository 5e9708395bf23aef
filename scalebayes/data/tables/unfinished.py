"""Rows that are no finished run: crashed and running ones, and summaries below a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scalebayes.data.tables.columns import label, plain_name, usual_columns
from scalebayes.data.tables.raw_tables import Table
from scalebayes.errors import Fault

STATE_NAMES = ("state", "status", "runstate", "runstatus")
"""Names of the column with the state of a run, letters and digits only."""
UNFINISHED = {
    *("crashed", "crash", "failed", "fail", "killed", "running", "pending", "preempted"),
    *("preempting", "cancelled", "canceled", "oom", "diverged", "error", "unfinished", "timeout"),
}
"""States of runs whose loss is not that of a finished training, in lower case."""
FLAG_NAMES = ("diverged", "crashed", "failed", "hasdiverged", "isdiverged")
"""Names of columns that mark such runs, letters and digits only."""
TRUE = {"1", "1.0", "true", "yes", "y"}
SUMMARIES = {"average", "mean", "median", "total", "sum", "std", "stdev", "min", "max", "avg"}
"""Names of rows that summarise the others, in lower case."""


def state_column(names: Sequence[str]) -> str | None:
    """Return the column with the states of runs, or None."""
    for name in names:
        if plain_name(name) in STATE_NAMES:
            return name
    return None


def check_finished(table: Table, rows: Sequence[int]) -> Iterator[Fault]:
    """Yield a fault for each row of a run that did not finish, and for each summary of others.

    rows: numbers of the rows that are read, from 1.
    """
    of_names = set(usual_columns([str(name) for name in table], "run"))
    hint = "read_wandb (scalebayes convert --format wandb) leaves such runs out"
    for name in table:
        plain = plain_name(str(name))
        if plain in STATE_NAMES:
            yield from _faults(table, name, rows, UNFINISHED, "a finished run", hint)
        elif plain in FLAG_NAMES:
            yield from _faults(table, name, rows, TRUE, "a finished run", "delete the row")
        elif str(name) in of_names:
            hint_of_summary = "a summary of the others? delete the row"
            yield from _faults(table, name, rows, SUMMARIES, "a run", hint_of_summary)


def _faults(
    table: Table, name: str, rows: Sequence[int], refused: set[str], allowed: str, hint: str
) -> Iterator[Fault]:
    """Yield a fault for each row whose cell in a column is refused, in whatever case."""
    cells = list(table[name])
    for row in rows:
        text = label(cells[row - 1])
        if text.lower() in refused:
            yield Fault(row, str(name), text, allowed, hint)
