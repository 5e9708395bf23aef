"""What `scalebayes` says without a command: what to do next, from what lies in the folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
FITS = (".nc",)
WIDTH = 44


def next_steps(folder: Path) -> str:
    """Say in a screen what to do next in a folder: ask the fits that are there, fit the tables, or begin."""
    fits, tables = _newest(folder, FITS), _newest(folder, TABLES)
    lines = ["scalebayes: from a table of training runs to decisions with credible intervals"]
    if fits:
        lines += ["", f"Ask a fit ({_listed(fits)} in this folder):", *_ask(fits)]
    if tables:
        lines += ["", f"Fit a table ({_listed(tables)} in this folder):", *_fit(tables[0])]
    if not fits:
        lines += [
            "",
            "Try it on published runs:",
            *_try(),
            "",
            "Then ask, for example:",
            *_ask(["fit.nc"]),
        ]
    if not tables:
        lines += [
            "",
            "With runs of your own, a CSV with columns for N, D and loss:",
            *_fit("runs.csv"),
        ]
    return "\n".join(
        [*lines, "", "scalebayes --help lists all commands, scalebayes models the laws."]
    )


def _newest(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    try:
        found = [path for path in folder.iterdir() if path.suffix in suffixes and path.is_file()]
    except OSError:  # a folder that may not be read holds nothing to name
        return []
    return [
        path.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
    ]


def _listed(names: list[str]) -> str:
    shown = [name if len(name) <= WIDTH else f"{name[: WIDTH - 3]}..." for name in names[:2]]
    return ", ".join(shown) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _ask(fits: list[str]) -> Iterator[str]:
    first = shlex.quote(fits[0])
    yield from _line(f"summary {first}", "did it fit, what does it say")
    yield from _line(f"predict {first} --N 70B --D 1.4T", "the loss of a run not made")
    yield from _line(f"frontier {first} --C 1e24", "how to split a budget")
    if len(fits) > 1:
        both = " ".join(map(shlex.quote, fits[:2]))
        yield from _line(f"compare {both}", "if of the same runs")


def _fit(table: str) -> Iterator[str]:
    name = shlex.quote(table)
    yield from _line(f"runs {name}", "check it, fit nothing")
    yield from _line(f"fit {name} -o {shlex.quote(Path(table).stem + '.nc')}", "about a minute")


def _try() -> Iterator[str]:
    yield from _line("demo", "two laws, answers, figures")
    yield from _line("fit hoffmann2022 --quick -o fit.nc", "one fit to ask")


def _line(command: str, what: str) -> Iterator[str]:
    """One command and what it is for, below it where the command is long."""
    text = f"  scalebayes {command}"
    if len(text) <= WIDTH + 4:
        yield f"{text:<{WIDTH + 6}}{what}"
    else:
        yield from (text, f"{'':<{WIDTH + 6}}{what}")
