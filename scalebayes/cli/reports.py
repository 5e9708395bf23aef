"""The command that writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import typer

import scalebayes as sb
from scalebayes.cli.app import MOST_USED, command
from scalebayes.cli.inputs import check_output, load_labelled
from scalebayes.cli.options import (
    CI_PROB,
    FORCE,
    REQUIRED,
    PointsOrBudgets,
    PriceOptions,
    argument,
    option,
)
from scalebayes.cli.printing import exit_unless_sound


@command(MOST_USED)
def report(
    *,
    fits: list[Path] = argument(
        "FIT", "Files written by `scalebayes fit -o`; several are compared and averaged."
    ),
    target: Path = option("--output -o FILE", "File to write: .html, .md or .json.", REQUIRED),
    points: PointsOrBudgets,
    prices: PriceOptions,
    kind: Literal["html", "md", "json"] | None = option(
        "--format", "Format of the file (default: by its suffix)."
    ),
    sensitivity: bool = option(
        "--sensitivity", "Also refit under other assumptions; takes about half a minute.", False
    ),
    ci_prob: float = CI_PROB,
    force: bool = FORCE,
) -> None:
    """Write a self-contained report: recommendation, answers, evidence, assumptions and method.

    --N with --D asks for the loss of a run, --C for the compute-optimal use of a budget. Without
    any of them, the budgets are the largest run's compute, ten times and a hundred times that.
    Several fits are compared, and averaged with equal weights.
    """
    from scalebayes.reports.rendering import FORMATS

    chosen = kind or target.suffix.lower().lstrip(".")
    if chosen not in FORMATS:
        raise typer.BadParameter(
            f"got {chosen or str(target)!r}; allowed: {', '.join(FORMATS)}", param_hint="--output"
        )
    check_output(target, force, inputs=fits)
    subject = _load_subject(fits)
    written = sb.report(
        subject,
        target,
        **points.given(),
        ci_prob=ci_prob,
        price=prices.price(),
        sensitivity=_refit(subject, points) if sensitivity else None,
        format=cast(Literal["html", "md", "json"], chosen),
    )
    typer.echo(f"wrote {written}", err=True)
    reported = [subject] if isinstance(subject, sb.Fit) else list(subject.fits.values())
    exit_unless_sound(*reported)


def _load_subject(paths: list[Path]) -> sb.Fit | sb.Comparison:
    """Return one fit, or a comparison of several without refits."""
    if len(paths) == 1:
        return sb.load(paths[0])
    return sb.compare(load_labelled(paths), reloo=False)


def _refit(subject: sb.Fit | sb.Comparison, points: PointsOrBudgets) -> sb.Sensitivity:
    """Return how far the decision moves: at the budgets asked for, else at the runs.

    Without points, the decision is the one that `sensitivity` takes by default.
    """
    if not isinstance(subject, sb.Fit):
        raise typer.BadParameter("refits one fit; give one", param_hint="--sensitivity")
    given = points.given()
    # C with one of N and D is a run; C otherwise asks for budgets.
    if points.C and len(given) != 2:
        given = {"C": points.C}
    return sb.sensitivity(subject, **given)
