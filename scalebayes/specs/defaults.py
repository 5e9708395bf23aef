"""The default model of a table, chosen by the inputs that the table has."""

from __future__ import annotations

from pathlib import Path

from scalebayes.data.runs import Runs
from scalebayes.errors import SpecError
from scalebayes.specs.spec import Spec, read_model

DEFAULT = "default"
"""Stands for the default model of a table, wherever a model is named."""
DEFAULTS = {
    ("C", "accuracy"): "bounded-score",
    ("N", "D", "U"): "data-constrained-drift",
    ("N", "D"): "coupled-drift",
    ("N", "S"): "kaplan-steps-drift",
    ("N", "E"): "routed-drift",
    ("N",): "size-drift",
    ("D",): "data-drift",
    ("C",): "compute-drift",
    ("accuracy",): "downstream",
}
"""Columns of a table -> its default model: the first whose columns are there and say something."""


def default_model(runs: Runs) -> str:
    """Return the name of the default model of a table.

    Raises
    ------
    SpecError
        When there is none for the columns of the table.
    """
    columns = informative_columns(runs)
    for needed, name in DEFAULTS.items():
        if set(needed) <= columns:
            return name
    allowed = "; ".join(" and ".join(needed) for needed in DEFAULTS)
    raise SpecError(
        f"no default model for {runs.name}, whose columns are {', '.join(runs.table.columns)}: "
        f"one needs {allowed}"
    )


def informative_columns(runs: Runs) -> set[str]:
    """Return the columns of a table that say something.

    Unique tokens do where some are seen twice, and experts where their number varies.
    """
    columns = set(runs.table.columns)
    if {"U", "D"} <= columns and (runs.U >= runs.D).all():
        columns.remove("U")
    if "E" in columns and runs.table["E"].nunique() == 1:
        columns.remove("E")
    return columns


def choose_model(runs: Runs, model: str | Path | Spec) -> Spec:
    """Return the spec that a model names on a table, where ``"default"`` is that of the table.

    Raises
    ------
    SpecError
        As `scalebayes.specs.spec.read_model` and `default_model`.
    """
    if model == DEFAULT:
        return read_model(default_model(runs))
    return read_model(model)


def reason_for_default(runs: Runs) -> str:
    """Return which model is the default of a table and by which columns, in words."""
    name = default_model(runs)
    needed = next(columns for columns, model in DEFAULTS.items() if model == name)
    return f"{name}, the default for tables of {' and '.join(needed)}"
