"""Commands that ask fits: predict, frontier, sensitivity."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scalebayes.cli.app import (
    BudgetsOption,
    COption,
    DOption,
    FitArgument,
    FitsArgument,
    GroupOption,
    InputOption,
    JsonOption,
    NewGroupOption,
    NOption,
    ProbOption,
    WeightsOption,
    command,
)
from scalebayes.cli.costs import ActiveOption, ContextOption, CountOption, ServeOption, VocabularyOption, cost_of
from scalebayes.cli.files import load, load_all
from scalebayes.cli.output import print_draws, print_sensitivity


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
    from scalebayes.prediction import predict

    title = "Loss in nats per token: the law's curve, and a new run that scatters around it"
    result = load_all(fits, weights, group, new_group)
    print_draws(
        result, predict(result, N=N or None, D=D or None, C=C or None, **further(others)), title, ci_prob, as_json
    )


def further(entries: list[str] | None) -> dict[str, Any]:
    """Further inputs by name, from NAME=VALUE."""
    found: dict[str, Any] = {}
    for entry in entries or []:
        name, _, value = entry.partition("=")
        if name in ("N", "D", "C", "seed") or not name.isidentifier() or not value:
            raise typer.BadParameter(
                f"got {entry!r}; write NAME=VALUE, as U=4B (N, D and C have options of their own)", param_hint="--input"
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
        typer.Option("--U", metavar="TOKENS", help="Unique tokens, for a model of repeated data; may be repeated."),
    ] = None,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Find the compute-optimal N and D for budgets, at C = 6 N D unless they are counted otherwise."""
    from scalebayes.allocation import frontier

    result = load_all(fits, weights, group, new_group)
    cost = cost_of(serve, count, context, vocabulary, active)
    title = f"Compute-optimal allocation at C = {cost.name}"
    print_draws(result, frontier(result, C=C, cost=cost, U=U or None), title, ci_prob, as_json)


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
