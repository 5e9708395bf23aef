"""The command that turns exports into a plain table of runs: convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scalebayes.cli.app import ForceOption, LenientOption, MapOption, SkipOption, command
from scalebayes.cli.files import refuse_early, roles, say_notes

FORMATS = ("table", "wandb", "checkpoints")


@command("convert", "From runs to fits")
def convert_command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV, TSV, JSON Lines or Parquet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the runs (.csv).")],
    layout: Annotated[
        str, typer.Option("--format", help="table (a row a run), wandb (an export), checkpoints (a row a step).")
    ] = "table",
    columns: MapOption = None,
    keep: Annotated[str, typer.Option("--keep", help="Checkpoints to keep: final, annealed or all.")] = "final",
    tokens_per_step: Annotated[
        str | None, typer.Option("--tokens-per-step", help="Where checkpoints have steps but no tokens.")
    ] = None,
    loss_unit: Annotated[
        str, typer.Option("--loss-unit", help="nats, bits, perplexity, or per byte: bits_per_byte ...")
    ] = "nats",
    tokens_per_byte: Annotated[
        float | None, typer.Option("--tokens-per-byte", help="Tokens of the text over its bytes, as 0.25.")
    ] = None,
    lenient: LenientOption = False,
    skip_incomplete: SkipOption = False,
    force: ForceOption = False,
) -> None:
    """Read an export or a table in other units, and write the runs in it as a CSV that every command takes."""
    from scalebayes.adapters import read_checkpoints, read_wandb
    from scalebayes.files import write_whole
    from scalebayes.runs import read_runs

    if layout not in FORMATS:
        raise typer.BadParameter(f"got {layout!r}; allowed: {', '.join(FORMATS)}", param_hint="--format")
    if layout != "checkpoints" and (tokens_per_step or keep != "final"):
        raise typer.BadParameter("only for --format checkpoints", param_hint="--keep, --tokens-per-step")
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
