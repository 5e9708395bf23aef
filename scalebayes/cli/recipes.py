"""The command that sets recipes side by side: contrast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalebayes.cli.app import GATE_FAILED, command
from scalebayes.cli.inputs import load
from scalebayes.cli.options import DOption, JsonOption, NOption, ProbOption
from scalebayes.cli.printing import about, print_json, records, warn_of_gate

if TYPE_CHECKING:
    import xarray as xr

    from scalebayes.posterior.fit import Fit


@command("contrast", "Compare")
def contrast_command(
    fits: Annotated[
        list[str],
        typer.Argument(
            metavar="[LABEL=]FIT...", help="Saved fits, one a recipe; labels are file names."
        ),
    ],
    N: NOption = None,
    D: DOption = None,
    C: Annotated[
        list[str] | None,
        typer.Option(
            "--C",
            help="FLOP, as 1e24. Alone: each recipe at its own optimum, and compute multipliers.",
        ),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            metavar="NAME",
            help="Of one pooled fit: put these groups side by side; repeated.",
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Label; by default the first.")
    ] = None,
    ci_prob: ProbOption = 0.9,
    as_json: JsonOption = False,
) -> None:
    """Compare recipes, each with a fit of its own runs: loss at a scale, P(best), and compute saved."""
    from scalebayes.comparison.recipes import contrast, multiplier

    arms = _labelled(fits) if not groups else _groups(fits, groups)
    answers: dict[str, xr.Dataset] = {
        "Loss of the curve in nats per token, and its difference from": contrast(
            arms, baseline=baseline, N=N or None, D=D or None, C=C or None
        )
    }
    if C and not N and not D:
        title = "Compute for the same loss along the optimal frontier, in units of C, needed by"
        answers[title] = multiplier(arms, baseline=baseline, C=C)
    _print_answers(answers, ci_prob, as_json)


def _labelled(fits: list[str]) -> dict[str, Fit]:
    """Fits by label: a file's name unless one is given as LABEL=FIT."""
    named: dict[str, Path] = {}
    for entry in fits:
        label, given, path = entry.rpartition("=")
        name = label if given else Path(path).stem
        if name in named:
            raise typer.BadParameter(
                f"two fits are called {name!r}; write LABEL=FIT", param_hint="FIT"
            )
        named[name] = Path(path)
    return {name: load(path) for name, path in named.items()}


def _groups(fits: list[str], groups: list[str]) -> dict[str, Fit]:
    """Groups of one pooled fit."""
    if len(fits) != 1:
        raise typer.BadParameter(
            f"groups are those of one pooled fit; got {len(fits)}", param_hint="--group"
        )
    return {name: load(Path(fits[0]), name) for name in groups}


def _print_answers(answers: dict[str, xr.Dataset], ci_prob: float, as_json: bool) -> None:
    from scalebayes.summaries.intervals import intervals
    from scalebayes.summaries.text import draws_table, kind_of_interval

    first = next(iter(answers.values()))
    failures, notes, baseline = (first.attrs[key] for key in ("gate_failures", "notes", "baseline"))
    if as_json:
        said: dict[str, Any] = {"baseline": baseline, "notes": notes}
        said |= about(failures.split("; ") if failures else [], *answers.values())
        rows = [
            row
            for answer in answers.values()
            for row in records(intervals(answer, ci_prob).reset_index())
        ]
        print_json(said, rows, ci_prob)
    else:
        for title, answer in answers.items():
            typer.echo(
                f"{title} {baseline}\nPosterior median with {kind_of_interval(ci_prob)} interval\n"
            )
            typer.echo(f"{draws_table(answer, ci_prob)}\n")
    if first.attrs.get("joint"):
        typer.echo("note: groups of one pooled fit, taken together draw by draw", err=True)
    else:
        typer.echo(
            "note: separate fits are taken as independent; nothing is shared between recipes",
            err=True,
        )
    if notes:
        typer.echo(f"note: {notes}", err=True)
    warn_of_gate(failures, "a fit")
    if failures:
        raise typer.Exit(GATE_FAILED)
