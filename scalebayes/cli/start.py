"""What `scalebayes` prints without a command: what to do next, given the files in the folder."""

from __future__ import annotations

import shlex
from pathlib import Path

from scalebayes.utils.files import printable

TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
FITS = (".nc",)
COMMAND_WIDTH = 44
"""Columns of the commands; what a command is for stands to the right of them."""


def next_steps(folder: Path) -> str:
    """Return what to do next in a folder, in one screen of 24 lines by 80 columns.

    Fits that are there can be queried and tables can be fitted; without either, published runs are
    a beginning.
    """
    fits = _newest_first(folder, FITS)
    tables = _newest_first(folder, TABLES)
    lines = ["scalebayes: from a table of training runs to decisions with credible intervals"]
    if fits:
        lines += ["", f"Ask a fit ({_short_list(fits)} in this folder):", *_ask(fits)]
    if tables:
        lines += ["", f"Fit a table ({_short_list(tables)} in this folder):", *_fit(tables[0])]
    if not fits:
        lines += ["", "Try it on published runs:", *_try()]
        lines += ["", "Then ask, for example:", *_ask(["fit.nc"])]
    if not tables:
        lines += ["", "With runs of your own, a CSV with columns for N, D and loss:"]
        lines += _fit("runs.csv")
    lines += ["", "scalebayes --help lists all commands, scalebayes models the laws."]
    return "\n".join(lines)


def _newest_first(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return the names of the files with some suffixes, the newest first."""
    try:
        found = [path for path in folder.iterdir() if path.suffix in suffixes and path.is_file()]
    except OSError:  # the folder cannot be read
        return []
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [printable(path.name) for path in found]


def _short_list(names: list[str]) -> str:
    """Return the first two names, and how many more there are."""
    shown = []
    for name in names[:2]:
        if len(name) > COMMAND_WIDTH:
            name = f"{name[: COMMAND_WIDTH - 3]}..."
        shown.append(name)
    text = ", ".join(shown)
    if len(names) > 2:
        text += f" and {len(names) - 2} more"
    return text


def _ask(fits: list[str]) -> list[str]:
    first = shlex.quote(fits[0])
    lines = [
        *_line(f"summary {first}", "posterior and diagnostics"),
        *_line(f"predict {first} --N 70B --D 1.4T", "loss of a planned run"),
        *_line(f"frontier {first} --C 1e24", "optimal N and D"),
    ]
    if len(fits) > 1:
        lines += _line(f"compare {first} {shlex.quote(fits[1])}", "if of the same runs")
    return lines


def _fit(table: str) -> list[str]:
    runs = shlex.quote(table)
    saved = shlex.quote(f"{Path(table).stem}.nc")
    return [
        *_line(f"runs {runs}", "check it only"),
        *_line(f"fit {runs} -o {saved}", "about a minute"),
    ]


def _try() -> list[str]:
    return [
        *_line("demo", "two laws, answers, figures"),
        *_line("fit hoffmann2022 --quick -o fit.nc", "one fit to ask"),
    ]


def _line(arguments: str, purpose: str) -> list[str]:
    """Return a command and its purpose, on a line of its own where the command is long."""
    command = f"  scalebayes {arguments}"
    column = COMMAND_WIDTH + 6
    if len(command) <= column - 2:
        return [command.ljust(column) + purpose]
    return [command, " " * column + purpose]
