"""Commands that ask what a decision rests on: influence of the rows, prior or data."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalebayes.cli.app import command
from scalebayes.cli.inputs import load, read, refuse_early
from scalebayes.cli.options import (
    BestOption,
    COption,
    DOption,
    FitArgument,
    ForceOption,
    GroupOption,
    JsonOption,
    LenientOption,
    MapOption,
    NewGroupOption,
    NOption,
    OutliersOption,
    ProbOption,
    RunsArgument,
    SkipOption,
)
from scalebayes.cli.printing import end, print_frame, print_json, print_sensitivity, records

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.posterior.fit import Fit

SizeOption = Annotated[
    str | None, typer.Option("--N", help="Parameters of the run to decide on, as 70B.")
]
TokensOption = Annotated[str | None, typer.Option("--D", help="Its tokens, as 1.4T.")]
BudgetOption = Annotated[
    str | None, typer.Option("--C", help="FLOP; alone: the compute-optimal size there.")
]


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
    by: Annotated[
        By, typer.Option("--by", help="Leave out each run, or all runs of each size.")
    ] = By.run,
    top: Annotated[int, typer.Option(min=1, help="Print so many of the largest shifts.")] = 10,
    refit: Annotated[bool, typer.Option(help="Fit again where weights cannot be trusted.")] = True,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say which runs move a decision, which look like outliers, and which are given twice."""
    from scalebayes.summaries.intervals import CI_PROB
    from scalebayes.validation.influence import influence
    from scalebayes.validation.outliers import find_duplicates, find_outliers

    result = load(fit, group, new_group)
    shifts = influence(result, N=N, D=D, C=C, by=by.value, refit=refit)
    outliers, duplicates = find_outliers(result), find_duplicates(result.runs)
    flagged = outliers[outliers["verdict"] != ""]
    if as_json:
        parts = {"outliers": records(flagged.reset_index()), "duplicates": records(duplicates)}
        about = {
            "decision": shifts.attrs["decision"],
            "mean": shifts.attrs["mean"],
            "sd": shifts.attrs["sd"],
        }
        print_json(about | parts, records(shifts.reset_index()), CI_PROB)
    else:
        _print_shifts(shifts, result, by.value, top)
        _print_suspects(flagged, duplicates)
    end(result)


def _print_shifts(shifts: pd.DataFrame, fit: Fit, by: str, top: int) -> None:
    from scalebayes.display.numbers import number
    from scalebayes.summaries.text import align

    about = shifts.attrs
    unit = "nats" if about["decision"].startswith("loss") else "log N"
    typer.echo(
        f"{about['decision']}: posterior mean {about['mean']:.4g}, standard deviation {about['sd']:.2g}"
    )
    count = f"{len(shifts)} {by}s of {fit.runs.name}; the {min(top, len(shifts))} largest"
    typer.echo(f"How far it moves with one {by} left out ({count})\n")
    rows = []
    for key, row in shifts.head(top).iterrows():
        first = {"run": str(key)} if by == "run" else {"N": number(float(str(key)), scale=True)}
        inputs = {
            name: number(row[name], scale=name != "loss")
            for name in ("N", "D", "loss")
            if name in row
        }
        how = (
            "fitted again" + ", gate FAILED" * bool(row["gate_failed"])
            if row["refitted"]
            else "by weights"
        )
        moved = {"in sd": f"{row['shift_sd']:+.2f}", f"in {unit}": f"{row['shift']:+.4f}"}
        rows.append(first | ({"runs": str(row["runs"])} if "runs" in row else inputs) | moved)
        rows[-1] |= {"found": how, "Pareto k": f"{row['pareto_k']:.2f}"}
    typer.echo(align(rows))


def _print_suspects(flagged: pd.DataFrame, duplicates: pd.DataFrame) -> None:
    from scalebayes.display.numbers import number
    from scalebayes.summaries.text import align

    typer.echo()
    if flagged.empty:
        typer.echo("No run lies outside the noise.")
    else:
        typer.echo("Outside the noise (probability of such a residual, times the number of runs)\n")
        rows = [
            {"run": str(key)}
            | {
                name: number(row[name], scale=name != "loss")
                for name in ("N", "D", "loss")
                if name in row
            }
            | {"residual": f"{row['sds']:+.1f} sd", "fitted noise": _probability(row["tail_rows"])}
            | {
                "Normal noise": _probability(row["normal_tail_rows"]),
                "verdict": str(row["verdict"]),
            }
            for key, row in flagged.iterrows()
        ]
        typer.echo(align(rows))
    for _, pair in duplicates.iterrows():
        typer.echo(
            f"runs {pair['first']} and {pair['second']}: {pair['kind']}, {pair['difference']:+.3f} in log loss"
        )


def _probability(value: float) -> str:
    return "<1e-99" if value < 1e-99 else f"{value:.2g}"


@command("prior-or-data", "What an answer rests on")
def prior_or_data_command(
    fit: FitArgument,
    N: SizeOption = None,
    D: TokensOption = None,
    C: Annotated[
        list[str] | None, typer.Option("--C", help="Budget in FLOP; alone it may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say of each parameter and of a decision whether the prior or the data decides it (power-scaling)."""
    from scalebayes.summaries.intervals import CI_PROB
    from scalebayes.summaries.text import align
    from scalebayes.validation.power_scaling import power_scaling

    result = load(fit)
    table = power_scaling(result, N=N, D=D, C=C or None)
    if as_json:
        about = {"model": result.spec.name, "runs": result.runs.name}
        print_json(about, records(table.reset_index()), CI_PROB)
    else:
        typer.echo(
            f"{result.spec.name} on {result.runs.name}: sensitivity to the prior and to the likelihood"
        )
        typer.echo(
            "Rate of change as either is raised to a power near 1; below 0.05 nothing moves\n"
        )
        rows = [
            {"quantity": str(name)}
            | {key: f"{row[key]:.3f}" for key in ("prior", "likelihood")}
            | {
                "strongest prior": f"{row['strongest']} ({row['strongest_prior']:.3f})",
                "what decides": row["decides"],
            }
            for name, row in table.iterrows()
        ]
        typer.echo(align(rows))
    end(result)


@command("sensitivity", "What an answer rests on")
def sensitivity_command(
    fit: FitArgument,
    N: NOption = None,
    D: DOption = None,
    C: COption = None,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Refit with other noise, without or with a discrepancy and with wider priors, and see how far a decision moves."""
    asked = {name: value for name, value in {"N": N, "D": D, "C": C}.items() if value}
    print_sensitivity(load(fit), asked, ci_prob, as_json)


@command("backtest", "What an answer rests on")
def backtest_command(
    runs: RunsArgument,
    models: Annotated[
        str,
        typer.Option(
            "--models", metavar="A,B,C", help="Models, and log-huber, the field's point fit."
        ),
    ] = "coupled-discrepancy,chinchilla,log-huber",
    columns: MapOption = None,
    lenient: LenientOption = False,
    keep_outliers: OutliersOption = False,
    skip_incomplete: SkipOption = False,
    best: BestOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same draws.")] = 0,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw it too (.png, .svg or .pdf).")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the runs of least compute, predict the others, and count how often the intervals held them."""
    from scalebayes.summaries.text import wrap
    from scalebayes.validation.backtest import backtest, readable

    if figure is not None:
        refuse_early(figure, force)
    names = models.split(",")
    result = backtest(
        read(runs, columns, lenient, keep_outliers, skip_incomplete, best), names, seed=seed
    )
    for note in result.notes:
        typer.echo(f"note: {note}", err=True)
    if figure is not None:
        from scalebayes.plots.backtest import calibration
        from scalebayes.plots.style import save

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
