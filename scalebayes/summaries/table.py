"""The DataFrame that summaries return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from scalebayes.display import html
from scalebayes.display.numbers import known
from scalebayes.display.terminal import WIDTH, align, wrap
from scalebayes.laws import INPUTS

if TYPE_CHECKING:
    from scalebayes.messages import Message

ERRORS = "mcse_"
"""Start of the names of columns with Monte Carlo errors of the column whose name follows."""


class Table(pd.DataFrame):
    """A DataFrame that prints its rows and columns, with its kind of intervals and its caveats.

    A column such as ``mcse_median`` has the Monte Carlo errors of the column ``median``. It is not
    printed; the numbers of the other are rounded by it.
    """

    @property
    def _constructor(self) -> type[Table]:
        return Table

    def __repr__(self) -> str:
        """Return every column as text, to four significant digits, large numbers such as 70B."""
        caveats = [wrap(message.in_brief()) for message in self._caveats()]
        parts = [self._kind(), self._text(), *caveats]
        return "\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        table = html.table(self._cells(), index=False, most=60)
        return html.panel(self._kind(), table, html.messages(self._caveats()))

    def _kind(self) -> str:
        """Return the probability and kind of the intervals; empty where there are none."""
        if "ci_prob" not in self.attrs:
            return ""
        return f"{100 * self.attrs['ci_prob']:g}% equal-tailed intervals"

    def _caveats(self) -> Sequence[Message]:
        return self.attrs.get("caveats", ())

    def _cells(self) -> pd.DataFrame:
        """Return index and columns as columns of text."""
        keys = self.index.to_frame(index=False)
        table = pd.concat([keys, pd.DataFrame(self).reset_index(drop=True)], axis=1)
        for name in self.columns:
            errors = f"{ERRORS}{name}"
            if errors in table:
                pairs = zip(table[name], table.pop(errors), strict=True)
                table[name] = [known(value, error) for value, error in pairs]
        return table.map(html.written)

    def _text(self) -> str:
        """Return the columns as text in lines of at most `WIDTH`.

        Columns that do not fit continue below, after the columns that identify the row: inputs of
        the law and words.
        """
        cells = self._cells()
        text = cells.to_string(index=False)
        if not len(cells) or text.index("\n") <= WIDTH:
            return text
        keys = self.index.to_frame(index=False)
        front = [x for x in keys if x in INPUTS or not pd.api.types.is_numeric_dtype(keys[x])]
        columns = [name for name in cells if name not in keys]
        order = [*front, *columns, *keys.columns.drop(front)]
        headings = [str(name) for name in order]
        rows = [
            dict(zip(headings, row, strict=True)) for row in cells[order].itertuples(index=False)
        ]
        return align(rows, len(front))
