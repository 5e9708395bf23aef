"""Files that commands are given: targets are refused early, and tables and fits told apart."""

import _thread
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.utils.progress import Progress
from tests.fixtures import report_fit


def run(*arguments, code=1):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return sb.save(report_fit(chains=2, draws=30), tmp_path_factory.mktemp("fits") / "fit.nc")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "runs.csv"
    report_fit(chains=1, draws=4).runs.table.to_csv(path)
    return path


WRITERS = {
    "fit": ("fit", "pile2023", "--force", "-o"),
    "fit-scores": ("fit-scores", "scores.csv", "--force", "-o"),
    "convert": ("convert", "runs.csv", "--force", "-o"),
    "report": ("report", "fit.nc", "--format", "md", "--force", "-o"),
    "backtest": ("backtest", "pile2023", "--force", "--figure"),
}
"""Commands that write one file. Nothing is sampled or read here: the target is refused first."""


@pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("device", "it is a device"),
        ("folder", "it is a folder"),
        ("dangling", "it is a link to a file that does not exist"),
        ("read-only", "the file is read-only"),
        ("nowhere", "no such folder"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_first(
    command, kind, says, saved, table, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fit.nc").write_bytes(saved.read_bytes())
    ending = {"convert": ".csv", "backtest": ".png"}.get(command[0], ".nc")
    target = tmp_path / f"target{ending}"
    if kind == "device":
        target.symlink_to("/dev/null")
    elif kind == "folder":
        target.mkdir()
    elif kind == "dangling":
        target.symlink_to(tmp_path / "none")
    elif kind == "read-only":
        target.touch(0o444)
    else:
        target = tmp_path / "none" / target.name
    assert run(*command, target).stderr.splitlines()[-1] == f"error: cannot write {target}: {says}"


@pytest.mark.parametrize(
    "command",
    [
        ("fit-many", "pile2023", "-m", "kaplan-size", "--force", "-o"),
        ("demo", "--force", "--out"),
        ("kaplan-or-chinchilla", "--force", "--out"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused_first(command, table, tmp_path):
    assert f"{table} is not a folder" in run(*command, table).stderr
    occupied = tmp_path / "occupied"
    names = ("pile2023-kaplan-size", "kaplan", "chinchilla")
    for name in names:
        (occupied / f"{name}.nc").mkdir(parents=True)
    assert "it is a folder" in run(*command, occupied).stderr


def test_a_figure_in_an_unknown_format_is_refused_first(tmp_path):
    stderr = run("backtest", "pile2023", "--figure", tmp_path / "figure.txt").stderr
    assert stderr.endswith("figures are written as .png, .svg, .pdf; got 'figure.txt'\n")


READERS_OF_FITS = {
    "predict": ("predict", "{}", "--N", "1B", "--D", "20B"),
    "summary": ("summary", "{}"),
    "report": ("report", "{}", "-o", "report.md"),
    "contrast": ("contrast", "a={}", "b={}", "--N", "1B", "--D", "20B"),
    "downstream": ("downstream", "{}", "{}", "--N", "1B", "--D", "20B"),
    "fit": ("fit", "pile2023", "--prior-from", "{}"),
    "plan": ("plan", "--C", "1e21", "--budget", "1e21", "--around", "{}"),
}


@pytest.mark.parametrize("command", READERS_OF_FITS.values(), ids=READERS_OF_FITS)
def test_a_table_in_place_of_a_fit_is_told(command, table):
    stderr = run(*[part.format(table) for part in command]).stderr
    assert "is a table of runs, not a saved fit" in stderr
    assert f"`scalebayes fit {table} -o {table.with_suffix('.nc')}`" in stderr


@pytest.mark.parametrize(
    "command",
    [
        ("runs", "{}"),
        ("fit", "{}"),
        ("convert", "{}", "-o", "new.csv"),
        ("backtest", "{}"),
        ("point-fits", "{}", "--C", "1e21"),
        ("fit-scores", "{}"),
        ("fit-many", "{}", "-o", "fits"),
    ],
)
def test_a_fit_in_place_of_a_table_is_told(command, saved):
    stderr = run(*[part.format(saved) for part in command]).stderr
    assert "is a saved fit (or another HDF5 file), not a table" in stderr


@pytest.mark.parametrize("command", ["summary", "fit"])
def test_a_damaged_fit_is_one_message(command, saved, tmp_path):
    damaged = tmp_path / "damaged.nc"
    damaged.write_bytes(saved.read_bytes()[:-100])
    arguments = (command, damaged) if command == "summary" else ("fit", "pile2023", "--prior-from")
    if command == "fit":
        arguments = (*arguments, damaged)
    stderr = run(*arguments).stderr
    assert stderr.count("\n") < 6  # notes on the table, and the message
    assert f"error: {damaged} is damaged" in stderr


def test_a_table_whose_name_is_not_utf8(table, saved, tmp_path):
    """The output of the runner refuses what it cannot encode, as a terminal does."""
    named = tmp_path / os.fsdecode(b"caf\xe9.csv")
    named.write_bytes(table.read_bytes())
    readable = "caf\N{REPLACEMENT CHARACTER}"
    assert readable in run("runs", named, code=0).stdout
    run("convert", named, "-o", tmp_path / "new.csv", code=0)
    path = sb.save(renamed(saved, named), tmp_path / "fit.nc")
    assert sb.load(path).runs.name == readable
    run("report", path, "-o", tmp_path / "report.md", code=0)
    assert readable in (tmp_path / "report.md").read_text("utf-8")


def renamed(saved, path):
    """Return a fit of the runs in a file."""
    fit = sb.load(saved)
    runs = sb.read_runs(path, strict=False)
    assert runs.hash == fit.runs.hash
    return sb.Fit(fit.spec, runs, fit.stored)


CHECKED = """
import sys
import scalebayes as sb
print(sys.flags.optimize, sb.diagnose(sb.load(sys.argv[1])).table["r_hat"].max())
"""


def test_convergence_is_checked_where_docstrings_are_stripped(saved):
    """ArviZ extends the docstrings of functions, and there are none with -OO."""
    command = [sys.executable, "-OO", "-c", CHECKED, str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    level, r_hat = done.stdout.split()
    expected = sb.diagnose(sb.load(saved)).table["r_hat"].max()
    assert (level, float(r_hat)) == ("2", pytest.approx(expected))


@pytest.mark.standard
def test_an_interrupted_fit_leaves_the_good_one(tmp_path, monkeypatch):
    good = tmp_path / "fit.nc"
    command = ("fit", "pile2023", "-m", "kaplan-size", "--quick", "-o", good)
    run(*command, code=0)
    before = good.read_bytes()

    def interrupt(self, label):
        sent = []

        def update(chains):
            if not sent and sum(chain.finished_draws for chain in chains) > 4000:
                sent.append(True)
                _thread.interrupt_main()

        return update

    monkeypatch.setattr(Progress, "bar", interrupt)
    stderr = run(*command, "--force", "--draws", "300000", code=130).stderr
    partial = tmp_path / "fit-partial.nc"
    assert f"saved {partial}" in stderr
    assert f"{good} is unchanged" in stderr
    assert good.read_bytes() == before
    with pytest.warns(sb.GateWarning, match="PARTIAL"):
        assert sb.load(partial).partial


def test_force_never_replaces_a_file_that_the_command_reads(table, saved, tmp_path):
    model = tmp_path / "mine.toml"
    model.write_text("text")
    folder = tmp_path / "tables"
    folder.mkdir()
    part = folder / "part.csv"
    part.write_bytes(table.read_bytes())
    cases = {
        table: (["fit", table, "-o", table], ["convert", table, "-o", table]),
        saved: (["report", saved, "-o", saved, "--format", "html"],),
        model: (["fit", table, "-m", model, "-o", model],),
        part: (
            ["fit", folder, "-o", part],
            ["fit", folder / "*.csv", "-o", part],
            ["convert", folder, "-o", part],
        ),
    }
    for path, commands in cases.items():
        before = path.read_bytes()
        for words in commands:
            result = run(*words, "--force")
            told = re.sub(r"\s+", " ", result.stderr)
            assert "is a file that this command reads: write the result elsewhere" in told
            assert path.read_bytes() == before


def test_files_of_a_pattern_are_one_table(table, tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(table.read_bytes())
    result = run("runs", tmp_path / "?.csv", "--lenient", code=0)
    assert "2 files" in result.output
    assert "no file matches" in run("runs", tmp_path / "c*.csv").stderr
