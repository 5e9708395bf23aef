"""Commands from runs to fits: fit, summary, backtest, demo, and the lists of models and published tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalebayes.cli.app import (
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
    command,
)
from scalebayes.cli.files import load, read, refuse_early
from scalebayes.cli.output import (
    exit_unless_sound,
    print_frame,
    print_json,
    print_sensitivity,
    print_summary,
    records,
)

if TYPE_CHECKING:
    from scalebayes.spec import Spec


@command("fit", "From runs to fits")
def fit_command(
    runs: RunsArgument,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A name in `scalebayes models` or a TOML file (coupled-discrepancy)."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to save the fit (netCDF).")] = None,
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    skip_incomplete: SkipOption = False,
    best: BestOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same draws.")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="Kept draws a chain.")] = 1000,
    tune: Annotated[int | None, typer.Option(min=1, help="Tuning draws a chain; by default the model's.")] = None,
    chains: Annotated[int, typer.Option(min=1, help="Chains.")] = 4,
    backend: Annotated[
        str, typer.Option("--backend", help="nutpie, or jax: NumPyro, for very long tables and GPUs.")
    ] = "nutpie",
    ci_prob: ProbOption = 0.9,
    prior_from: Annotated[
        Path | None,
        typer.Option("--prior-from", metavar="FIT", help="Take law and priors from this fit of other runs."),
    ] = None,
    inflate: Annotated[
        float | None, typer.Option("--inflate", help="With --prior-from: priors so many times as wide (2) as there.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Take the same fit from the cache folder, or keep it there.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the refits under other assumptions.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit a law to a table of runs; print its posterior, what it says ahead, and how far that rests on assumptions."""
    if output is not None:
        refuse_early(output, force)
    if inflate is not None and prior_from is None:
        raise typer.BadParameter("widens the priors of --prior-from, which is not given", param_hint="--inflate")
    table = read(runs, columns, lenient, keep_outliers, skip_incomplete, best)
    spec = _spec(model, prior_from, inflate)
    from scalebayes.inference import fit  # after the table: a refusal need not wait for these
    from scalebayes.store import save

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
    from scalebayes.borrowing import prior_from as borrowed
    from scalebayes.spec import read_model

    if prior_from is None:
        return read_model(model or "coupled-discrepancy")
    there = load(prior_from)
    if model is not None:
        asked, has = ((spec.law, spec.noise, spec.discrepancy) for spec in (read_model(model), there.spec))
        if asked != has:
            raise typer.BadParameter(
                f"{prior_from} is a fit of '{there.spec.name}', whose law and priors --prior-from takes; "
                f"'{model}' is another law, noise or discrepancy: leave it out, or borrow from a fit of it",
                param_hint="--model",
            )
    return borrowed(there, 2.0 if inflate is None else inflate)


@command("summary", "From runs to fits")
def summary_command(fit: FitArgument, ci_prob: ProbOption = 0.9, as_json: JsonOption = False) -> None:
    """Print the posterior of a saved fit, the published values, the gate's verdict and what it says ahead."""
    result = load(fit)
    print_summary(result, ci_prob, as_json)
    exit_unless_sound(result)


@command("models", "From runs to fits")
def models_command(
    model: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None, as_json: JsonOption = False
) -> None:
    """List the models that can be fitted, or show one with its priors and their reasons."""
    from scalebayes.spec import list_models, read_model

    if model is None:
        print_frame(list_models(), as_json)
        return
    spec = read_model(model)
    typer.echo(spec.model_dump_json(indent=2) if as_json else spec.describe())


@command("runs", "From runs to fits")
def runs_command(
    runs: Annotated[str | None, typer.Argument(metavar="RUNS", help="Check this file or published table.")] = None,
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


@command("backtest", "What an answer rests on")
def backtest_command(
    runs: RunsArgument,
    models: Annotated[
        str, typer.Option("--models", metavar="A,B,C", help="Models, and log-huber, the field's point fit.")
    ] = "coupled-discrepancy,chinchilla,log-huber",
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    skip_incomplete: SkipOption = False,
    best: BestOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same draws.")] = 0,
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw it too (.png, .svg or .pdf).")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the runs of least compute, predict the others, and count how often the intervals held them."""
    from scalebayes.backtesting import backtest, readable
    from scalebayes.text import wrap

    if figure is not None:
        refuse_early(figure, force)
    names = models.split(",")
    result = backtest(read(runs, columns, lenient, keep_outliers, skip_incomplete, best), names, seed=seed)
    for note in result.notes:
        typer.echo(f"note: {note}", err=True)
    if figure is not None:
        from scalebayes.backtest_plots import calibration
        from scalebayes.drawing import save

        typer.echo(f"wrote {save(calibration(result), figure)}", err=True)
    tables = result.table(baseline=names[-1]), result.table(["decades"], names[-1])
    if as_json:
        rows = [row for table in tables for row in records(table.reset_index())]
        about = {"sentence": result.sentence(), "notes": result.notes, "baseline": names[-1]}
        print_json(about | {"messages": [vars(message) for message in result.messages]}, rows, 0.9)
        return
    typer.echo(f"{result.sentence()}.\n")
    for table in tables:
        print_frame(readable(table), as_json)
    for message in result.messages:
        typer.echo(wrap(message))


@command("demo", "From runs to fits")
def demo_command(
    out: Annotated[Path, typer.Option("--out", help="Folder for the fits and figures.")] = Path("scalebayes-demo"),
    force: ForceOption = False,
) -> None:
    """Do the main job on the published Chinchilla points: fit, predict, allocate, draw."""
    from scalebayes.demo import demo

    for fit in demo(out, force=force).values():
        exit_unless_sound(fit)
