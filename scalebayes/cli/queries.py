"""Commands that ask fits: predict, frontier, sensitivity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from scalebayes.cli.app import command
from scalebayes.cli.costs import (
    ActiveOption,
    ContextOption,
    CountOption,
    ServeOption,
    VocabularyOption,
    cost_of,
)
from scalebayes.cli.decisions import allocation
from scalebayes.cli.inputs import load, load_all, refuse_early, say_notes
from scalebayes.cli.options import (
    BudgetsOption,
    COption,
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
)
from scalebayes.cli.printing import exit_unless_sound, print_draws, print_summary


@command("predict", "Ask a fit")
def predict_command(
    fits: FitsArgument,
    N: NOption = None,
    D: DOption = None,
    C: COption = None,
    others: InputOption = None,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Predict the loss of runs not yet made, from any two of N, D and C, and what else the law takes."""
    from scalebayes.queries.predict import predict

    title = "Loss in nats per token: the law's curve, and a new run that scatters around it"
    result = load_all(fits, weights, group, new_group)
    print_draws(
        result,
        predict(result, N=N or None, D=D or None, C=C or None, **further(others)),
        title,
        ci_prob,
        as_json,
    )


def further(entries: list[str] | None) -> dict[str, Any]:
    """Further inputs by name, from NAME=VALUE."""
    found: dict[str, Any] = {}
    for entry in entries or []:
        name, _, value = entry.partition("=")
        if name in ("N", "D", "C", "seed") or not name.isidentifier() or not value:
            raise typer.BadParameter(
                f"got {entry!r}; write NAME=VALUE, as U=4B (N, D and C have options of their own)",
                param_hint="--input",
            )
        found.setdefault(name, []).append(value)
    return found


@command("frontier", "Ask a fit")
def frontier_command(
    fits: FitsArgument,
    C: BudgetsOption,
    serve: ServeOption = None,
    count: CountOption = None,
    context: ContextOption = None,
    vocabulary: VocabularyOption = None,
    active: ActiveOption = None,
    U: Annotated[
        list[str] | None,
        typer.Option(
            "--U",
            metavar="TOKENS",
            help="Unique tokens, for a model of repeated data; may be repeated.",
        ),
    ] = None,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Find the compute-optimal N and D for budgets, at C = 6 N D unless they are counted otherwise."""
    from scalebayes.queries.frontier import frontier

    result = load_all(fits, weights, group, new_group)
    cost = cost_of(serve, count, context, vocabulary, active)
    title = f"Compute-optimal allocation at C = {cost.name}"
    print_draws(result, frontier(result, C=C, cost=cost, U=U or None), title, ci_prob, as_json)


DOWNSTREAM_HEADINGS = {
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
    scores: Annotated[
        str, typer.Argument(metavar="SCORES", help="A file of losses and accuracies, or errors.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="downstream, downstream-logistic or a TOML file.")
    ] = "downstream",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to save the fit (netCDF).")
    ] = None,
    loss: Annotated[
        str | None, typer.Option("--loss", metavar="COLUMN", help="Losses in nats per token.")
    ] = None,
    accuracy: Annotated[
        list[str] | None,
        typer.Option("--accuracy", metavar="COLUMN", help="Accuracies; several are averaged."),
    ] = None,
    error: Annotated[
        list[str] | None,
        typer.Option("--error", metavar="COLUMN", help="Errors; several are averaged."),
    ] = None,
    percent: Annotated[
        bool, typer.Option("--percent", help="Accuracies or errors are in percent.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same draws.")] = 0,
    ci_prob: ProbOption = 0.9,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the stage from loss to accuracy, and print its posterior beside the published values."""
    from scalebayes.data.accuracies import read_scores
    from scalebayes.fitting.fit import fit
    from scalebayes.posterior.store import save

    if output is not None:
        refuse_early(output, force)
    table = read_scores(
        scores, loss=loss, accuracy=accuracy or None, error=error or None, percent=percent
    )
    say_notes(table)
    result = fit(table, model, seed=seed)
    if output is not None:
        typer.echo(f"saved {save(result, output)}", err=True)
    print_summary(result, ci_prob, as_json)
    exit_unless_sound(result)


@command("downstream", "Ask a fit")
def downstream_command(
    stage: Annotated[
        Path, typer.Argument(metavar="STAGE", help="A file that `scalebayes fit-scores -o` wrote.")
    ],
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
    from scalebayes.queries.downstream import downstream
    from scalebayes.queries.frontier import frontier
    from scalebayes.queries.predict import predict

    fit = load_all(fits, weights, group, new_group)
    asked: dict[str, Any] = {
        name: value for name, value in {"N": N, "D": D, "C": C}.items() if value
    }
    answer = (
        frontier(fit, C=C, **further(others))
        if C and len(asked) == 1
        else predict(fit, **asked, **further(others))
    )
    scored = load(stage)
    title = f"Accuracy by '{scored.spec.name}' of {scored.runs.name}, at the loss of the curve"
    print_draws(
        scored if scored.gate_failures else fit,
        downstream(scored, answer),
        title,
        ci_prob,
        as_json,
        DOWNSTREAM_HEADINGS,
    )


RETURNS_HEADINGS = {
    "factor=": "times",
    "loss": "loss there (curve)",
    "N": "N",
    "D": "D",
    "C": "C = 6 N D",
    "gain_N": "more N takes off",
    "gain_D": "more D takes off",
    "gain_C": "more C takes off",
    "gain_all": "left to gain",
    "data_ratio": "D over the run's",
    "compute_ratio": "C over the run's",
    "N_like=": "run's N",
    "D_like=": "run's D",
    "loss=": "loss",
    "reachable=": "reached in",
    "above_converged": "above converged, share",
    "nats_above": "nats above converged",
}


@command("returns", "Decide")
def returns_command(
    fits: FitsArgument,
    N: NOption = None,
    D: DOption = None,
    C: COrOptimumOption = None,
    factor: Annotated[
        list[str] | None, typer.Option("--factor", help="How much more (10); may be repeated.")
    ] = None,
    serve: ServeOption = None,
    count: CountOption = None,
    context: ContextOption = None,
    vocabulary: VocabularyOption = None,
    active: ActiveOption = None,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Say what ten times more parameters, data or compute take off the loss: the table of diminishing returns."""
    from scalebayes.queries.returns import returns

    fit = load_all(fits, weights, group, new_group)
    cost = cost_of(serve, count, context, vocabulary, active)
    answer = returns(fit, N=N or None, D=D or None, C=C or None, factor=factor or 10.0, cost=cost)
    title = f"Diminishing returns in nats per token, of the curve; compute at its best split, C = {cost.name}"
    headings = RETURNS_HEADINGS | ({} if N or D else {"C=": "C"})
    print_draws(fit, answer, title, ci_prob, as_json, headings)


@command("isoloss", "Decide")
def isoloss_command(
    fits: FitsArgument,
    N: Annotated[list[str], typer.Option("--N", help="A size, as 70B; may be repeated.")],
    loss: Annotated[str | None, typer.Option("--loss", help="Nats per token.")] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like", metavar="N=70B,D=1.4T", help="The loss of this run: two of N, D and C."
        ),
    ] = None,
    law: Annotated[bool, typer.Option("--law", help="Leave a discrepancy out.")] = False,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Find the tokens that each size needs for a loss, or for that of a run: how much less data larger models need."""
    from scalebayes.queries.isoloss import isoloss

    fit = load_all(fits, weights, group, new_group)
    which: Literal["law", "curve"] = "law" if law else "curve"
    run = None if like is None else allocation(like, "--like")
    answer = isoloss(fit, N=N, loss=loss, like=run, of=which)
    where = f"a loss of {loss}" if like is None else f"the loss of a run of {like}"
    title = f"Tokens with which each size is at {where} ({'the law alone' if law else 'the curve'})"
    print_draws(fit, answer, title, ci_prob, as_json, RETURNS_HEADINGS)


@command("converged", "Decide")
def converged_command(
    fits: FitsArgument,
    C: BudgetsOption,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Say how far above its converged loss a compute-optimal run stops (Kaplan's rule: about 10%)."""
    from scalebayes.queries.above_converged import above_converged

    fit = load_all(fits, weights, group, new_group)
    answer = above_converged(fit, C=C)
    title = "A compute-optimal run against the same size with data without end, of the law alone, at C = 6 N D"
    print_draws(fit, answer, title, ci_prob, as_json, RETURNS_HEADINGS | {"N": "N*", "D": "D*"})
