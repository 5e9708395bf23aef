"""Options that say how a table of runs is read, and the early check of tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

import scalebayes as sb
from scalebayes.cli.inputs import parse_roles, parse_scale, say_notes, say_warnings
from scalebayes.cli.options import Values, option

CHECKED_EARLY = 1_000_000
"""Size in bytes up to which a table is checked before pandas is imported, which takes longer."""


@dataclass(frozen=True)
class FileUnits:
    """How a text file is written, and the units of its columns."""

    scale: Values = option(
        "--scale COLUMN=FACTOR",
        "Factor that turns a column into parameters, tokens or FLOP, such as 'FLOPs (P)=1e15'; "
        "may be repeated.",
    )
    loss_unit: str = option(
        "--loss-unit UNIT",
        "nats, bits, perplexity, percent, or per byte, such as bits_per_byte.",
        "nats",
    )
    tokens_per_byte: float | None = option(
        "--tokens-per-byte RATIO", "Tokens for each byte of the text, for a loss per byte."
    )
    sep: str | None = option("--sep CHARACTER", "Separator of a text file (default: detected).")
    decimal: str | None = option(
        "--decimal CHARACTER", "Decimal mark of a text file, . or , (default: detected)."
    )

    def format(self) -> dict[str, Any]:
        """Return how the file is written."""
        return {"sep": self.sep, "decimal": self.decimal}

    def conventions(self) -> dict[str, Any]:
        """Return how cells are read and what is checked."""
        return {
            "loss_unit": self.loss_unit,
            "tokens_per_byte": self.tokens_per_byte,
            "scale": parse_scale(self.scale),
        }


@dataclass(frozen=True)
class FileColumns(FileUnits):
    """How the columns and rows of a file are read."""

    columns: Values = option(
        "--map ROLE=COLUMN",
        "Column that holds N, D, C, loss, group, run, S, U or E, or none; may be repeated.",
    )
    own_units: bool = option(
        "--own-units",
        "The table is of no language model: N, D and loss have units of their own, not checked.",
        False,
    )
    lenient: bool = option(
        "--lenient", "Report suspicious rows and repeated runs as notes, not errors.", False
    )
    skip_incomplete: bool = option(
        "--skip-incomplete", "Skip rows with missing or infinite values.", False
    )
    name_pattern: str | None = option(
        "--name-pattern PATTERN",
        "Pattern of the names of files or runs that contain values, such as '{N}-{x}xC'.",
    )

    def settings(self) -> dict[str, Any]:
        """Return the options as arguments of `scalebayes.read_runs`."""
        return {
            **parse_roles(self.columns),
            **self.format(),
            **self.conventions(),
        }

    def format(self) -> dict[str, Any]:
        """Return how the file is written."""
        return super().format() | {"name_pattern": self.name_pattern}

    def conventions(self) -> dict[str, Any]:
        """Return how cells are read and what is checked."""
        return super().conventions() | {
            "strict": not self.lenient,
            "own_units": self.own_units,
            "skip_incomplete": self.skip_incomplete,
        }


@dataclass(frozen=True)
class Reading(FileColumns):
    """How a table of runs, a file or a published one, is read."""

    keep_outliers: bool = option(
        "--keep-outliers", "Keep the rows that the authors of a published table excluded.", False
    )
    best: bool = option(
        "--best",
        "Keep only the best run at each N and D of a published learning-rate sweep.",
        False,
    )
    metric: str | None = option(
        "--metric NAME",
        "Unit of the losses in a file, such as 'word error rate'; by default nats per token if "
        "they look like it, else loss.",
    )

    def conventions(self) -> dict[str, Any]:
        """Return how cells are read and what is checked."""
        return super().conventions() | {"metric": self.metric}

    def read(self, runs: str, warn: bool = True) -> sb.Runs:
        """Return the table in a file, or a published one; print what was assumed on stderr.

        warn: whether the warnings of `scalebayes.check_runs` are printed, too.
        """
        from scalebayes.datasets import TABLES

        settings = self.settings()
        is_path = bool(Path(runs).suffix) or Path(runs).exists()
        if is_path and runs not in TABLES:
            if self.keep_outliers or self.best:
                raise typer.BadParameter(
                    "for published tables only, not for a file",
                    param_hint="--keep-outliers, --best",
                )
            table = sb.read_runs(runs, **settings)
        else:
            self._refuse_file_options()
            table = sb.load_runs(runs, keep_outliers=self.keep_outliers, best=self.best)
        say_notes(table.notes)
        if warn:
            say_warnings(message for message in sb.check_runs(table) if message.level == "warning")
        return table

    def _refuse_file_options(self) -> None:
        """Refuse the options that say how a file is read, for a published table."""
        for field in dataclasses.fields(Reading):
            if field.name in ("keep_outliers", "best"):
                continue
            if getattr(self, field.name) not in (None, [], _default(field)):
                name = "map" if field.name == "columns" else field.name.replace("_", "-")
                raise typer.BadParameter(
                    "for files only: a published table is read as it is", param_hint=f"--{name}"
                )


def check_tables(values: Mapping[str, Any]) -> None:
    """Check the tables that a command would read, before anything slow is imported.

    Tables that pandas must read, folders, patterns, and long tables are checked when they are read.

    Parameters
    ----------
    values
        Arguments as they were typed; ``runs`` holds tables.

    Raises
    ------
    ScaleBayesError
        When a table does not exist or cannot be used.
    """
    if values.get("keep_outliers") or values.get("best"):
        return  # not for files: `Reading.read` refuses them
    try:
        reading = _reading(values)
    except ValueError:
        return  # Typer reports an option that is no number
    runs = values.get("runs") or []
    for path in map(Path, [runs] if isinstance(runs, str) else runs):
        if path.suffix:
            _check_table(path, reading)


def _default(field: Any) -> Any:
    """Return the default of an option, the field of a bundle."""
    return field.default.default


def _reading(values: Mapping[str, Any]) -> Reading:
    """Return the options that were typed, with defaults for the others."""
    given = {}
    for field in dataclasses.fields(Reading):
        value = values.get(field.name)
        given[field.name] = _default(field) if value is None else value
    if given["tokens_per_byte"] is not None:
        given["tokens_per_byte"] = float(given["tokens_per_byte"])
    return Reading(**given)


def _check_table(path: Path, reading: Reading) -> None:
    from scalebayes.data.tables.sources import files_at, is_text, refuse_fit

    if files_at(path) != [path]:
        return
    refuse_fit(path)
    if not is_text(path) or path.stat().st_size > CHECKED_EARLY:
        return
    from scalebayes.data.tables.checks import Conventions, check_table
    from scalebayes.data.tables.logs import refuse_logs
    from scalebayes.data.tables.sources import FileFormat, read_source, short_name

    raw = read_source(path, FileFormat(**reading.format()))
    refuse_logs(raw, reading.name_pattern)
    conventions = Conventions(**reading.conventions())
    check_table(raw.columns, short_name(path.name), parse_roles(reading.columns), conventions)
