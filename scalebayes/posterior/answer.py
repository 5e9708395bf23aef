"""An answer: draws of quantities that show themselves as a table of intervals."""

from __future__ import annotations

import functools
import math
from importlib import import_module
from types import ModuleType
from typing import Any

import pandas as pd
import xarray as xr

from scalebayes.display import html

DRAWS = ("chain", "draw")
MOST_ROWS = 12
"""Targets that are shown; the middle of a longer answer is left out."""


BINARY = ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod")
"""Binary operators of Python: ``__add__`` and so on, each with a reflected one, ``__radd__``."""
CHANGING_VALUES = (
    *(f"__{name}__" for name in BINARY),
    *(f"__r{name}__" for name in BINARY),
    "__neg__",
    "__abs__",
    "map",
    "diff",
    "cumsum",
    "cumprod",
    "interp",
)
"""Methods of a dataset whose results are other quantities than those of the answer."""


def _without_table(name: str) -> Any:
    """Return a method of a dataset whose result prints as xarray prints it.

    It returns other quantities than those of the answer, such as differences, under their names.
    """
    method = getattr(xr.Dataset, name)

    @functools.wraps(method)
    def call(self: Answer, *args: Any, **kwargs: Any) -> xr.Dataset:
        changed = method(self, *args, **kwargs)
        return xr.Dataset(changed.data_vars, changed.coords, changed.attrs)

    return call


class Answer(xr.Dataset):
    """An `xarray.Dataset` of draws that prints the table of its medians, intervals and caveats.

    Everything else is that of a dataset. `scalebayes.intervals` returns the table as numbers. A
    dataset derived from an answer that has other values, or lacks the distances beyond the runs,
    the draws or the targets, prints as xarray prints it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the table as text, and what the draws are."""
        if not self._is_whole():
            return super().__repr__()
        text = _tables()
        rows, front = self._rows()
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
        rows, _ = self._rows()
        title = f"Posterior median with {text.kind_of_interval(text.CI_PROB)} interval"
        table = html.table(pd.DataFrame(rows), index=False, most=len(rows), breaks=False)
        messages = html.messages(text.caveats(self))
        return html.panel(title, table, messages, html.fold(self._about_draws(), as_dataset))

    def _is_whole(self) -> bool:
        """Return whether this has draws at targets, as an answer has, and not a part of them."""
        if not set(DRAWS) < set(self.sizes) or 0 in self.sizes.values() or not self.data_vars:
            return False
        if any(values.dtype.kind not in "fiu" for values in self.data_vars.values()):
            return False
        if "decades_beyond" not in self.coords:
            return False
        decades = self["decades_beyond"]
        return "of" in decades.attrs and not set(DRAWS) & set(decades.dims)

    def _rows(self) -> tuple[list[dict[str, str]], int]:
        """Return the rows of the table, and how many columns name a row.

        A row of dots stands for the middle of a long answer.
        """
        rows, front = _tables().draws_rows(_shortened(self))
        targets = math.prod(size for dim, size in self.sizes.items() if dim not in DRAWS)
        if targets > MOST_ROWS:
            half = MOST_ROWS // 2
            rows = [*rows[:half], dict.fromkeys(rows[0], "..."), *rows[-half:]]
        return rows, front

    def _about_draws(self) -> str:
        """Return the sizes and names of the draws in one line."""
        names = ", ".join(map(str, self.data_vars))
        chains, draws = (self.sizes.get(dim, 1) for dim in DRAWS)
        noun = "chain" if chains == 1 else "chains"
        return f"xarray.Dataset, {chains} {noun} x {draws} draws of {names}"


# Operators and methods of xarray that keep the class of a dataset and change its values.
for _name in CHANGING_VALUES:
    setattr(Answer, _name, _without_table(_name))


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
