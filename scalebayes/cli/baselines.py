"""The command of the field's own methods: point."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalebayes.cli.app import command
from scalebayes.cli.inputs import load, read
from scalebayes.cli.options import (
    BestOption,
    BudgetsOption,
    JsonOption,
    LenientOption,
    MapOption,
    OutliersOption,
    ProbOption,
    RunsArgument,
    SkipOption,
)
from scalebayes.cli.printing import print_json, records, warn_of_gate

if TYPE_CHECKING:
    from scalebayes.baselines.point_fits import PointFits


@command("point", "Compare")
def point_command(
    runs: RunsArgument,
    C: BudgetsOption,
    fits: Annotated[
        list[Path] | None,
        typer.Option("--fit", metavar="FIT", help="A saved fit to put beside; may be repeated."),
    ] = None,
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    skip_incomplete: SkipOption = False,
    best: BestOption = False,
    draws: Annotated[int, typer.Option(min=2, help="Resamples of each bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same resamples.")] = 0,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Find the compute-optimal N and D by the field's own methods: log-Huber, envelope, isoFLOP parabolas."""
    from scalebayes.baselines.point_fits import METHODS, point_fits
    from scalebayes.errors import ScaleBayesError
    from scalebayes.summaries.text import kind_of_interval

    table = read(runs, columns, lenient, keep_outliers, skip_incomplete, best)
    beside = {path.stem: load(path) for path in fits or []}
    for label, fit in beside.items():
        if fit.runs.hash != table.hash:
            typer.echo(f"note: {label} was fitted to other runs: {fit.runs!r}", err=True)
        warn_of_gate(fit.gate_failures, label)
    found = point_fits(table, C=C, fits=beside, draws=draws, seed=seed)
    for name, answer in found.answers.items():
        for note in _notes(name, answer.attrs):
            typer.echo(f"note: {note}", err=True)
    for name, why in found.refusals.items():
        typer.echo(f"note: no {name}: {why}", err=True)
    if len(found.refusals) == len(METHODS):
        raise ScaleBayesError(f"none of the field's methods can be used on {table.name}")
    if as_json:
        about = {"runs": table.name, "draws": draws, "refusals": dict(found.refusals)}
        print_json(about, records(found.table(ci_prob).reset_index()), ci_prob)
        return
    typer.echo(f"Compute-optimal allocation at C = 6 N D, {len(table)} runs of {table.name}")
    typer.echo(
        f"Median of {draws} resamples (of a fit: of its posterior) with {kind_of_interval(ci_prob)} interval\n"
    )
    typer.echo(_lay_out(found, ci_prob))


def _notes(name: str, attributes: dict[str, str]) -> list[str]:
    notes = [attributes["notes"]] if attributes.get("notes") else []
    if int(attributes.get("lost", 0)):
        notes.append(
            f"{attributes['lost']} resamples had fewer than three budgets left and are not counted"
        )
    return [f"{name}: {note}" for note in notes]


def _lay_out(found: PointFits, ci_prob: float) -> str:
    """One line a budget and method, one column a quantity."""
    from scalebayes.summaries.text import LABELS, align, beyond, cell
    from scalebayes.units import format_quantity

    rows = []
    for (budget, name), part in (
        found.table(ci_prob).reset_index().groupby(["C", "method"], sort=False)
    ):
        far = beyond(float(part["decades_beyond"].iloc[0]))
        row = {
            "C": format_quantity(float(str(budget))),
            "method": str(name),
            "compute beyond the largest run": far,
        }
        cells = {quantity["quantity"]: quantity for _, quantity in part.iterrows()}
        for key in ("a", "N", "D", "tokens_per_param", "loss"):
            text = cell(cells[key], ci_prob, scale=key in ("N", "D")) if key in cells else "-"
            row[LABELS.get(key, key)] = text
        rows.append(row)
    return align(rows, 2)
