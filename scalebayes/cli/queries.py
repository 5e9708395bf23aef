"""Commands that query fits, such as predict and frontier."""

from __future__ import annotations

from pathlib import Path

import scalebayes as sb
from scalebayes.cli.app import MOST_USED, command
from scalebayes.cli.inputs import memory_limit, parse_point
from scalebayes.cli.options import (
    BUDGETS,
    LAW,
    LOSSES,
    REQUIRED,
    CostOptions,
    FurtherInputs,
    Output,
    Points,
    PointsOrBudgets,
    PriceOptions,
    SavedFits,
    Values,
    argument,
    law_or_curve,
    option,
)
from scalebayes.cli.printing import print_draws
from scalebayes.data.metrics import capitalised, loss_in_words
from scalebayes.summaries.headings import LABELS

QUERIES = "Queries"

# Headings that differ from those of other answers.
REACH_HEADINGS = LABELS | {"N": "N", "D": "D", "C": "C = 6 N D"}
RETURNS_HEADINGS = LABELS | {
    "loss": "loss there (curve)",
    "loss=": "loss",
    "N": "N",
    "D": "D",
    "C": "C = 6 N D",
    "data_ratio": "D over the run's",
    "compute_ratio": "C over the run's",
    "N_like=": "run's N",
    "D_like=": "run's D",
}


@command(MOST_USED)
def predict(*, points: Points, further: FurtherInputs, fits: SavedFits, output: Output) -> None:
    """Predict the loss of runs, given any two of N, D and C and any other inputs of the law."""
    fit = fits.load()
    answer = sb.predict(fit, **points.given(), **further.given())
    loss = capitalised(loss_in_words(fit.runs.metric))
    if "accuracy" in answer:
        loss = "Accuracy"
    title = f"{loss}: the law's curve, and a new run with noise around it"
    print_draws(fit, answer, title, output)


@command(MOST_USED)
def frontier(
    *,
    C: list[str] = BUDGETS,
    U: Values = option(
        "--U TOKENS", "Unique training tokens, for a law of repeated data; may be repeated."
    ),
    E: Values = option(
        "--E EXPERTS", "Experts over those that a token meets, for a law of experts; repeatable."
    ),
    memory: str | None = option(
        "--memory PARAMETERS", "Most parameters in all, for a law of experts, such as 30B."
    ),
    expert_share: float | None = option(
        "--expert-share SHARE", "With --memory: share of N in layers with experts (default: 2/3)."
    ),
    costs: CostOptions,
    fits: SavedFits,
    output: Output,
) -> None:
    """Compute-optimal N and D for each budget, and experts under a memory limit."""
    fit = fits.load()
    cost = costs.cost()
    limit = memory_limit(memory, expert_share)
    answer = sb.frontier(fit, C=C, cost=cost, U=U or None, E=E or None, memory=limit)
    print_draws(fit, answer, f"Compute-optimal allocation at C = {cost.name}", output)


@command(MOST_USED)
def reach(
    *,
    loss: list[str] = LOSSES,
    N: Values = option("--N PARAMETERS", "Fix the model size and find the tokens."),
    D: Values = option("--D TOKENS", "Fix the tokens and find the model size."),
    costs: CostOptions,
    prices: PriceOptions,
    law: bool = LAW,
    fits: SavedFits,
    output: Output,
) -> None:
    """Compute, tokens, parameters or money needed to reach a loss, where it can be reached."""
    from scalebayes.display.terminal import paragraph

    price = prices.price()
    fit = fits.load()
    cost = costs.cost()
    of = law_or_curve(law)
    answer = sb.reach(fit, loss=loss, N=N or None, D=D or None, cost=cost, price=price, of=of)
    if N:
        what = "tokens at this N"
    elif D:
        what = "parameters at this D"
    else:
        what = f"least compute, C = {cost.name}"
    which = "the law alone" if law else "the curve"
    headings = dict(REACH_HEADINGS)
    if price is not None:
        headings["money"] = f"money, {price.currency}"
    note = answer.attrs["note"]
    if note and not output.as_json:
        note = paragraph(f"note: {note}")
    title = f"Reaching a loss: {what} ({which})"
    print_draws(fit, answer, title, output, headings=headings, note=note)


@command(QUERIES)
def downstream(
    *,
    stage: Path = argument("STAGE", "A file written by `scalebayes fit-scores -o`."),
    points: PointsOrBudgets,
    further: FurtherInputs,
    fits: SavedFits,
    output: Output,
) -> None:
    """Predict the benchmark accuracy of runs, or of the compute-optimal run of a budget."""
    fit = fits.load()
    question = sb.frontier if points.is_budget else sb.predict
    losses = question(fit, **points.given(), **further.given())
    scored = sb.load(stage)
    answer = sb.downstream(scored, losses)
    title = f"Accuracy by '{scored.spec.name}' of {scored.runs.name}, at the loss of the curve"
    # Failed convergence checks of the stage are reported before those of the losses.
    weakest = scored if scored.gate_failures else fit
    print_draws(weakest, answer, title, output)


@command(QUERIES)
def returns(
    *,
    points: PointsOrBudgets,
    factor: Values = option(
        "--factor FACTOR", "Factor of increase (default: 10); may be repeated."
    ),
    costs: CostOptions,
    fits: SavedFits,
    output: Output,
) -> None:
    """Reduction in loss from ten times more parameters, data or compute."""
    fit = fits.load()
    cost = costs.cost()
    answer = sb.returns(fit, **points.given(), factor=factor or 10.0, cost=cost)
    headings = dict(RETURNS_HEADINGS)
    if not points.N and not points.D:
        headings["C="] = "C"
    loss = loss_in_words(fit.runs.metric, "of the curve")
    title = f"Reduction in the {loss}; compute at its optimal split, C = {cost.name}"
    print_draws(fit, answer, title, output, headings=headings)


@command(QUERIES)
def isoloss(
    *,
    N: list[str] = option("--N PARAMETERS", "Model size, such as 70B; may be repeated.", REQUIRED),
    loss: str | None = option("--loss LOSS", "Target loss, in the metric of the runs."),
    like: str | None = option(
        "--like N=70B,D=1.4T", "Use the loss of this run, given by two of N, D and C."
    ),
    law: bool = LAW,
    fits: SavedFits,
    output: Output,
) -> None:
    """Tokens that each model size needs to reach a given loss, or the loss of a given run."""
    fit = fits.load()
    run = None
    goal = f"a loss of {loss}"
    if like is not None:
        run = parse_point(like, "--like")
        goal = f"the loss of a run with {like}"
    answer = sb.isoloss(fit, N=N, loss=loss, like=run, of=law_or_curve(law))
    which = "the law alone" if law else "the curve"
    title = f"Tokens with which each model size reaches {goal} ({which})"
    print_draws(fit, answer, title, output, headings=RETURNS_HEADINGS)


@command(QUERIES)
def above_converged(*, C: list[str] = BUDGETS, fits: SavedFits, output: Output) -> None:
    """How far above its converged loss a compute-optimal run stops (Kaplan's rule: about 10%)."""
    fit = fits.load()
    answer = sb.above_converged(fit, C=C)
    title = (
        "Loss of a compute-optimal run over that of the same size with unlimited data, "
        "by the law alone, at C = 6 N D"
    )
    headings = RETURNS_HEADINGS | {"N": "N*", "D": "D*"}
    print_draws(fit, answer, title, output, headings=headings)


@command(QUERIES)
def tune(
    *,
    points: Points,
    learning_rate: Values = option(
        "--learning-rate RATE", "A learning rate to compare with the best; may be repeated."
    ),
    batch: Values = option("--batch TOKENS", "Its batch in tokens, such as 512K; may be repeated."),
    within: float = option(
        "--within LOSS", "Excess loss that the ranges of rates and batches allow.", 0.005
    ),
    fits: SavedFits,
    output: Output,
) -> None:
    """Best learning rate and batch of a run, and the excess loss of another choice.

    For a fit of the model `tuned` to a sweep over learning rate and batch.
    """
    from scalebayes.summaries.text import exponents_line

    fit = fits.load()
    answer = sb.tune(
        fit,
        **points.given(),
        learning_rate=learning_rate or None,
        batch=batch or None,
        within=within,
    )
    metric = loss_in_words(fit.runs.metric)
    title = (
        f"Best learning rate and batch of a new sweep; rates at the best batch, and batches at "
        f"their best rate, that lose at most {within:g} of {metric}"
    )
    note = "" if output.as_json else exponents_line(fit, output.ci_prob)
    print_draws(fit, answer, title, output, note=note)
