"""Commands on what more buys: returns, isoloss, converged. Each takes a fit, or several as one."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from scalebayes.cli.app import (
    BudgetsOption,
    COrOptimumOption,
    DOption,
    FitsArgument,
    GroupOption,
    JsonOption,
    NewGroupOption,
    NOption,
    ProbOption,
    WeightsOption,
    command,
)
from scalebayes.cli.costs import (
    ActiveOption,
    ContextOption,
    CountOption,
    ServeOption,
    VocabularyOption,
    cost_of,
)
from scalebayes.cli.decisions import allocation
from scalebayes.cli.files import load_all
from scalebayes.cli.output import print_draws

HEADINGS = {
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
    factor: Annotated[list[str] | None, typer.Option("--factor", help="How much more (10); may be repeated.")] = None,
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
    from scalebayes.gains import returns

    fit = load_all(fits, weights, group, new_group)
    cost = cost_of(serve, count, context, vocabulary, active)
    answer = returns(fit, N=N or None, D=D or None, C=C or None, factor=factor or 10.0, cost=cost)
    title = f"Diminishing returns in nats per token, of the curve; compute at its best split, C = {cost.name}"
    headings = HEADINGS | ({} if N or D else {"C=": "C"})
    print_draws(fit, answer, title, ci_prob, as_json, headings)


@command("isoloss", "Decide")
def isoloss_command(
    fits: FitsArgument,
    N: Annotated[list[str], typer.Option("--N", help="A size, as 70B; may be repeated.")],
    loss: Annotated[str | None, typer.Option("--loss", help="Nats per token.")] = None,
    like: Annotated[
        str | None, typer.Option("--like", metavar="N=70B,D=1.4T", help="The loss of this run: two of N, D and C.")
    ] = None,
    law: Annotated[bool, typer.Option("--law", help="Leave a discrepancy out.")] = False,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Find the tokens that each size needs for a loss, or for that of a run: how much less data larger models need."""
    from scalebayes.contours import isoloss

    fit = load_all(fits, weights, group, new_group)
    which: Literal["law", "curve"] = "law" if law else "curve"
    run = None if like is None else allocation(like, "--like")
    answer = isoloss(fit, N=N, loss=loss, like=run, of=which)
    where = f"a loss of {loss}" if like is None else f"the loss of a run of {like}"
    title = f"Tokens with which each size is at {where} ({'the law alone' if law else 'the curve'})"
    print_draws(fit, answer, title, ci_prob, as_json, HEADINGS)


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
    from scalebayes.convergence import above_converged

    fit = load_all(fits, weights, group, new_group)
    answer = above_converged(fit, C=C)
    title = "A compute-optimal run against the same size with data without end, of the law alone, at C = 6 N D"
    print_draws(fit, answer, title, ci_prob, as_json, HEADINGS | {"N": "N*", "D": "D*"})
