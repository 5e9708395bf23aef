"""Commands from runs to fits: demo, fit, summary, fit-many, fit-scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from scalebayes.cli.app import GATE_FAILED, command
from scalebayes.cli.inputs import check_output, load_fit, say_notes
from scalebayes.cli.options import (
    FIT_FILE,
    FORCE,
    JSON,
    REQUIRED,
    RUNS,
    SEED,
    Output,
    Reading,
    Values,
    argument,
    option,
)
from scalebayes.cli.printing import exit_unless_sound, print_frame, print_sensitivity, print_summary

if TYPE_CHECKING:
    from scalebayes.fitting.many.fit_many import Batch
    from scalebayes.specs.spec import Spec

FITTING = "Data and fitting"

SAVE_TO: Any = option("--output -o FILE", "File to save the fit to (netCDF).")
DRAWS: Any = option("--draws COUNT", "Draws that each chain keeps after tuning.", 1000, min=1)
CHAINS: Any = option("--chains COUNT", "Number of chains.", 4, min=1)


@command("demo", FITTING)
def demo_command(
    *,
    out: Path = option("--out FOLDER", "Folder for the fits and figures.", Path("scalebayes-demo")),
    force: bool = FORCE,
) -> None:
    """Fit two laws to the published Chinchilla runs, query both fits, and draw the answers."""
    from scalebayes.studies.demo import demo

    for fit in demo(out, force=force).values():
        exit_unless_sound(fit)


@command("fit", FITTING)
def fit_command(
    *,
    runs: str = RUNS,
    model: str | None = option(
        "--model -m MODEL",
        "A name from `scalebayes models` or a TOML file (default: coupled-discrepancy).",
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
        check_output(saved, force)
    if inflate is not None and prior_from is None:
        raise typer.BadParameter(
            "widens the priors of --prior-from, which is not given", param_hint="--inflate"
        )
    table = reading.read(runs)
    spec = _choose_spec(model, prior_from, inflate)
    from scalebayes.fitting.fit import fit
    from scalebayes.posterior.store import save

    result = fit(
        table, spec, seed=seed, draws=draws, tune=tune, chains=chains, backend=backend, cache=cache
    )
    if "cached" in result.metadata:
        typer.echo(f"read an identical fit from {result.metadata['cached']}", err=True)
    if saved is not None:
        typer.echo(f"saved {save(result, saved)}", err=True)
    if result.partial:
        typer.echo("interrupted: the fit contains the draws made before that", err=True)
    print_summary(result, output)
    exit_unless_sound(result)
    # Pooled fits are not refitted under other assumptions yet.
    if not quick and not output.as_json and not result.groups:
        typer.echo()
        print_sensitivity(result, {}, output)


def _choose_spec(model: str | None, prior_from: Path | None, inflate: float | None) -> Spec:
    """Return the spec that the options ask for.

    A model named beside --prior-from must have the law, noise and discrepancy of that fit.
    """
    from scalebayes.posterior.prior_from import prior_from as borrow
    from scalebayes.specs.spec import read_model

    if prior_from is None:
        return read_model(model or "coupled-discrepancy")
    source = load_fit(prior_from)
    if model is not None and not _same_structure(read_model(model), source.spec):
        raise typer.BadParameter(
            f"'{model}' differs from '{source.spec.name}', the model of {prior_from}, in law, "
            "noise or discrepancy: leave it out, or give a fit of it to --prior-from",
            param_hint="--model",
        )
    return borrow(source, 2.0 if inflate is None else inflate)


def _same_structure(one: Spec, other: Spec) -> bool:
    return (
        one.law == other.law and one.noise == other.noise and one.discrepancy == other.discrepancy
    )


@command("summary", FITTING)
def summary_command(*, fit: Path = FIT_FILE, output: Output) -> None:
    """Posterior of a saved fit beside published values, its convergence checks, and a forecast."""
    result = load_fit(fit)
    print_summary(result, output)
    exit_unless_sound(result)


@command("fit-many", FITTING)
def fit_many_command(
    *,
    runs: list[str] = argument("RUNS", "Files (CSV, Parquet ...) or published tables."),
    folder: Path = option(
        "--output -o FOLDER", "Folder for the fits, each TABLE-MODEL.nc.", REQUIRED
    ),
    models: str = option(
        "--models -m A,B,C", "Names from `scalebayes models` or TOML files.", "coupled-discrepancy"
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
    from scalebayes.fitting.many.fit_many import fit_many
    from scalebayes.fitting.many.jobs import grid

    if scheduler is not None and workers != 1:
        raise typer.BadParameter(
            "give one: a scheduler has its own workers", param_hint="--workers, --scheduler"
        )
    tables = [reading.read(name) for name in runs]
    jobs = grid(tables, models.split(","), seed=seed, draws=draws, chains=chains)
    try:
        batch = fit_many(jobs, folder, workers=scheduler or workers, replace=force)
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


def _print_batch(batch: Batch, as_json: bool) -> None:
    """Print one line for each fit to stdout, and the errors in full to stderr."""
    table = batch.table
    if not as_json:
        seconds = table["seconds"].map("{:.1f}".format).replace("nan", "-")
        table = table.drop(columns="error").assign(seconds=seconds)
    print_frame(table, as_json)
    typer.echo(batch.sentence(), err=True)
    for name, error in batch.failures.items():
        typer.echo(f"error: {name}: {error}", err=True)


@command("fit-scores", FITTING)
def fit_scores_command(
    *,
    scores: str = argument("SCORES", "A file with losses and accuracies or errors."),
    model: str = option(
        "--model -m MODEL", "downstream, downstream-logistic or a TOML file.", "downstream"
    ),
    saved: Path | None = SAVE_TO,
    loss: str | None = option("--loss COLUMN", "Column of losses in nats per token."),
    accuracy: Values = option("--accuracy COLUMN", "Column of accuracies; several are averaged."),
    error: Values = option("--error COLUMN", "Column of errors; several are averaged."),
    percent: bool = option("--percent", "Accuracies and errors are in percent.", False),
    seed: int = SEED,
    force: bool = FORCE,
    output: Output,
) -> None:
    """Fit benchmark accuracy as a function of loss: the stage that `downstream` uses."""
    from scalebayes.data.accuracies import read_scores
    from scalebayes.fitting.fit import fit
    from scalebayes.posterior.store import save

    if saved is not None:
        check_output(saved, force)
    table = read_scores(
        scores, loss=loss, accuracy=accuracy or None, error=error or None, percent=percent
    )
    say_notes(table.notes)
    result = fit(table, model, seed=seed)
    if saved is not None:
        typer.echo(f"saved {save(result, saved)}", err=True)
    print_summary(result, output)
    exit_unless_sound(result)
