"""What commands read from their arguments: tables of runs, saved fits, points and paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scalebayes.errors import ScaleBayesError
from scalebayes.utils.files import not_there

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs
    from scalebayes.posterior.average import Average
    from scalebayes.posterior.fit import Fit

CHECKED_EARLY = 1_000_000
"""Size in bytes up to which a table is checked before pandas is imported, which takes longer."""


def check_files(values: Mapping[str, Any], fits: Iterable[str]) -> None:
    """Check the files that a command would read, before anything slow is imported.

    Tables that pandas must read, and long ones, are checked when they are read.

    Parameters
    ----------
    values
        Arguments as they were typed; ``runs`` holds tables.
    fits
        Names of the arguments that hold paths of fits.

    Raises
    ------
    ScaleBayesError
        When a fit or a table does not exist, or a table cannot be used.
    """
    for name in fits:
        for path in map(Path, _as_list(values.get(name))):
            if not path.is_file():
                raise ScaleBayesError(not_there(path, "no saved fit at"))
    if values.get("keep_outliers") or values.get("best"):
        return  # not for files: `read_table` refuses them
    for path in map(Path, _as_list(values.get("runs"))):
        if path.suffix:
            _check_table_file(path, values)


def _check_table_file(path: Path, values: Mapping[str, Any]) -> None:
    from scalebayes.data.sources import is_text

    if path.exists() and (not is_text(path) or path.stat().st_size > CHECKED_EARLY):
        return
    from scalebayes.data.checks import check_table
    from scalebayes.data.sources import read_source, short_name

    table, _ = read_source(path)
    check_table(
        table,
        short_name(path.name),
        parse_roles(values.get("columns")),
        strict=not values.get("lenient"),
        skip_incomplete=bool(values.get("skip_incomplete")),
    )


def _as_list(names: Any) -> list[str]:
    if isinstance(names, str):
        return [names]
    return list(names or ())


def read_table(
    runs: str,
    columns: list[str] | None = None,
    *,
    lenient: bool = False,
    keep_outliers: bool = False,
    skip_incomplete: bool = False,
    best: bool = False,
) -> Runs:
    """Return the table in a file, or a published one; print what was assumed on stderr."""
    from scalebayes.data.runs import read_runs
    from scalebayes.datasets import TABLES, load_runs

    roles = parse_roles(columns)
    is_path = bool(Path(runs).suffix) or Path(runs).exists()
    if is_path and runs not in TABLES:
        if keep_outliers or best:
            raise typer.BadParameter(
                "for published tables only, not for a file", param_hint="--keep-outliers, --best"
            )
        table = read_runs(runs, strict=not lenient, skip_incomplete=skip_incomplete, **roles)
    else:
        if roles or lenient or skip_incomplete:
            raise typer.BadParameter(
                "for files only: a published table is read as it is",
                param_hint="--map, --lenient, --skip-incomplete",
            )
        table = load_runs(runs, keep_outliers=keep_outliers, best=best)
    say_notes(table.notes)
    return table


def say_notes(notes: Iterable[str]) -> None:
    """Print notes on stderr."""
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def parse_roles(columns: list[str] | None) -> dict[str, Any]:
    """Return the columns by role, from entries such as ``N=n_params``."""
    from scalebayes.data.columns import LABELS, QUANTITIES

    allowed = (*QUANTITIES, *LABELS)
    roles: dict[str, Any] = {}
    for entry in columns or []:
        role, _, column = entry.partition("=")
        if role not in allowed or not column:
            raise typer.BadParameter(
                f"got {entry!r}; write ROLE=COLUMN with ROLE one of {', '.join(allowed)}",
                param_hint="--map",
            )
        roles[role] = column
    return roles


def parse_inputs(entries: list[str]) -> dict[str, list[str]]:
    """Return further inputs of a law by name, from entries such as ``U=4B``."""
    inputs: dict[str, list[str]] = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        if name in ("N", "D", "C", "seed") or not name.isidentifier() or not value:
            raise typer.BadParameter(
                f"got {entry!r}; write NAME=VALUE, such as U=4B "
                "(N, D and C have options of their own)",
                param_hint="--input",
            )
        inputs.setdefault(name, []).append(value)
    return inputs


def parse_point(text: str, option: str) -> dict[str, str]:
    """Return the inputs of one run, from text such as ``N=70B,D=1.4T``."""
    point: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name.strip() not in ("N", "D", "C") or not value:
            raise typer.BadParameter(
                f"got {text!r}; write N=70B,D=1.4T, any two of N, D and C", param_hint=option
            )
        point[name.strip()] = value
    return point


def load_fit(path: Path, group: str | None = None, new_group: bool = False) -> Fit:
    """Return a saved fit, or one group of a pooled fit, or a new group of it."""
    from scalebayes.posterior.groups import group as existing
    from scalebayes.posterior.groups import new_group as unseen
    from scalebayes.posterior.store import load

    if group is not None and new_group:
        raise typer.BadParameter("give one of the two", param_hint="--group, --new-group")
    fit = load(path)
    if group is not None:
        return existing(fit, group)
    if new_group:
        return unseen(fit)
    return fit


def load_forecast(
    paths: Sequence[Path],
    weights: str | None = None,
    group: str | None = None,
    new_group: bool = False,
) -> Fit | Average:
    """Return a saved fit, or the average of several, with equal weights by default.

    See `load_fit` for groups.
    """
    from scalebayes.posterior.average import average

    if len(paths) == 1:
        if weights is not None:
            raise typer.BadParameter("weights need several fits; got one", param_hint="--weights")
        return load_fit(paths[0], group, new_group)
    fits = {}
    for label, path in label_files(paths).items():
        fits[label] = load_fit(path, group, new_group)
    return average(fits, weights=_parse_weights(weights))


def label_files(paths: Iterable[Path]) -> dict[str, Path]:
    """Return files by their names without suffix.

    Raises
    ------
    ScaleBayesError
        When two files have the same name.
    """
    labelled: dict[str, Path] = {}
    for path in paths:
        if path.stem in labelled:
            raise ScaleBayesError(
                f"two files are called {path.stem}: their fits could not be told apart"
            )
        labelled[path.stem] = path
    return labelled


def _parse_weights(text: str | None) -> Any:
    """Return the name of a rule, or weights by label from text such as ``A=2,B=1``."""
    if text is None:
        return "equal"
    if text in ("equal", "stacking"):
        return text
    weights: dict[str, float] = {}
    for part in text.split(","):
        label, _, value = part.rpartition("=")
        try:
            weights[label.strip()] = float(value)
        except ValueError:
            weights[""] = 0.0
    if "" in weights:
        raise typer.BadParameter(
            f"got {text!r}; write equal, stacking, or a number for each fit by the name of its "
            "file, such as A=2,B=1",
            param_hint="--weights",
        )
    return weights


def check_output(path: Path, force: bool) -> None:
    """Check that a result can be written, before minutes are spent on it.

    Raises
    ------
    ScaleBayesError
        When the folder does not exist or cannot be written, or the file exists without `force`.
    """
    if not path.parent.is_dir():
        raise ScaleBayesError(f"cannot write {path}: no such folder")
    if not os.access(path.parent, os.W_OK):
        raise ScaleBayesError(f"cannot write {path}: no permission")
    if path.exists() and not force:
        raise ScaleBayesError(f"{path} exists; --force replaces it")
