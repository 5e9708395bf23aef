"""Commands from tables of runs to fits, and on tables and models themselves."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import typer

import scalebayes as sb
from scalebayes.cli.app import GATE_FAILED, MOST_USED, command
from scalebayes.cli.inputs import check_output, say_notes
from scalebayes.cli.options import (
    FIT_FILE,
    FORCE,
    JSON,
    REQUIRED,
    RUNS,
    SEED,
    Output,
    Values,
    argument,
    option,
)
from scalebayes.cli.printing import exit_unless_sound, print_frame, print_sensitivity, print_summary
from scalebayes.cli.tables import FileColumns, FileUnits, Reading
from scalebayes.posterior.fit_files import check_netcdf_path
from scalebayes.utils.without_dask import allow_dask

FITTING = "Data and fitting"

SAVE_TO: Any = option("--output -o FILE", "File to save the fit to (netCDF).")
DRAWS: Any = option("--draws COUNT", "Draws that each chain keeps after tuning.", 1000, min=1)
CHAINS: Any = option("--chains COUNT", "Number of chains.", 4, min=1)


@command(MOST_USED)
def demo(
    *,
    out: Path = option("--out FOLDER", "Folder for the fits and figures.", Path("scalebayes-demo")),
    force: bool = FORCE,
) -> None:
    """Fit two laws to the published Chinchilla runs, query both fits, and draw the answers."""
    from scalebayes.studies.demo import demo as run_demo

    exit_unless_sound(*run_demo(out, force=force).values())


@command(MOST_USED)
def runs(
    *,
    runs: str | None = argument("RUNS", "File or published table to check.", None),
    reading: Reading,
    as_json: bool = JSON,
) -> None:
    """List the published tables, or check a table of runs and report how it was read."""
    from scalebayes.display.terminal import wrap

    if runs is None:
        print_frame(sb.list_runs(), as_json)
        return
    table = reading.read(runs, warn=False)
    if as_json:
        typer.echo(table.table.reset_index().to_json(orient="records"))
    else:
        typer.echo("\n".join([str(table), *map(wrap, sb.check_runs(table))]))


@command(MOST_USED)
def models(
    *, model: str | None = argument("MODEL", "Model to show in full.", None), as_json: bool = JSON
) -> None:
    """List the models that can be fitted, or show one with its priors and their reasons."""
    if model is None:
        print_frame(sb.list_models(), as_json)
        return
    spec = sb.read_model(model)
    typer.echo(spec.model_dump_json(indent=2) if as_json else spec.describe())


@command(MOST_USED)
def fit(
    *,
    runs: str = RUNS,
    model: str | None = option(
        "--model -m MODEL",
        "A name from `scalebayes models` or a TOML file (default: that of the table's inputs).",
    ),
    saved: Path | None = SAVE_TO,
    reading: Reading,
    seed: int = SEED,
    draws: int = DRAWS,
    tune: int | None = option(
        "--tune COUNT", "Tuning draws of each chain (default: the model's).", min=1
    ),
    chains: int = CHAINS,
    backend: Literal["nutpie", "jax"] = option(
        "--backend", "Sampler; jax (NumPyro) suits very long tables and GPUs.", "nutpie"
    ),
    prior_from: Path | None = option(
        "--prior-from FIT", "Use the law of this fit, and its posterior as the prior."
    ),
    inflate: float | None = option(
        "--inflate FACTOR", "Factor that widens the priors of --prior-from (default: 2)."
    ),
    cache: bool = option(
        "--cache", "Read an identical fit from the cache folder, or store this one.", False
    ),
    quick: bool = option("--quick", "Skip the refits under other assumptions.", False),
    force: bool = FORCE,
    output: Output,
) -> None:
    """Fit a scaling law to a table of runs; print its posterior, a forecast and its sensitivity."""
    if saved is not None:
        check_netcdf_path(saved)
        read: list[str | Path] = [runs]
        read += [given for given in (model, prior_from) if given is not None]
        check_output(saved, force, inputs=read)
    if inflate is not None and prior_from is None:
        raise typer.BadParameter(
            "widens the priors of --prior-from, which is not given", param_hint="--inflate"
        )
    table = reading.read(runs)
    from scalebayes.specs.defaults import DEFAULT, reason_for_default

    spec = _choose_model(model, prior_from, inflate)
    if spec == DEFAULT:
        typer.echo(f"note: the model is {reason_for_default(table)}", err=True)
    result = sb.fit(
        table, spec, seed=seed, draws=draws, tune=tune, chains=chains, backend=backend, cache=cache
    )
    if "cached" in result.metadata:
        typer.echo(f"read an identical fit from {result.metadata['cached']}", err=True)
    if saved is not None:
        _save(result, saved)
    if result.partial:
        typer.echo("interrupted: the fit contains the draws made before that", err=True)
    print_summary(result, output)
    exit_unless_sound(result)
    # Pooled fits are not refitted under other assumptions yet.
    if not quick and not output.as_json and not result.groups:
        typer.echo()
        print_sensitivity(result, {}, output)


def _save(result: sb.Fit, path: Path) -> None:
    """Save a fit and print where. An interrupted fit replaces no file: it is saved beside it."""
    target = path
    if result.partial and path.exists():
        target = path.with_name(f"{path.stem}-partial{path.suffix}")
    typer.echo(f"saved {sb.save(result, target)}", err=True)
    if target != path:
        typer.echo(f"{path} is unchanged, because sampling was interrupted", err=True)


def _choose_model(
    model: str | None, prior_from: Path | None, inflate: float | None
) -> str | sb.Spec:
    """Return the model that the options ask for.

    A model named beside --prior-from must have the law, noise and discrepancy of that fit.
    """
    from scalebayes.specs.defaults import DEFAULT

    if prior_from is None:
        return model or DEFAULT
    source = sb.load(prior_from)
    if model is not None and not _same_structure(sb.read_model(model), source.spec):
        raise typer.BadParameter(
            f"'{model}' differs from '{source.spec.name}', the model of {prior_from}, in law, "
            "noise or discrepancy: leave it out, or give a fit of it to --prior-from",
            param_hint="--model",
        )
    return sb.prior_from(source, 2.0 if inflate is None else inflate)


def _same_structure(one: sb.Spec, other: sb.Spec) -> bool:
    return (
        one.law == other.law
        and one.noise == other.noise
        and one.discrepancy == other.discrepancy
        and (one.drift is None) == (other.drift is None)
    )


@command(MOST_USED)
def summary(*, fit: Path = FIT_FILE, output: Output) -> None:
    """Posterior of a saved fit beside published values, its convergence checks, and a forecast."""
    result = sb.load(fit)
    print_summary(result, output)
    exit_unless_sound(result)


@command(FITTING)
def fit_many(
    *,
    runs: list[str] = argument("RUNS", "Files (CSV, Parquet ...) or published tables."),
    folder: Path = option(
        "--output -o FOLDER", "Folder for the fits, each TABLE-MODEL.nc.", REQUIRED
    ),
    models: str = option(
        "--models -m A,B,C", "Names from `scalebayes models` or TOML files.", "default"
    ),
    workers: int = option(
        "--workers COUNT", "Local processes; more than one needs dask.distributed.", 1, min=1
    ),
    scheduler: str | None = option(
        "--scheduler ADDRESS", "Address of a Dask scheduler, such as tcp://host:8786."
    ),
    reading: Reading,
    seed: int = SEED,
    draws: int = DRAWS,
    chains: int = CHAINS,
    force: bool = FORCE,
    as_json: bool = JSON,
) -> None:
    """Fit every model to every table; a repeated call continues from the fits in the folder."""
    if scheduler is not None and workers != 1:
        raise typer.BadParameter(
            "give one: a scheduler has its own workers", param_hint="--workers, --scheduler"
        )
    tables = [reading.read(name) for name in runs]
    jobs = sb.grid(tables, models.split(","), seed=seed, draws=draws, chains=chains)
    if scheduler is not None or workers > 1:
        allow_dask()
    try:
        batch = sb.fit_many(jobs, folder, workers=scheduler or workers, replace=force)
    except KeyboardInterrupt:
        typer.echo(
            f"the fits finished so far are in {folder}; the same command continues from them",
            err=True,
        )
        raise
    _print_batch(batch, as_json)
    if batch.failures:
        raise typer.Exit(1)
    if batch.gate_failures:
        raise typer.Exit(GATE_FAILED)


def _print_batch(batch: sb.Batch, as_json: bool) -> None:
    """Print one line for each fit to stdout, and the errors in full to stderr."""
    table = batch.table
    if not as_json:
        seconds = table["seconds"].map("{:.1f}".format).replace("nan", "-")
        table = table.drop(columns="error").assign(seconds=seconds)
    print_frame(table, as_json)
    typer.echo(batch.sentence(), err=True)
    for name, error in batch.failures.items():
        typer.echo(f"error: {name}: {error}", err=True)


@command(FITTING)
def fit_scores(
    *,
    scores: str = argument("SCORES", "A file with losses and accuracies or errors."),
    model: str = option(
        "--model -m MODEL",
        "A model of accuracies, or a TOML file (default: downstream, or bounded-score with --C).",
        "default",
    ),
    saved: Path | None = SAVE_TO,
    loss: str | None = option("--loss COLUMN", "Column of losses in nats per token."),
    accuracy: Values = option("--accuracy COLUMN", "Column of accuracies; several are averaged."),
    error: Values = option("--error COLUMN", "Column of errors; several are averaged."),
    C: str | None = option("--C COLUMN", "Column of compute in place of the loss, in any unit."),
    start: str | None = option("--start COMPUTE", "With --C: leave out rows with less compute."),
    percent: bool = option("--percent", "Accuracies and errors are in percent.", False),
    units: FileUnits,
    seed: int = SEED,
    force: bool = FORCE,
    output: Output,
) -> None:
    """Fit accuracy as a function of loss (the stage that `downstream` uses) or of compute."""
    if saved is not None:
        check_netcdf_path(saved)
        check_output(saved, force, inputs=[scores])
    table = sb.read_scores(
        scores,
        loss=loss,
        accuracy=accuracy or None,
        error=error or None,
        C=C,
        start=start,
        percent=percent,
        **units.format(),
        **units.conventions(),
    )
    say_notes(table.notes)
    result = sb.fit(table, model, seed=seed)
    if saved is not None:
        _save(result, saved)
    print_summary(result, output)
    exit_unless_sound(result)


@command(FITTING)
def convert(
    *,
    files: list[str] = argument(
        "FILE", "CSV, TSV, JSON, JSON Lines or Parquet; several, or a folder, are joined."
    ),
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
    columns: FileColumns,
    force: bool = FORCE,
) -> None:
    """Convert an export, or a table in other units, to a CSV of runs that every command reads."""
    from scalebayes.data.exports import write_runs
    from scalebayes.utils.files import write_whole

    if layout != "checkpoints" and (tokens_per_step or keep != "final"):
        raise typer.BadParameter(
            "only for --format checkpoints", param_hint="--keep, --tokens-per-step"
        )
    if target.suffix != ".csv":
        raise typer.BadParameter(f"got {target}; write to a .csv file", param_hint="--output")
    check_output(target, force, inputs=files)
    settings = columns.settings()
    source = files[0] if len(files) == 1 else files
    if layout == "checkpoints":
        runs = sb.read_checkpoints(source, keep=keep, tokens_per_step=tokens_per_step, **settings)
    elif layout == "wandb":
        runs = sb.read_wandb(source, **settings)
    else:
        runs = sb.read_runs(source, **settings)
    say_notes(runs.notes)
    write_whole(target, partial(write_runs, runs))
    typer.echo(f"wrote {target}: {runs!r}", err=True)
