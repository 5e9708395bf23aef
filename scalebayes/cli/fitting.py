"""Commands from runs to fits: fit, summary, backtest, demo, and the lists of models and published tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalebayes.cli.app import GATE_FAILED, command
from scalebayes.cli.inputs import load, read, refuse_early
from scalebayes.cli.options import (
    BestOption,
    FitArgument,
    ForceOption,
    JsonOption,
    LenientOption,
    MapOption,
    OutliersOption,
    ProbOption,
    RunsArgument,
    SkipOption,
)
from scalebayes.cli.printing import exit_unless_sound, print_frame, print_sensitivity, print_summary

if TYPE_CHECKING:
    from scalebayes.fitting.many.fit_many import Batch
    from scalebayes.specs.spec import Spec


@command("fit", "From runs to fits")
def fit_command(
    runs: RunsArgument,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A name in `scalebayes models` or a TOML file (coupled-discrepancy).",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to save the fit (netCDF).")
    ] = None,
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    skip_incomplete: SkipOption = False,
    best: BestOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same draws.")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="Kept draws a chain.")] = 1000,
    tune: Annotated[
        int | None, typer.Option(min=1, help="Tuning draws a chain; by default the model's.")
    ] = None,
    chains: Annotated[int, typer.Option(min=1, help="Chains.")] = 4,
    backend: Annotated[
        str,
        typer.Option("--backend", help="nutpie, or jax: NumPyro, for very long tables and GPUs."),
    ] = "nutpie",
    ci_prob: ProbOption = 0.9,
    prior_from: Annotated[
        Path | None,
        typer.Option(
            "--prior-from", metavar="FIT", help="Take law and priors from this fit of other runs."
        ),
    ] = None,
    inflate: Annotated[
        float | None,
        typer.Option(
            "--inflate", help="With --prior-from: priors so many times as wide (2) as there."
        ),
    ] = None,
    cache: Annotated[
        bool,
        typer.Option("--cache", help="Take the same fit from the cache folder, or keep it there."),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the refits under other assumptions.")
    ] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit a law to a table of runs; print its posterior, what it says ahead, and how far that rests on assumptions."""
    if output is not None:
        refuse_early(output, force)
    if inflate is not None and prior_from is None:
        raise typer.BadParameter(
            "widens the priors of --prior-from, which is not given", param_hint="--inflate"
        )
    table = read(runs, columns, lenient, keep_outliers, skip_incomplete, best)
    spec = _spec(model, prior_from, inflate)
    from scalebayes.fitting.fit import fit
    from scalebayes.posterior.store import save

    result = fit(
        table,
        spec,
        seed=seed,
        draws=draws,
        tune=tune,
        chains=chains,
        backend=backend,  # type: ignore[arg-type]
        cache=cache,
    )
    if "cached" in result.metadata:
        typer.echo(f"the same fit was made before: read from {result.metadata['cached']}", err=True)
    if output is not None:
        typer.echo(f"saved {save(result, output)}", err=True)
    if result.partial:
        typer.echo("interrupted: these are the draws made until then", err=True)
    print_summary(result, ci_prob, as_json)
    exit_unless_sound(result)
    if not (quick or as_json or result.groups):  # of a pooled fit, assumptions are not varied yet
        typer.echo()
        print_sensitivity(result, {}, ci_prob, as_json)


def _spec(model: str | None, prior_from: Path | None, inflate: float | None) -> Spec:
    """The spec that options ask for; a model named beside a fit to borrow from must be of its law and noise."""
    from scalebayes.posterior.prior_from import prior_from as borrowed
    from scalebayes.specs.spec import read_model

    if prior_from is None:
        return read_model(model or "coupled-discrepancy")
    there = load(prior_from)
    if model is not None:
        asked, has = (
            (spec.law, spec.noise, spec.discrepancy) for spec in (read_model(model), there.spec)
        )
        if asked != has:
            raise typer.BadParameter(
                f"{prior_from} is a fit of '{there.spec.name}', whose law and priors --prior-from takes; "
                f"'{model}' is another law, noise or discrepancy: leave it out, or borrow from a fit of it",
                param_hint="--model",
            )
    return borrowed(there, 2.0 if inflate is None else inflate)


@command("summary", "From runs to fits")
def summary_command(
    fit: FitArgument, ci_prob: ProbOption = 0.9, as_json: JsonOption = False
) -> None:
    """Print the posterior of a saved fit, the published values, the gate's verdict and what it says ahead."""
    result = load(fit)
    print_summary(result, ci_prob, as_json)
    exit_unless_sound(result)


@command("demo", "From runs to fits")
def demo_command(
    out: Annotated[Path, typer.Option("--out", help="Folder for the fits and figures.")] = Path(
        "scalebayes-demo"
    ),
    force: ForceOption = False,
) -> None:
    """Do the main job on the published Chinchilla points: fit, predict, allocate, draw."""
    from scalebayes.studies.demo import demo

    for fit in demo(out, force=force).values():
        exit_unless_sound(fit)


@command("fit-many", "From runs to fits")
def fit_many_command(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUNS...", help="Files (CSV, Parquet ...) or published names."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the fits, TABLE-MODEL.nc each.")
    ],
    models: Annotated[
        str,
        typer.Option(
            "--models", "-m", metavar="A,B,C", help="Names in `scalebayes models` or TOML files."
        ),
    ] = "coupled-discrepancy",
    workers: Annotated[
        int, typer.Option(min=1, help="Local processes; more than one needs dask.distributed.")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler", metavar="ADDRESS", help="Of a Dask scheduler, as tcp://host:8786."
        ),
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
    from scalebayes.fitting.many.fit_many import fit_many
    from scalebayes.fitting.many.jobs import grid

    if scheduler is not None and workers != 1:
        raise typer.BadParameter(
            "a scheduler has workers of its own", param_hint="--workers, --scheduler"
        )
    tables = [read(one, columns, lenient, keep_outliers, skip_incomplete) for one in runs]
    jobs = grid(tables, models.split(","), seed=seed, draws=draws, chains=chains)
    try:
        batch = fit_many(jobs, output, workers=scheduler or workers, replace=force)
    except KeyboardInterrupt:
        typer.echo(
            f"the fits made until now are in {output}; the same command goes on from there",
            err=True,
        )
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
        print_frame(
            table.drop(columns="error").assign(seconds=table["seconds"].map(_seconds)), as_json
        )
    typer.echo(batch.sentence(), err=True)
    for name, error in batch.failures.items():
        typer.echo(f"error: {name}: {error}", err=True)


def _seconds(value: float) -> str:
    return "-" if value != value else f"{value:.1f}"
