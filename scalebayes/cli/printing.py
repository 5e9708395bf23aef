"""What commands print: tables for people, JSON for programs; and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

import scalebayes as sb
from scalebayes.cli.app import GATE_FAILED, INTERRUPTED
from scalebayes.cli.options import Output

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def print_draws(
    fit: sb.Fit | sb.Average,
    answer: xr.Dataset,
    title: str,
    output: Output,
    *,
    headings: Mapping[str, str] | None = None,
    note: str = "",
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Print an answer in draws, and exit with the code of the fit behind it.

    Parameters
    ----------
    fit
        The fit that was asked.
    answer
        What a query returned.
    title
        Title of the table.
    output
        Probability of the intervals, and whether to print JSON.
    headings
        Headings of the columns by quantity; by default those of `draws_table`.
    note
        Text below the table.
    extra
        Further entries of the JSON.
    """
    from scalebayes.display.terminal import paragraph
    from scalebayes.summaries.text import LABELS, draws_table

    if output.as_json:
        said = describe_answers(fit.gate_failures, answer)
        if note:
            said["note"] = note
        if extra is not None:
            said |= extra
        print_json(said, sb.intervals(answer, output.ci_prob), ci_prob=output.ci_prob)
    else:
        typer.echo(f"{paragraph(title)}\n{interval_line(output.ci_prob)}\n")
        if headings is None:
            headings = LABELS
        typer.echo(draws_table(answer, output.ci_prob, headings))
        if note:
            typer.echo(f"\n{note}")
    end(fit)


def interval_line(ci_prob: float) -> str:
    """Return the sentence about intervals that stands above a table."""
    from scalebayes.summaries.text import kind_of_interval

    return f"Posterior median with {kind_of_interval(ci_prob)} interval"


def print_summary(fit: sb.Fit | sb.CurveFit, output: Output) -> None:
    """Print the posterior beside published values, the convergence checks, and a forecast."""
    from scalebayes.datasets.names import runs_in_words
    from scalebayes.summaries.text import summary_table

    gate = sb.diagnose(fit)  # type: ignore[arg-type]
    ci_prob = output.ci_prob
    if isinstance(fit, sb.CurveFit):
        _print_summary_of_curves(fit, gate, output)
        return
    if output.as_json:
        said = {
            "model": fit.spec.name,
            "runs": fit.runs.name,
            "gate_ok": gate.ok,
            "messages": as_dicts(gate.messages),
            "metadata": fit.metadata,
        }
        parameters = sb.summary(fit, ci_prob).rename_axis("parameter")
        print_json(said, parameters, ci_prob=ci_prob)
        return
    typer.echo(f"{fit.spec.title}, fitted to {runs_in_words(fit.runs)}")
    published = "; published values on the right" if fit.spec.published else ""
    typer.echo(f"{interval_line(ci_prob)}{published}\n")
    typer.echo(f"{summary_table(fit, ci_prob)}\n\n{gate}")
    if fit.spec.law_object.response == "loss":
        _print_forecasts(fit, ci_prob, set(gate.messages))


def _print_summary_of_curves(fit: sb.CurveFit, gate: sb.Diagnosis, output: Output) -> None:
    """Print the posterior of a fit of curves beside published values, and its checks."""
    table: Any = sb.summary(fit, output.ci_prob)  # type: ignore[arg-type]
    if output.as_json:
        said = {
            "model": fit.model.name,
            "runs": fit.curves.name,
            "gate_ok": gate.ok,
            "messages": as_dicts(gate.messages),
            "metadata": fit.metadata,
        }
        print_json(said, table, ci_prob=output.ci_prob)
        return
    from scalebayes.summaries.intervals import interval_columns

    curves = fit.curves
    typer.echo(
        f"{fit.model.title}, fitted to {len(curves)} checkpoints of {len(curves.runs)} runs in "
        f"{curves.name}\n{interval_line(output.ci_prob)}; published values on the right\n"
    )
    shown = ["median", *interval_columns(output.ci_prob)]
    shown += [each.label for each in fit.model.published]
    typer.echo(f"{table[shown]}\n\n{gate}")


def _print_forecasts(fit: sb.Fit, ci_prob: float, said: set[sb.Message]) -> None:
    """Print the forecast at ten times the largest run, for each group of a pooled fit.

    said: messages that were printed above, of which only the codes are printed again.
    """
    from scalebayes.queries.ahead import ahead
    from scalebayes.summaries.text import draws_table

    views = [sb.group(fit, name) for name in fit.groups] or [fit]
    for view in views:
        of_group = f" of {view.view}" if view.view is not None else ""
        typer.echo(f"\nAt ten times the largest run{of_group}")
        typer.echo(draws_table(ahead(view), ci_prob, in_full=True, said=said))


def print_sensitivity(fit: sb.Fit, point: Mapping[str, Any], output: Output) -> None:
    """Print how far a decision moves under other assumptions."""
    from scalebayes.summaries.text import kind_of_interval
    from scalebayes.validation.sensitivity import sensitivity_table

    moved = sb.sensitivity(fit, ci_prob=output.ci_prob, **point)
    if output.as_json:
        said = {"model": fit.spec.name, "runs": fit.runs.name, "messages": as_dicts(moved.messages)}
        print_json(said, moved.table, ci_prob=output.ci_prob)
        return
    kind = kind_of_interval(output.ci_prob)
    typer.echo(
        f"Under other assumptions: median with {kind} interval "
        "(shift, in half widths of the first interval)\n"
    )
    typer.echo(sensitivity_table(moved))


def print_frame(table: pd.DataFrame, as_json: bool) -> None:
    """Print a table of text."""
    from scalebayes.display.terminal import frame

    if as_json:
        typer.echo(json.dumps(records(table), indent=2))
    else:
        typer.echo(frame(table))


def print_json(
    said: Mapping[str, Any], *tables: pd.DataFrame, ci_prob: float | None = None
) -> None:
    """Print the rows of tables as JSON, after what is said of them and the kind of intervals."""
    answer = dict(said)
    if ci_prob is not None:
        answer |= {"ci_prob": ci_prob, "ci_kind": "eti"}
    answer["rows"] = []
    for table in tables:
        answer["rows"] += records(table)
    typer.echo(json.dumps(answer, indent=2))


def describe_answers(failures: Sequence[str], *answers: xr.Dataset) -> dict[str, Any]:
    """Return what JSON says of answers before their numbers: convergence checks and caveats."""
    # A caveat that several answers share is listed once.
    found = dict.fromkeys(message for answer in answers for message in sb.caveats(answer))
    return {"gate_ok": not failures, "gate_failures": list(failures), "caveats": as_dicts(found)}


def as_dicts(messages: Iterable[sb.Message]) -> list[dict[str, Any]]:
    """Return messages as JSON objects."""
    return [
        {"code": message.code, "level": message.level, "text": message.text} for message in messages
    ]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON objects, with its index if named and null for NaN."""
    if table.index.names != [None]:
        table = table.reset_index()
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows


def warn_of_gate(failures: Sequence[str], which: str = "this fit") -> None:
    """Warn on stderr about fits that failed their convergence checks, if any did."""
    if failures:
        codes = ", ".join(failures)
        typer.echo(
            f"warning: {which} failed the convergence checks ({codes}); do not rely on it", err=True
        )


def exit_unless_sound(*fits: sb.Fit | sb.Average) -> None:
    """Exit with the code of the first fit that was interrupted or failed its convergence checks."""
    for fit in fits:
        if fit.partial:
            raise typer.Exit(INTERRUPTED)
        if fit.gate_failures:
            raise typer.Exit(GATE_FAILED)


def end(fit: sb.Fit | sb.Average) -> None:
    """Warn about failed convergence checks of the fit behind an answer, and exit with its code."""
    warn_of_gate(fit.gate_failures)
    exit_unless_sound(fit)
