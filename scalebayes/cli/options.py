"""Options and arguments that several commands share, each declared once, and bundles of them.

A command takes a bundle as one argument; `scalebayes.cli.bundles` turns its fields into options.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer

import scalebayes as sb
from scalebayes.cli.inputs import (
    label_files,
    load_group,
    parse_inputs,
    parse_weights,
)
from scalebayes.utils.shares import check_probability

REQUIRED: Any = ...
"""Default of an option that must be given; Typer's own mark."""

Values = list[str] | None
"""Type of an option that may be repeated."""


def option(usage: str, text: str, default: Any = None, **settings: Any) -> Any:
    """Return an option for Typer.

    Parameters
    ----------
    usage
        Names, and after them the word for the value in help, as in ``--output -o FILE``.
    text
        Help.
    default
        Value when it is not given; `REQUIRED` for none.
    **settings
        Other arguments of `typer.Option`, such as ``min``.
    """
    words = usage.split()
    names = [word for word in words if word.startswith("-")]
    if len(words) > len(names):
        settings["metavar"] = words[-1]
    return typer.Option(default, *names, help=text, **settings)


def argument(metavar: str | None, text: str, default: Any = REQUIRED) -> Any:
    """Return a positional argument for Typer, required unless it has a default."""
    return typer.Argument(default, metavar=metavar, help=text)


def checked_probability(value: float) -> float:
    """Return the value of an option that is a probability, after checking it."""
    try:
        check_probability("a probability", value)
    except sb.QueryError as error:
        raise typer.BadParameter(str(error)) from None
    return value


RUNS: Any = argument("RUNS", "File or folder (CSV, Parquet ...), or the name of a published table.")
FIT_FILE: Any = argument("FIT", "File written by `scalebayes fit -o`.")
SEED: Any = option("--seed NUMBER", "Random seed; the same seed gives the same draws.", 0, min=0)
JSON: Any = option("--json", "Print JSON instead of tables.", False)
CI_PROB: Any = option(
    "--ci-prob PROBABILITY", "Probability of the intervals.", 0.9, callback=checked_probability
)
FORCE: Any = option("--force", "Replace existing files.", False)
BUDGETS: Any = option("--C FLOP", "Compute budget, such as 1e24; may be repeated.", REQUIRED)
LOSSES: Any = option(
    "--loss LOSS", "Target loss, in the metric of the runs; may be repeated.", REQUIRED
)
LAW: Any = option("--law", "Use the law alone, without its drift or discrepancy.", False)


@dataclass(frozen=True)
class Output:
    """How an answer is printed."""

    ci_prob: float = CI_PROB
    as_json: bool = JSON


GROUP: Any = option("--group NAME", "Group of a pooled fit to use.")
NEW_GROUP: Any = option("--new-group", "Answer for a new group, using a pooled fit.", False)


@dataclass(frozen=True)
class SavedFit:
    """One saved fit, or a group of a pooled one."""

    fit: Path = FIT_FILE
    group: str | None = GROUP
    new_group: bool = NEW_GROUP

    def load(self) -> sb.Fit:
        """Return the fit."""
        return load_group(self.fit, self.group, self.new_group)


@dataclass(frozen=True)
class SavedFits:
    """One saved fit, or several whose forecasts are averaged."""

    fits: list[Path] = argument(
        "FIT", "Files written by `scalebayes fit -o`; the forecasts of several are averaged."
    )
    weights: str | None = option(
        "--weights A=2,B=1",
        "Weights of several fits: equal (the default), stacking, forward, or numbers.",
    )
    group: str | None = GROUP
    new_group: bool = NEW_GROUP

    def load(self) -> sb.Fit | sb.Average:
        """Return the fit, or the average of several, with equal weights by default."""
        if len(self.fits) == 1:
            if self.weights is not None:
                raise typer.BadParameter(
                    "weights need several fits; got one", param_hint="--weights"
                )
            return load_group(self.fits[0], self.group, self.new_group)
        fits = {}
        for label, path in label_files(self.fits).items():
            fits[label] = load_group(path, self.group, self.new_group)
        return sb.average(fits, weights=parse_weights(self.weights))


@dataclass(frozen=True)
class Points:
    """Runs to answer for, each given by two of N, D and C."""

    N: Values = option("--N PARAMETERS", "Model size, such as 70B; may be repeated.")
    D: Values = option("--D TOKENS", "Training tokens, such as 1.4T; may be repeated.")
    C: Values = option("--C FLOP", "Compute, such as 1e24; may be repeated.")

    def given(self) -> dict[str, Any]:
        """Return the options that were given."""
        values = {"N": self.N, "D": self.D, "C": self.C}
        return {name: value for name, value in values.items() if value}

    @property
    def is_budget(self) -> bool:
        """Whether only C was given."""
        return set(self.given()) == {"C"}


@dataclass(frozen=True)
class PointsOrBudgets(Points):
    """Runs to answer for; C alone asks for the compute-optimal run."""

    C: Values = option(
        "--C FLOP",
        "Compute, such as 1e24; without N and D, the compute-optimal run. May be repeated.",
    )


@dataclass(frozen=True)
class Target:
    """One quantity to decide on or to narrow: the loss at two of N, D and C, or N* at C."""

    N: str | None = option("--N PARAMETERS", "Model size, such as 70B.")
    D: str | None = option("--D TOKENS", "Training tokens, such as 1.4T.")
    C: str | None = option(
        "--C FLOP", "Compute; without --N and --D, the target is the compute-optimal size N*."
    )

    def given(self) -> dict[str, Any]:
        """Return the options that were given."""
        values = {"N": self.N, "D": self.D, "C": self.C}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class FurtherInputs:
    """Inputs of a law other than N, D and C."""

    inputs: Values = option(
        "--input NAME=VALUE", "Another input of the law, such as U=4B; may be repeated."
    )

    def given(self) -> dict[str, Any]:
        """Return the values by name."""
        return parse_inputs(self.inputs or [])


@dataclass(frozen=True)
class CostOptions:
    """How the compute of a run is counted."""

    serve: str | None = option(
        "--serve TOKENS", "Tokens T to serve after training; the cost becomes 6 N D + 2 N T."
    )
    count: str | None = option(
        "--count RULE",
        "Rule for counting FLOP: kaplan, kaplan-context, head, palm or hoffmann (default: 6 N D).",
    )
    context: str | None = option("--context TOKENS", "Sequence length for --count (default: 2048).")
    vocabulary: str | None = option(
        "--vocabulary SIZE", "Vocabulary size for --count (default: 32000)."
    )
    active: float | None = option(
        "--active SHARE", "Share of the parameters active for a token, in a mixture of experts."
    )

    def cost(self) -> sb.Cost:
        """Return the cost function that the options describe; 6 N D without any."""
        shape: dict[str, Any] = {}
        if self.context is not None:
            shape["context"] = self.context
        if self.vocabulary is not None:
            shape["vocabulary"] = self.vocabulary
        if shape and self.count is None:
            raise typer.BadParameter(
                "6 N D depends on neither; choose a rule with --count",
                param_hint="--context, --vocabulary",
            )
        cost = sb.SIX_ND
        if self.count is not None:
            cost = sb.transformer_cost(self.count, **shape)
        if self.active is not None:
            cost = sb.sparse_cost(self.active, cost)
        if self.serve is not None:
            cost = sb.with_inference(self.serve, cost)
        return cost


@dataclass(frozen=True)
class PriceOptions:
    """Options for the price of an accelerator-hour and the FLOP that it computes."""

    per_hour: float | None = option("--price MONEY", "Price of one accelerator for one hour.")
    flop_per_second: str | None = option(
        "--flop-per-second FLOP",
        "Speed of one accelerator, such as 4e14: sustained, or the peak with --utilisation.",
    )
    utilisation: float | None = option(
        "--utilisation SHARE", "Share of the peak that training achieves."
    )
    currency: str | None = option(
        "--currency SYMBOL", "Symbol printed before amounts of money (default: $)."
    )

    def price(self) -> sb.Price | None:
        """Return the price of compute, or None where no option was given."""
        given = (self.per_hour, self.flop_per_second, self.utilisation, self.currency)
        if all(value is None for value in given):
            return None
        if self.per_hour is None or self.flop_per_second is None:
            raise typer.BadParameter("give both", param_hint="--price and --flop-per-second")
        speed: Any = self.flop_per_second  # `Price` reads text such as 4e14
        others: dict[str, Any] = {}
        if self.utilisation is not None:
            others["utilisation"] = self.utilisation
        if self.currency is not None:
            others["currency"] = self.currency
        return sb.Price(self.per_hour, speed, **others)


def law_or_curve(law: bool) -> Literal["law", "curve"]:
    """Return what --law chooses."""
    return "law" if law else "curve"
