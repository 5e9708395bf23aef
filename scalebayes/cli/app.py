"""The `scalebayes` application: its options, exit codes, and how a command's errors end."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from scalebayes.errors import GateWarning, ScaleBayesError

GATE_FAILED, INTERRUPTED = 3, 130
"""Exit codes; 0 is done, 1 an error, 2 wrong usage."""

app = typer.Typer(
    help="Bayesian inference of neural scaling laws: from a table of runs to decisions with credible intervals.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunsArgument = Annotated[str, typer.Argument(metavar="RUNS", help="A file (CSV, Parquet ...) or a published name.")]
FitArgument = Annotated[Path, typer.Argument(metavar="FIT", help="A file that `scalebayes fit -o` wrote.")]
FitsArgument = Annotated[
    list[Path], typer.Argument(metavar="FIT...", help="Files that `scalebayes fit -o` wrote; several are one forecast.")
]
WeightsOption = Annotated[
    str | None,
    typer.Option("--weights", metavar="A=2,B=1", help="Of several fits: equal (the default), stacking, or numbers."),
]
NOption = Annotated[list[str] | None, typer.Option("--N", help="Parameters, as 70B; may be repeated.")]
DOption = Annotated[list[str] | None, typer.Option("--D", help="Tokens, as 1.4T; may be repeated.")]
COption = Annotated[list[str] | None, typer.Option("--C", help="FLOP, as 1e24; may be repeated.")]
COrOptimumOption = Annotated[
    list[str] | None, typer.Option("--C", help="FLOP, as 1e24; alone: at the optimum. May be repeated.")
]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=VALUE", help="Another input of the law, as U=4B; may be repeated."),
]
BudgetsOption = Annotated[list[str], typer.Option("--C", help="Budget in FLOP, as 1e24; may be repeated.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="ROLE=COLUMN", help="Column for N, D, C, loss, group, run, S, U or E."),
]
LenientOption = Annotated[bool, typer.Option("--lenient", help="Suspicious units and repeats become notes.")]
OutliersOption = Annotated[bool, typer.Option("--keep-outliers", help="Keep rows a published table leaves out.")]
SkipOption = Annotated[bool, typer.Option("--skip-incomplete", help="Leave out rows without a value, and say so.")]
BestOption = Annotated[
    bool, typer.Option("--best", help="Of a published sweep of learning rates, the best run at each N and D.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ProbOption = Annotated[float, typer.Option("--ci-prob", min=0.01, max=0.999, help="Probability of the intervals.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def command(name: str, panel: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command, under a heading of the help, whose errors end in one message, never in a trace."""

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

        return app.command(name, rich_help_panel=panel)(guarded)

    return register


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Fit, question and compare scaling laws. Without a command, say what to do next."""
    if version:
        from scalebayes import __version__

        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        from scalebayes.cli.start import next_steps

        typer.echo(next_steps(Path()))
