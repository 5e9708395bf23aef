"""The command that writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalebayes.cli.app import command
from scalebayes.cli.inputs import load, refuse_early
from scalebayes.cli.options import COption, DOption, FitsArgument, ForceOption, NOption, ProbOption
from scalebayes.cli.printing import exit_unless_sound
from scalebayes.errors import ScaleBayesError

if TYPE_CHECKING:
    from scalebayes.comparison.compare import Comparison
    from scalebayes.posterior.fit import Fit


@command("report", "Ask a fit")
def report_command(
    fits: FitsArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write: .html, .md or .json.")
    ],
    N: NOption = None,
    D: DOption = None,
    C: COption = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="KIND", help="html, md or json, where the file does not say it."
        ),
    ] = None,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity", help="Refit one fit under other assumptions too: about half a minute."
        ),
    ] = False,
    ci_prob: ProbOption = 0.9,
    force: ForceOption = False,
) -> None:
    """Write a report to share: answers, what they rest on and how they were made, in one page that needs no network.

    --N with --D asks for the loss there, --C for the best use of a budget; by default budgets of the largest run, ten
    and a hundred times that. Several fits are compared, and answer as one in which each weighs the same.
    """
    from scalebayes.posterior.fit import Fit
    from scalebayes.reports import report
    from scalebayes.reports.rendering import FORMATS

    chosen = kind or output.suffix.lower().lstrip(".")
    if chosen not in FORMATS:
        hint = "--format" if kind else "--output"
        raise typer.BadParameter(
            f"got {chosen or str(output)!r}; allowed: {', '.join(FORMATS)}", param_hint=hint
        )
    refuse_early(output, force)
    subject = _subject(fits)
    asked: dict[str, Any] = {"N": N or None, "D": D or None, "C": C or None}
    moved = _moved(subject, asked) if sensitivity else None
    written = report(subject, output, **asked, ci_prob=ci_prob, sensitivity=moved, format=chosen)  # type: ignore[arg-type]
    typer.echo(f"wrote {written}", err=True)
    for fit in [subject] if isinstance(subject, Fit) else subject.fits.values():
        exit_unless_sound(fit)


def _subject(paths: list[Path]) -> Fit | Comparison:
    """One fit, or several compared without refits."""
    from scalebayes.comparison.compare import compare

    if len(paths) == 1:
        return load(paths[0])
    names = [path.stem for path in paths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScaleBayesError(
            f"two files are called {', '.join(twice)}: their fits could not be told apart"
        )
    return compare({path.stem: load(path) for path in paths}, reloo=False)


def _moved(subject: Fit | Comparison, asked: dict[str, Any]) -> Any:
    """How far the decision moves: at the budgets asked for, else at the inputs, else at ten times the largest run."""
    from scalebayes.posterior.fit import Fit
    from scalebayes.validation.sensitivity import sensitivity

    if not isinstance(subject, Fit):
        raise typer.BadParameter("refits one fit; give one", param_hint="--sensitivity")
    given = {name: value for name, value in asked.items() if value is not None}
    return sensitivity(
        subject, **({"C": given["C"]} if "C" in given and len(given) != 2 else given)
    )
