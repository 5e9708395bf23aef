"""Tables as a source has them, before their columns have roles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scalebayes.errors import Fault, RunsError

type Table = Mapping[str, Sequence[Any]]
"""Columns by name: a dictionary, or a DataFrame whose columns have names of type str."""

FILE = "file"
"""Column with the name of the file of each row, in a table made of several files."""


class RawTable(NamedTuple):
    """Columns by name, the path of the file (None for a DataFrame), and how it was read."""

    columns: Table
    origin: str | None
    notes: tuple[str, ...] = ()


def check_columns(names: Sequence[str], rows: int, where: str) -> None:
    """Check that a table has columns and rows, and that no two columns have the same name.

    Raises
    ------
    RunsError
        If it does not.
    """
    if not rows or not names:
        fault = Fault(None, "every column", "no rows", "one row for each run")
        raise RunsError(f"{where} has no runs", [fault])
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise RunsError(f"{where} has two columns called {', '.join(repeated)}: rename one")
