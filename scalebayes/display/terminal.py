"""Columns and sentences laid out for a terminal, no wider than it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


from collections.abc import Mapping, Sequence

WIDTH = 120
"""Letters of the widest line that a table should have."""
LINE = 12
"""Letters that a line of a broken heading may have in any case."""


def align(rows: list[dict[str, str]], keys: int = 1) -> str:
    """Left-aligned columns, two spaces apart, headings first.

    A table wider than `WIDTH` has its headings broken into lines. Where that is not enough, the columns go on in a
    second table below, which begins with the first `keys` again.
    """
    headings = list(rows[0])
    cells = [max(len(row[h]) for row in rows) for h in headings]
    widths = [max(cell, len(h)) for cell, h in zip(cells, headings, strict=True)]
    if _length(widths) > WIDTH:
        widths = [
            max(cell, min(len(h), LINE), *(len(word) for word in h.split())) if h else cell
            for cell, h in zip(cells, headings, strict=True)
        ]
    return "\n\n".join(
        _block(rows, {headings[i]: widths[i] for i in part}) for part in _parts(widths, keys)
    )


def _length(widths: Sequence[int]) -> int:
    """Letters of a line of columns, each behind two spaces."""
    return sum(widths) + 2 * len(widths)


def _parts(widths: list[int], keys: int) -> list[list[int]]:
    """Columns by number, in tables that fit into `WIDTH`, each with the first `keys` in front."""
    front = list(range(keys))
    parts = [front]
    for i in range(keys, len(widths)):
        part = [*parts[-1], i]
        if _length([widths[j] for j in part]) > WIDTH and parts[-1] != front:
            parts.append([*front, i])
        else:
            parts[-1] = part
    return parts


def _block(rows: list[dict[str, str]], widths: Mapping[str, int]) -> str:
    """Columns under their headings; those of several lines end on the last."""
    broken = {
        h: textwrap.wrap(h, max(width, 1), break_long_words=False, break_on_hyphens=False)
        for h, width in widths.items()
    }
    depth = max(map(len, broken.values()))
    padded = {h: [""] * (depth - len(lines)) + lines for h, lines in broken.items()}
    above = [{h: lines[i] for h, lines in padded.items()} for i in range(depth)]
    texts = (
        "  ".join(line[h].ljust(width) for h, width in widths.items()) for line in [*above, *rows]
    )
    return "\n".join("  " + text.rstrip() for text in texts)


def wrap(message: object) -> str:
    """One finding in lines of at most 110 letters, those after the first indented."""
    return textwrap.fill(
        str(message), 110, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
    )


def paragraph(text: str) -> str:
    """Sentences in lines no longer than `WIDTH`."""
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def frame(table: pd.DataFrame) -> str:
    """Lay out a table of texts by name, such as those of `list_models` and `list_runs`."""
    return align(
        [{str(c): str(v) for c, v in row.items()} for row in table.reset_index().to_dict("records")]
    )
