"""What commands read from their arguments: tables of runs, saved fits, points and paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

import scalebayes as sb
from scalebayes.errors import ScaleBayesError
from scalebayes.posterior.fit_files import check_fit_file
from scalebayes.utils.files import check_target

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
            check_fit_file(path)
    if values.get("keep_outliers") or values.get("best"):
        return  # not for files: `Reading.read` refuses them
    for path in map(Path, _as_list(values.get("runs"))):
        if path.suffix:
            _check_table_file(path, values)


def _check_table_file(path: Path, values: Mapping[str, Any]) -> None:
    from scalebayes.data.sources import is_text, refuse_fit

    refuse_fit(path)
    if not is_text(path) or path.stat().st_size > CHECKED_EARLY:
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
        metric=values.get("metric"),
    )


def _as_list(names: Any) -> list[str]:
    if isinstance(names, str):
        return [names]
    return list(names or ())


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


def load_group(path: Path, group: str | None, new_group: bool) -> sb.Fit:
    """Return a saved fit, or one group of a pooled fit, or a new group of it."""
    if group is not None and new_group:
        raise typer.BadParameter("give one of the two", param_hint="--group, --new-group")
    fit = sb.load(path)
    if group is not None:
        return sb.group(fit, group)
    if new_group:
        return sb.new_group(fit)
    return fit


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


def load_labelled(paths: Iterable[Path]) -> dict[str, sb.Fit]:
    """Return saved fits by the names of their files without suffix."""
    return {label: sb.load(path) for label, path in label_files(paths).items()}


def parse_weights(text: str | None) -> Any:
    """Return the name of a rule, or weights by label from text such as ``A=2,B=1``."""
    if text is None:
        return "equal"
    if text in ("equal", "stacking", "forward"):
        return text
    weights: dict[str, float] = {}
    for part in text.split(","):
        label, _, value = part.rpartition("=")
        try:
            weight = float(value)
        except ValueError:
            weight = None
        if weight is None or not label.strip():
            raise typer.BadParameter(
                f"got {text!r}; write equal, stacking, forward, or a number for each fit by the "
                "name of its file, such as A=2,B=1",
                param_hint="--weights",
            )
        weights[label.strip()] = weight
    return weights


def check_output(path: Path, force: bool) -> None:
    """Check that a result can be written, before minutes are spent on it.

    Raises
    ------
    ScaleBayesError
        When the file cannot be written (`check_target`), or exists without `force`.
    """
    try:
        check_target(path)
    except OSError as error:
        raise ScaleBayesError(f"cannot write {path}: {error.strerror}") from None
    if path.exists() and not force:
        raise ScaleBayesError(f"{path} exists; --force replaces it")
