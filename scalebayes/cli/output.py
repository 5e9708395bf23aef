"""What commands print: tables for people, JSON for machines, and the exit code that the gate asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from scalebayes.cli.app import GATE_FAILED, INTERRUPTED

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from scalebayes.posterior import Average, Fit


def print_summary(fit: Fit, ci_prob: float, as_json: bool) -> None:
    """Print the posterior beside the published values, the gate's verdict, and what it says ahead of the runs."""
    from scalebayes.diagnostics import diagnose
    from scalebayes.robustness import ahead
    from scalebayes.tables import summary
    from scalebayes.text import draws_table, kind_of_interval, summary_table

    gate = diagnose(fit)
    if as_json:
        messages = [vars(m) for m in gate.messages]
        rows = records(summary(fit, ci_prob).rename_axis("parameter").reset_index())
        about = {"model": fit.spec.name, "runs": fit.runs.name, "gate_ok": gate.ok, "messages": messages}
        print_json(about | {"metadata": fit.metadata}, rows, ci_prob)
    else:
        typer.echo(f"{fit.spec.title}, fitted to {len(fit.runs)} runs of {fit.runs.name}")
        beside = "; published values on the right" * bool(fit.spec.published)
        typer.echo(f"Posterior median with {kind_of_interval(ci_prob)} interval{beside}\n")
        typer.echo(f"{summary_table(fit, ci_prob)}\n\n{gate}")
        if fit.spec.law_object.response == "loss":
            typer.echo(f"\nAt ten times the largest run\n{draws_table(ahead(fit), ci_prob)}")


def print_sensitivity(fit: Fit, asked: dict[str, Any], ci_prob: float, as_json: bool) -> None:
    """Print how far a decision moves under other assumptions."""
    from scalebayes.robustness import sensitivity
    from scalebayes.text import kind_of_interval, sensitivity_table

    moved = sensitivity(fit, ci_prob=ci_prob, **asked)
    if as_json:
        about = {"model": fit.spec.name, "runs": fit.runs.name, "messages": [vars(m) for m in moved.messages]}
        print_json(about, records(moved.table.reset_index()), ci_prob)
        return
    kind = kind_of_interval(ci_prob)
    typer.echo(f"Under other assumptions: median with {kind} interval (moved, in half widths of the first)\n")
    typer.echo(sensitivity_table(moved))


def exit_unless_sound(fit: Fit | Average) -> None:
    """Exit with the code of an interrupted or failed fit."""
    if fit.partial:
        raise typer.Exit(INTERRUPTED)
    if fit.gate_failures:
        raise typer.Exit(GATE_FAILED)


def print_draws(
    fit: Fit | Average,
    dataset: xr.Dataset,
    title: str,
    ci_prob: float,
    as_json: bool,
    labels: Mapping[str, str] | None = None,
    note: str = "",
) -> None:
    """Print an answer in draws, with the exit code of the fit behind it; `labels` are headings, a note stands below."""
    from scalebayes.caution import caveats
    from scalebayes.tables import intervals
    from scalebayes.text import LABELS, draws_table, kind_of_interval

    if as_json:
        about = {"gate_ok": not fit.gate_failures, "gate_failures": list(fit.gate_failures)}
        about |= {"caveats": [vars(message) for message in caveats(dataset)]} | ({"note": note} if note else {})
        print_json(about, records(intervals(dataset, ci_prob).reset_index()), ci_prob)
    else:
        table = draws_table(dataset, ci_prob, LABELS if labels is None else labels)
        below = f"\n\n{note}" if note else ""
        typer.echo(f"{title}\nPosterior median with {kind_of_interval(ci_prob)} interval\n\n{table}{below}")
    if fit.gate_failures:
        typer.echo(f"warning: this fit failed the gate ({', '.join(fit.gate_failures)}); do not rely on it", err=True)
        raise typer.Exit(GATE_FAILED)


def print_frame(table: pd.DataFrame, as_json: bool) -> None:
    """Print a table of texts."""
    from scalebayes.text import frame

    typer.echo(json.dumps(records(table.reset_index()), indent=2) if as_json else frame(table))


def print_json(about: dict[str, Any], rows: list[dict[str, Any]], ci_prob: float) -> None:
    """Print rows of numbers with what they are about and the kind of their intervals."""
    typer.echo(json.dumps(about | {"ci_prob": ci_prob, "ci_kind": "eti", "rows": rows}, indent=2))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain JSON values, NaN as null."""
    return json.loads(table.to_json(orient="records", double_precision=15))
