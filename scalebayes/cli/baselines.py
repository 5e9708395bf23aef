"""The command of the point estimates that the field uses: point-fits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from scalebayes.cli.app import command
from scalebayes.cli.comparison import COMPARISON
from scalebayes.cli.inputs import load_fit, say_notes
from scalebayes.cli.options import BUDGETS, RUNS, SEED, Output, Reading, option
from scalebayes.cli.printing import print_json, records, warn_of_gate

if TYPE_CHECKING:
    from scalebayes.baselines.point_fits import PointFits

COLUMNS = ("a", "N", "D", "tokens_per_param", "loss")
"""Quantities of a table, one column each."""


@command("point-fits", COMPARISON)
def point_fits_command(
    *,
    runs: str = RUNS,
    C: list[str] = BUDGETS,
    fits: list[Path] | None = option("--fit FIT", "A saved fit to compare with; may be repeated."),
    reading: Reading,
    draws: int = option("--draws COUNT", "Bootstrap resamples for each method.", 1000, min=2),
    seed: int = SEED,
    output: Output,
) -> None:
    """Compute-optimal N and D by log-Huber fit, lower envelope and isoFLOP parabolas."""
    from scalebayes.baselines.point_fits import METHODS, point_fits
    from scalebayes.errors import ScaleBayesError
    from scalebayes.summaries.text import kind_of_interval

    table = reading.read(runs)
    saved = {path.stem: load_fit(path) for path in fits or []}
    for label, fit in saved.items():
        if fit.runs.hash != table.hash:
            say_notes([f"{label} was fitted to other runs: {fit.runs!r}"])
        warn_of_gate(fit.gate_failures, label)
    found = point_fits(table, C=C, fits=saved, draws=draws, seed=seed)
    for name, answer in found.answers.items():
        say_notes(f"{name}: {note}" for note in _notes(answer.attrs))
    for name, reason in found.refusals.items():
        say_notes([f"no {name}: {reason}"])
    if len(found.refusals) == len(METHODS):
        raise ScaleBayesError(f"none of the point estimates can be computed for {table.name}")
    if output.as_json:
        said = {"runs": table.name, "draws": draws, "refusals": dict(found.refusals)}
        print_json(said, records(found.table(output.ci_prob).reset_index()), output.ci_prob)
        return
    typer.echo(f"Compute-optimal allocation at C = 6 N D, {len(table)} runs of {table.name}")
    typer.echo(
        f"Median of {draws} resamples (of a fit: of its posterior) "
        f"with {kind_of_interval(output.ci_prob)} interval\n"
    )
    typer.echo(_lay_out(found, output.ci_prob))


def _notes(attributes: Mapping[str, str]) -> list[str]:
    notes = []
    if attributes.get("notes"):
        notes.append(attributes["notes"])
    lost = int(attributes.get("lost", 0))
    if lost:
        notes.append(f"{lost} resamples with fewer than three budgets were excluded")
    return notes


def _lay_out(found: PointFits, ci_prob: float) -> str:
    """Lay out the answers, one line for each budget and method."""
    from scalebayes.summaries.text import LABELS, align, beyond, cell
    from scalebayes.units import format_quantity

    rows = []
    table = found.table(ci_prob).reset_index()
    for (budget, method), part in table.groupby(["C", "method"], sort=False):
        row = {
            "C": format_quantity(float(str(budget))),
            "method": str(method),
            "compute beyond the largest run": beyond(float(part["decades_beyond"].iloc[0])),
        }
        quantities = part.set_index("quantity")
        for name in COLUMNS:
            text = "-"
            if name in quantities.index:
                text = cell(quantities.loc[name], ci_prob, scale=name in ("N", "D"))
            row[LABELS.get(name, name)] = text
        rows.append(row)
    return align(rows, keys=2)
