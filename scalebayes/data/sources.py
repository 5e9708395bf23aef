"""Where a table of runs comes from: a file of one of the usual kinds, or a DataFrame, as it stands."""

from __future__ import annotations

import csv
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalebayes.errors import Fault, RunsError
from scalebayes.utils.files import not_there

if TYPE_CHECKING:
    import pandas as pd

type Table = Mapping[str, Sequence[Any]] | pd.DataFrame
"""Columns by name."""

MISSING = {
    "",
    "NA",
    "N/A",
    "n/a",
    "<NA>",
    "#N/A",
    "#NA",
    "NaN",
    "nan",
    "-NaN",
    "-nan",
    "NULL",
    "null",
    "None",
}
MISSING |= {"#N/A N/A", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
"""How text says that there is no value."""


LONGEST = 2**31 - 1
"""Characters of a cell, a configuration in a column of its own say: Python's own limit is low."""


def _read_text(path: Path, sep: str) -> dict[str, list[str | float]]:
    """Text as it stands in the file, NaN where there is none: errors can then quote it, and no number is rounded."""
    csv.field_size_limit(LONGEST)
    opened: Callable[..., Any] = open
    if path.suffix.lower() == ".gz":
        from gzip import open as opened
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=sep, strict=True)
        lines = (line for line in reader if len(line) > 1 or "".join(line).strip())
        names = [name.strip() or f"Unnamed: {i}" for i, name in enumerate(next(lines, []))]
        if not names:
            raise ValueError("No columns to parse from file")
        if len(names) == 1 and ";" in names[0]:
            hint = "save it with commas, or give a table: pd.read_csv(path, sep=';', decimal=',')"
            raise ValueError(f"its cells are separated by semicolons; {hint}")
        rows = []
        for line in lines:
            if any(line[len(names) :]):
                where = f"Expected {len(names)} fields in line {reader.line_num}, saw {len(line)}"
                raise ValueError(f"its rows have more cells than its header has names: {where}")
            rows.append(line[: len(names)] + [""] * (len(names) - len(line)))
    _refuse_unfit(names, len(rows), str(path))
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {
        name: [math.nan if cell in MISSING else cell for cell in column] for name, column in columns
    }


def _read_frame(path: Path, reader: str, **options: Any) -> pd.DataFrame:
    import pandas as pd

    return _tidy(getattr(pd, reader)(path, **options), str(path))


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": partial(_read_text, sep=","),
    ".tsv": partial(_read_text, sep="\t"),
    ".jsonl": partial(_read_frame, reader="read_json", lines=True, dtype=False, precise_float=True),
    ".parquet": partial(_read_frame, reader="read_parquet"),
    ".csv.gz": partial(_read_text, sep=","),
}
"""By the end of a file's name."""


def open_table(source: str | os.PathLike[str] | pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """Read a source as a DataFrame, as `read_source` does; rows count from 1."""
    import pandas as pd

    table, origin = read_source(source)
    frame = pd.DataFrame(table)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame, origin


def read_source(source: str | os.PathLike[str] | pd.DataFrame) -> tuple[Table, str | None]:
    """Read a source as it is, text without pandas, and say where it comes from; a named index becomes a column.

    Raises
    ------
    RunsError
        When there is no such file, it cannot be read, holds no rows or two columns of one name.
    """
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source)), os.fspath(source)
    import pandas as pd

    if not isinstance(source, pd.DataFrame):
        raise RunsError(
            f"runs are read from a path or a DataFrame, not from a {type(source).__name__}"
        )
    return _tidy(source, "the table"), None


def _tidy(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    import pandas as pd

    frame = frame.copy(deep=False)
    if isinstance(frame.index.name, str) and frame.index.name not in frame:
        frame = frame.reset_index()
    frame.columns = pd.Index([str(column).strip() for column in frame.columns], dtype=object)
    _refuse_unfit(list(frame.columns), len(frame), where)
    return frame


def is_text(path: Path) -> bool:
    """Whether a file is read without pandas, if at all."""
    return not path.name.lower().endswith((".jsonl", ".parquet"))


def short_name(origin: str) -> str:
    """Name a table after its file, as ``sweep`` of data/sweep.csv.gz."""
    name = Path(origin).name
    return next((name[: -len(end)] for end in READERS if name.lower().endswith(end)), name)


def _refuse_unfit(columns: list[str], rows: int, where: str) -> None:
    if not rows or not columns:
        raise RunsError(
            f"{where} has no runs", [Fault(None, "every column", "no rows", "a row a run")]
        )
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise RunsError(f"{where} has two columns called {', '.join(twice)}: rename one")


def _read_file(path: Path) -> Table:
    if not path.exists():
        raise RunsError(not_there(path))
    reader = next((read for end, read in READERS.items() if path.name.lower().endswith(end)), None)
    if reader is None:
        raise RunsError(f"cannot read runs from {path}: allowed are {', '.join(READERS)} files")
    try:
        return reader(path)
    except ImportError as error:
        raise RunsError(
            "reading Parquet needs pyarrow: pip install 'scalebayes[parquet]'"
        ) from error
    except csv.Error as error:
        raise RunsError(
            f"cannot read runs from {path}: {error}; is a quotation mark not closed?"
        ) from error
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
    ) as error:  # pandas' own errors are ValueErrors
        raise RunsError(
            f"cannot read runs from {path}: {str(error).strip().splitlines()[0]}"
        ) from error
