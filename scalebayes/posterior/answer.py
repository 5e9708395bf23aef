"""An answer: draws of quantities that show themselves as a table of intervals."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pandas as pd
import xarray as xr

from scalebayes.display import html

DRAWS = ("chain", "draw")
MOST_ROWS = 12
"""Targets that are shown; the middle of a longer answer is left out."""


class Answer(xr.Dataset):
    """An `xarray.Dataset` of draws that prints the table of its medians, intervals and caveats.

    Everything else is that of a dataset. `scalebayes.intervals` returns the table as numbers. A
    dataset derived from an answer that lacks its distances beyond the runs, or its targets, prints
    as xarray prints it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the table as text, and what the draws are."""
        if not self._is_whole():
            return super().__repr__()
        text = _tables()
        rows, front = text.draws_rows(_shortened(self))
        if self._is_long():
            rows.insert(len(rows) // 2, dict.fromkeys(rows[0], "..."))
        lines = [
            f"Posterior median with {text.kind_of_interval(text.CI_PROB)} interval",
            "",
            text.align(rows, front),
            "",
            *text.caveat_lines(text.caveats(self)),
            self._about_draws(),
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        as_dataset = super()._repr_html_()
        if not self._is_whole():
            return as_dataset
        text = _tables()
        rows, _ = text.draws_rows(self)
        title = f"Posterior median with {text.kind_of_interval(text.CI_PROB)} interval"
        table = html.table(pd.DataFrame(rows), index=False, most=MOST_ROWS, breaks=False)
        messages = html.messages(text.caveats(self))
        return html.panel(title, table, messages, html.fold(self._about_draws(), as_dataset))

    def _is_whole(self) -> bool:
        """Return whether this has draws at targets, as an answer has, and not a part of them."""
        along = set(self.sizes) - set(DRAWS)
        has_draws = set(DRAWS) <= set(self.sizes)
        has_distances = "decades_beyond" in self.coords and "of" in self["decades_beyond"].attrs
        return bool(along) and has_draws and has_distances

    def _is_long(self) -> bool:
        return any(size > MOST_ROWS for dim, size in self.sizes.items() if dim not in DRAWS)

    def _about_draws(self) -> str:
        """Return the sizes and names of the draws in one line."""
        names = ", ".join(map(str, self.data_vars))
        chains, draws = (self.sizes.get(dim, 1) for dim in DRAWS)
        noun = "chain" if chains == 1 else "chains"
        return f"xarray.Dataset, {chains} {noun} x {draws} draws of {names}"


def _shortened(answer: Answer) -> Answer:
    """Return the first and the last targets of a long answer."""
    for dim, size in answer.sizes.items():
        if dim not in DRAWS and size > MOST_ROWS:
            half = MOST_ROWS // 2
            shown = [*range(half), *range(size - half, size)]
            answer = answer.isel({dim: shown})
    return answer


def _tables() -> ModuleType:
    """Return the module that writes answers as text.

    It lies above this folder, and folders import downwards only: it is asked for by name, when an
    answer is shown.
    """
    return import_module("scalebayes.summaries.text")
