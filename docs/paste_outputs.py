"""Run the examples of README and docs/, and paste their outputs into the pages or check them.

    python docs/paste_outputs.py README.md docs/questions.md    # replaces the outputs
    python docs/paste_outputs.py --check                        # compares those of every page

An output stands below its example, behind a comment:

    ```sh
    scalebayes predict fit.nc --N 70B --D 1.4T
    ```

    <!-- pasted output -->
    ```text
    ```

`<!-- pasted output, first 12 lines -->` cuts a long output. `<!-- pasted output, from "N*", first
12 lines -->` is an excerpt that begins at the first line with that text. Several excerpts may
stand below one example, with prose between them.

An output is what a `scalebayes` command or a Python block prints on stdout, at 100 columns. With
several commands in a block, each output follows its command. The examples of a page run in order,
in a folder of their own; a command that several pages have runs once. Outputs agree if their words
are equal and their numbers differ by at most 2% or by one in the last printed digit, because draws
differ from machine to machine. `<!-- pasted output, within 30% -->` allows larger differences, for
diagnostics such as the ESS.

`tests/project/test_docs.py` reads and runs the same examples.
"""

import argparse
import contextlib
import hashlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CALLS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
FENCE = re.compile(r"^```([\w{}-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*\Z")
PASTED = re.compile(
    r"^<!-- pasted output(?:, from \"(?P<from>[^\"]+)\")?(?:, first (?P<first>\d+) lines)?"
    r"(?:, within (?P<percent>\d+)%)? -->\n+"
    r"```text\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NUMBER = re.compile(r"(?<![\w.])[-+]?(\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?([kMBT]?)(?![\w])")
SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
WIDTH = "100"
PERCENT = 2.0
"""Difference of two numbers that counts as agreement, in percent of the larger."""
OUTPUTS = ("saved", "output")
"""Parameters of commands that name the file to write."""
FEWER_DRAWS = ["--draws", "400"]
"""For fits of the default model, whose queries are slow with many draws, if no digits count."""


@dataclass(frozen=True)
class Output:
    """A pasted output: where its text stands in the page, and how it is cut and compared."""

    start: int
    end: int
    line: int
    text: str
    begins_with: str = ""
    """Text of the first line of an excerpt; empty for an output from its beginning."""
    first: int | None = None
    percent: float = PERCENT

    def cut(self, printed: str) -> str:
        """Return what of `printed` belongs into the page."""
        lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
        if self.begins_with:
            found = [number for number, line in enumerate(lines) if self.begins_with in line]
            if not found:
                return f"no line of the output contains {self.begins_with!r}\n"
            return "".join(f"{line}\n" for line in lines[found[0] :][: self.first])
        if self.first is not None and len(lines) > self.first:
            lines = [*lines[: self.first], "..."]
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Example:
    """A Python block, or a shell block with `scalebayes` commands."""

    page: str
    line: int
    language: str
    text: str
    reason: str = ""
    """Why the example is not run; empty if it is run."""
    outputs: tuple[Output, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """Return the `scalebayes` commands of a shell block as lists of words; skip others."""
        if self.language not in ("sh", "console"):
            return []
        joined = self.text.replace("\\\n", " ")
        lines = [line.removeprefix("$ ") for line in joined.splitlines()]
        words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
        return [command for command in words if command[:1] == ["scalebayes"]]


def examples(page: Path) -> Iterator[Example]:
    """Yield the examples of a page in their order."""
    text = page.read_text("utf-8")
    blocks = [block for block in FENCE.finditer(text) if block[1] != "text"]
    for number, block in enumerate(blocks, 1):
        end = blocks[number].start() if number < len(blocks) else len(text)
        before = NOT_RUN.search(text[: block.start()])
        example = Example(
            page.name,
            line_of(text, block.start()),
            block[1],
            block[2],
            before[1] if before else "",
            tuple(outputs_between(text, block.end(), end)),
        )
        if example.language == "python" or example.commands:
            yield example


def outputs_between(text: str, start: int, end: int) -> Iterator[Output]:
    """Yield the pasted outputs between a block of code and the next one."""
    for found in PASTED.finditer(text, start, end):
        yield Output(
            *found.span("text"),
            line_of(text, found.start("text")),
            found["text"],
            found["from"] or "",
            int(found["first"]) if found["first"] else None,
            float(found["percent"] or PERCENT),
        )


def line_of(text: str, position: int) -> int:
    """Return the line number of a position."""
    return text.count("\n", 0, position) + 1


class Commands:
    """`scalebayes` commands in the current folder: each runs once, however often it is asked for.

    Parameters
    ----------
    kept : Path
        Folder for what each command printed and saved. Later calls and other pages reuse it.
    fewer_draws : bool
        Fit the default model with fewer draws than users do.
    """

    def __init__(self, kept: Path, fewer_draws: bool = False) -> None:
        self.kept = kept
        self.fewer_draws = fewer_draws

    def run(self, words: list[str]) -> str:
        """Return what a command prints. A command that ran before is not run again.

        The file that it saves is copied into the current folder in either case.
        """
        _, name, *arguments = words
        call = CALLS[name].make_context(name, [*arguments]).params
        saved = saved_file(call)
        for word in arguments:
            made_here = not word.endswith(".nc") or Path(word) == saved or Path(word).exists()
            assert made_here, f"{shlex.join(words)}: no line above it on the page makes {word}"
        key = self.kept / digest(name, arguments, call)
        if not key.with_suffix(".stdout").exists():
            extra = FEWER_DRAWS if self.fewer_draws and is_heavy(name, call) else []
            result = CliRunner().invoke(app, [name, *arguments, *extra])
            assert result.exit_code == 0, (
                f"{shlex.join(words)}\n{result.output}\n{result.exception!r}"
            )
            if saved is not None:
                shutil.copy(saved, key.with_suffix(".saved"))
            key.with_suffix(".stdout").write_text(result.stdout, "utf-8")
        if saved is not None:
            shutil.copy(key.with_suffix(".saved"), saved)
        return key.with_suffix(".stdout").read_text("utf-8")


def saved_file(call: dict[str, Any]) -> Path | None:
    """Return the file that a command writes; None if it writes none, or a folder."""
    output = next((call[name] for name in OUTPUTS if call.get(name) is not None), None)
    return output if output is not None and output.suffix else None


def digest(name: str, arguments: list[str], call: dict[str, Any]) -> str:
    """Return a hash of the options of a command, and of the files that it reads."""
    options = sorted((key, value) for key, value in call.items() if key not in OUTPUTS)
    hashed = hashlib.sha256(repr((name, options)).encode())
    for word in arguments:
        path = Path(word)
        if path.is_file() and path != saved_file(call):
            hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def is_heavy(name: str, call: dict[str, Any]) -> bool:
    """Return whether a command fits the default model or the one with a smooth discrepancy."""
    if name != "fit" or call["prior_from"] is not None:
        return False
    return call["model"] in (None, "coupled-discrepancy")


def run_example(example: Example, commands: Commands, namespace: dict[str, Any]) -> str:
    """Run an example in the current folder, and return its output on stdout."""
    if example.language == "python":
        printed = io.StringIO()
        # Empty lines before the code, so that errors have the line numbers of the page.
        lines_above = "\n" * example.line
        source = compile(lines_above + example.text, example.page, "exec")
        with contextlib.redirect_stdout(printed):
            exec(source, namespace)
        return printed.getvalue()
    printed_by = [(words, commands.run(words).strip("\n")) for words in example.commands]
    if len(printed_by) == 1:
        return printed_by[0][1]
    return "\n\n".join(f"$ {shlex.join(words)}\n{printed}" for words, printed in printed_by)


def write_runs(folder: Path) -> None:
    """Write the table that some pages assume the reader has: every fourth Chinchilla point."""
    table = sb.load_runs("hoffmann2022").table.sort_values("C")
    table[["N", "D", "loss"]].iloc[::4].to_csv(folder / "runs.csv", index=False)


def agree(expected: str, got: str, percent: float = PERCENT) -> bool:
    """Return whether two outputs have equal words, and numbers that agree.

    Numbers agree within `percent` of the larger, or within one in the last printed digit. White
    space does not count, because columns are as wide as their numbers.
    """
    words = [NUMBER.sub("#", text).split() for text in (expected, got)]
    if words[0] != words[1]:
        return False
    pairs = zip(NUMBER.finditer(expected), NUMBER.finditer(got), strict=True)
    return all(numbers_agree(first, second, percent) for first, second in pairs)


def numbers_agree(first: re.Match[str], second: re.Match[str], percent: float) -> bool:
    """Return whether two numbers agree; see `agree`."""
    (a, unit_a), (b, unit_b) = value_and_unit(first), value_and_unit(second)
    allowed = max(percent / 100 * max(abs(a), abs(b)), unit_a, unit_b)
    return abs(a - b) <= allowed * (1 + 1e-9)


def value_and_unit(match: re.Match[str]) -> tuple[float, float]:
    """Return the value of a number such as ``-1.25e3`` or ``70B``, and one of its last digit."""
    digits, exponent, suffix = match[1], match[2] or "", match[3]
    sign = -1.0 if match[0].startswith("-") else 1.0
    scale = float(f"1{exponent}") * SUFFIXES[suffix]
    decimals = len(digits.partition(".")[2])
    return sign * float(digits) * scale, 10.0**-decimals * scale


def work_on(page: Path, commands: Commands, check: bool) -> list[str]:
    """Run the examples of a page down to its last output; paste outputs, or return differences."""
    todo = list(examples(page))
    while todo and not todo[-1].outputs:
        todo.pop()
    text = page.read_text("utf-8")
    faults, replaced = [], []
    namespace: dict[str, Any] = {}
    for example in todo:
        if example.reason:
            continue
        printed = run_example(example, commands, namespace)
        for output in example.outputs:
            new = output.cut(printed)
            if not agree(output.text, new, output.percent):
                place = f"{page.relative_to(ROOT)}:{output.line}"
                faults.append(f"{place}: the output differs, it is now\n{new}")
            replaced.append((output, new))
    if not check:
        for output, new in reversed(replaced):
            text = text[: output.start] + new + text[output.end :]
        page.write_text(text, "utf-8")
    return faults


@contextlib.contextmanager
def plain_terminal() -> Iterator[None]:
    """Set the width of tables, and switch colours off."""
    before = dict(os.environ)
    os.environ.update(COLUMNS=WIDTH, NO_COLOR="1", TERM="dumb")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> int:
    """Paste or check the outputs of the pages given; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="default: every page")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument(
        "--keep",
        type=Path,
        help="folder of results for later calls; stale when the code changes",
    )
    given = parser.parse_args()
    pages = [page.resolve() for page in given.pages] or PAGES
    faults = []
    with tempfile.TemporaryDirectory() as scratch, plain_terminal():
        kept = given.keep.resolve() if given.keep else Path(scratch) / "kept"
        kept.mkdir(parents=True, exist_ok=True)
        for page in pages:
            folder = Path(scratch) / page.stem
            folder.mkdir()
            write_runs(folder)
            with contextlib.chdir(folder):
                faults += work_on(page, Commands(kept), given.check)
    if given.check and faults:
        print(*faults, sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
