"""Commands on accuracy: fit the stage from loss to accuracy, and chain it to what fits say of the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scalebayes.cli.app import (
    COrOptimumOption,
    DOption,
    FitsArgument,
    ForceOption,
    GroupOption,
    InputOption,
    JsonOption,
    NewGroupOption,
    NOption,
    ProbOption,
    WeightsOption,
    command,
)
from scalebayes.cli.files import load, load_all, refuse_early, say_notes
from scalebayes.cli.output import exit_unless_sound, print_draws, print_summary
from scalebayes.cli.queries import further

HEADINGS = {
    "N": "N*",
    "D": "D*",
    "tokens_per_param": "tokens/parameter",
    "loss": "loss (curve)",
    "accuracy": "accuracy (curve)",
    "error": "error (curve)",
    "new_accuracy": "accuracy of a new model",
}


@command("fit-scores", "From runs to fits")
def fit_scores_command(
    scores: Annotated[str, typer.Argument(metavar="SCORES", help="A file of losses and accuracies, or errors.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="downstream, downstream-logistic or a TOML file.")
    ] = "downstream",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to save the fit (netCDF).")] = None,
    loss: Annotated[str | None, typer.Option("--loss", metavar="COLUMN", help="Losses in nats per token.")] = None,
    accuracy: Annotated[
        list[str] | None, typer.Option("--accuracy", metavar="COLUMN", help="Accuracies; several are averaged.")
    ] = None,
    error: Annotated[
        list[str] | None, typer.Option("--error", metavar="COLUMN", help="Errors; several are averaged.")
    ] = None,
    percent: Annotated[bool, typer.Option("--percent", help="Accuracies or errors are in percent.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same draws.")] = 0,
    ci_prob: ProbOption = 0.9,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the stage from loss to accuracy, and print its posterior beside the published values."""
    from scalebayes.inference import fit
    from scalebayes.scores import read_scores
    from scalebayes.store import save

    if output is not None:
        refuse_early(output, force)
    table = read_scores(scores, loss=loss, accuracy=accuracy or None, error=error or None, percent=percent)
    say_notes(table)
    result = fit(table, model, seed=seed)
    if output is not None:
        typer.echo(f"saved {save(result, output)}", err=True)
    print_summary(result, ci_prob, as_json)
    exit_unless_sound(result)


@command("downstream", "Ask a fit")
def downstream_command(
    stage: Annotated[Path, typer.Argument(metavar="STAGE", help="A file that `scalebayes fit-scores -o` wrote.")],
    fits: FitsArgument,
    N: NOption = None,
    D: DOption = None,
    C: COrOptimumOption = None,
    others: InputOption = None,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Predict the accuracy of runs not yet made, or of the best one of a budget, from a fit of losses and a stage."""
    from scalebayes.allocation import frontier
    from scalebayes.prediction import predict
    from scalebayes.stage import downstream

    fit = load_all(fits, weights, group, new_group)
    asked: dict[str, Any] = {name: value for name, value in {"N": N, "D": D, "C": C}.items() if value}
    answer = (
        frontier(fit, C=C, **further(others)) if C and len(asked) == 1 else predict(fit, **asked, **further(others))
    )
    scored = load(stage)
    title = f"Accuracy by '{scored.spec.name}' of {scored.runs.name}, at the loss of the curve"
    print_draws(scored if scored.gate_failures else fit, downstream(scored, answer), title, ci_prob, as_json, HEADINGS)
