"""Commands that decide: reach, chance, prefer, regret, overtrain, decide. Each takes a fit, or several as one."""

from __future__ import annotations

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
    price_of,
)
from scalebayes.cli.inputs import load_all
from scalebayes.cli.options import (
    BudgetsOption,
    COption,
    DOption,
    FitsArgument,
    GroupOption,
    JsonOption,
    NewGroupOption,
    NOption,
    ProbOption,
    WeightsOption,
)
from scalebayes.cli.printing import print_draws, records

LossOption = Annotated[list[str], typer.Option("--loss", help="Nats per token; may be repeated.")]

HEADINGS = {
    "loss=": "loss asked for",
    "reachable=": "reached in",
    "chance=": "probability",
    "margin": "loss asked for - loss",
    "total": "cost",
    "hours": "accelerator hours",
    "money": "money",
    "loss": "loss (curve)",
    "law": "loss (law alone)",
    "nats_lost": "nats lost",
    "compute_factor": "compute over what is needed",
    "data_ratio": "D / optimal D",
    "next_tenfold": "nats from 10x the data",
    "pays_from": "pays from, tokens served",
    "gain": "loss at b - a (curve)",
    "gain_law": "loss at b - a (law alone)",
    "gain_new_run": "loss at b - a (new runs)",
    "a_better=": "a better",
    "a_better_new_run=": "a better, new runs",
    "expected_loss=": "expected loss",
    "expected_nats_lost=": "expected nats lost",
    "expected_waste=": "expected waste",
    "N": "N*",
    "N_lower": "lowest N",
    "N_upper": "highest N",
    "N_from=": "N from",
    "N_to=": "N to",
    "N_safest=": "safest N",
}
"""Headings of quantities, and with an equals sign of what stands along the targets."""


@command("reach", "Decide")
def reach_command(
    fits: FitsArgument,
    loss: LossOption,
    N: Annotated[
        list[str] | None, typer.Option("--N", help="Hold parameters fixed and find the tokens.")
    ] = None,
    D: Annotated[
        list[str] | None, typer.Option("--D", help="Hold tokens fixed and find the parameters.")
    ] = None,
    serve: ServeOption = None,
    count: CountOption = None,
    context: ContextOption = None,
    vocabulary: VocabularyOption = None,
    active: ActiveOption = None,
    per_hour: Annotated[
        float | None, typer.Option("--price", help="Money an hour of one accelerator.")
    ] = None,
    flop_per_second: Annotated[
        str | None,
        typer.Option(
            "--flop-per-second", help="Of one accelerator, as 4e14: sustained, or its peak."
        ),
    ] = None,
    utilisation: Annotated[
        float | None,
        typer.Option("--utilisation", help="Share of the peak that training gets, as 0.4."),
    ] = None,
    law: Annotated[bool, typer.Option("--law", help="Leave a discrepancy out.")] = False,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Find the compute (or the tokens, the parameters, the money) that reaches a loss, or say that nothing does."""
    from scalebayes.display.terminal import paragraph
    from scalebayes.queries.reach import reach

    price = price_of(per_hour, flop_per_second, utilisation)
    fit = load_all(fits, weights, group, new_group)
    which: Literal["law", "curve"] = "law" if law else "curve"
    cost = cost_of(serve, count, context, vocabulary, active)
    answer = reach(fit, loss=loss, N=N or None, D=D or None, cost=cost, price=price, of=which)
    how = (
        "tokens at this N"
        if N
        else "parameters at this D"
        if D
        else f"least compute, {_name(answer)}"
    )
    headings = {
        "C": "C = 6 N D",
        "N": "N",
        "D": "D",
        "money": f"money, {price.currency}" if price else "",
    }
    curve = "the law alone" if law else "the curve"
    note = answer.attrs["note"]
    note = paragraph(f"note: {note}") if note and not as_json else note
    print_draws(
        fit,
        answer,
        f"Reaching a loss: {how} ({curve})",
        ci_prob,
        as_json,
        HEADINGS | headings,
        note,
    )


@command("chance", "Decide")
def chance_command(
    fits: FitsArgument,
    loss: LossOption,
    N: NOption = None,
    D: DOption = None,
    C: COption = None,
    of: Annotated[str, typer.Option("--of", help="new_run, curve or law.")] = "new_run",
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Give the probability of a loss or a lower one at two of N, D and C, or at the best split of C alone."""
    from scalebayes.decisions.chance import KINDS, chance

    if of not in KINDS:
        raise typer.BadParameter(f"got {of!r}; allowed: {', '.join(KINDS)}", param_hint="--of")
    fit = load_all(fits, weights, group, new_group)
    answer = chance(fit, loss=loss, N=N or None, D=D or None, C=C or None, of=of)  # type: ignore[arg-type]
    words = {
        "new_run": "a new run",
        "curve": "the curve, without noise",
        "law": "the law alone, without noise",
    }[of]
    best = ", at each draw's own optimum of the budget" if not N and not D else ""
    title = f"Probability that the loss is at or below a value: {words}{best}"
    print_draws(fit, answer, title, ci_prob, as_json, HEADINGS)


@command("prefer", "Decide")
def prefer_command(
    fits: FitsArgument,
    a: Annotated[str, typer.Option("--a", metavar="N=70B,D=1.4T", help="Any two of N, D and C.")],
    b: Annotated[str, typer.Option("--b", metavar="N=35B,C=5.9e23", help="Any two of N, D and C.")],
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Give the probability that allocation a is better than b, and the difference in loss."""
    from scalebayes.decisions.chance import prefer

    sides = [allocation(text, f"--{name}") for name, text in (("a", a), ("b", b))]
    fit = load_all(fits, weights, group, new_group)
    answer = prefer(fit, a=sides[0], b=sides[1])
    title = "Is a better than b? Difference in loss, positive where a is better"
    print_draws(fit, answer, title, ci_prob, as_json, HEADINGS)


@command("regret", "Decide")
def regret_command(
    fits: FitsArgument,
    N: NOption = None,
    D: DOption = None,
    C: COption = None,
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
    """Say what a run loses against the compute-optimal run of its cost, in nats and in compute."""
    from scalebayes.decisions.regret import regret

    fit = load_all(fits, weights, group, new_group)
    answer = regret(
        fit,
        N=N or None,
        D=D or None,
        C=C or None,
        cost=cost_of(serve, count, context, vocabulary, active),
    )
    title = f"Away from the optimum of the same cost, {_name(answer)}"
    print_draws(fit, answer, title, ci_prob, as_json, HEADINGS)


@command("overtrain", "Decide")
def overtrain_command(
    fits: FitsArgument,
    N: NOption = None,
    D: DOption = None,
    C: COption = None,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Say what training a size for longer brings, what it wastes, and the serving from which it pays."""
    from scalebayes.decisions.regret import overtrain

    fit = load_all(fits, weights, group, new_group)
    answer = overtrain(fit, N=N or None, D=D or None, C=C or None)
    title = "Training longer: against the compute-optimal run of the same compute, and of the same loss when served"
    print_draws(fit, answer, title, ci_prob, as_json, HEADINGS)


@command("decide", "Decide")
def decide_command(
    fits: FitsArgument,
    C: BudgetsOption,
    serve: ServeOption = None,
    count: CountOption = None,
    context: ContextOption = None,
    vocabulary: VocabularyOption = None,
    active: ActiveOption = None,
    within: Annotated[
        float, typer.Option("--within", help="Extra compute that counts as near, as a share.")
    ] = 0.1,
    prob: Annotated[
        float, typer.Option("--prob", help="Probability with which sizes shall be near.")
    ] = 0.9,
    weights: WeightsOption = None,
    group: GroupOption = None,
    new_group: NewGroupOption = False,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Choose N and D for a budget by least expected loss, beside other choices; and the sizes that are near-optimal."""
    from scalebayes.decisions.decide import decide, near_optimum
    from scalebayes.summaries.intervals import intervals
    from scalebayes.summaries.text import draws_table

    fit, cost = (
        load_all(fits, weights, group, new_group),
        cost_of(serve, count, context, vocabulary, active),
    )
    answer = decide(fit, C=C, cost=cost).drop_vars("data_ratio")
    near = near_optimum(fit, C=C, within=within, prob=prob, cost=cost)
    safe = f"N from, N to: sizes for which this holds with probability {prob:g} (- where there are none)"
    table = draws_table(near.drop_attrs(deep=False), ci_prob, HEADINGS)  # caveats stand above, once
    note = f"Sizes that reach the optimal loss with at most {100 * within:g}% more compute\n{safe}\n\n{table}"
    ranges = {
        "near_optimum": records(intervals(near, ci_prob).reset_index()),
        "within": within,
        "prob": prob,
    }
    title = f"Choosing N and D for a budget, {_name(answer)}"
    print_draws(fit, answer, title, ci_prob, as_json, HEADINGS, "" if as_json else note, ranges)


def _name(answer: Any) -> str:
    return f"C = {answer.attrs['cost']}"


def allocation(text: str, option: str) -> dict[str, str]:
    """Inputs from text such as N=70B,D=1.4T."""
    parts = [part.partition("=") for part in text.split(",")]
    if any(not value or name.strip() not in ("N", "D", "C") for name, _, value in parts):
        raise typer.BadParameter(
            f"got {text!r}; write N=70B,D=1.4T, any two of N, D and C", param_hint=option
        )
    return {name.strip(): value for name, _, value in parts}
