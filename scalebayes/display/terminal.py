"""Tables and sentences laid out for a terminal, no wider than it."""

from __future__ import annotations

import io
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 120
"""Columns of the widest line; in a narrower terminal, lines are as narrow as that."""
MESSAGE_WIDTH = 110
"""Columns of the widest line of a message, which is prose below a table."""
NARROWEST = 60
"""Columns below which a terminal counts as this wide: no table fits into less."""
LEAST_HEADING = 12
"""Columns that a broken heading may take in any case, so that it does not break at every word."""
INDENT = GAP = 2
"""Spaces in front of a table, and between its columns."""


def available_width() -> int:
    """Return the number of columns to fill: the terminal's width, but at most `WIDTH`."""
    columns = shutil.get_terminal_size((WIDTH, 24)).columns
    return max(NARROWEST, min(columns, WIDTH))


def align(rows: list[dict[str, str]], keys: int = 1) -> str:
    """Return rows as a table of left-aligned columns under their headings.

    The headings of a table wider than the terminal are broken into lines. Where that is not enough,
    the remaining columns follow in further tables, each beginning with the first `keys` columns.
    """
    widths = {}
    least_widths = {}
    for heading in rows[0]:
        cells = max(len(row[heading]) for row in rows)
        widths[heading] = max(cells, len(heading))
        least_widths[heading] = _least_width(heading, cells)
    if _table_width(list(widths.values())) > available_width():
        widths = least_widths
    blocks = [_render(rows, columns) for columns in _split(widths, keys)]
    return "\n\n".join(blocks)


def _table_width(widths: list[int]) -> int:
    return INDENT + sum(widths) + GAP * (len(widths) - 1)


def _least_width(heading: str, cells: int) -> int:
    """Return the width of a column whose heading may be broken, but whose cells may not."""
    longest_word = max(map(len, heading.split()), default=0)
    return max(cells, longest_word, min(len(heading), LEAST_HEADING))


def _split(widths: dict[str, int], keys: int) -> list[dict[str, int]]:
    """Return the columns of each table, so that every table fits into the terminal.

    A column too wide for any terminal stands alone beside the keys.
    """
    columns = list(widths.items())
    front = dict(columns[:keys])
    blocks = [dict(front)]
    for heading, width in columns[keys:]:
        total = _table_width([*blocks[-1].values(), width])
        if total > available_width() and len(blocks[-1]) > keys:
            blocks.append(dict(front))
        blocks[-1][heading] = width
    return blocks


def _render(rows: list[dict[str, str]], widths: dict[str, int]) -> str:
    """Lay out columns of given widths with Rich."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for heading, width in widths.items():
        table.add_column(Text(heading), width=width, vertical="bottom")
    for row in rows:
        # Text, because Rich would read brackets such as [1.9, 2.1] as markup.
        table.add_row(*[Text(row[heading]) for heading in widths])
    written = io.StringIO()
    console = Console(file=written, width=_table_width([*widths.values()]), color_system=None)
    console.print(table)
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    return textwrap.indent("\n".join(lines), INDENT * " ")


def wrap(message: object) -> str:
    """Return a message as indented lines, those after the first indented further."""
    width = min(MESSAGE_WIDTH, available_width())
    return textwrap.fill(
        str(message),
        width,
        initial_indent="  ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )


def paragraph(text: str) -> str:
    """Return sentences broken into lines."""
    return textwrap.fill(text, available_width(), break_on_hyphens=False)


def frame(table: pd.DataFrame) -> str:
    """Return a table of texts, such as that of `list_models`, as lines for a terminal."""
    rows: Any = table.reset_index().astype(str).to_dict("records")
    return align(rows, keys=table.index.nlevels)
