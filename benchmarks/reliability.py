"""Hostile inputs by the thousand: how many are read, refused in one message, or break something.

Inputs are drawn by Hypothesis from `tests/hostile.py`: delimited tables, JSON, model files, and
saved fits damaged in their bytes or in their structure. What is promised of each: it is read right,
or it is refused in one message that names the file; nothing else is written; it takes at most
`SECONDS`. Run with ``python benchmarks/reliability.py``; ``--count 1000`` sets the number of inputs
of each class and ``--seed 14`` the sample. A break is printed with its input and its traceback.

In a class that ends in "(command)" the file is given to the command line, whose exit code must be 0
or 1, or 3 for a fit that failed its convergence checks.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pandas as pd
from hypothesis import HealthCheck, Phase
from hypothesis.strategies import SearchStrategy

sys.path.insert(0, str(Path(__file__).parents[1]))

import scalebayes as sb
from scalebayes.errors import ScaleBayesError
from tests.fixtures import report_fit
from tests.hostile import (
    delimited_files,
    edited_fits,
    json_files,
    model_files,
    with_damage,
)

SECONDS = 5.0
"""Time within which an input is read or refused."""


@dataclass(frozen=True)
class Kind:
    """A class of inputs: how they are drawn (ending and bytes) and what reads them."""

    name: str
    files: SearchStrategy[tuple[str, bytes]]
    read: Callable[[Path], Any]


def kinds(folder: Path) -> list[Kind]:
    """Return the classes of inputs. folder: for a small fit that is damaged."""
    saved = sb.save(report_fit(chains=2, draws=30), folder / "fit.nc")
    fit = sb.load(saved)
    command("summary")(saved)  # which imports libraries for seconds, once
    return [
        Kind("delimited tables", delimited_files(), sb.read_runs),
        Kind("delimited tables (command)", delimited_files(), command("runs")),
        Kind("tables of checkpoints", delimited_files("checkpoints"), sb.read_checkpoints),
        Kind("tables of scores", delimited_files("scores"), sb.read_scores),
        Kind("tables in JSON", json_files(), sb.read_runs),
        Kind("model files", model_files().map(lambda content: (".toml", content)), sb.read_model),
        Kind("saved fits, bytes damaged", with_damage(saved), same_fit(fit)),
        Kind("saved fits, structure edited", edited_fits(saved), same_fit(fit)),
        Kind("saved fits (command)", with_damage(saved), command("summary")),
    ]


class BrokenError(Exception):
    """An input that was neither read right nor refused."""


def command(name: str) -> Callable[[Path], Any]:
    """Return a function that gives a file to a command."""
    from typer.testing import CliRunner

    from scalebayes.cli import app

    def run(path: Path) -> None:
        result = CliRunner().invoke(app, [name, str(path)])
        if result.exit_code == 1 and isinstance(result.exception, SystemExit):
            raise ScaleBayesError(result.output)
        if result.exit_code not in (0, 3):
            raise BrokenError(
                f"exit code {result.exit_code}: {result.output}"
            ) from result.exception

    return run


def same_fit(fit: sb.Fit) -> Callable[[Path], Any]:
    """Return a function that loads a fit and checks that it is the one that was saved."""

    def read(path: Path) -> None:
        loaded = sb.load(path)
        is_same = loaded.stored.identical(fit.stored) and loaded.spec == fit.spec
        if not is_same or loaded.metadata != fit.metadata or loaded.runs.hash != fit.runs.hash:
            raise BrokenError("another fit was read")

    return read


def outcome(path: Path, content: bytes, read: Callable[[Path], Any]) -> tuple[str, float]:
    """Return what became of a file (read, refused, or how it broke) and the seconds."""
    path.write_bytes(content)
    before = time.perf_counter()
    try:
        read(path)
        found = "read"
    except ScaleBayesError as refusal:
        found = "refused" if path.stem in str(refusal) else "message without the file"
    except Exception:
        found = "broken"
        print(f"{path.name}: {content[:400]!r}", file=sys.stderr)
        traceback.print_exc(limit=-4)
    seconds = time.perf_counter() - before
    if [each.name for each in path.parent.iterdir()] != [path.name]:
        found = "something was written"
    if path.read_bytes() != content:
        found = "the input was changed"
    if seconds > SECONDS:
        found = "too slow"
    return found, seconds


def run(kind: Kind, count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Return the counts of one class of inputs."""
    counts: Counter[str] = Counter()
    longest = 0.0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(kind.files)
    def each(file: tuple[str, bytes]) -> None:
        nonlocal longest
        ending, content = file
        path = folder / f"hostile{ending}"
        found, seconds = outcome(path, content, kind.read)
        counts[found] += 1
        longest = max(longest, seconds)
        for left in folder.iterdir():
            left.unlink()

    each()
    good = counts.pop("read", 0), counts.pop("refused", 0)
    row = {"inputs": kind.name, "tried": sum(good) + counts.total(), "read": good[0]}
    row |= {"refused": good[1], "broken": counts.total(), "longest, s": round(longest, 2)}
    return row | {"how": ", ".join(f"{number} {what}" for what, number in counts.items())}


def main() -> None:
    """Print one row for each class of inputs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=14)
    given = parser.parse_args()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = []
    with tempfile.TemporaryDirectory() as fits, tempfile.TemporaryDirectory() as folder:
        for kind in kinds(Path(fits)):
            rows.append(run(kind, given.count, given.seed, Path(folder)))
            print(rows[-1], file=sys.stderr, flush=True)
    print(pd.DataFrame(rows).to_string(index=False))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"largest memory: {grown / 1024:.0f} MiB above that of the imports")


if __name__ == "__main__":
    main()
