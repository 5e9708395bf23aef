"""What commands print: tables for people, JSON for machines, and the exit code that the gate asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from scalebayes.cli.app import GATE_FAILED, INTERRUPTED

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from scalebayes.posterior.average import Average
    from scalebayes.posterior.fit import Fit


def print_summary(fit: Fit, ci_prob: float, as_json: bool) -> None:
    """Print the posterior beside the published values, the gate's verdict, and what it says ahead of the runs."""
    from scalebayes.posterior.diagnostics import diagnose
    from scalebayes.posterior.groups import group
    from scalebayes.queries.ahead import ahead
    from scalebayes.summaries.summary import summary
    from scalebayes.summaries.text import draws_table, kind_of_interval, summary_table

    gate = diagnose(fit)
    if as_json:
        messages = [vars(m) for m in gate.messages]
        rows = records(summary(fit, ci_prob).rename_axis("parameter").reset_index())
        said = {
            "model": fit.spec.name,
            "runs": fit.runs.name,
            "gate_ok": gate.ok,
            "messages": messages,
        }
        print_json(said | {"metadata": fit.metadata}, rows, ci_prob)
    else:
        typer.echo(f"{fit.spec.title}, fitted to {len(fit.runs)} runs of {fit.runs.name}")
        beside = "; published values on the right" * bool(fit.spec.published)
        typer.echo(f"Posterior median with {kind_of_interval(ci_prob)} interval{beside}\n")
        typer.echo(f"{summary_table(fit, ci_prob)}\n\n{gate}")
        if fit.spec.law_object.response != "loss":
            return
        for view in [group(fit, name) for name in fit.groups] or [fit]:
            typer.echo(f"\nAt ten times the largest run{f' of {view.view}' if view.view else ''}")
            typer.echo(draws_table(ahead(view), ci_prob))


def print_sensitivity(fit: Fit, asked: dict[str, Any], ci_prob: float, as_json: bool) -> None:
    """Print how far a decision moves under other assumptions."""
    from scalebayes.summaries.text import kind_of_interval
    from scalebayes.validation.sensitivity import sensitivity, sensitivity_table

    moved = sensitivity(fit, ci_prob=ci_prob, **asked)
    if as_json:
        said = {
            "model": fit.spec.name,
            "runs": fit.runs.name,
            "messages": [vars(m) for m in moved.messages],
        }
        print_json(said, records(moved.table.reset_index()), ci_prob)
        return
    kind = kind_of_interval(ci_prob)
    typer.echo(
        f"Under other assumptions: median with {kind} interval (moved, in half widths of the first)\n"
    )
    typer.echo(sensitivity_table(moved))


def exit_unless_sound(fit: Fit | Average) -> None:
    """Exit with the code of an interrupted or failed fit."""
    if fit.partial:
        raise typer.Exit(INTERRUPTED)
    if fit.gate_failures:
        raise typer.Exit(GATE_FAILED)


def warn_of_gate(failures: Sequence[str] | str, which: str = "this fit") -> None:
    """Say on stderr that fits failed the gate, if any did."""
    if failures:
        codes = failures if isinstance(failures, str) else ", ".join(failures)
        typer.echo(f"warning: {which} failed the gate ({codes}); do not rely on it", err=True)


def end(fit: Fit | Average) -> None:
    """Say and exit with what is wrong with the fit behind an answer, if anything."""
    warn_of_gate(fit.gate_failures)
    exit_unless_sound(fit)


def about(failures: Sequence[str], *answers: xr.Dataset) -> dict[str, Any]:
    """What JSON says of answers in draws before their numbers: the gate, and every caveat once."""
    from scalebayes.summaries.caveats import caveats

    found = dict.fromkeys(message for answer in answers for message in caveats(answer))
    messages = [vars(message) for message in found]
    return {"gate_ok": not failures, "gate_failures": list(failures), "caveats": messages}


def print_draws(
    fit: Fit | Average,
    dataset: xr.Dataset,
    title: str,
    ci_prob: float,
    as_json: bool,
    labels: Mapping[str, str] | None = None,
    note: str = "",
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print an answer in draws, with the exit code of the fit behind it; `labels` are headings, a note stands below.

    `more` is what JSON holds besides.
    """
    from scalebayes.summaries.intervals import intervals
    from scalebayes.summaries.text import LABELS, draws_table, kind_of_interval

    if as_json:
        notes = {"note": note} if note else {}
        rows = records(intervals(dataset, ci_prob).reset_index())
        print_json(about(fit.gate_failures, dataset) | notes | dict(more or {}), rows, ci_prob)
    else:
        table = draws_table(dataset, ci_prob, LABELS if labels is None else labels)
        below = f"\n\n{note}" if note else ""
        typer.echo(
            f"{title}\nPosterior median with {kind_of_interval(ci_prob)} interval\n\n{table}{below}"
        )
    end(fit)


def print_frame(table: pd.DataFrame, as_json: bool) -> None:
    """Print a table of texts."""
    from scalebayes.display.terminal import frame

    typer.echo(json.dumps(records(table.reset_index()), indent=2) if as_json else frame(table))


def print_json(said: dict[str, Any], rows: list[dict[str, Any]], ci_prob: float) -> None:
    """Print rows of numbers with what is said of them and the kind of their intervals."""
    typer.echo(json.dumps(said | {"ci_prob": ci_prob, "ci_kind": "eti", "rows": rows}, indent=2))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain JSON values, NaN as null."""
    return json.loads(table.to_json(orient="records", double_precision=15))
