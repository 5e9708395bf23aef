"""How commands are told what a run costs: the way of counting, serving, and prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from scalebayes.costs.cost import Cost, Price

ServeOption = Annotated[
    str | None,
    typer.Option("--serve", metavar="TOKENS", help="Count serving so many tokens: 6 N D + 2 N T."),
]
CountOption = Annotated[
    str | None,
    typer.Option(
        "--count",
        metavar="RULE",
        help="Count FLOP as kaplan, kaplan-context, head, palm or hoffmann do.",
    ),
]
ContextOption = Annotated[
    str | None,
    typer.Option("--context", metavar="TOKENS", help="With --count: tokens of a sequence (2048)."),
]
VocabularyOption = Annotated[
    str | None,
    typer.Option(
        "--vocabulary", metavar="WORDS", help="With --count: entries of the tokenizer (32000)."
    ),
]
ActiveOption = Annotated[
    float | None,
    typer.Option("--active", metavar="SHARE", help="Share of N that a token passes (experts)."),
]


def cost_of(
    serve: str | None = None,
    count: str | None = None,
    context: str | None = None,
    vocabulary: str | None = None,
    active: float | None = None,
) -> Cost:
    """Compose the cost that options describe; 6 N D where they say nothing."""
    from scalebayes.costs.cost import SIX_ND, with_inference
    from scalebayes.costs.transformers import sparse_cost, transformer_cost

    family: dict[str, Any] = {"context": context, "vocabulary": vocabulary}
    given = {name: value for name, value in family.items() if value is not None}
    if given and count is None:
        raise typer.BadParameter(
            "6 N D has neither; choose a --count", param_hint="--context, --vocabulary"
        )
    cost = SIX_ND if count is None else transformer_cost(count, **given)
    if active is not None:
        cost = sparse_cost(active, cost)
    return cost if serve is None else with_inference(serve, cost)


def price_of(
    per_hour: float | None, flop_per_second: str | None, utilisation: float | None
) -> Price | None:
    """Price of compute, where options give one."""
    from scalebayes.costs.cost import Price

    if per_hour is None and flop_per_second is None and utilisation is None:
        return None
    if per_hour is None or flop_per_second is None:
        raise typer.BadParameter("give both", param_hint="--price and --flop-per-second")
    asked: Any = flop_per_second
    return Price(per_hour, asked, utilisation=1.0 if utilisation is None else utilisation)
