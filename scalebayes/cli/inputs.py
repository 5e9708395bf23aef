"""What commands read from their arguments: tables of runs, saved fits, points and paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

import scalebayes as sb
from scalebayes.data.tables.sources import files_at
from scalebayes.errors import ScaleBayesError
from scalebayes.posterior.fit_files import check_fit_file
from scalebayes.utils.files import check_target


def check_fits(values: Mapping[str, Any], fits: Iterable[str]) -> None:
    """Check the fits that a command would read, before anything slow is imported.

    Parameters
    ----------
    values
        Arguments as they were typed.
    fits
        Names of the arguments that hold paths of fits.

    Raises
    ------
    ScaleBayesError
        When a fit does not exist.
    """
    for name in fits:
        for path in map(Path, _as_list(values.get(name))):
            check_fit_file(path)


def _as_list(names: Any) -> list[str]:
    if isinstance(names, str):
        return [names]
    return list(names or ())


def say_notes(notes: Iterable[str]) -> None:
    """Print notes on stderr."""
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def say_warnings(messages: Iterable[sb.Message]) -> None:
    """Print messages on stderr."""
    from scalebayes.display.terminal import wrap

    for message in messages:
        typer.echo(wrap(message), err=True)


def parse_roles(columns: list[str] | None, allowed: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the columns by role, from entries such as ``N=n_params``.

    allowed: the roles, by default those of a table of runs.
    """
    if allowed is None:
        from scalebayes.data.tables.columns import LABELS, QUANTITIES

        allowed = (*QUANTITIES, *LABELS)
    roles: dict[str, Any] = {}
    for entry in columns or []:
        role, _, column = entry.partition("=")
        if role not in allowed or not column:
            raise typer.BadParameter(
                f"got {entry!r}; write ROLE=COLUMN with ROLE one of {', '.join(allowed)}",
                param_hint="--map",
            )
        if role in roles:
            raise typer.BadParameter(
                f"{role} has two columns, {roles[role]} and {column}", param_hint="--map"
            )
        roles[role] = column
    return roles


def parse_scale(entries: list[str] | None) -> dict[str, str]:
    """Return the factors by column, from entries such as ``FLOPs (P)=1e15``."""
    factors: dict[str, str] = {}
    for entry in entries or []:
        column, _, factor = entry.rpartition("=")
        if not column or not factor:
            raise typer.BadParameter(
                f"got {entry!r}; write COLUMN=FACTOR, such as 'FLOPs (P)=1e15'",
                param_hint="--scale",
            )
        factors[column] = factor
    return factors


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


def memory_limit(memory: str | None, expert_share: float | None) -> sb.Memory | None:
    """Return the limit of --memory and --expert-share, None where neither was given."""
    if memory is None:
        if expert_share is not None:
            raise typer.BadParameter("--expert-share needs --memory")
        return None
    if expert_share is None:
        return sb.Memory(memory)
    return sb.Memory(memory, expert_share)


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


def check_output(path: Path, force: bool, *, inputs: Iterable[str | Path] = ()) -> None:
    """Check that a result can be written, before minutes are spent on it.

    Parameters
    ----------
    path
        File to write.
    force
        Whether an existing file may be replaced.
    inputs
        What the command reads: files, which are never replaced, folders and patterns of files, and
        names of published tables and models.

    Raises
    ------
    ScaleBayesError
        When the file cannot be written (`check_target`), is one of the inputs, or exists without
        `force`.
    """
    for given in map(Path, inputs):
        read = [file for file in (given, *files_at(given)) if file.exists()]
        if path.exists() and any(path.samefile(file) for file in read):
            raise ScaleBayesError(
                f"{path} is a file that this command reads: write the result elsewhere"
            )
    try:
        check_target(path)
    except OSError as error:
        raise ScaleBayesError(f"cannot write {path}: {error.strerror}") from None
    if path.exists() and not force:
        raise ScaleBayesError(f"{path} exists; --force replaces it")
