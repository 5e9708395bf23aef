"""Exceptions and warnings; every error derives from `ScaleBayesError`."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

# A message should fit on a terminal of 24 lines by 80 columns.
MAX_FULL_FAULTS = 6
"""Faults that are written out in full, one line each; more are summarised."""
MAX_KINDS = 4
"""Kinds of faults in a summary."""
MAX_ROWS = 12
"""Rows with faults in a summary."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a table of runs.

    Attributes
    ----------
    row : int or None
        Row of the table, 1 for the first below the header; None where the fault is that of the
        table or of a whole column.
    column : str
        Name of the column, or the role (N, D, C, loss ...) that no column has.
    got, allowed, hint : str
        What the table holds, what it may hold, and what to do about it.
    run : str
        Id of the run, where the table gives ids.
    """

    row: int | None
    column: str
    got: str
    allowed: str
    hint: str = ""
    run: str = ""


def describe_faults(faults: Sequence[Fault]) -> str:
    """Return one aligned line for each fault, or a summary of many.

    The summary has what is allowed, once for each kind, and then the first rows with faults.
    """
    if len(faults) <= MAX_FULL_FAULTS:
        return _align([(*_where(fault), *_remedy(fault)) for fault in faults])
    # A dictionary, unlike a set, keeps the kinds in the order of the rows.
    kinds = dict.fromkeys((fault.column, *_remedy(fault)) for fault in faults)
    parts = [
        _align(list(kinds)[:MAX_KINDS]),
        _align([_where(fault) for fault in faults[:MAX_ROWS]]),
    ]
    if len(faults) > MAX_ROWS:
        parts.append(f"  ... and {len(faults) - MAX_ROWS} more")
    return "\n".join(parts)


def _where(fault: Fault) -> tuple[str, str, str]:
    """Return the row and the column of a fault, and the value found there."""
    place = "table"
    if fault.row is not None:
        place = f"row {fault.row}"
        if fault.run:
            place += f" ({fault.run})"
    return place, fault.column, f"got {fault.got}"


def _remedy(fault: Fault) -> tuple[str, str]:
    """Return what is allowed, and the hint."""
    hint = f"({fault.hint})" if fault.hint else ""
    return f"allowed: {fault.allowed}", hint


def _align(lines: Sequence[tuple[str, ...]]) -> str:
    """Return cells as left-aligned columns.

    Rich and pandas would do it too, but an error should not wait for their import.
    """
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    texts = []
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        texts.append("  " + "  ".join(cells).rstrip())
    return "\n".join(texts)


class ScaleBayesError(Exception):
    """Base class of the errors that scalebayes raises."""


class RunsError(ScaleBayesError):
    """A table of runs that cannot be used as it is.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence.
    faults : sequence of Fault
        Every fault; each becomes a line below the message.
    """

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message, tuple(faults))
        self.faults = tuple(faults)

    def __str__(self) -> str:
        message = str(self.args[0])
        if not self.faults:
            return message
        return f"{message}\n{describe_faults(self.faults)}"


class SpecError(ScaleBayesError):
    """An invalid specification (a law with priors and a noise model)."""


class FitError(ScaleBayesError):
    """A fit that cannot start, or that produced no posterior."""


class QueryError(ScaleBayesError):
    """A question that a fit cannot answer."""


class GateWarning(UserWarning):
    """A fit failed its convergence checks after all attempts; do not rely on its draws."""


class FallbackWarning(UserWarning):
    """Something is unusable on this machine; the text names it, the substitute and the cost."""


def warn_of_fallback(text: str) -> None:
    """Issue a `FallbackWarning` at the line of the caller outside this package."""
    package = os.path.dirname(__file__)
    warnings.warn(text, FallbackWarning, skip_file_prefixes=(package,))
