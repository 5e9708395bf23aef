"""The command that turns exports into a plain table of runs: convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scalebayes.cli.app import command
from scalebayes.cli.inputs import read, refuse_early, roles, say_notes
from scalebayes.cli.options import (
    BestOption,
    ForceOption,
    JsonOption,
    LenientOption,
    MapOption,
    OutliersOption,
    SkipOption,
)
from scalebayes.cli.printing import print_frame

FORMATS = ("table", "wandb", "checkpoints")


@command("convert", "From runs to fits")
def convert_command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV, TSV, JSON Lines or Parquet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the runs (.csv).")],
    layout: Annotated[
        str,
        typer.Option(
            "--format", help="table (a row a run), wandb (an export), checkpoints (a row a step)."
        ),
    ] = "table",
    columns: MapOption = None,
    keep: Annotated[
        str, typer.Option("--keep", help="Checkpoints to keep: final, annealed or all.")
    ] = "final",
    tokens_per_step: Annotated[
        str | None,
        typer.Option("--tokens-per-step", help="Where checkpoints have steps but no tokens."),
    ] = None,
    loss_unit: Annotated[
        str,
        typer.Option("--loss-unit", help="nats, bits, perplexity, or per byte: bits_per_byte ..."),
    ] = "nats",
    tokens_per_byte: Annotated[
        float | None,
        typer.Option("--tokens-per-byte", help="Tokens of the text over its bytes, as 0.25."),
    ] = None,
    lenient: LenientOption = False,
    skip_incomplete: SkipOption = False,
    force: ForceOption = False,
) -> None:
    """Read an export or a table in other units, and write the runs in it as a CSV that every command takes."""
    from scalebayes.data.exports import read_checkpoints, read_wandb
    from scalebayes.data.runs import read_runs
    from scalebayes.utils.files import write_whole

    if layout not in FORMATS:
        raise typer.BadParameter(
            f"got {layout!r}; allowed: {', '.join(FORMATS)}", param_hint="--format"
        )
    if layout != "checkpoints" and (tokens_per_step or keep != "final"):
        raise typer.BadParameter(
            "only for --format checkpoints", param_hint="--keep, --tokens-per-step"
        )
    if output.suffix != ".csv":
        raise typer.BadParameter(f"got {output}; write to a .csv file", param_hint="--output")
    refuse_early(output, force)
    asked: dict[str, Any] = roles(columns) | {
        "strict": not lenient,
        "skip_incomplete": skip_incomplete,
        "loss_unit": loss_unit,
        "tokens_per_byte": tokens_per_byte,
    }
    if layout == "checkpoints":
        runs = read_checkpoints(file, keep=keep, tokens_per_step=tokens_per_step, **asked)
    else:
        runs = (read_wandb if layout == "wandb" else read_runs)(file, **asked)
    say_notes(runs)
    write_whole(output, runs.table.to_csv)
    typer.echo(f"wrote {output}: {runs!r}", err=True)


@command("models", "From runs to fits")
def models_command(
    model: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models that can be fitted, or show one with its priors and their reasons."""
    from scalebayes.specs.spec import list_models, read_model

    if model is None:
        print_frame(list_models(), as_json)
        return
    spec = read_model(model)
    typer.echo(spec.model_dump_json(indent=2) if as_json else spec.describe())


@command("runs", "From runs to fits")
def runs_command(
    runs: Annotated[
        str | None, typer.Argument(metavar="RUNS", help="Check this file or published table.")
    ] = None,
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    skip_incomplete: SkipOption = False,
    best: BestOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the published tables, or check a table of runs and say how it was read."""
    if runs is None:
        from scalebayes.datasets import list_runs

        print_frame(list_runs(), as_json)
        return
    table = read(runs, columns, lenient, keep_outliers, skip_incomplete, best)
    if as_json:
        typer.echo(table.table.reset_index().to_json(orient="records"))
    else:
        typer.echo(table)
