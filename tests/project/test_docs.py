"""Every example in README and docs/ runs on real points, or says in the page why it does not.

A page stands alone: its Python blocks share a namespace and run in order, with its commands between
them, in a folder of their own. A command that several pages have runs once, and the files that it
saved are copied to all of them.
"""

import doctest
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```([\w{}-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"<!-- not run: (.+?) -->\s*\Z")
CALLS = typer.main.get_command(app).commands
OUTPUTS = ("saved", "output")
"""Parameters of commands that name the file to write."""
FEWER_DRAWS = ["--draws", "400"]
"""For fits of the default model, whose queries are slow with many draws: no digits are compared."""


@dataclass(frozen=True)
class Example:
    page: str
    line: int
    language: str
    text: str
    reason: str = ""

    def __str__(self):
        return f"{self.page}:{self.line}"

    @property
    def commands(self):
        """Return the `scalebayes` commands of a shell block as lists of words; skip others."""
        if self.language not in ("sh", "console"):
            return []
        joined = self.text.replace("\\\n", " ")
        lines = [line.removeprefix("$ ") for line in joined.splitlines()]
        words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
        return [command for command in words if command[:1] == ["scalebayes"]]


def examples(page):
    text = page.read_text()
    for block in FENCE.finditer(text):
        before = MARKER.search(text[: block.start()])
        line = text.count("\n", 0, block.start()) + 1
        example = Example(page.name, line, block[1], block[2], before[1] if before else "")
        if example.language == "python" or example.commands:
            yield example


ALL = [example for page in PAGES for example in examples(page)]


def check_session(example, namespace):
    """A session with its output, which must be the one that stands there."""
    session = doctest.DocTestParser().get_doctest(
        example.text, namespace, str(example), example.page, example.line
    )
    told = []
    failed, tried = doctest.DocTestRunner().run(session, out=told.append, clear_globs=False)
    namespace.update(session.globs)
    assert tried > 0
    assert failed == 0, "".join(told)


@pytest.fixture
def folder(tmp_path, load_public, monkeypatch):
    """A folder for each page, with the table that some pages assume the reader has."""
    table = load_public("hoffmann2022").table.sort_values("C")
    table[["N", "D", "loss"]].iloc[::4].to_csv(tmp_path / "runs.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def run_once(tmp_path_factory):
    """Run a command once a session, however it is spelt; copy its files to other pages' folders."""
    done = {}

    def run(words):
        _, name, *arguments = words
        call = CALLS[name].make_context(name, [*arguments]).params
        output = next((call[name] for name in OUTPUTS if call.get(name) is not None), None)
        saved = [] if output is None or not output.suffix else [output]  # a folder stays in place
        for word in arguments:
            made_here = not word.endswith(".nc") or Path(word) in saved or Path(word).exists()
            assert made_here, f"{shlex.join(words)}: no line above it on the page makes {word}"
        key = (
            name,
            repr(
                [(option, value) for option, value in sorted(call.items()) if option not in OUTPUTS]
            ),
        )
        if key not in done:
            heavy = (
                name == "fit"
                and call["model"] in (None, "coupled-discrepancy")
                and call["prior_from"] is None
            )
            result = CliRunner().invoke(app, [name, *arguments, *(FEWER_DRAWS if heavy else [])])
            assert result.exit_code == 0, (
                f"{shlex.join(words)}\n{result.output}\n{result.exception!r}"
            )
            done[key] = tmp_path_factory.mktemp("kept") / "fit.nc"
            for path in saved:
                shutil.copy(path, done[key])
        for path in saved:
            shutil.copy(done[key], path)

    return run


SLOW_PAGES = (
    "choosing-a-law.md", "decisions.md", "gallery.md", "questions.md", "reports.md", "tutorial.md",
)  # fmt: skip
"""Pages whose examples take ten seconds to two minutes; those of all others run in `make test`."""


def page_parameter(page):
    mark = pytest.mark.slow if page.name in SLOW_PAGES else pytest.mark.standard
    return pytest.param(page, marks=mark, id=page.name)


@pytest.mark.parametrize("page", [page_parameter(page) for page in PAGES if list(examples(page))])
def test_the_examples_of_a_page_run(page, folder, run_once):
    namespace = {}
    for example in examples(page):
        if example.reason:
            continue
        for command in example.commands:
            run_once(command)
        if ">>>" in example.text:
            check_session(example, namespace)
        elif example.language == "python":
            exec(compile("\n" * example.line + example.text, page.name, "exec"), namespace)


@pytest.mark.parametrize("example", [example for example in ALL if example.reason], ids=str)
def test_an_example_that_takes_long_is_counted(example):
    pytest.skip(f"{example} is not run: {example.reason}")


def test_most_examples_are_run():
    left_out = [str(example) for example in ALL if example.reason]
    assert len(ALL) > 30
    assert len(left_out) <= len(ALL) / 5, (
        f"{len(left_out)} of {len(ALL)} examples are not run: {', '.join(left_out)}"
    )


def test_every_marker_stands_before_an_example():
    markers = sum(page.read_text().count("<!-- not run") for page in PAGES)
    assert markers == sum(bool(example.reason) for example in ALL)


def inline_commands(text):
    spans = re.findall(r"`(scalebayes\s[^`]+)`", FENCE.sub("", text))
    return [shlex.split(re.sub(r"\s+", " ", span)) for span in spans]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_can_be_given(page):
    commands = [
        *(c for e in ALL if e.page == page.name for c in e.commands),
        *inline_commands(page.read_text()),
    ]
    for _, *words in commands:
        if words[0].startswith("-"):
            continue
        name, *arguments = words
        assert name in CALLS, (
            f"{page.name} names a command that is not there: scalebayes {shlex.join(words)}"
        )
        if arguments:  # a bare name speaks of the command, not of a call
            CALLS[name].make_context(name, [*arguments])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_public_name_that_a_page_uses_is_there(page):
    names = re.findall(r"\bsb((?:\.[A-Za-z_]\w*)+)", page.read_text())
    for dotted in names:
        found = sb
        for name in dotted.split(".")[1:]:
            found = getattr(found, name, None)
            assert found is not None, f"{page.name}: sb{dotted}"
            if not inspect.ismodule(found):
                break


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    for link in links:
        assert (page.parent / link).exists(), f"{page.name}: {link}"


PUBLIC = re.findall(
    r"^```\{public\}\n(.*?)^```$",
    (ROOT / "docs" / "reference.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


def test_every_public_name_is_on_the_reference_page_exactly_once():
    named = [name for block in PUBLIC for name in block.split()]
    assert sorted(named) == sorted(set(sb.__all__) - {"__version__"})


def test_every_page_is_in_one_contents_of_the_first_page():
    contents = re.findall(
        r"^```\{toctree\}\n(.*?)^```$",
        (ROOT / "docs" / "index.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    listed = [
        line
        for block in contents
        for line in block.splitlines()
        if line and not line.startswith(":")
    ]
    assert len(listed) == len(set(listed))
    for page in sorted(
        {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} - {*listed}
    ):
        pytest.fail(
            f"docs/{page}.md is on no list of contents: "
            f"add `{page}` to one of those at the end of docs/index.md"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_the_web_is_whole(page):
    for link in re.findall(r"\]\((https?:[^)]*)\)", page.read_text()):
        parts = urlsplit(link)
        assert parts.scheme == "https", f"{page.name}: {link}"
        assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), f"{page.name}: {link}"
        assert not re.search(r"[\s<>]", link), f"{page.name}: {link}"


def test_the_figure_of_the_first_page_is_small_and_fetches_nothing():
    text = (ROOT / "docs" / "three-laws.svg").read_text()
    assert len(text) < 100_000
    assert not re.search(r"(href|src|url)\W*https?:", text)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_without_the_network(folder, run_once):
    """Draw the figures and follow every link and anchor; the tests above ran the examples."""
    for tool in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(tool, reason="the site needs the extra 'docs'")
    for example in examples(ROOT / "docs" / "gallery.md"):
        for command in example.commands:
            run_once(command)
    options = ["-W", "--keep-going", "-q", "-E", "-D", f"figures_folder={folder}"]
    command = [
        sys.executable,
        "-m",
        "sphinx",
        *options,
        "-d",
        folder / "doctrees",
        ROOT / "docs",
        folder / "site",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    site = folder / "site"
    assert {page.stem for page in PAGES[1:]} <= {path.stem for path in site.glob("*.html")}
    reference = (site / "reference.html").read_text()
    for name in set(sb.__all__) - {"plots", "__version__"}:
        assert f'id="scalebayes.{name}"' in reference, name
    drawn = re.findall(r'<img alt="([^"]+)" class="drawn', (site / "gallery.html").read_text())
    assert len(drawn) >= 11
    for path in site.glob("*.html"):
        fetched = re.findall(
            r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="(https?:[^"]*)"', path.read_text()
        )
        assert fetched == [], path.name


def test_blocks_markers_and_commands_are_read_from_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 1\n```\n\n"
        "<!-- not run: a year -->\n```sh\nscalebayes kaplan-or-chinchilla\n```\n\n"
        "```sh\nmake test\nscalebayes fit a.csv \\\n"
        "  -m kaplan && scalebayes models  # and so on\n```\n"
        "```console\n$ scalebayes runs\nname rows\n```\n```\nscalebayes is no command here\n```\n"
    )
    found = list(examples(page))
    assert [(e.line, e.language, e.reason) for e in found] == [
        (1, "python", ""),
        (6, "sh", "a year"),
        (10, "sh", ""),
        (15, "console", ""),
    ]
    fit, models = [["scalebayes", "fit", "a.csv", "-m", "kaplan"], ["scalebayes", "models"]]
    assert [e.commands for e in found] == [
        [],
        [["scalebayes", "kaplan-or-chinchilla"]],
        [fit, models],
        [["scalebayes", "runs"]],
    ]
    assert inline_commands("of `scalebayes\npoint-fits RUNS` and ```x```") == [
        ["scalebayes", "point-fits", "RUNS"]
    ]
