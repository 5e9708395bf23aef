"""Commands that decide: decide, probability, prefer, regret, overtrain."""

from __future__ import annotations

from typing import Literal

import scalebayes as sb
from scalebayes.cli.app import MOST_USED, command
from scalebayes.cli.inputs import parse_point
from scalebayes.cli.options import (
    BUDGETS,
    LOSSES,
    REQUIRED,
    CostOptions,
    Output,
    Points,
    PointsOrBudgets,
    PriceOptions,
    SavedFits,
    checked_probability,
    option,
)
from scalebayes.cli.printing import print_draws, records
from scalebayes.summaries.headings import LABELS

DECISIONS = "Decisions"

# Headings that differ from those of other answers.
HEADINGS = LABELS | {"data_ratio": "D / optimal D"}

ASKED_LOSSES = {
    "new_run": "a new run",
    "curve": "the curve, without noise",
    "law": "the law alone, without noise",
}
"""Losses that `probability` can ask for, in words."""


@command(MOST_USED)
def decide(
    *,
    C: list[str] = BUDGETS,
    costs: CostOptions,
    prices: PriceOptions,
    within: float = option(
        "--within SHARE", "Extra compute, as a share, that counts as near-optimal.", 0.1
    ),
    prob: float = option(
        "--prob PROBABILITY",
        "Probability with which the sizes listed are near-optimal.",
        0.9,
        callback=checked_probability,
    ),
    fits: SavedFits,
    output: Output,
) -> None:
    """Choose N and D for a budget by minimum expected loss, and list the near-optimal sizes."""
    from scalebayes.summaries.text import draws_table

    price = prices.price()
    fit = fits.load()
    cost = costs.cost()
    answer = sb.decide(fit, C=C, cost=cost, price=price).drop_vars("data_ratio")
    headings = dict(HEADINGS)
    if price is not None:
        headings["money="] = f"money, {price.currency}"
        headings["expected_money_wasted="] = f"expected waste, {price.currency}"
    near = sb.near_optimum(fit, C=C, within=within, prob=prob, cost=cost)
    near_optimum = records(sb.intervals(near, output.ci_prob))
    extra = {"near_optimum": near_optimum, "within": within, "prob": prob}
    note = ""
    if not output.as_json:
        # Without its attributes, the table does not repeat the caveats of the first.
        table = draws_table(near.drop_attrs(deep=False), output.ci_prob, HEADINGS)
        note = (
            f"Sizes that reach the optimal loss with at most {100 * within:g}% more compute\n"
            f"N from, N to: sizes for which this holds with probability {prob:g} (- if none)\n"
            f"\n{table}"
        )
    title = f"Choosing N and D for a budget, C = {cost.name}"
    print_draws(fit, answer, title, output, headings=headings, note=note, extra=extra)


@command(DECISIONS)
def probability(
    *,
    loss: list[str] = LOSSES,
    points: PointsOrBudgets,
    of: Literal["new_run", "curve", "law"] = option(
        "--of", "Loss to ask for: of a new run, of the curve, or of the law alone.", "new_run"
    ),
    fits: SavedFits,
    output: Output,
) -> None:
    """Probability that the loss is at most a target, given any two of N, D and C.

    Given C alone, the loss is that of the compute-optimal run.
    """
    fit = fits.load()
    answer = sb.probability(fit, loss=loss, **points.given(), of=of)
    at_optimum = ""
    if points.is_budget:
        at_optimum = ", at the optimum of each draw"
    title = f"Probability that the loss is at most a target: {ASKED_LOSSES[of]}{at_optimum}"
    print_draws(fit, answer, title, output, headings=HEADINGS)


@command(DECISIONS)
def prefer(
    *,
    a: str = option("--a N=70B,D=1.4T", "One run: any two of N, D and C.", REQUIRED),
    b: str = option("--b N=35B,C=5.9e23", "The other: any two of N, D and C.", REQUIRED),
    fits: SavedFits,
    output: Output,
) -> None:
    """Probability that run a reaches a lower loss than run b, and the difference in loss."""
    first = parse_point(a, "--a")
    second = parse_point(b, "--b")
    fit = fits.load()
    answer = sb.prefer(fit, a=first, b=second)
    title = "Is a better than b? Difference in loss, positive where a is better"
    print_draws(fit, answer, title, output, headings=HEADINGS)


@command(DECISIONS)
def regret(*, points: Points, costs: CostOptions, fits: SavedFits, output: Output) -> None:
    """Excess loss of a run over the compute-optimal run of equal cost, and the compute wasted."""
    fit = fits.load()
    cost = costs.cost()
    answer = sb.regret(fit, **points.given(), cost=cost)
    title = f"Compared with the optimum of equal cost, C = {cost.name}"
    print_draws(fit, answer, title, output, headings=HEADINGS)


@command(DECISIONS)
def overtrain(*, points: Points, fits: SavedFits, output: Output) -> None:
    """Gain and cost of training a model on more data than is compute-optimal.

    The cost is the excess loss over the compute-optimal run of equal compute. Small models are
    cheaper to serve: the answer includes the tokens served from which longer training pays off.
    """
    fit = fits.load()
    answer = sb.overtrain(fit, **points.given())
    title = "Training longer than is compute-optimal: excess loss, and when serving pays for it"
    print_draws(fit, answer, title, output, headings=HEADINGS)
