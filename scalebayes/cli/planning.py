"""Commands on runs not yet made: next, needed, plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalebayes.cli.app import command
from scalebayes.cli.inputs import load
from scalebayes.cli.options import FitArgument, GroupOption, JsonOption, NewGroupOption, ProbOption
from scalebayes.cli.printing import end, print_json, records

if TYPE_CHECKING:
    from scalebayes.summaries.table import Table

NOption = Annotated[str | None, typer.Option("--N", help="Parameters of the target, as 70B.")]
DOption = Annotated[str | None, typer.Option("--D", help="Tokens of the target, as 1.4T.")]
COption = Annotated[
    str | None, typer.Option("--C", help="FLOP of the target; alone the target is N* there.")
]
CandidatesOption = Annotated[
    Path | None,
    typer.Option("--candidates", metavar="CSV", help="Runs that could be made: columns N and D."),
]


@command("next", "Plan runs")
def next_command(
    fit: FitArgument,
    budget: Annotated[str, typer.Option("--budget", help="FLOP for all new runs together.")],
    N: NOption = None,
    D: DOption = None,
    C: COption = None,
    batch: Annotated[int, typer.Option(min=1, help="The most runs to make.")] = 5,
    candidates: CandidatesOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Choose the runs within a budget that narrow the loss at N and D, or N* at C, most."""
    from scalebayes.planning.next_runs import next_runs

    result = load(fit, group, new_group)
    chosen = next_runs(
        result,
        budget=budget,
        target=_target(N, D, C),
        candidates=_read(candidates),
        batch=batch,
        ci_prob=ci_prob,
    )
    about = {"target": chosen.table.attrs["target"], "width_now": chosen.table.attrs["width_now"]}
    _print(
        str(chosen),
        about | {"title": chosen.title, "notes": chosen.notes},
        chosen.table,
        ci_prob,
        as_json,
    )
    end(result)


@command("needed", "Plan runs")
def needed_command(
    fit: FitArgument,
    width: Annotated[
        float, typer.Option(help="Width of the interval: nats of the loss; upper over lower of N*.")
    ],
    run_budget: Annotated[str, typer.Option("--run-budget", help="FLOP that one run may cost.")],
    N: NOption = None,
    D: DOption = None,
    C: COption = None,
    candidates: CandidatesOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Count the runs until the interval of the loss at N and D, or of N* at C, is so wide."""
    from scalebayes.planning.next_runs import runs_needed

    result = load(fit, group, new_group)
    asked: dict[str, Any] = {"target": _target(N, D, C), "candidates": _read(candidates)}
    need = runs_needed(result, width=width, run_budget=run_budget, ci_prob=ci_prob, **asked)
    about = {"runs": need.runs, "message": need.message, "notes": need.notes}
    _print(str(need), about, need.table, ci_prob, as_json)
    end(result)


@command("plan", "Plan runs")
def plan_command(
    C: Annotated[list[str], typer.Option("--C", help="FLOP of one run, as 1e20; may be repeated.")],
    levels: Annotated[
        int | None,
        typer.Option(
            min=2, help="So many budgets from the least to the largest C, evenly spaced in log."
        ),
    ] = None,
    sizes: Annotated[int, typer.Option(min=2, help="Sizes a budget.")] = 7,
    span: Annotated[float, typer.Option(help="The largest size over the smallest.")] = 16.0,
    around: Annotated[
        str,
        typer.Option(
            help="Guess of N*: tokens per parameter, MODEL, 'MODEL: LABEL' or a saved fit (.nc)."
        ),
    ] = "20",
    budget: Annotated[
        str | None, typer.Option("--budget", help="FLOP that all runs together may cost.")
    ] = None,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Reasons to refuse become notes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Lay out isoFLOP sweeps before any run exists, and say whether they would find their minima."""
    from scalebayes.planning.plan import plan

    laid = plan(
        C,
        levels=levels,
        sizes=sizes,
        span=span,
        around=_guess(around),
        budget=budget,
        strict=not lenient,
    )
    about = {"title": laid.title, "notes": laid.notes, "total_cost": laid.table.attrs["total_cost"]}
    _print(str(laid), about, laid.table, None, as_json)


def _target(N: str | None, D: str | None, C: str | None) -> dict[str, str]:
    target = {name: value for name, value in (("N", N), ("D", D), ("C", C)) if value is not None}
    if not target:
        raise typer.BadParameter(
            "give --N and --D for the loss of a run, or --C for N*", param_hint="--N, --D, --C"
        )
    return target


def _read(candidates: Path | None) -> Any:
    if candidates is None:
        return None
    import pandas as pd

    from scalebayes.errors import QueryError

    try:
        return pd.read_csv(candidates, dtype=str)
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise QueryError(f"cannot read candidates from {candidates}: {error}") from None


def _guess(around: str) -> Any:
    try:
        return float(around)
    except ValueError:
        return load(Path(around)) if around.endswith(".nc") else around


def _print(
    text: str, about: dict[str, Any], table: Table, ci_prob: float | None, as_json: bool
) -> None:
    if not as_json:
        typer.echo(text)
    elif ci_prob is None:
        print_plain(about, records(table))
    else:
        print_json(about, records(table), ci_prob)


def print_plain(about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print rows that carry no intervals, with what they are about."""
    import json

    typer.echo(json.dumps(about | {"rows": rows}, indent=2))
