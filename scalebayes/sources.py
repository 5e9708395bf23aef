"""Where a table of runs comes from: a file of one of the usual kinds, or a DataFrame, as it stands."""

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from scalebayes.errors import Fault, RunsError
from scalebayes.files import not_there


def _read_text(path: Path, sep: str) -> pd.DataFrame:
    """Text as it stands in the file: errors can then quote it, and no number is rounded by a fast parser."""
    header = pd.read_csv(path, dtype=str, sep=sep, header=None, nrows=1).iloc[0].dropna().str.strip()
    _refuse_twins(list(header), str(path))  # pandas calls the second one loss.1 and says nothing
    if len(header) == 1 and ";" in header.iloc[0]:
        hint = "save it with commas, or give a table: pd.read_csv(path, sep=';', decimal=',')"
        raise RunsError(f"cannot read runs from {path}: its cells are separated by semicolons; {hint}")
    return pd.read_csv(path, dtype=str, index_col=False, sep=sep)


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": partial(_read_text, sep=","),
    ".tsv": partial(_read_text, sep="\t"),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False, precise_float=True),
    ".parquet": lambda path: pd.read_parquet(path),
    ".csv.gz": partial(_read_text, sep=","),
}
"""By the end of a file's name."""


def open_table(source: str | os.PathLike[str] | pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """Read a source as it is, and say where it comes from; rows count from 1 and a named index becomes a column.

    Raises
    ------
    RunsError
        When there is no such file, it cannot be read, holds no rows or two columns of one name.
    """
    if isinstance(source, pd.DataFrame):
        frame, origin = source.copy(deep=False), None
    elif isinstance(source, str | os.PathLike):
        frame, origin = _read_file(Path(source)), os.fspath(source)
    else:
        raise RunsError(f"runs are read from a path or a DataFrame, not from a {type(source).__name__}")
    if isinstance(frame.index.name, str) and frame.index.name not in frame:
        frame = frame.reset_index()
    frame.columns = pd.Index([str(column).strip() for column in frame.columns], dtype=object)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    if frame.empty:
        raise RunsError(f"{origin or 'the table'} has no runs", [Fault(None, "every column", "no rows", "a row a run")])
    _refuse_twins(list(frame.columns), origin or "the table")
    return frame, origin


def short_name(origin: str) -> str:
    """Name a table after its file, as ``sweep`` of data/sweep.csv.gz."""
    name = Path(origin).name
    return next((name[: -len(end)] for end in READERS if name.lower().endswith(end)), name)


def _refuse_twins(columns: list[str], where: str) -> None:
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise RunsError(f"{where} has two columns called {', '.join(twice)}: rename one")


def _read_file(path: Path) -> pd.DataFrame:
    reader = next((read for end, read in READERS.items() if path.name.lower().endswith(end)), None)
    if reader is None:
        raise RunsError(f"cannot read runs from {path}: allowed are {', '.join(READERS)} files")
    if not path.exists():
        raise RunsError(not_there(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # it would cut such rows short
            return reader(path)
    except ImportError as error:
        raise RunsError("reading Parquet needs pyarrow: pip install 'scalebayes[parquet]'") from error
    except pd.errors.ParserWarning as error:
        raise RunsError(f"cannot read runs from {path}: its rows have more cells than its header has names") from error
    except (OSError, EOFError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise RunsError(f"cannot read runs from {path}: {str(error).strip().splitlines()[0]}") from error
