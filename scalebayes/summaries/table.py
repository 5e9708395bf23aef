"""The DataFrame that summaries return."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from scalebayes.display import html
from scalebayes.display.terminal import WIDTH, align, wrap
from scalebayes.laws import INPUTS


class Table(pd.DataFrame):
    """A DataFrame that prints whole, under the probability and kind of its intervals."""

    @property
    def _constructor(self) -> type[Table]:
        return Table

    def __repr__(self) -> str:
        """Print every column, to four significant digits, large numbers as 70B."""
        kind, texts, notes = self._shown()
        return "\n".join([*filter(None, [kind]), self._laid_out(texts), *map(wrap, notes)])

    def _repr_html_(self) -> str:
        kind, texts, notes = self._shown()
        return html.panel(kind, html.table(texts, index=False, most=60), html.entries(notes))

    def _shown(self) -> tuple[str, pd.DataFrame, Sequence[object]]:
        """The kind of the intervals, every cell as text, and the caveats."""
        kind = (
            f"{100 * self.attrs['ci_prob']:g}% equal-tailed intervals"
            if "ci_prob" in self.attrs
            else ""
        )
        keys = self.index.to_frame(index=False)
        texts = pd.concat([keys, self.reset_index(drop=True)], axis=1).map(html.written)
        return kind, texts, self.attrs.get("caveats", ())

    def _laid_out(self, texts: pd.DataFrame) -> str:
        """Columns in lines no longer than `WIDTH`: what is too wide goes on below, behind what says which row it is."""
        table = texts.to_string(index=False)
        if not len(texts) or table.index("\n") <= WIDTH:
            return table
        keys = self.index.to_frame(index=False)
        front = [x for x in keys if x in INPUTS or not pd.api.types.is_numeric_dtype(keys[x])]
        order = [*front, *self.columns, *keys.columns.drop(front)]
        rows = [
            dict(zip(map(str, order), row, strict=True))
            for row in texts[order].itertuples(index=False)
        ]
        return align(rows, len(front))
