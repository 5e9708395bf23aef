"""Commands on tables and models: runs, models, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import typer

from scalebayes.cli.app import command
from scalebayes.cli.fitting import FITTING
from scalebayes.cli.inputs import check_output, parse_roles, say_notes
from scalebayes.cli.options import FORCE, JSON, REQUIRED, FileColumns, Reading, argument, option
from scalebayes.cli.printing import print_frame


@command("runs", FITTING)
def runs_command(
    *,
    runs: str | None = argument("RUNS", "File or published table to check.", None),
    reading: Reading,
    as_json: bool = JSON,
) -> None:
    """List the published tables, or check a table of runs and report how it was read."""
    if runs is None:
        from scalebayes.datasets import list_runs

        print_frame(list_runs(), as_json)
        return
    table = reading.read(runs)
    if as_json:
        typer.echo(table.table.reset_index().to_json(orient="records"))
    else:
        typer.echo(table)


@command("models", FITTING)
def models_command(
    *, model: str | None = argument("MODEL", "Model to show in full.", None), as_json: bool = JSON
) -> None:
    """List the models that can be fitted, or show one with its priors and their reasons."""
    from scalebayes.specs.spec import list_models, read_model

    if model is None:
        print_frame(list_models(), as_json)
        return
    spec = read_model(model)
    typer.echo(spec.model_dump_json(indent=2) if as_json else spec.describe())


@command("convert", FITTING)
def convert_command(
    *,
    file: str = argument("FILE", "CSV, TSV, JSON Lines or Parquet."),
    target: Path = option("--output -o FILE", "CSV file to write the runs to.", REQUIRED),
    layout: Literal["table", "wandb", "checkpoints"] = option(
        "--format",
        "One row for each run, an export of Weights & Biases, or one row for each step.",
        "table",
    ),
    keep: str = option("--keep WHICH", "Checkpoints to keep: final, annealed or all.", "final"),
    tokens_per_step: str | None = option(
        "--tokens-per-step TOKENS", "Batch size, for checkpoints with steps but no tokens."
    ),
    loss_unit: str = option(
        "--loss-unit UNIT", "nats, bits or perplexity, or per byte, such as bits_per_byte.", "nats"
    ),
    tokens_per_byte: float | None = option(
        "--tokens-per-byte RATIO", "Tokens for each byte of the text, such as 0.25."
    ),
    columns: FileColumns,
    force: bool = FORCE,
) -> None:
    """Convert an export, or a table in other units, to a CSV of runs that every command reads."""
    from scalebayes.data.exports import read_checkpoints, read_wandb
    from scalebayes.data.runs import read_runs
    from scalebayes.utils.files import write_whole

    if layout != "checkpoints" and (tokens_per_step or keep != "final"):
        raise typer.BadParameter(
            "only for --format checkpoints", param_hint="--keep, --tokens-per-step"
        )
    if target.suffix != ".csv":
        raise typer.BadParameter(f"got {target}; write to a .csv file", param_hint="--output")
    check_output(target, force)
    settings: dict[str, Any] = {
        **parse_roles(columns.columns),
        "strict": not columns.lenient,
        "skip_incomplete": columns.skip_incomplete,
        "loss_unit": loss_unit,
        "tokens_per_byte": tokens_per_byte,
    }
    if layout == "checkpoints":
        runs = read_checkpoints(file, keep=keep, tokens_per_step=tokens_per_step, **settings)
    elif layout == "wandb":
        runs = read_wandb(file, **settings)
    else:
        runs = read_runs(file, **settings)
    say_notes(runs.notes)
    write_whole(target, runs.table.to_csv)
    typer.echo(f"wrote {target}: {runs!r}", err=True)
