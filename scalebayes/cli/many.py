"""The command that makes many fits: every table with every model, on one machine or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalebayes.cli.app import (
    GATE_FAILED,
    ForceOption,
    JsonOption,
    LenientOption,
    MapOption,
    OutliersOption,
    SkipOption,
    command,
)
from scalebayes.cli.files import read
from scalebayes.cli.output import print_frame

if TYPE_CHECKING:
    from scalebayes.batch import Batch


@command("fit-many", "From runs to fits")
def fit_many_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUNS...", help="Files (CSV, Parquet ...) or published names.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the fits, TABLE-MODEL.nc each.")],
    models: Annotated[
        str, typer.Option("--models", "-m", metavar="A,B,C", help="Names in `scalebayes models` or TOML files.")
    ] = "coupled-discrepancy",
    workers: Annotated[int, typer.Option(min=1, help="Local processes; more than one needs dask.distributed.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Of a Dask scheduler, as tcp://host:8786.")
    ] = None,
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    skip_incomplete: SkipOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Of every fit.")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="Kept draws a chain.")] = 1000,
    chains: Annotated[int, typer.Option(min=1, help="Chains.")] = 4,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit every model to every table. Given again, it goes on from the fits that the folder holds."""
    from scalebayes.batch import fit_many
    from scalebayes.jobs import grid

    if scheduler is not None and workers != 1:
        raise typer.BadParameter("a scheduler has workers of its own", param_hint="--workers, --scheduler")
    tables = [read(one, columns, lenient, keep_outliers, skip_incomplete) for one in runs]
    jobs = grid(tables, models.split(","), seed=seed, draws=draws, chains=chains)
    try:
        batch = fit_many(jobs, output, workers=scheduler or workers, replace=force)
    except KeyboardInterrupt:
        typer.echo(f"the fits made until now are in {output}; the same command goes on from there", err=True)
        raise
    _print(batch, as_json)
    if batch.failures:
        raise typer.Exit(1)
    if batch.gate_failures:
        raise typer.Exit(GATE_FAILED)


def _print(batch: Batch, as_json: bool) -> None:
    """Print a line a fit to stdout, and the errors in full to stderr."""
    table = batch.table
    if as_json:
        print_frame(table, as_json)
    else:
        print_frame(table.drop(columns="error").assign(seconds=table["seconds"].map(_seconds)), as_json)
    typer.echo(batch.sentence(), err=True)
    for name, error in batch.failures.items():
        typer.echo(f"error: {name}: {error}", err=True)


def _seconds(value: float) -> str:
    return "-" if value != value else f"{value:.1f}"
