"""The command that compares training recipes: contrast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scalebayes.cli.app import GATE_FAILED, command
from scalebayes.cli.comparison import COMPARISON
from scalebayes.cli.inputs import load_fit, say_notes
from scalebayes.cli.options import Output, PointsOrBudgets, Values, argument, option
from scalebayes.cli.printing import (
    describe_answers,
    interval_line,
    interval_records,
    print_json,
    warn_of_gate,
)

if TYPE_CHECKING:
    import xarray as xr

    from scalebayes.posterior.fit import Fit


@command("contrast", COMPARISON)
def contrast_command(
    *,
    fits: list[str] = argument(
        "[LABEL=]FIT",
        "Saved fits, one for each recipe, labelled by file name unless given a label.",
    ),
    points: PointsOrBudgets,
    groups: Values = option("--group NAME", "Group of one pooled fit to compare; may be repeated."),
    baseline: str | None = option(
        "--baseline LABEL", "Recipe to compare with (default: the first)."
    ),
    output: Output,
) -> None:
    """Compare training recipes: loss at a scale, probability of being best, and compute saved."""
    from scalebayes.comparison.recipes import contrast, multiplier

    recipes = _load_groups(fits, groups) if groups else _load_labelled(fits)
    answers: dict[str, xr.Dataset] = {}
    title = "Loss of the curve in nats per token, and its difference from"
    answers[title] = contrast(recipes, baseline=baseline, **points.given())
    if points.is_budget:
        title = "Compute for the same loss along the optimal frontier, in units of C, needed by"
        answers[title] = multiplier(recipes, baseline=baseline, C=points.C)
    _print_answers(answers, output)


def _load_labelled(fits: list[str]) -> dict[str, Fit]:
    """Return fits by label: the name of the file unless written as LABEL=FIT."""
    paths: dict[str, Path] = {}
    for entry in fits:
        label, _, path = entry.rpartition("=")
        if not label:
            label = Path(path).stem
        if label in paths:
            raise typer.BadParameter(
                f"two fits are called {label!r}; write LABEL=FIT", param_hint="FIT"
            )
        paths[label] = Path(path)
    return {label: load_fit(path) for label, path in paths.items()}


def _load_groups(fits: list[str], groups: list[str]) -> dict[str, Fit]:
    """Return groups of one pooled fit by name."""
    if len(fits) != 1:
        raise typer.BadParameter(
            f"--group needs exactly one pooled fit; got {len(fits)}", param_hint="--group"
        )
    return {name: load_fit(Path(fits[0]), name) for name in groups}


def _print_answers(answers: dict[str, xr.Dataset], output: Output) -> None:
    """Print the answers and notes on them, and exit with their code."""
    from scalebayes.posterior.provenance import provenance
    from scalebayes.summaries.text import draws_table

    # All answers are about the same fits, so the first has the attributes of all.
    about = next(iter(answers.values())).attrs
    failures = provenance(next(iter(answers.values()))).failures
    if output.as_json:
        said: dict[str, Any] = {"baseline": about["baseline"], "notes": about["notes"]}
        said |= describe_answers(failures, *answers.values())
        rows = []
        for answer in answers.values():
            rows += interval_records(answer, output.ci_prob)
        print_json(said, rows, output.ci_prob)
    else:
        for title, answer in answers.items():
            typer.echo(f"{title} {about['baseline']}\n{interval_line(output.ci_prob)}\n")
            typer.echo(f"{draws_table(answer, output.ci_prob)}\n")
    if about.get("joint"):
        say_notes(["the groups of one pooled fit are compared draw by draw"])
    else:
        say_notes(["separate fits are treated as independent; recipes share no parameters"])
    if about["notes"]:
        say_notes([about["notes"]])
    warn_of_gate(failures, "a fit")
    if failures:
        raise typer.Exit(GATE_FAILED)
