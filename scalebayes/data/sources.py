"""Sources of tables of runs: files of the usual kinds, and DataFrames; cells stay as they are."""

from __future__ import annotations

import csv
import math
import os
import stat
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from scalebayes.errors import Fault, RunsError
from scalebayes.utils.files import HDF5_SIGNATURE, begins_with, not_there, printable

if TYPE_CHECKING:
    import pandas as pd

type Table = Mapping[str, Sequence[Any]] | pd.DataFrame
"""Columns by name."""

MISSING = {"", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "#N/A N/A", "NULL", "null", "None"}
MISSING |= {"NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
"""Text of cells without a value, as pandas reads them."""
MAX_CELL_LENGTH = 2**31 - 1
"""Most characters of a cell; Python's default of 131,072 is too few for a configuration in JSON."""


def _read_text(path: Path, sep: str) -> dict[str, list[str | float]]:
    """Return the columns of a text file, with missing cells as NaN.

    Other cells stay text, so that errors can quote them and no number is rounded.
    """
    csv.field_size_limit(MAX_CELL_LENGTH)
    open_file: Callable[..., Any] = open
    if path.suffix.lower() == ".gz":
        import gzip

        open_file = gzip.open
    with open_file(path, "rt", encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=sep, strict=True)
        lines = (line for line in reader if not _is_blank(line))
        names = _column_names(next(lines, []))
        rows = [_fit_to_header(line, len(names), reader.line_num) for line in lines]
    _check_columns(names, len(rows), str(path))
    columns: dict[str, list[str | float]] = {}
    for name, cells in zip(names, zip(*rows, strict=True), strict=True):
        columns[name] = [math.nan if cell in MISSING else cell for cell in cells]
    return columns


def _column_names(header: list[str]) -> list[str]:
    """Return the names in a header line; a column without a name is called as pandas calls it."""
    if not header:
        raise ValueError("No columns to parse from file")
    names = [name.strip() or f"Unnamed: {i}" for i, name in enumerate(header)]
    if len(names) == 1 and ";" in names[0]:
        hint = "save it with commas, or give a table: pd.read_csv(path, sep=';', decimal=',')"
        raise ValueError(f"its cells are separated by semicolons; {hint}")
    return names


def _fit_to_header(line: list[str], width: int, number: int) -> list[str]:
    """Return exactly `width` cells of a line: drop surplus empty cells, and add absent ones."""
    if any(line[width:]):
        where = f"Expected {width} fields in line {number}, saw {len(line)}"
        raise ValueError(f"its rows have more cells than its header has names: {where}")
    absent = [""] * (width - len(line))
    return line[:width] + absent


def _is_blank(line: list[str]) -> bool:
    """Whether a line has no separator and no text; a line of separators alone is a row."""
    return len(line) <= 1 and not "".join(line).strip()


def _read_frame(path: Path, reader: str, **options: Any) -> pd.DataFrame:
    import pandas as pd

    read = getattr(pd, reader)
    return _tidy(read(path, **options), str(path))


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": partial(_read_text, sep=","),
    ".tsv": partial(_read_text, sep="\t"),
    ".jsonl": partial(_read_frame, reader="read_json", lines=True, dtype=False, precise_float=True),
    ".parquet": partial(_read_frame, reader="read_parquet"),
    ".csv.gz": partial(_read_text, sep=","),
}
"""Functions that read a file, by the ending of its name."""


def open_table(source: str | os.PathLike[str] | pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """Return a source as a DataFrame whose index counts from 1, and the path of its file.

    The path is None for a DataFrame. Raises as `read_source`.
    """
    import pandas as pd

    table, origin = read_source(source)
    frame = pd.DataFrame(table)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame, origin


def read_source(source: str | os.PathLike[str] | pd.DataFrame) -> tuple[Table, str | None]:
    """Return the columns of a source, and the path of its file (None for a DataFrame).

    Text files are read without pandas. A named index becomes a column.

    Raises
    ------
    RunsError
        If the file does not exist or cannot be read, or if the table has no rows or two columns of
        the same name.
    """
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source)), printable(os.fspath(source))
    import pandas as pd

    if not isinstance(source, pd.DataFrame):
        raise RunsError(
            f"runs are read from a path or a DataFrame, not from a {type(source).__name__}"
        )
    return _tidy(source, "the table"), None


def _tidy(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return a checked copy with stripped names of columns and a named index as a column."""
    import pandas as pd

    frame = frame.copy(deep=False)
    if isinstance(frame.index.name, str) and frame.index.name not in frame:
        frame = frame.reset_index()
    frame.columns = pd.Index([str(column).strip() for column in frame.columns], dtype=object)
    _check_columns(list(frame.columns), len(frame), where)
    return frame


def is_text(path: Path) -> bool:
    """Whether a file is read as text, without pandas."""
    return not path.name.lower().endswith((".jsonl", ".parquet"))


def is_table(path: Path) -> bool:
    """Whether a file's name ends as those of tables do."""
    return _ending(path.name) is not None


def short_name(origin: str) -> str:
    """Return the name of a file without its ending: ``sweep`` for data/sweep.csv.gz."""
    name = printable(Path(origin).name)
    ending = _ending(name)
    return name if ending is None else name[: -len(ending)]


def _ending(name: str) -> str | None:
    """Return the first ending in `READERS` that a file's name has, or None."""
    for ending in READERS:
        if name.lower().endswith(ending):
            return ending
    return None


def _check_columns(columns: list[str], rows: int, where: str) -> None:
    """Check that a table has columns and rows, and that no two columns have the same name."""
    if not rows or not columns:
        fault = Fault(None, "every column", "no rows", "one row for each run")
        raise RunsError(f"{where} has no runs", [fault])
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise RunsError(f"{where} has two columns called {', '.join(repeated)}: rename one")


def refuse_fit(path: Path) -> None:
    """Check that there is a file that is not a saved fit in place of a table.

    Raises
    ------
    RunsError
        When there is none, or it is a fit, or cannot be read.
    """
    try:
        # Only a regular file is opened here: what a pipe holds could not be read again.
        is_fit = stat.S_ISREG(path.stat().st_mode) and begins_with(path, HDF5_SIGNATURE)
    except FileNotFoundError:
        raise RunsError(not_there(path)) from None
    except OSError as error:
        raise RunsError(f"cannot read runs from {path}: {error.strerror}") from error
    if is_fit:
        raise RunsError(
            f"{path} is a saved fit (or another HDF5 file), not a table: give the file that holds "
            f"the runs. `scalebayes summary {quote(str(path))}` or sb.load({str(path)!r}) "
            "shows a fit"
        )


def _read_file(path: Path) -> Table:
    refuse_fit(path)
    ending = _ending(path.name)
    if ending is None:
        raise RunsError(f"cannot read runs from {path}: allowed are {', '.join(READERS)} files")
    try:
        return READERS[ending](path)
    except ImportError as error:
        message = "reading Parquet needs pyarrow: pip install 'scalebayes[parquet]'"
        raise RunsError(message) from error
    except csv.Error as error:
        message = f"cannot read runs from {path}: {error}; is a quotation mark not closed?"
        raise RunsError(message) from error
    # pandas' own errors are ValueErrors.
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunsError(f"cannot read runs from {path}: {reason}") from error
