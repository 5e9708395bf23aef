"""Every example in README and docs/ runs on real points, or says in the page why it does not.

A page stands alone: its Python blocks share a namespace and run in order, with its commands between
them, in a folder of their own. A command that several pages have runs once, and the files that it
saved are copied to all of them.
"""

import doctest
import inspect
import re
import shlex
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from matplotlib.mathtext import MathTextParser

import scalebayes as sb
from docs._site.formulas import drawable
from docs.paste_outputs import (
    CALLS,
    FENCE,
    PAGES,
    ROOT,
    Commands,
    agree,
    examples,
    run_example,
    work_on,
    write_runs,
)

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
def folder(tmp_path, monkeypatch):
    """A folder for each page, with the table that some pages assume the reader has."""
    write_runs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def run_once(tmp_path_factory):
    """Run a command once a session, however it is spelt; copy its files to other pages' folders."""
    return Commands(tmp_path_factory.mktemp("kept"), fewer_draws=True)


SLOW_PAGES = (
    "choosing-a-law.md", "decisions.md", "engineer.md", "gallery.md", "questions.md", "reports.md",
    "researcher.md", "schedules.md", "statistician.md",
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
        if ">>>" in example.text:
            check_session(example, namespace)
        else:
            run_example(example, run_once, namespace)


@pytest.mark.parametrize("example", [example for example in ALL if example.reason], ids=str)
def test_an_example_that_takes_long_is_counted(example):
    pytest.skip(f"{example} is not run: {example.reason}")


def test_most_examples_are_run():
    left_out = [str(example) for example in ALL if example.reason]
    assert len(ALL) > 30
    assert len(left_out) <= len(ALL) / 5, (
        f"{len(left_out)} of {len(ALL)} examples are not run: {', '.join(left_out)}"
    )


def test_a_newcomer_meets_few_commands_and_names():
    first = [ROOT / "README.md", ROOT / "docs" / "engineer.md"]
    commands = {words[1] for page in first for e in examples(page) for words in e.commands}
    names = {name for page in first for name in re.findall(r"\bsb\.([\w.]+)", page.read_text())}
    assert len(commands) <= 12, sorted(commands)
    assert len(names) <= 20, sorted(names)


def test_every_marker_stands_before_an_example():
    markers = sum(page.read_text().count("<!-- not run") for page in PAGES)
    assert markers == sum(bool(example.reason) for example in ALL)


def test_every_pasted_output_stands_below_an_example_that_is_run():
    """Blocks of the language `text` are pasted outputs, and nothing else is."""
    for page in PAGES:
        text = page.read_text()
        pasted = [example for example in examples(page) if example.outputs]
        count = sum(len(example.outputs) for example in pasted)
        assert text.count("<!-- pasted output") == count, page.name
        assert len(re.findall("^```text$", text, re.MULTILINE)) == count, page.name
        for example in pasted:
            assert not example.reason, f"{example} is not run, so nothing can be pasted below it"


@pytest.mark.slow
def test_the_outputs_of_every_page_are_what_its_examples_print():
    """Fits with as many draws as users have, so nothing of `run_once` is reused."""
    command = [sys.executable, ROOT / "docs" / "paste_outputs.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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


FORMULA = re.compile(r":math:`([^`]*)`|^ *\.\. math::((?:.*\n)(?: +\S.*\n)*)", re.M)
"""A formula in a line of a docstring, or in a block with lines of its own."""


def formulas_of_docstrings():
    for path in (ROOT / "scalebayes").rglob("*.py"):
        for inline, block in FORMULA.findall(path.read_text()):
            yield pytest.param(" ".join((inline or block).split()), id=path.stem)


@pytest.mark.parametrize("formula", [*formulas_of_docstrings()])
def test_a_formula_of_a_docstring_can_be_drawn(formula):
    """The reference draws formulas by mathtext, which knows less than LaTeX."""
    MathTextParser("path").parse(f"${drawable(formula)}$")


def test_the_pages_and_the_reference_are_read_without_a_warning(tmp_path):
    """References and anchors are followed; the site itself is neither drawn nor written."""
    for tool in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(tool, reason="the site needs the extra 'docs'")
    options = ["-b", "dummy", "-W", "--keep-going", "-q", "-D", "figures_pages="]
    command = [sys.executable, "-m", "sphinx", *options, "-d", tmp_path / "doctrees"]
    command += [ROOT / "docs", tmp_path / "site"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_without_the_network(folder, run_once):
    """Draw the figures and follow every link and anchor; the tests above ran the examples."""
    for tool in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(tool, reason="the site needs the extra 'docs'")
    for example in examples(ROOT / "docs" / "gallery.md"):
        for command in example.commands:
            run_once.run(command)
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
    for name in set(sb.__all__) - {"plots", "__version__"}:
        page = (site / "reference" / f"{name.lower()}.html").read_text()
        assert f'id="scalebayes.{name}"' in page, name
    drawn = re.findall(r'<img alt="([^"]+)" class="drawn', (site / "gallery.html").read_text())
    assert len(drawn) >= 11
    for path in site.rglob("*.html"):
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


@pytest.mark.parametrize(
    ("got", "percent", "same"),
    [
        ("loss  1.91 [1.82,  1.97] at 70B", 2, True),
        ("loss 1.92 [1.79, 1.99] at 71B\n", 2, True),
        ("loss 1.97 [1.82, 1.97] at 70B", 2, False),
        ("loss 1.97 [1.82, 1.97] at 70B", 5, True),
        ("loss 1.91 [1.82, 1.97] at 70M", 2, False),
        ("loss -1.91 [1.82, 1.97] at 70B", 2, False),
        ("gain 1.91 [1.82, 1.97] at 70B", 2, False),
        ("loss 1.91 [1.82, 1.97]", 2, False),
    ],
)
def test_outputs_agree_in_words_and_nearly_in_numbers(got, percent, same):
    assert agree("loss 1.91 [1.82, 1.97] at 70B", got, percent) is same


def test_numbers_agree_to_one_in_the_last_digit():
    assert agree("3 runs, 0.8e-3, 20B", "4 runs, 0.9e-3, 21B")
    assert not agree("3 runs, 0.8e-3, 20B", "5 runs, 0.9e-3, 21B")
    assert not agree("hoffmann2022", "hoffmann2023")


def test_outputs_are_pasted_below_commands_and_python(tmp_path, monkeypatch):
    monkeypatch.setattr("docs.paste_outputs.ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nprint('one')\n```\n\n<!-- pasted output -->\n```text\nold\n```\n\n"
        "```python\nprint(*'abc', sep='\\n')\n```\n"
        "<!-- pasted output, first 2 lines -->\n```text\n```\n\nWords.\n\n"
        '<!-- pasted output, from "b", first 5 lines -->\n```text\n```\n\n'
        "```sh\nscalebayes models kaplan --json\nscalebayes runs hoffmann2022\n```\n"
        "<!-- pasted output, within 30% -->\n```text\n```\n"
    )
    commands = Commands(tmp_path)
    faults = work_on(page, commands, check=True)
    places = [fault.partition(": ")[0] for fault in faults]
    assert places == ["page.md:7", "page.md:15", "page.md:21", "page.md:29"]
    work_on(page, commands, check=False)
    assert work_on(page, commands, check=True) == []
    one, abc, excerpt, both = [o.text for example in examples(page) for o in example.outputs]
    assert (one, abc, excerpt) == ("one\n", "a\nb\n...\n", "b\nc\n")
    assert both.startswith("$ scalebayes models kaplan --json\n{")
    assert "\n\n$ scalebayes runs hoffmann2022\nRuns 'hoffmann2022': 240 runs" in both
