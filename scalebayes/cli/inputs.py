"""What commands read and write: tables of runs, saved fits, and files that are not overwritten."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scalebayes.errors import ScaleBayesError
from scalebayes.utils.files import not_there

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs
    from scalebayes.posterior.average import Average
    from scalebayes.posterior.fit import Fit


AT_ONCE = 1_000_000
"""A table of fewer bytes is checked before pandas is imported, which takes longer."""


def look(given: Mapping[str, Any], paths: Iterable[str]) -> None:
    """Refuse the fits among a command's arguments that are not there, and tables that are not or are of no use.

    Parameters
    ----------
    given
        Arguments as they were typed; ``runs`` are tables.
    paths
        Names of those that are paths of fits.

    Tables that pandas reads, and long ones, wait until they are read, and so does what is no option of a file's.
    """
    for path in (Path(text) for name in paths for text in _each(given.get(name))):
        if not path.is_file():
            raise ScaleBayesError(not_there(path, "no fit at"))
    for path in (Path(name) for name in _each(given.get("runs")) if Path(name).suffix):
        from scalebayes.data.sources import is_text

        if given.get("keep_outliers") or given.get("best"):
            continue
        if path.exists() and (not is_text(path) or path.stat().st_size > AT_ONCE):
            continue
        from scalebayes.data.checks import check_table
        from scalebayes.data.sources import read_source, short_name

        strict, skip = not given.get("lenient"), bool(given.get("skip_incomplete"))
        check_table(
            read_source(path)[0], short_name(path.name), roles(given.get("columns")), strict, skip
        )


def _each(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def read(
    runs: str,
    columns: list[str] | None,
    lenient: bool,
    keep_outliers: bool,
    skip_incomplete: bool = False,
    best: bool = False,
) -> Runs:
    """Read a file or a published table, and say on stderr what was assumed."""
    from scalebayes.data.runs import read_runs
    from scalebayes.datasets import TABLES, load_runs

    mapping = roles(columns)
    is_file = runs not in TABLES and (Path(runs).suffix or Path(runs).exists())
    if is_file:
        if keep_outliers or best:
            raise typer.BadParameter(
                "for published tables, not for a file", param_hint="--keep-outliers, --best"
            )
        table = read_runs(runs, strict=not lenient, skip_incomplete=skip_incomplete, **mapping)
    else:
        if mapping or lenient or skip_incomplete:
            hint = "--map, --lenient, --skip-incomplete"
            raise typer.BadParameter("a published table is read as it is", param_hint=hint)
        table = load_runs(runs, keep_outliers=keep_outliers, best=best)
    say_notes(table)
    return table


def say_notes(table: Runs) -> None:
    """Say on stderr what was assumed of a table."""
    for note in table.notes:
        typer.echo(f"note: {note}", err=True)


def roles(columns: list[str] | None) -> dict[str, Any]:
    """Columns by the part they play, from entries such as ``N=n_params``."""
    return dict(_mapping(entry) for entry in columns or [])


def _mapping(entry: str) -> tuple[str, str]:
    role, _, column = entry.partition("=")
    from scalebayes.data.columns import LABELS, QUANTITIES

    allowed = (*QUANTITIES, *LABELS)
    if role not in allowed or not column:
        raise typer.BadParameter(
            f"got {entry!r}; write ROLE=COLUMN with ROLE one of {', '.join(allowed)}",
            param_hint="--map",
        )
    return role, column


def load(path: Path, group: str | None = None, new_group: bool = False) -> Fit:
    """Read a saved fit, and of a pooled one the group that is asked for, or one not seen yet."""
    from scalebayes.posterior.groups import group as one_group
    from scalebayes.posterior.groups import new_group as unseen
    from scalebayes.posterior.store import load

    if group is not None and new_group:
        raise typer.BadParameter(
            "a group or one not seen yet, not both", param_hint="--group, --new-group"
        )
    fit = load(path)
    if group is not None:
        return one_group(fit, group)
    return unseen(fit) if new_group else fit


def load_all(
    paths: list[Path], weights: str | None = None, group: str | None = None, new_group: bool = False
) -> Fit | Average:
    """Read a saved fit, or several as one forecast: each weighs the same unless weights say otherwise.

    `load` says what a group is.
    """
    from scalebayes.posterior.average import average

    if len(paths) == 1:
        if weights is not None:
            raise typer.BadParameter(
                "one fit needs none: give several files", param_hint="--weights"
            )
        return load(paths[0], group, new_group)
    names = [path.stem for path in paths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScaleBayesError(
            f"two files are called {', '.join(twice)}: their fits could not be told apart"
        )
    return average(
        {path.stem: load(path, group, new_group) for path in paths}, weights=_weights(weights)
    )


def _weights(text: str | None) -> Any:
    """Weights from text: a name, or numbers by label as in A=2,B=1."""
    if text in (None, "equal", "stacking"):
        return text or "equal"
    numbers: dict[str, float] = {}
    for part in str(text).split(","):
        label, _, value = part.rpartition("=")
        try:
            numbers[label.strip()] = float(value)
        except ValueError:
            numbers[""] = 0.0
    if "" in numbers:
        raise typer.BadParameter(
            f"got {text!r}; write equal, stacking, or a number for each fit as in A=2,B=1, by its file's name",
            param_hint="--weights",
        )
    return numbers


def refuse_early(path: Path, force: bool) -> None:
    """Say that a result could not be written before minutes go into it."""
    if not path.parent.is_dir():
        raise ScaleBayesError(f"cannot write {path}: no such folder")
    if not os.access(path.parent, os.W_OK):
        raise ScaleBayesError(f"cannot write {path}: no permission")
    if path.exists() and not force:
        raise ScaleBayesError(f"{path} exists; --force replaces it")
