"""What scalebayes raises: every error derives from `ScaleBayesError`, so one `except` catches them all."""

from collections.abc import Sequence
from dataclasses import dataclass

_WHOLE, _KINDS, _MOST = (
    6,
    4,
    12,
)  # faults written out in full; of more, kinds and rows: one screen helps, two do not


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a table of runs.

    Attributes
    ----------
    row : int or None
        Row of the table, 1 for the first below the header; None where it is the table's or a whole column's fault.
    column : str
        The column's own name, or the part (N, D, C, loss ...) that no column plays.
    got, allowed, hint : str
        What is there, what may be there, and what to do about it.
    run : str
        The run's id, where the table gives ids.
    """

    row: int | None
    column: str
    got: str
    allowed: str
    hint: str = ""
    run: str = ""


def describe_faults(faults: Sequence[Fault]) -> str:
    """Write one aligned line a fault; of many, what is allowed once and the first dozen: a screen of 24 lines of 80."""
    if len(faults) <= _WHOLE:
        return _align(
            [(*_where(fault), f"allowed: {fault.allowed}", _hint(fault)) for fault in faults]
        )
    kinds = dict.fromkeys(
        (fault.column, f"allowed: {fault.allowed}", _hint(fault)) for fault in faults
    )
    shown = [_align([*kinds][:_KINDS]), _align([_where(fault) for fault in faults[:_MOST]])]
    return "\n".join(shown + [f"  ... and {len(faults) - _MOST} more"] * (len(faults) > _MOST))


def _where(fault: Fault) -> tuple[str, ...]:
    row = (
        "table"
        if fault.row is None
        else f"row {fault.row}" + (f" ({fault.run})" if fault.run else "")
    )
    return row, fault.column, f"got {fault.got}"


def _hint(fault: Fault) -> str:
    return f"({fault.hint})" if fault.hint else ""


def _align(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join("  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


class ScaleBayesError(Exception):
    """Anything scalebayes refuses to do, in words meant for its user."""


class RunsError(ScaleBayesError):
    """A table of runs that cannot be used as it is.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence.
    faults : sequence of Fault
        Every fault, each of which becomes a line below the message.
    """

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message, tuple(faults))
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return (
            f"{self.args[0]}\n{describe_faults(self.faults)}" if self.faults else str(self.args[0])
        )


class SpecError(ScaleBayesError):
    """A specification (a law with priors and a noise model) that is not valid."""


class FitError(ScaleBayesError):
    """A fit that cannot be started or that produced no posterior."""


class QueryError(ScaleBayesError):
    """A question that a fit cannot answer."""


class GateWarning(UserWarning):
    """A fit that did not pass the gate, after all attempts: its draws are returned, and are not to be trusted."""
