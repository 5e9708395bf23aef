"""Names of tables as people say them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from scalebayes.data.runs import Runs
from scalebayes.data.tables.sources import is_table, short_name
from scalebayes.datasets import TABLES
from scalebayes.utils.files import printable


def table_name(runs: Runs) -> str:
    """Return the name of a table: that of its file, or the authors and year of a published one."""
    if runs.name in TABLES:
        return table_name_in_words(runs.name)
    if runs.source is not None:
        path = Path(runs.source)
        if is_table(path) and short_name(path.name) == runs.name:
            return printable(path.name)
    return runs.name


def table_name_in_words(name: str) -> str:
    """Return the authors and year of a published table."""
    source = re.sub(r" \([^)]*\)", "", TABLES[name].source)
    return source.partition(",")[0]


def runs_in_words(runs: Runs) -> str:
    """Return the number and origin of runs: "40 runs in runs.csv"."""
    name = table_name(runs)
    if runs.name in TABLES:
        return f"{len(runs)} runs of {name}"
    if name == runs.name:
        return f"{len(runs)} runs of the table {name}"
    return f"{len(runs)} runs in {name}"


def table_names(tables: Iterable[Runs]) -> str:
    """Return the names and numbers of runs of some tables, each once."""
    named = dict.fromkeys(f"{table_name(runs)} ({len(runs)} runs)" for runs in tables)
    return ", ".join(named)
