"""Answers of the validation functions as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalebayes.data.metrics import NATS_PER_TOKEN
from scalebayes.display.numbers import number
from scalebayes.display.terminal import align

if TYPE_CHECKING:
    import pandas as pd

SMALLEST = 1e-99
"""Expected number of runs below which only the bound is printed."""


def shifts_table(shifts: pd.DataFrame) -> str:
    """Return the answer of `influence`, or its first rows, as text: one line a run or size."""
    unit = "log N"
    if shifts.attrs["decision"].startswith("loss"):
        metric = shifts.attrs["metric"]
        unit = "nats" if metric == NATS_PER_TOKEN else metric
    is_by_size = "runs" in shifts
    rows = []
    for key, shift in shifts.iterrows():
        if is_by_size:
            row = {"N": number(float(str(key)), scale=True), "runs": str(shift["runs"])}
        else:
            row = {"run": str(key), **_inputs_and_loss(shift)}
        row["in sd"] = f"{shift['shift_sd']:+.2f}"
        row[f"in {unit}"] = f"{shift['shift']:+.4f}"
        row["found"] = _method(shift)
        row["Pareto k"] = f"{shift['pareto_k']:.2f}"
        rows.append(row)
    return align(rows)


def _method(shift: pd.Series) -> str:
    """Return how a shift was found."""
    if not shift["refitted"]:
        return "by importance weights"
    if shift["gate_failed"]:
        return "by refit, checks FAILED"
    return "by refit"


def _inputs_and_loss(run: pd.Series) -> dict[str, str]:
    """Return the inputs of a run that its table has, and its loss, as text by name."""
    cells = {}
    for name in ("N", "D", "loss"):
        if name in run:
            cells[name] = number(run[name], scale=name != "loss")
    return cells


def outliers_table(outliers: pd.DataFrame) -> str:
    """Return rows of the answer of `find_outliers` as text: one line a run."""
    rows = []
    for key, run in outliers.iterrows():
        row = {"run": str(key), **_inputs_and_loss(run)}
        row["residual"] = f"{run['sds']:+z.1f} sd"
        row["fitted noise"] = _expected_number(run["tail_rows"])
        row["Normal noise"] = _expected_number(run["normal_tail_rows"])
        row["verdict"] = str(run["verdict"])
        rows.append(row)
    return align(rows)


def _expected_number(runs: float) -> str:
    return f"<{SMALLEST:.0e}" if runs < SMALLEST else f"{runs:.2g}"


def power_scaling_table(scaled: pd.DataFrame) -> str:
    """Return the answer of `power_scaling` as text: one line a parameter or decision."""
    rows = []
    for name, row in scaled.iterrows():
        rows.append(
            {
                "quantity": str(name),
                "prior": f"{row['prior']:.3f}",
                "likelihood": f"{row['likelihood']:.3f}",
                "strongest prior": f"{row['strongest']} ({row['strongest_prior']:.3f})",
                "what decides": row["decides"],
            }
        )
    return align(rows)
