"""A thin command line over the public functions: results to stdout, everything else to stderr.

Exit codes: 0 done, 1 an error, 2 wrong usage, 3 the gate failed, 130 interrupted. Libraries that take long to import
are imported by the commands that need them.
"""

from __future__ import annotations

import functools
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalebayes.errors import GateWarning, ScaleBayesError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from scalebayes.posterior import Fit
    from scalebayes.runs import Runs

GATE_FAILED, INTERRUPTED = 3, 130

app = typer.Typer(
    help="Bayesian inference of neural scaling laws: from a table of runs to decisions with credible intervals.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunsArgument = Annotated[str, typer.Argument(metavar="RUNS", help="A file (CSV, Parquet ...) or a published name.")]
FitArgument = Annotated[Path, typer.Argument(metavar="FIT", help="A file that `scalebayes fit -o` wrote.")]
MapOption = Annotated[
    list[str] | None, typer.Option("--map", metavar="ROLE=COLUMN", help="Column for N, D, C, loss, group or run.")
]
LenientOption = Annotated[bool, typer.Option("--lenient", help="Suspicious units and repeats become notes.")]
OutliersOption = Annotated[bool, typer.Option("--keep-outliers", help="Keep rows a published table leaves out.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ProbOption = Annotated[float, typer.Option("--ci-prob", min=0.01, max=0.999, help="Probability of the intervals.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def command(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose errors end in one message and an exit code, never in a trace."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", GateWarning)  # commands say it themselves
                    function(*args, **kwargs)
            except (ScaleBayesError, OSError) as error:
                typer.echo(f"error: {error}", err=True)
                raise typer.Exit(1) from None
            except KeyboardInterrupt:
                typer.echo("interrupted", err=True)
                raise typer.Exit(INTERRUPTED) from None

        return app.command(name)(guarded)

    return register


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Fit, question and compare scaling laws."""
    if version:
        from scalebayes import __version__

        typer.echo(__version__)
        raise typer.Exit


@command("fit")
def fit_command(
    runs: RunsArgument,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A name in `scalebayes models` or a TOML file.")
    ] = "coupled-discrepancy",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to save the fit (netCDF).")] = None,
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same draws.")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="Kept draws a chain.")] = 1000,
    tune: Annotated[int, typer.Option(min=1, help="Tuning draws a chain.")] = 1000,
    chains: Annotated[int, typer.Option(min=1, help="Chains.")] = 4,
    ci_prob: ProbOption = 0.9,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit a law to a table of runs and print its posterior beside the published values."""
    from scalebayes.inference import fit
    from scalebayes.store import save

    if output is not None:
        _refuse_early(output, force)
    result = fit(_read(runs, columns, lenient, keep_outliers), model, seed=seed, draws=draws, tune=tune, chains=chains)
    if output is not None:
        typer.echo(f"saved {save(result, output)}", err=True)
    if result.partial:
        typer.echo("interrupted: these are the draws made until then", err=True)
    try:
        _print_summary(result, ci_prob, as_json)
    finally:
        _exit_unless_sound(result)


@command("summary")
def summary_command(fit: FitArgument, ci_prob: ProbOption = 0.9, as_json: JsonOption = False) -> None:
    """Print the posterior of a saved fit, the published values and the gate's verdict."""
    _print_summary(_load(fit), ci_prob, as_json)


@command("predict")
def predict_command(
    fit: FitArgument,
    N: Annotated[list[str] | None, typer.Option("--N", help="Parameters, as 70B; may be repeated.")] = None,
    D: Annotated[list[str] | None, typer.Option("--D", help="Tokens, as 1.4T; may be repeated.")] = None,
    C: Annotated[list[str] | None, typer.Option("--C", help="FLOP, as 1e24; may be repeated.")] = None,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Predict the loss of runs not yet made, from any two of N, D and C."""
    from scalebayes.prediction import predict

    title = "Loss in nats per token: the law's curve, and a new run that scatters around it"
    result = _load(fit)
    _print_draws(result, predict(result, N=N or None, D=D or None, C=C or None), title, ci_prob, as_json)


@command("frontier")
def frontier_command(
    fit: FitArgument,
    C: Annotated[list[str], typer.Option("--C", help="Budget in FLOP, as 1e24; may be repeated.")],
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Find the compute-optimal N and D for budgets at C = 6 N D."""
    from scalebayes.allocation import frontier

    result = _load(fit)
    _print_draws(result, frontier(result, C=C), "Compute-optimal allocation at C = 6 N D", ci_prob, as_json)


@command("models")
def models_command(
    model: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None, as_json: JsonOption = False
) -> None:
    """List the models that can be fitted, or show one with its priors and their reasons."""
    from scalebayes.spec import list_models, read_model

    if model is None:
        _print_frame(list_models(), as_json)
        return
    spec = read_model(model)
    typer.echo(spec.model_dump_json(indent=2) if as_json else spec.describe())


@command("runs")
def runs_command(
    runs: Annotated[str | None, typer.Argument(metavar="RUNS", help="Check this file or published table.")] = None,
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the published tables, or check a table of runs and say how it was read."""
    if runs is None:
        from scalebayes.datasets import list_runs

        _print_frame(list_runs(), as_json)
        return
    table = _read(runs, columns, lenient, keep_outliers)
    if as_json:
        typer.echo(table.table.reset_index().to_json(orient="records"))
    else:
        typer.echo(table)


@command("backtest")
def backtest_command(
    runs: RunsArgument,
    models: Annotated[
        str, typer.Option("--models", metavar="A,B,C", help="Models, and log-huber, the field's point fit.")
    ] = "coupled-discrepancy,chinchilla,log-huber",
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same draws.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit the runs of least compute, predict the others, and count how often the intervals held them."""
    from scalebayes.backtesting import backtest, readable

    names = models.split(",")
    result = backtest(_read(runs, columns, lenient, keep_outliers), names, seed=seed)
    for note in result.notes:
        typer.echo(f"note: {note}", err=True)
    tables = result.table(baseline=names[-1]), result.table(["decades"], names[-1])
    if as_json:
        rows = [row for table in tables for row in _records(table.reset_index())]
        _print_json({"sentence": result.sentence(), "notes": result.notes, "baseline": names[-1]}, rows, 0.9)
        return
    typer.echo(f"{result.sentence()}.\n")
    for table in tables:
        _print_frame(readable(table), as_json)


@command("demo")
def demo_command(
    out: Annotated[Path, typer.Option("--out", help="Folder for the fits and figures.")] = Path("scalebayes-demo"),
    force: ForceOption = False,
) -> None:
    """Do the main job on the published Chinchilla points: fit, predict, allocate, draw."""
    from scalebayes.demo import demo

    for fit in demo(out, force=force).values():
        _exit_unless_sound(fit)


def main() -> None:
    """Entry point of the `scalebayes` command."""
    app()


def _read(runs: str, columns: list[str] | None, lenient: bool, keep_outliers: bool) -> Runs:
    from scalebayes.datasets import TABLES, load_runs
    from scalebayes.runs import read_runs

    mapping = dict(_mapping(entry) for entry in columns or [])
    is_file = runs not in TABLES and (Path(runs).suffix or Path(runs).exists())
    if is_file:
        if keep_outliers:
            raise typer.BadParameter("nothing is left out of a file of yours", param_hint="--keep-outliers")
        table = read_runs(runs, strict=not lenient, **mapping)
    else:
        if mapping or lenient:
            raise typer.BadParameter("a published table is read as it is", param_hint="--map, --lenient")
        table = load_runs(runs, keep_outliers=keep_outliers)
    for note in table.notes:
        typer.echo(f"note: {note}", err=True)
    return table


def _mapping(entry: str) -> tuple[str, str]:
    role, _, column = entry.partition("=")
    allowed = ("N", "D", "C", "loss", "group", "run")
    if role not in allowed or not column:
        raise typer.BadParameter(
            f"got {entry!r}; write ROLE=COLUMN with ROLE one of {', '.join(allowed)}", param_hint="--map"
        )
    return role, column


def _load(path: Path) -> Fit:
    from scalebayes.store import load

    return load(path)


def _refuse_early(path: Path, force: bool) -> None:
    """Say that a result could not be written before minutes go into it."""
    if not path.parent.is_dir():
        raise ScaleBayesError(f"cannot write {path}: no such folder")
    if not os.access(path.parent, os.W_OK):
        raise ScaleBayesError(f"cannot write {path}: no permission")
    if path.exists() and not force:
        raise ScaleBayesError(f"{path} exists; --force replaces it")


def _print_summary(fit: Fit, ci_prob: float, as_json: bool) -> None:
    from scalebayes.diagnostics import diagnose
    from scalebayes.tables import summary
    from scalebayes.text import kind_of_interval, summary_table

    gate = diagnose(fit)
    if as_json:
        messages = [vars(m) for m in gate.messages]
        rows = _records(summary(fit, ci_prob).rename_axis("parameter").reset_index())
        about = {"model": fit.spec.name, "runs": fit.runs.name, "gate_ok": gate.ok, "messages": messages}
        _print_json(about | {"metadata": fit.metadata}, rows, ci_prob)
    else:
        typer.echo(f"{fit.spec.title}, fitted to {len(fit.runs)} runs of {fit.runs.name}")
        beside = "; published values on the right" * bool(fit.spec.published)
        typer.echo(f"Posterior median with {kind_of_interval(ci_prob)} interval{beside}\n")
        typer.echo(f"{summary_table(fit, ci_prob)}\n\n{gate}")
    if not gate.ok:
        raise typer.Exit(GATE_FAILED)


def _exit_unless_sound(fit: Fit) -> None:
    if fit.partial:
        raise typer.Exit(INTERRUPTED)
    if fit.gate_failures:
        raise typer.Exit(GATE_FAILED)


def _print_draws(fit: Fit, dataset: xr.Dataset, title: str, ci_prob: float, as_json: bool) -> None:
    from scalebayes.tables import intervals
    from scalebayes.text import draws_table, kind_of_interval

    if as_json:
        gate = {"gate_ok": not fit.gate_failures, "gate_failures": list(fit.gate_failures)}
        _print_json(gate, _records(intervals(dataset, ci_prob).reset_index()), ci_prob)
    else:
        typer.echo(
            f"{title}\nPosterior median with {kind_of_interval(ci_prob)} interval\n\n{draws_table(dataset, ci_prob)}"
        )
    if fit.gate_failures:
        typer.echo(f"warning: this fit failed the gate ({', '.join(fit.gate_failures)}); do not rely on it", err=True)
        raise typer.Exit(GATE_FAILED)


def _print_frame(table: pd.DataFrame, as_json: bool) -> None:
    from scalebayes.text import frame

    typer.echo(json.dumps(_records(table.reset_index()), indent=2) if as_json else frame(table))


def _print_json(about: dict[str, Any], rows: list[dict[str, Any]], ci_prob: float) -> None:
    typer.echo(json.dumps(about | {"ci_prob": ci_prob, "ci_kind": "eti", "rows": rows}, indent=2))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain JSON values, NaN as null."""
    return json.loads(table.to_json(orient="records", double_precision=15))


if __name__ == "__main__":
    main()
