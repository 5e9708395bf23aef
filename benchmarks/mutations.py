"""Whether the quick tests notice small changes of the code: a sampled mutation run.

A change is planted at random in the package: a comparison turned round, ``and`` for ``or``, plus
for minus, a keyword argument left out, an index moved, the two ends of a conditional expression
exchanged. In a copy of the repository, ruff checks the changed file (an option that nothing uses is
found so), and the quick tests (``-m "not slow and not standard"``) that run the changed line are
run until one fails; then those of the whole folder. Run with ``python benchmarks/mutations.py``:

    --count 150      changes to plant
    --seed 14        seed of the sample
    --only FOLDER    sample within one folder of the package, such as validation
    --list FILE      write one line of JSON for each change

The changes that no test noticed are printed, with the line before and after. Some of them change
nothing (a boundary that no value meets, a default stated twice); that is for a reader to judge.
First the lines that each test runs are recorded, which takes about as long as the tests.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "scalebayes"
QUICK = "not slow and not standard"
RECORD = "SCALEBAYES_MUTATION_LINES"
"""Environment variable with the folder for the lines that tests run."""
TIMEOUT = 300
"""Seconds after which a change counts as noticed: the tests no longer end."""
MOST_TESTS = 150
"""Tests that are run for one change, at most: first those of the same folder."""
NO_TESTS = 5
"""Exit code of pytest where no test was run."""
SKIPPED = ("kernel/c_source.py",)
"""Files whose text is C, which these changes do not reach."""


# --- The pytest plugin: which lines each test runs ------------------------------------------------

TOOL = 4
_lines: set[tuple[str, int]] = set()
_tests_of: dict[str, list[str]] = {}


def pytest_configure(config: Any) -> None:
    """Begin to record lines, where the environment asks for it."""
    if RECORD not in os.environ:
        return
    monitoring = sys.monitoring
    package = str(Path.cwd() / "scalebayes")

    def on_line(code: Any, line: int) -> Any:
        if code.co_filename.startswith(package):
            _lines.add((code.co_filename[len(package) + 1 :], line))
        return monitoring.DISABLE  # once for each test is enough

    monitoring.use_tool_id(TOOL, "mutations")
    monitoring.register_callback(TOOL, monitoring.events.LINE, on_line)
    monitoring.set_events(TOOL, monitoring.events.LINE)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Forget the lines of the test before."""
    if RECORD in os.environ:
        _lines.clear()
        sys.monitoring.restart_events()


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Keep the lines of a test."""
    if RECORD in os.environ:
        for file, line in _lines:
            _tests_of.setdefault(f"{file}:{line}", []).append(nodeid)


def pytest_unconfigure(config: Any) -> None:
    """Write the lines of all tests of this process."""
    if RECORD in os.environ and _tests_of:
        path = Path(os.environ[RECORD]) / f"{os.getpid()}.json"
        path.write_text(json.dumps(_tests_of))


# --- Changes --------------------------------------------------------------------------------------

COMPARISONS = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
NOT_CALLS = {"option", "argument", "Field", "field", "Typer", "Message", "Fault", "TypeVar"}
"""Calls that declare or word something: their keywords are not left out."""


@dataclass(frozen=True)
class Change:
    """A change: the file below the package, the line, the kind, and the text before and after."""

    file: str
    line: int
    kind: str
    before: str
    after: str
    start: int
    end: int


def changes_of(path: Path) -> Iterator[Change]:
    """Yield every change that can be planted in a file."""
    text = path.read_text("utf-8")
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line.encode()))
    file = str(path.relative_to(PACKAGE))
    for node in _running_nodes(ast.parse(text)):
        for kind, changed in _changed(node):
            start = lines[node.lineno - 1] + node.col_offset
            end = lines[node.end_lineno - 1] + node.end_col_offset
            before = text.encode()[start:end].decode()
            yield Change(file, node.lineno, kind, before, f"({ast.unparse(changed)})", start, end)


def _running_nodes(tree: ast.AST) -> Iterator[Any]:
    """Yield the expressions that run: no annotations, decorators, messages or f-strings."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Raise | ast.JoinedStr | ast.Assert | ast.ImportFrom):
            continue
        if isinstance(child, ast.AnnAssign):
            children = [child.value] if child.value is not None else []
        elif isinstance(child, ast.FunctionDef):
            children = [*child.args.defaults, *child.body]
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        else:
            children = [child]
        for each in children:
            if each is not child:
                if isinstance(each, ast.expr):
                    yield each
                yield from _running_nodes(each)
                continue
            if isinstance(each, ast.expr):
                yield each
            yield from _running_nodes(each)


def _changed(node: Any) -> Iterator[tuple[str, ast.expr]]:
    """Yield the kinds of change that an expression admits, with the expression changed."""
    changed = copy.deepcopy(node)
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            changed.ops = [COMPARISONS[type(op)]()]
            yield "comparison", changed
        case ast.BoolOp(op=op):
            changed.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "and, or", changed
        case ast.UnaryOp(op=ast.Not()):
            yield "not", changed.operand
        case ast.BinOp(op=op) if type(op) in ARITHMETIC and not _is_text(node):
            changed.op = ARITHMETIC[type(op)]()
            yield "arithmetic", changed
        case ast.IfExp():
            changed.body, changed.orelse = changed.orelse, changed.body
            yield "conditional", changed
        case ast.Subscript(slice=ast.Constant(value=int() as place)):
            changed.slice = ast.Constant(place + 1)
            yield "index", changed
        case ast.Call(func=func, keywords=[_, *_] as keywords):
            name = ast.unparse(func).rpartition(".")[2]
            named = [keyword for keyword in keywords if keyword.arg is not None]
            if name in NOT_CALLS:
                return
            for keyword in named:
                without = copy.deepcopy(node)
                without.keywords = [each for each in keywords if each is not keyword]
                yield f"keyword {keyword.arg}", without


def _is_text(node: ast.BinOp) -> bool:
    """Whether an operand is text, or the operation is the union of types."""
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )


def sample(count: int, seed: int, folder: str) -> list[Change]:
    """Return changes of files drawn at random, each file at most once before all were drawn."""
    rng = random.Random(seed)
    files = [
        path
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        if not str(path).endswith(SKIPPED) and path.name != "__init__.py"
    ]
    pools = {path: list(changes_of(path)) for path in files}
    chosen: list[Change] = []
    while len(chosen) < count and any(pools.values()):
        order = [path for path in files if pools[path]]
        weights = [len(pools[path]) for path in order]
        path = rng.choices(order, weights)[0]
        chosen.append(pools[path].pop(rng.randrange(len(pools[path]))))
    return chosen


# --- The run --------------------------------------------------------------------------------------


def record_lines(copy_of: Path, workers: int) -> dict[str, list[str]]:
    """Return the tests that run each line, by ``file:line``."""
    folder = copy_of / ".mutation-lines"
    folder.mkdir()
    command = ["-m", QUICK, "-p", "mutations", "-n", str(workers), "--dist", "loadfile"]
    _pytest(copy_of, command, {RECORD: str(folder)}, timeout=3600)
    tests: dict[str, list[str]] = {}
    for path in folder.glob("*.json"):
        for line, names in json.loads(path.read_text()).items():
            tests.setdefault(line, []).extend(names)
    shutil.rmtree(folder)
    return tests


def _pytest(
    copy_of: Path, arguments: list[str], environment: dict[str, str], timeout: float
) -> int | None:
    """Return the exit code of pytest in a copy of the repository; None if it ran out of time."""
    paths = os.pathsep.join([str(copy_of), str(copy_of / "benchmarks")])
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    if RECORD in environment:
        command.remove("-x")
    try:
        done = subprocess.run(
            command,
            cwd=copy_of,
            env={**os.environ, **environment, "PYTHONPATH": paths},
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode


def noticed_by(change: Change, copy_of: Path, tests: list[str]) -> str:
    """Return what fails once a change is planted: "ruff", "tests" or nothing, ""."""
    path = copy_of / "scalebayes" / change.file
    content = path.read_bytes()
    planted = content[: change.start] + change.after.encode() + content[change.end :]
    listed = copy_of / ".mutation-tests"
    listed.write_text("\n".join(tests))
    path.write_bytes(planted)
    try:
        ruff = [sys.executable, "-m", "ruff", "check", "--quiet", "--no-cache", str(path)]
        if subprocess.run(ruff, cwd=copy_of, capture_output=True, check=False).returncode:
            return "ruff"
        if _pytest(copy_of, [f"@{listed}"], {}, TIMEOUT) != 0:
            return "tests"
        # What is run when a module is imported is recorded for the first test alone.
        folder = copy_of / "tests" / change.file.partition("/")[0]
        of_folder = ["-m", QUICK, str(folder)]
        if folder.is_dir() and _pytest(copy_of, of_folder, {}, TIMEOUT) not in (0, NO_TESTS):
            return "tests"
        return ""
    finally:
        path.write_bytes(content)


def main() -> None:
    """Plant changes, run the tests that meet them, and print those that no test noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--only", default="")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lines", type=Path, help="file with recorded lines; made if absent")
    parser.add_argument("--list", type=Path, help="file for one line of JSON for each change")
    given = parser.parse_args()
    changes = sample(given.count, given.seed, given.only)
    with tempfile.TemporaryDirectory() as folder:
        copy_of = Path(folder) / "repository"
        ignored = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".hypothesis", "_site")
        shutil.copytree(ROOT, copy_of, ignore=ignored, symlinks=True)
        if given.lines is not None and given.lines.is_file():
            tests_of = json.loads(given.lines.read_text())
        else:
            tests_of = record_lines(copy_of, given.workers)
            if given.lines is not None:
                given.lines.write_text(json.dumps(tests_of))
        outcomes = [run_one(change, copy_of, tests_of, given.list) for change in changes]
    run = [outcome for outcome in outcomes if outcome is not None]
    noticed = sum(map(bool, run))
    print(f"{noticed} of {len(run)} changes noticed ({noticed / max(len(run), 1):.0%})")
    print(f"{run.count('ruff')} of them by ruff")
    print(f"{outcomes.count(None)} further changes are in lines that no quick test runs")


def run_one(
    change: Change, copy_of: Path, tests_of: dict[str, list[str]], listing: Path | None
) -> str | None:
    """Return what noticed a change, None if no test runs its line; print it if nothing did."""
    folder = change.file.partition("/")[0]
    tests = tests_of.get(f"{change.file}:{change.line}", [])
    tests = sorted(tests, key=lambda test: not test.startswith(f"tests/{folder}/"))
    outcome = noticed_by(change, copy_of, tests[:MOST_TESTS]) if tests else None
    if not outcome:
        kind = "no test runs" if outcome is None else "not noticed"
        before = " ".join(change.before.split())
        after = " ".join(change.after.split())
        print(
            f"{kind}: {change.file}:{change.line} [{change.kind}] {before} -> {after}", flush=True
        )
    if listing is not None:
        with listing.open("a") as file:
            file.write(json.dumps({**asdict(change), "noticed": outcome}) + "\n")
    return outcome


if __name__ == "__main__":
    main()
