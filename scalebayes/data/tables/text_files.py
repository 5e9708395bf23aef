"""Tables in delimited text (CSV, TSV), read without pandas; numbers stay as they are written."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scalebayes.data.tables.raw_tables import check_columns
from scalebayes.errors import RunsError
from scalebayes.units import number_or_nan

MISSING = {"", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "#N/A N/A", "NULL", "null", "None"}
MISSING |= {"-", "\N{EN DASH}", "\N{EM DASH}", "TBD", "#DIV/0!", "#VALUE!", "#REF!", "n.a."}
MISSING |= {"NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
"""Text of cells without a value, as pandas and spreadsheets write them."""
MOST_CHARACTERS = 250_000_000
"""Characters of a file that are read, after decompression: a million runs with twenty columns. It
bounds the memory that a compressed file of a few kilobytes can take."""
MOST_CELLS = 20_000_000
"""Cells of a table that are read: they take about 70 bytes each."""
SNIFFED = 50
"""Lines from which the separator is detected."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""Separators that are detected, with their names."""
DECIMALS = (".", ",")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a cell that spreadsheets take for a formula, which may call programs."""

_STATED_SEPARATOR = re.compile(r"sep=([;,\t|])\s*")
"""First line with which spreadsheets state the separator."""
_WITH_COMMA = re.compile(r"[+-]?(\d+)((?:,\d+)+)(\.\d*)?(e[+-]?\d+)?\s*[kmbgt%]?", re.I)
"""A number with commas, which separate thousands or decimals."""
_DECIMAL_POINT = re.compile(r"[+-]?\d*\.(\d{1,2}|\d{4,})(e[+-]?\d+)?\s*[kmbgt%]?", re.I)
"""A number whose point cannot separate thousands."""
_THOUSANDS_BY_POINTS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?\s*[kmbgt%]?", re.I)
"""A number whose points separate thousands, where a comma marks the decimals."""


class TextTable(NamedTuple):
    """Columns of a text file by name, and notes of how it was read."""

    columns: dict[str, list[str | float]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class TextFormat:
    """How a text file is written; None where it is to be detected.

    Attributes
    ----------
    sep
        Character between two cells.
    decimal
        Character before the decimals of a number, "." or ",".
    """

    sep: str | None = None
    decimal: str | None = None

    def __post_init__(self) -> None:
        """Refuse what separates no cells or decimals."""
        is_character = isinstance(self.sep, str) and len(self.sep) == 1
        if self.sep is not None and not is_character:
            raise RunsError(f"sep is one character, such as ';'; got {self.sep!r}")
        if self.decimal not in (None, *DECIMALS):
            raise RunsError(f"decimal is '.' or ','; got {self.decimal!r}")


def read_text(path: Path, usual_sep: str, text_format: TextFormat) -> TextTable:
    """Return the columns of a text file, with missing cells as NaN.

    Other cells stay text, so that errors can quote them and no number is rounded.

    Parameters
    ----------
    path
        A file; one whose name ends in .gz is decompressed.
    usual_sep
        Separator that files of this ending usually have.
    text_format
        Separator and decimal mark, each detected where it is not given.

    Raises
    ------
    ValueError
        If the text is no table or too long, or if commas may separate decimals or thousands.
    csv.Error
        If a quotation mark is not closed.
    """
    csv.field_size_limit(MOST_CHARACTERS)
    notes = []
    with _open(path) as file:
        lines = _bounded_lines(file)
        first_lines = list(itertools.islice(lines, SNIFFED))
        stated = _STATED_SEPARATOR.fullmatch(first_lines[0]) if first_lines else None
        if stated is not None:
            del first_lines[0]
        sep = text_format.sep or (
            stated[1] if stated else _detect_separator(first_lines, usual_sep)
        )
        if text_format.sep is None and sep != usual_sep:
            notes.append(f"cells are separated by {SEPARATORS[sep]}")
        names, rows = _read_rows(itertools.chain(first_lines, lines), sep)
    check_columns(names, len(rows), str(path))
    columns: dict[str, list[str | float]] = {}
    for name, cells in zip(names, zip(*rows, strict=True), strict=True):
        columns[name] = [math.nan if cell in MISSING else _unquoted(cell) for cell in cells]
    decimal = text_format.decimal
    if decimal is None and _has_decimal_commas(columns, sep):
        decimal = ","
        notes.append("decimals follow a comma")
    if decimal == ",":
        columns = {name: list(map(_with_point, cells)) for name, cells in columns.items()}
    return TextTable(columns, tuple(notes))


def formulas_quoted(names: Iterable[str]) -> list[str]:
    """Return names with an apostrophe before those that a spreadsheet would take for formulas.

    A spreadsheet hides the apostrophe, and `read_text` drops it.
    """
    return [f"'{name}" if name.startswith(FORMULA_STARTS) else name for name in names]


def _unquoted(cell: str) -> str:
    """Return a cell without the apostrophe that `formulas_quoted` put before a formula."""
    is_quoted = cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS)
    return cell[1:] if is_quoted else cell


def _open(path: Path) -> io.TextIOWrapper:
    """Return an open text file: UTF-8, or UTF-16 where its first bytes say so."""
    compressed = path.name.lower().endswith(".gz")
    opener = gzip.open if compressed else open
    with opener(path, "rb") as file:
        start = file.read(2)
    encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return opener(path, "rt", encoding=encoding, newline="")


def _bounded_lines(file: io.TextIOWrapper) -> Iterator[str]:
    """Yield the lines of a file, which may have `MOST_CHARACTERS` characters."""
    characters = 0
    while line := file.readline(MOST_CHARACTERS + 1 - characters):
        characters += len(line)
        if characters > MOST_CHARACTERS:
            size = f"{MOST_CHARACTERS // 10**6} million characters"
            raise ValueError(f"it has more than {size}; save fewer columns or rows")
        yield line


def _detect_separator(lines: Sequence[str], usual: str) -> str:
    """Return the usual separator, or another one if it alone splits all lines alike."""
    if _splits_alike(lines, usual):
        return usual
    others = [sep for sep in SEPARATORS if sep != usual and _splits_alike(lines, sep)]
    if not others:
        return usual
    # The first line may be blank, so all are split.
    return max(others, key=lambda sep: len(_split(lines, sep)[0]))


def _splits_alike(lines: Sequence[str], sep: str) -> bool:
    """Whether a separator splits the header into several names, and each line into as many."""
    try:
        widths = {len(row) for row in _split(lines, sep)}
    except csv.Error:
        return False
    return len(widths) == 1 and widths.pop() > 1


def _split(lines: Iterable[str], sep: str) -> list[list[str]]:
    return [row for row in csv.reader(lines, delimiter=sep) if not _is_blank(row)]


def _read_rows(lines: Iterable[str], sep: str) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns, and the rows with a cell for each of them."""
    reader = csv.reader(lines, delimiter=sep, strict=True)
    filled = (row for row in reader if not _is_blank(row))
    names = _column_names(next(filled, []))
    rows = []
    for row in filled:
        rows.append(_fit_to_header(row, len(names), reader.line_num))
        if len(rows) * len(names) > MOST_CELLS:
            size = f"{MOST_CELLS // 10**6} million cells"
            raise ValueError(f"it has more than {size}; save fewer columns or rows")
    return names, rows


def _column_names(header: list[str]) -> list[str]:
    """Return the names in a header line; a column without a name is called as pandas calls it."""
    if not header:
        raise ValueError("No columns to parse from file: it is empty")
    if len(header) > 1 and not any(math.isnan(number_or_nan(name)) for name in header):
        raise ValueError("its first line has numbers, not names: add a header such as N,D,loss")
    return [name.strip() or f"Unnamed: {i}" for i, name in enumerate(header)]


def _fit_to_header(line: list[str], width: int, number: int) -> list[str]:
    """Return exactly `width` cells of a line: drop surplus empty cells, and add absent ones."""
    if any(line[width:]):
        where = f"Expected {width} fields in line {number}, saw {len(line)}"
        raise ValueError(
            f"its rows have more cells than its header has names: {where}. Is there a title or a "
            "comment above the header? Remove it"
        )
    absent = [""] * (width - len(line))
    return line[:width] + absent


def _is_blank(line: list[str]) -> bool:
    """Whether a line has no separator and no text; a line of separators alone is a row."""
    return len(line) <= 1 and not "".join(line).strip()


def _has_decimal_commas(columns: dict[str, list[str | float]], sep: str) -> bool:
    """Whether the commas in numbers mark decimals.

    They do if one of them cannot separate thousands (``2,71``, ``0,125``), and no number shows that
    commas or points have the other meaning (``1,234,567``, ``2.71``).

    Raises
    ------
    ValueError
        If a table whose cells are not separated by commas has numbers such as ``3,412`` only.
    """
    texts = [cell.strip() for cells in columns.values() for cell in cells if isinstance(cell, str)]
    numbers = [match for match in map(_WITH_COMMA.fullmatch, texts) if match is not None]
    if not numbers:
        return False
    if any(_shows_thousands(number) for number in numbers):
        return False
    if any(map(_DECIMAL_POINT.fullmatch, texts)):
        return False
    if any(_shows_decimals(number) for number in numbers):
        return True
    if sep == ";":
        hint = "say decimal=',' or decimal='.' (--decimal)"
        raise ValueError(f"the comma in {numbers[0][0]} may mark decimals or thousands: {hint}")
    return False


def _shows_thousands(number: re.Match[str]) -> bool:
    """Whether commas can only separate thousands: there are several, or a point follows."""
    _, groups, point, _ = number.groups()
    return groups.count(",") > 1 or point is not None


def _shows_decimals(number: re.Match[str]) -> bool:
    """Whether a single comma cannot separate thousands: 2,71 or 0,125 or 1,234e9."""
    whole, group, _, exponent = number.groups()
    are_three_digits = len(group) == 4
    return not are_three_digits or len(whole) > 3 or whole == "0" or exponent is not None


def _with_point(cell: str | float) -> str | float:
    """Return a cell with a point before its decimals, where a comma marked them."""
    if not isinstance(cell, str):
        return cell
    if _THOUSANDS_BY_POINTS.fullmatch(cell.strip()):
        return cell.replace(".", "").replace(",", ".")
    number = _WITH_COMMA.fullmatch(cell.strip())
    if number is None or _shows_thousands(number):
        return cell
    return cell.replace(",", ".")
