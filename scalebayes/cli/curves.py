"""The command that forecasts runs under way from their curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

import scalebayes as sb
from scalebayes.cli.app import command
from scalebayes.cli.inputs import check_output, parse_roles, say_notes
from scalebayes.cli.options import (
    FORCE,
    REQUIRED,
    SEED,
    Output,
    Values,
    argument,
    option,
)
from scalebayes.cli.printing import print_draws
from scalebayes.cli.queries import QUERIES

ROLES = ("run", "step", "lr", "loss", "group")
"""Columns of a table of checkpoints that --map may name."""
MODEL = "multi-power"
"""Model of a fit by default."""


@command(QUERIES)
def forecast(
    *,
    checkpoints: str = argument(
        "CHECKPOINTS", "File or folder with a row for each checkpoint, or a saved fit of curves."
    ),
    to: list[str] = option("--to STEP", "Step to forecast; may be repeated.", REQUIRED),
    run: Values = option("--run ID", "Run to forecast (default: all that end before --to)."),
    schedule: str | None = option(
        "--schedule NAME", "Schedule of the run up to --to: constant, cosine, linear or wsd."
    ),
    anneal: Values = option(
        "--anneal STEPS", "Length of a decay that begins now; may be repeated (default: a tenth)."
    ),
    model: str | None = option(
        "--model -m MODEL", "multi-power or annealing, or a file (default: multi-power)."
    ),
    columns: Values = option(
        "--map ROLE=COLUMN", "Column of run, step, lr, loss or group; may be repeated."
    ),
    warmup: float | None = option(
        "--warmup STEPS", "Steps of the warm-up, if the table begins after it."
    ),
    saved: Path | None = option("--save FILE", "File to save the fit to (netCDF)."),
    figure: Path | None = option("--figure FILE", "Figure of the runs to draw (.png, .svg, .pdf)."),
    seed: int = SEED,
    force: bool = FORCE,
    output: Output,
) -> None:
    """Forecast the loss of runs under way, under their schedules and if annealed from now on.

    The law of the loss along a run is fitted to all runs of the table. It needs the learning rate
    at each checkpoint, and at least one run whose learning rate falls.
    """
    for path in (saved, figure):
        if path is not None:
            check_output(path, force, inputs=[checkpoints])
    if figure is not None:
        from scalebayes.plots.style import read_format

        read_format(figure)
    for step in [*to, *(anneal or [])]:
        _check_steps(step)
    _check_schedule(schedule)
    fit = _fit(checkpoints, model, columns, warmup, seed, run)
    if saved is not None:
        typer.echo(f"saved {sb.save(fit, saved)}", err=True)
    answer = sb.forecast(fit, run=run or None, step=to, schedule=schedule, anneal=anneal, seed=seed)
    if figure is not None:
        from scalebayes.units import parse_quantity

        drawn = fit.curves.select(_most_recent(fit.curves, run))
        last = max(float(parse_quantity(step)) for step in to)
        drawing = sb.plots.curves(fit, drawn, to=last, schedule=schedule, seed=seed)
        written = sb.plots.save(drawing, figure)
        typer.echo(f"wrote {written}", err=True)
    title = (
        f"{fit.model.title}, fitted to {len(fit.curves)} checkpoints of {len(fit.curves.runs)} "
        f"runs in {fit.curves.name}: the law, the run, and one checkpoint of it"
    )
    print_draws(fit, answer, title, output, headings=HEADINGS)


HEADINGS = {
    "plan=": "plan",
    "lr=": "learning rate",
    "law": "loss (law alone)",
    "loss": "loss (this run)",
    "new_run": "one checkpoint",
}


def _fit(
    checkpoints: str,
    model: str | None,
    columns: list[str] | None,
    warmup: float | None,
    seed: int,
    asked: list[str] | None,
) -> Any:
    """Return the fit in a file, or a new one of the curves there, which have the runs asked for."""
    if Path(checkpoints).suffix == ".nc":
        of_new_fits = {"--map": columns, "--warmup": warmup, "--model": model}
        for name, value in of_new_fits.items():
            if value:
                raise typer.BadParameter(
                    f"{checkpoints} is a saved fit, made before", param_hint=name
                )
        fit: Any = sb.load(checkpoints)
        if not isinstance(fit, sb.CurveFit):
            raise typer.BadParameter(
                f"{checkpoints} is a fit of a table of runs; predict and frontier ask it",
                param_hint="CHECKPOINTS",
            )
        return fit
    roles: dict[str, Any] = parse_roles(columns, ROLES)
    curves: Any = sb.read_curves(checkpoints, warmup=warmup, **roles)
    say_notes(curves.notes)
    curves.select(asked or list(curves.runs))  # before the fit, which takes longer
    return sb.fit(curves, model or MODEL, seed=seed)


def _check_steps(text: str) -> None:
    """Check that the text of an option is a number of steps, before a fit that takes longer."""
    from scalebayes.units import parse_quantity

    try:
        parse_quantity(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to, --anneal") from None


def _check_schedule(name: str | None) -> None:
    """Check the name of a schedule, before a fit that takes longer."""
    from scalebayes.curves.schedules import DESCRIBED_BY_NAME
    from scalebayes.specs.faults import nearest

    if name is None or name.lower() in DESCRIBED_BY_NAME:
        return
    raise typer.BadParameter(
        f"no schedule {name!r}{nearest(name.lower(), DESCRIBED_BY_NAME)}; allowed: "
        f"{', '.join(DESCRIBED_BY_NAME)}. For any other, add rows with a step and a learning rate, "
        "without a loss, to the table",
        param_hint="--schedule",
    )


def _most_recent(curves: sb.Curves, asked: list[str] | None) -> list[str]:
    """Return the runs that a figure shows: those asked for, else as many as it can tell apart."""
    from scalebayes.plots.curves import MOST_RUNS

    runs = asked or list(curves.runs)
    return runs[:MOST_RUNS]
