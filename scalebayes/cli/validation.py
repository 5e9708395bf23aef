"""Commands that check what an answer rests on: backtest, sensitivity, influence, power-scaling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

import scalebayes as sb
from scalebayes.cli.app import command
from scalebayes.cli.inputs import check_output, say_notes
from scalebayes.cli.options import (
    FIT_FILE,
    FORCE,
    JSON,
    RUNS,
    SEED,
    Output,
    PointsOrBudgets,
    SavedFit,
    Target,
    Values,
    option,
)
from scalebayes.cli.printing import (
    as_dicts,
    end,
    print_frame,
    print_json,
    print_sensitivity,
    records,
)
from scalebayes.cli.tables import Reading

if TYPE_CHECKING:
    import pandas as pd

VALIDATION = "Validation"


@command(VALIDATION)
def backtest(
    *,
    runs: str = RUNS,
    models: str = option(
        "--models A,B,C",
        "Models to test; log-huber is the field's point fit.",
        "coupled-drift,chinchilla,log-huber",
    ),
    reading: Reading,
    seed: int = SEED,
    figure: Path | None = option(
        "--figure FILE", "Figure of the result to draw (.png, .svg or .pdf)."
    ),
    force: bool = FORCE,
    as_json: bool = JSON,
) -> None:
    """Fit the cheapest runs, predict the others, and say how often the intervals covered them.

    The last line says which of the models to use on these runs, and why.
    """
    from scalebayes.display.terminal import paragraph
    from scalebayes.summaries.text import wrap
    from scalebayes.validation.backtest import readable

    if figure is not None:
        from scalebayes.plots.style import read_format

        check_output(figure, force, inputs=[runs])
        read_format(figure)
    names = models.split(",")
    baseline = names[-1]
    result = sb.backtest(reading.read(runs), names, seed=seed)
    say_notes(result.notes)
    if figure is not None:
        written = sb.plots.save(sb.plots.calibration(result), figure)
        typer.echo(f"wrote {written}", err=True)
    tables = [result.table(baseline=baseline), result.table(["decades"], baseline)]
    if as_json:
        said = {
            "sentence": result.sentence(),
            "notes": result.notes,
            "baseline": baseline,
            "messages": as_dicts(result.messages),
            "recommendation": result.recommendation(),
        }
        print_json(said, *tables, ci_prob=0.9)
        return
    typer.echo(paragraph(f"{result.sentence()}.") + "\n")
    for table in tables:
        print_frame(readable(table), as_json)
        typer.echo()
    for message in result.messages:
        typer.echo(wrap(message))
    typer.echo(paragraph(f"{result.recommendation()}."))


@command(VALIDATION)
def sensitivity(*, fit: Path = FIT_FILE, points: PointsOrBudgets, output: Output) -> None:
    """Refit under other noise, drift and priors, and report how far a decision moves."""
    print_sensitivity(sb.load(fit), points.given(), output)


@command(VALIDATION)
def influence(
    *,
    target: Target,
    by: Literal["run", "size"] = option(
        "--by", "Leave out each run, or all runs of each model size.", "run"
    ),
    top: int = option("--top COUNT", "Number of the largest shifts to print.", 10, min=1),
    refit: bool = option(
        "--refit/--no-refit", "Refit where importance weights are unreliable.", True
    ),
    saved: SavedFit,
    as_json: bool = JSON,
) -> None:
    """Runs that move a decision most when left out, outliers, and duplicate runs."""
    from scalebayes.summaries.intervals import CI_PROB

    fit = saved.load()
    shifts = sb.influence(fit, **target.given(), by=by, refit=refit)
    outliers = sb.find_outliers(fit)
    flagged = outliers[outliers["verdict"] != ""]
    duplicates = sb.find_duplicates(fit.runs)
    if as_json:
        said = {
            "decision": shifts.attrs["decision"],
            "mean": shifts.attrs["mean"],
            "sd": shifts.attrs["sd"],
            "outliers": records(flagged),
            "duplicates": records(duplicates),
        }
        print_json(said, shifts, ci_prob=CI_PROB)
    else:
        _print_shifts(shifts, fit, by, top)
        _print_outliers(flagged)
        _print_duplicates(duplicates)
    end(fit)


def _print_shifts(shifts: pd.DataFrame, fit: sb.Fit, by: str, top: int) -> None:
    from scalebayes.display.numbers import LEAST_DRAWS, known
    from scalebayes.validation.text import shifts_table

    about = shifts.attrs
    # The error of the mean is that of the fewest effective draws that the checks ask for.
    mean = known(about["mean"], about["sd"] / LEAST_DRAWS**0.5)
    typer.echo(
        f"{about['decision']}: posterior mean {mean:.4g}, standard deviation {about['sd']:.2g}"
    )
    shown = shifts.head(top)
    typer.echo(
        f"Shift with one {by} left out "
        f"({len(shifts)} {by}s of {fit.runs.name}; the {len(shown)} largest)\n"
    )
    typer.echo(f"{shifts_table(shown)}\n")


def _print_outliers(flagged: pd.DataFrame) -> None:
    from scalebayes.validation.text import outliers_table

    if flagged.empty:
        typer.echo("No run is an outlier.")
        return
    typer.echo("Outliers (expected number of runs with a residual as large, under each noise)\n")
    typer.echo(outliers_table(flagged))


def _print_duplicates(duplicates: pd.DataFrame) -> None:
    for _, pair in duplicates.iterrows():
        typer.echo(
            f"runs {pair['first']} and {pair['second']}: "
            f"{pair['kind']}, {pair['difference']:+.3f} in log loss"
        )


@command(VALIDATION)
def power_scaling(
    *,
    fit: Path = FIT_FILE,
    N: str | None = option("--N PARAMETERS", "Model size, such as 70B."),
    D: str | None = option("--D TOKENS", "Training tokens, such as 1.4T."),
    C: Values = option(
        "--C FLOP", "Compute; without --N and --D, the decision is N*, and C may be repeated."
    ),
    as_json: bool = JSON,
) -> None:
    """Sensitivity of each parameter and of a decision to the prior and to the data."""
    from scalebayes.summaries.intervals import CI_PROB
    from scalebayes.validation.text import power_scaling_table

    result = sb.load(fit)
    table = sb.power_scaling(result, N=N, D=D, C=C or None)
    if as_json:
        said = {"model": result.spec.name, "runs": result.runs.name}
        print_json(said, table, ci_prob=CI_PROB)
    else:
        typer.echo(
            f"{result.spec.name} on {result.runs.name}: "
            "sensitivity to power-scaling of the prior and of the likelihood\n"
            "Rate of change as either is raised to a power near 1; below 0.05 is negligible\n"
        )
        typer.echo(power_scaling_table(table))
    end(result)
