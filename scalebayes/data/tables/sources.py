"""Sources of tables of runs: files of the usual kinds, folders, and DataFrames.

Cells stay as they are. Every source is read in bounded memory: what is larger is refused.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, cast

from scalebayes.data.tables.columns import QUANTITIES, usual_columns
from scalebayes.data.tables.name_patterns import fields_of_names
from scalebayes.data.tables.raw_tables import FILE, RawTable, Table, check_columns
from scalebayes.data.tables.text_files import MOST_CELLS, MOST_CHARACTERS, TextFormat, read_text
from scalebayes.errors import RunsError
from scalebayes.utils.files import HDF5_SIGNATURE, begins_with, not_there, printable

if TYPE_CHECKING:
    import pandas as pd

type Source = str | os.PathLike[str] | pd.DataFrame | Sequence[str | os.PathLike[str]]
"""A file, a folder, a pattern of paths such as ``logs/*.csv``, several files, or a table."""


@dataclass(frozen=True)
class FileFormat(TextFormat):
    """How a source is written, as `scalebayes.read_runs` takes it.

    Attributes
    ----------
    name_pattern
        Pattern of the names of files or runs that contain values, or None.
    """

    name_pattern: str | None = None

    def __post_init__(self) -> None:
        """Refuse a pattern that is no text."""
        super().__post_init__()
        if self.name_pattern is not None and not isinstance(self.name_pattern, str):
            raise RunsError(f"name_pattern is text; got {self.name_pattern!r}")


USUAL = FileFormat()


def _read_delimited(path: Path, file_format: FileFormat, usual_sep: str) -> RawTable:
    columns, notes = read_text(path, usual_sep, file_format)
    return RawTable(columns, printable(str(path)), notes)


def _read_json(path: Path, _: FileFormat, lines: bool) -> RawTable:
    """Return the table in a file of JSON: objects one a line, a list of objects, or columns.

    Objects within an object become columns such as ``config.params``.
    """
    import pandas as pd

    if path.stat().st_size > MOST_CHARACTERS:
        raise ValueError(f"it has more than {MOST_CHARACTERS // 10**6} MB; save fewer columns")
    text = path.read_text(encoding="utf-8-sig")
    try:
        if lines:
            content: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            content = json.loads(text)
        is_columns = isinstance(content, dict)
        if is_columns and len(content) > 1 and _are_lists(content.values()):
            frame = pd.DataFrame(content)
        else:
            frame = pd.json_normalize(_objects(content))
    except RecursionError as error:
        raise ValueError("its values are nested too deeply") from error
    return RawTable(tidy(frame, str(path)), printable(str(path)))


def _are_lists(values: Iterable[Any]) -> bool:
    return all(isinstance(value, list) for value in values)


def _objects(content: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, which may be the only list in an object."""
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else content
    is_list = isinstance(content, list)
    if not is_list or not all(isinstance(each, dict) for each in content):
        raise ValueError("its JSON is no list of objects, one for each run")
    return content


def _read_parquet(path: Path, _: FileFormat) -> RawTable:
    import pandas as pd
    import pyarrow.parquet as parquet

    description = parquet.read_metadata(path)
    if description.num_rows * description.num_columns > MOST_CELLS:
        raise ValueError(_too_many_cells())
    groups = (description.row_group(i) for i in range(description.num_row_groups))
    if sum(group.total_byte_size for group in groups) > MOST_CHARACTERS:
        raise ValueError(f"it unpacks to more than {MOST_CHARACTERS // 10**6} MB")
    return RawTable(tidy(pd.read_parquet(path), str(path)), printable(str(path)))


def _too_many_cells() -> str:
    return f"it has more than {MOST_CELLS // 10**6} million cells; save fewer columns or rows"


READERS: dict[str, Callable[[Path, FileFormat], RawTable]] = {
    ".csv": partial(_read_delimited, usual_sep=","),
    ".tsv": partial(_read_delimited, usual_sep="\t"),
    ".jsonl": partial(_read_json, lines=True),
    ".ndjson": partial(_read_json, lines=True),
    ".json": partial(_read_json, lines=False),
    ".parquet": _read_parquet,
    ".csv.gz": partial(_read_delimited, usual_sep=","),
    ".txt": partial(_read_delimited, usual_sep="\t"),
}
"""Functions that read a file, by the ending of its name."""


def open_table(source: Source, file_format: FileFormat = USUAL) -> tuple[pd.DataFrame, RawTable]:
    """Return a source as a DataFrame whose index counts from 1, and the source as it was read.

    Raises as `read_source`.
    """
    return as_frame(read_source(source, file_format))


def as_frame(raw: RawTable) -> tuple[pd.DataFrame, RawTable]:
    """Return a table as a DataFrame whose index counts from 1, beside the table itself."""
    import pandas as pd

    frame = pd.DataFrame(raw.columns)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame, raw


def read_source(source: Source, file_format: FileFormat = USUAL) -> RawTable:
    """Return the table of a source.

    One text file is read without pandas. A named index becomes a column.

    Raises
    ------
    RunsError
        If a file does not exist or cannot be read, or if the table has no rows or two columns of
        the same name.
    """
    return with_fields(_read(source, file_format), file_format.name_pattern)


def _read(source: Source, file_format: FileFormat) -> RawTable:
    """Return the table of a source, without the fields of names."""
    if isinstance(source, str | os.PathLike):
        return _read_path(Path(source), file_format)
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return RawTable(tidy(source, "the table"), None)
    are_paths = isinstance(source, list | tuple) and all(
        isinstance(each, str | os.PathLike) for each in source
    )
    if not are_paths or not source:
        raise RunsError(
            f"runs are read from a path, a list of paths or a DataFrame, not from a "
            f"{type(source).__name__}"
        )
    files = [Path(each) for each in source]
    if len(files) == 1:
        return _read_path(files[0], file_format)
    return _read_files(files, file_format, ", ".join(map(str, files[:2])) + " ...")


def files_at(path: Path) -> list[Path]:
    """Return the file at a path, the tables of a folder, or the files that match a pattern."""
    # Unlike the methods of Path, these answer no where a folder may not be read.
    if os.path.isdir(path):
        return sorted(each for each in path.iterdir() if _ending(each.name) and each.is_file())
    if glob.has_magic(str(path)) and not os.path.exists(path):
        return sorted(map(Path, glob.glob(str(path))))
    return [path]


def _read_path(path: Path, file_format: FileFormat) -> RawTable:
    """Return the table in a file, in the files of a folder, or in those that match a pattern."""
    files = files_at(path)
    if files == [path]:
        return _read_file(path, file_format)
    if not files and os.path.isdir(path):
        raise RunsError(f"{path} has no file of runs: {', '.join(READERS)}")
    if not files:
        raise RunsError(f"no file matches {path}")
    return _read_files(files, file_format, printable(str(path)))


def _read_files(files: Sequence[Path], file_format: FileFormat, origin: str) -> RawTable:
    """Return the rows of several files, with the name of its file in each row.

    A column that a file lacks is empty there.
    """
    import pandas as pd

    frames = []
    notes: list[str] = []
    cells = 0
    for path in files:
        raw = _read_file(path, file_format)
        frame = pd.DataFrame(raw.columns).astype(object)
        frame[FILE] = short_name(path.name)
        frames.append(frame)
        cells += frame.size
        if cells > MOST_CELLS:
            raise RunsError(f"cannot read runs from {origin}: {_too_many_cells()}")
        notes += [note for note in raw.notes if note not in notes]
    table = pd.concat(frames, ignore_index=True)
    notes.append(f"{len(table)} rows of {len(files)} files in {origin}")
    return RawTable(tidy(table, origin), origin, tuple(notes))


def with_fields(raw: RawTable, pattern: str | None) -> RawTable:
    """Return a table with the fields that a pattern finds in its names as further columns.

    The names are those of the files, if there are several, else of the runs, else of the file.
    """
    if pattern is None:
        return raw
    fields = fields_of_names(pattern, _names_of_rows(raw))
    names = [str(name) for name in raw.columns]
    for field in fields:
        taken = [field] if field in names else []
        if field in QUANTITIES:
            taken = taken or usual_columns(names, field)
        if taken:
            raise RunsError(
                f"{raw.origin}: the pattern {pattern} finds {field}, but the table has a column "
                f"called {taken[0]} already"
            )
    columns: dict[str, Any] = {str(name): list(raw.columns[name]) for name in raw.columns}
    return raw._replace(columns=columns | fields)


def _names_of_rows(raw: RawTable) -> list[str]:
    """Return the names that a pattern is matched with, one for each row."""
    names = [str(name) for name in raw.columns]
    of_runs = [FILE] if FILE in names else usual_columns(names, "run")
    if of_runs:
        return [str(cell) for cell in raw.columns[of_runs[0]]]
    first_column = next(iter(raw.columns))
    file = short_name(raw.origin) if raw.origin else "runs"
    return [file] * len(raw.columns[first_column])


def tidy(frame: pd.DataFrame, where: str) -> Table:
    """Return a checked copy with stripped names of columns and a named index as columns.

    Columns with several levels of names get one, the levels joined by a slash.
    """
    import pandas as pd

    frame = frame.copy(deep=False)
    names = [_flat(column) for column in frame.columns]
    frame.columns = pd.Index(names, dtype=object)
    levels = [level for level in frame.index.names if isinstance(level, str)]
    if levels and not set(levels).intersection(names):
        frame = frame.reset_index(level=levels)
    check_columns([str(name) for name in frame.columns], len(frame), where)
    return cast(Table, frame)


def _flat(column: Any) -> str:
    """Return the name of a column as one text."""
    if not isinstance(column, tuple):
        return str(column).strip()
    return "/".join(str(level).strip() for level in column if str(level).strip())


def is_text(path: Path) -> bool:
    """Whether a file is read as text, without pandas."""
    return path.is_file() and not path.name.lower().endswith(
        (".jsonl", ".ndjson", ".json", ".parquet")
    )


def is_table(path: Path) -> bool:
    """Whether the name of a file has an ending of tables, such as .csv."""
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
        is_bare_name = path.name == str(path) and not path.suffix
        hint = "; sb.load_runs reads published tables by name" if is_bare_name else ""
        raise RunsError(not_there(path) + hint) from None
    except OSError as error:
        raise RunsError(f"cannot read runs from {path}: {error.strerror}") from error
    if is_fit:
        raise RunsError(
            f"{path} is a saved fit (or another HDF5 file), not a table: give the file that holds "
            f"the runs. `scalebayes summary {quote(str(path))}` or sb.load({str(path)!r}) "
            "shows a fit"
        )


def _read_file(path: Path, file_format: FileFormat) -> RawTable:
    refuse_fit(path)
    ending = _ending(path.name)
    if ending is None:
        message = f"cannot read runs from {path}: allowed are {', '.join(READERS)} files"
        if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
            message += "; save the sheet as CSV"
        raise RunsError(message)
    if not path.is_file():  # reading a pipe without a writer, or /dev/zero, would never end
        raise RunsError(
            f"cannot read runs from {path}: it is a device or a pipe; save its content as a file"
        )
    try:
        return READERS[ending](path, file_format)
    except ImportError as error:
        message = "reading Parquet needs pyarrow: pip install 'scalebayes[parquet]'"
        raise RunsError(message) from error
    except csv.Error as error:
        message = f"cannot read runs from {path}: {error}; is a quotation mark not closed?"
        raise RunsError(message) from error
    # pandas' own errors are ValueErrors.
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = str(error).strip().splitlines()[0]
        if isinstance(error, UnicodeDecodeError):
            reason += "; save it as UTF-8"
        raise RunsError(f"cannot read runs from {path}: {reason}") from error
