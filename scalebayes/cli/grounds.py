"""Commands that ask what a decision rests on: influence of the rows, prior or data."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from scalebayes.cli.app import FitArgument, GroupOption, JsonOption, NewGroupOption, command
from scalebayes.cli.files import load
from scalebayes.cli.output import end, print_json, records

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.posterior import Fit

SizeOption = Annotated[str | None, typer.Option("--N", help="Parameters of the run to decide on, as 70B.")]
TokensOption = Annotated[str | None, typer.Option("--D", help="Its tokens, as 1.4T.")]
BudgetOption = Annotated[str | None, typer.Option("--C", help="FLOP; alone: the compute-optimal size there.")]


class By(StrEnum):
    """What to leave out at once."""

    run = "run"
    size = "size"


@command("influence", "What an answer rests on")
def influence_command(
    fit: FitArgument,
    N: SizeOption = None,
    D: TokensOption = None,
    C: BudgetOption = None,
    by: Annotated[By, typer.Option("--by", help="Leave out each run, or all runs of each size.")] = By.run,
    top: Annotated[int, typer.Option(min=1, help="Print so many of the largest shifts.")] = 10,
    refit: Annotated[bool, typer.Option(help="Fit again where weights cannot be trusted.")] = True,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say which runs move a decision, which look like outliers, and which are given twice."""
    from scalebayes.leverage import influence
    from scalebayes.suspects import find_duplicates, find_outliers
    from scalebayes.tables import CI_PROB

    result = load(fit, group, new_group)
    shifts = influence(result, N=N, D=D, C=C, by=by.value, refit=refit)
    outliers, duplicates = find_outliers(result), find_duplicates(result.runs)
    flagged = outliers[outliers["verdict"] != ""]
    if as_json:
        parts = {"outliers": records(flagged.reset_index()), "duplicates": records(duplicates)}
        about = {"decision": shifts.attrs["decision"], "mean": shifts.attrs["mean"], "sd": shifts.attrs["sd"]}
        print_json(about | parts, records(shifts.reset_index()), CI_PROB)
    else:
        _print_shifts(shifts, result, by.value, top)
        _print_suspects(flagged, duplicates)
    end(result)


def _print_shifts(shifts: pd.DataFrame, fit: Fit, by: str, top: int) -> None:
    from scalebayes.text import align, number

    about = shifts.attrs
    unit = "nats" if about["decision"].startswith("loss") else "log N"
    typer.echo(f"{about['decision']}: posterior mean {about['mean']:.4g}, standard deviation {about['sd']:.2g}")
    count = f"{len(shifts)} {by}s of {fit.runs.name}; the {min(top, len(shifts))} largest"
    typer.echo(f"How far it moves with one {by} left out ({count})\n")
    rows = []
    for key, row in shifts.head(top).iterrows():
        first = {"run": str(key)} if by == "run" else {"N": number(float(str(key)), scale=True)}
        inputs = {name: number(row[name], scale=name != "loss") for name in ("N", "D", "loss") if name in row}
        how = "fitted again" + ", gate FAILED" * bool(row["gate_failed"]) if row["refitted"] else "by weights"
        moved = {"in sd": f"{row['shift_sd']:+.2f}", f"in {unit}": f"{row['shift']:+.4f}"}
        rows.append(first | ({"runs": str(row["runs"])} if "runs" in row else inputs) | moved)
        rows[-1] |= {"found": how, "Pareto k": f"{row['pareto_k']:.2f}"}
    typer.echo(align(rows))


def _print_suspects(flagged: pd.DataFrame, duplicates: pd.DataFrame) -> None:
    from scalebayes.text import align, number

    typer.echo()
    if flagged.empty:
        typer.echo("No run lies outside the noise.")
    else:
        typer.echo("Outside the noise (probability of such a residual, times the number of runs)\n")
        rows = [
            {"run": str(key)}
            | {name: number(row[name], scale=name != "loss") for name in ("N", "D", "loss") if name in row}
            | {"residual": f"{row['sds']:+.1f} sd", "fitted noise": _probability(row["tail_rows"])}
            | {"Normal noise": _probability(row["normal_tail_rows"]), "verdict": str(row["verdict"])}
            for key, row in flagged.iterrows()
        ]
        typer.echo(align(rows))
    for _, pair in duplicates.iterrows():
        typer.echo(f"runs {pair['first']} and {pair['second']}: {pair['kind']}, {pair['difference']:+.3f} in log loss")


def _probability(value: float) -> str:
    return "<1e-99" if value < 1e-99 else f"{value:.2g}"


@command("prior-or-data", "What an answer rests on")
def prior_or_data_command(
    fit: FitArgument,
    N: SizeOption = None,
    D: TokensOption = None,
    C: Annotated[list[str] | None, typer.Option("--C", help="Budget in FLOP; alone it may be repeated.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say of each parameter and of a decision whether the prior or the data decides it (power-scaling)."""
    from scalebayes.prior_data import power_scaling
    from scalebayes.tables import CI_PROB
    from scalebayes.text import align

    result = load(fit)
    table = power_scaling(result, N=N, D=D, C=C or None)
    if as_json:
        about = {"model": result.spec.name, "runs": result.runs.name}
        print_json(about, records(table.reset_index()), CI_PROB)
    else:
        typer.echo(f"{result.spec.name} on {result.runs.name}: sensitivity to the prior and to the likelihood")
        typer.echo("Rate of change as either is raised to a power near 1; below 0.05 nothing moves\n")
        rows = [
            {"quantity": str(name)}
            | {key: f"{row[key]:.3f}" for key in ("prior", "likelihood")}
            | {"strongest prior": f"{row['strongest']} ({row['strongest_prior']:.3f})", "what decides": row["decides"]}
            for name, row in table.iterrows()
        ]
        typer.echo(align(rows))
    end(result)
