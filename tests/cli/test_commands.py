"""The command line as a shell sees it: streams, exit codes, JSON, and existing files kept."""

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.cli.app import OLD_NAMES, REGISTRY, one_message
from scalebayes.cli.bundles import expand
from scalebayes.cli.options import option
from scalebayes.errors import warn_of_fallback
from tests.fixtures import report_fit

SCALEBAYES = [sys.executable, "-m", "scalebayes"]


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def shell(*arguments, cwd=None):
    """Run a command in a process of its own: what it says, and the modules it imported."""
    code = (
        "import sys, atexit, scalebayes.cli; "
        "atexit.register(lambda: print(*sys.modules)); scalebayes.cli.main()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    *said, modules = done.stdout.splitlines()
    return "\n".join([*said, done.stderr]), set(modules.split())


@pytest.fixture(scope="module")
def saved(tmp_path_factory, fitted):
    return sb.save(
        fitted("hoffmann2022", "chinchilla"), tmp_path_factory.mktemp("fits") / "chinchilla.nc"
    )


@pytest.mark.parametrize(
    ("words", "workers"),
    [
        ((), 1),
        (("--workers", "2"), 2),
        (("--scheduler", "tcp://host:8786"), "tcp://host:8786"),
    ],
)
def test_many_fits_go_to_local_workers_or_to_a_scheduler(monkeypatch, tmp_path, words, workers):
    asked = []

    def fit_many(jobs, folder, **options):
        asked.append(options["workers"])
        raise sb.FitError("nothing is fitted here")

    monkeypatch.setattr(sb, "fit_many", fit_many)
    result = run("fit-many", "pile2023", "-o", tmp_path, *words, code=1)
    assert "nothing is fitted here" in result.stderr
    assert asked == [workers]


def test_local_workers_and_a_scheduler_exclude_each_other(tmp_path):
    words = ("--workers", "2", "--scheduler", "tcp://host:8786")
    result = run("fit-many", "pile2023", "-o", tmp_path, *words, code=2)
    assert "give one: a scheduler has its own workers" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--accuracy", "arc", "--accuracy", "piqa"), [0.4, 0.5]),
        (("--error", "wrong"), [0.9, 0.8]),
        (("--accuracy", "points", "--percent"), [0.7, 0.6]),
    ],
)
def test_scores_are_read_from_the_columns_that_are_named(monkeypatch, tmp_path, words, expected):
    columns = ["nll,arc,piqa,wrong,points", "3.0,0.3,0.5,0.1,70", "2.0,0.4,0.6,0.2,60"]
    (tmp_path / "scores.csv").write_text("\n".join(columns))
    tables = []

    def fit(table, model, seed):
        tables.append(table)
        raise sb.FitError("nothing is fitted here")

    monkeypatch.setattr(sb, "fit", fit)
    run("fit-scores", tmp_path / "scores.csv", "--loss", "nll", *words, code=1)
    assert tables[0].table["accuracy"].tolist() == pytest.approx(expected)
    assert tables[0].table["loss"].tolist() == [3.0, 2.0]


@pytest.mark.parametrize(
    ("ratio", "code", "said"),
    [
        ("0.25", 0, "over tokens per byte (0.25)"),
        ("four", 2, "Invalid value for '--tokens-per-byte'"),
        ("1K", 2, "Invalid value for '--tokens-per-byte'"),
    ],
)
def test_tokens_per_byte_are_read_before_and_by_typer(tmp_path, ratio, code, said):
    rows = ["N,D,loss", "1e8,1e9,1.1", "2e8,4e9,1.0", "3e8,3e9,.98", "4e8,2e10,.9", "1e9,2e9,.97"]
    (tmp_path / "bytes.csv").write_text("\n".join(rows))
    words = ("--loss-unit", "bits_per_byte", "--tokens-per-byte", ratio)
    result = run("runs", tmp_path / "bytes.csv", *words, code=code)
    assert said in result.output


def test_a_fallback_is_one_note_on_stderr(capsys):
    with one_message():
        for text in ("slower, because a", "slower, because a", "slower, because b"):
            warn_of_fallback(text)
    assert capsys.readouterr() == ("", "note: slower, because a\nnote: slower, because b\n")
    with pytest.warns(sb.FallbackWarning, match="because a"):  # afterwards it is a warning again
        warn_of_fallback("slower, because a")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("summary",), "--ci-prob"),
        (("predict", "--N", "1B", "--D", "20B"), "--ci-prob"),
        (("decide", "--C", "1e24"), "--prob"),
    ],
)
def test_a_percentage_in_place_of_a_probability_is_wrong_usage_with_a_hint(
    command, option, tmp_path
):
    path = sb.save(report_fit(chains=2, draws=25), tmp_path / "fit.nc")
    name, *others = command
    said = " ".join(run(name, path, *others, option, "90", code=2).stderr.split())
    assert f"'{option}'" in said
    assert "must lie between 0 and 1; got 90.0 (did you mean 0.9?)" in said


def test_models_are_listed_and_shown():
    assert "Additive law of Hoffmann et al. (2022)" in run("models").stdout
    shown = run("models", "chinchilla").stdout
    assert "term of N at the centre over the typical loss" in shown
    assert "Besiroglu et al. 2024" in shown
    assert "chinchilla" in [row["model"] for row in json.loads(run("models", "--json").stdout)]
    assert json.loads(run("models", "kaplan", "--json").stdout)["law"] == "kaplan"


def test_runs_are_listed_and_checked(tmp_path):
    assert "hoffmann2022" in run("runs").stdout
    file = tmp_path / "sweep.csv"
    file.write_text("size,seen,final\n70M,1.4B,3.3\n160M,3.2B,2.9\n")
    result = run("runs", file, "--map", "N=size", "--map", "D=seen", "--map", "loss=final")
    assert "2 runs" in result.stdout
    assert "6 N D" in result.stderr
    assert json.loads(run("runs", "pile2023", "--json").stdout)[0]["loss"] == 2.608


def test_faults_of_a_file_are_one_message_without_a_trace(tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("N,D,loss\n70M,1.4B,3.3\n-1,x,2.9\n1B,,40\n")
    result = run("fit", file, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    for row, column in ((2, "N"), (2, "D"), (3, "D"), (3, "loss")):
        assert re.search(rf"row {row} +{column} ", result.stderr), result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fit", "hofmann2022"], 1, "did you mean 'hoffmann2022'"),
        (["fit", "pile2023", "--model", "chinchila"], 1, "did you mean 'chinchilla'"),
        (["fit", "pile2023", "--map", "X=1"], 2, "ROLE=COLUMN"),
        (["fit"], 2, "Missing argument"),
        (["fit", "pile2023", "--lenient"], 2, "read as it is"),
        (
            ["fit", "pile2023", "-o", "nowhere/fit.nc"],
            1,
            "cannot write nowhere/fit.nc: no such folder",
        ),
        (["predict", "missing.nc", "--N", "70B", "--D", "1T"], 1, "no saved fit at missing.nc"),
        (["frontier", "missing.nc"], 2, "--C"),
        (["demo", "--out", "/dev/null/x"], 1, "/dev/null/x"),
    ],
)
def test_errors_and_wrong_usage(arguments, code, words):
    result = run(*arguments, code=code)
    assert result.stdout == ""
    assert words in re.sub(r"[│\s]+", " ", result.stderr)


def test_what_was_refused_is_not_suggested_and_usage_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fit.nc").mkdir()
    Path("bad.csv").write_text("N,D,loss\n70M,1.4B,-1\n")
    assert run("summary", "fit.nc", code=1).stderr == "error: fit.nc is a folder, not a saved fit\n"
    assert "--keep-outliers" in run("runs", "bad.csv", "--keep-outliers", code=2).stderr


def test_without_a_command_it_says_what_to_do_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    empty = run().stdout
    assert "scalebayes demo" in empty
    assert "scalebayes fit runs.csv -o runs.nc" in empty
    (tmp_path / "my runs.csv").touch()
    (tmp_path / "old.nc").touch()
    os.utime(tmp_path / "old.nc", (0, 0))
    (tmp_path / "it's.nc").touch()
    found = run().stdout
    assert "scalebayes fit 'my runs.csv' -o 'my runs.nc'" in found
    assert "Ask a fit (it's.nc, old.nc in this folder)" in found
    assert f"scalebayes summary {shlex.quote("it's.nc")}" in found
    assert "demo" not in found
    for text in (empty, found):
        lines = text.splitlines()
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 80
        commands = [
            shlex.split(line.split("  ")[1]) for line in lines if line.startswith("  scalebayes ")
        ]
        assert len(commands) >= 5
        for _, name, *arguments in commands:
            typer.main.get_command(app).commands[name].make_context(name, [*arguments])


TYPICAL = {
    "no such table": ["fit", "hofmann2022"],
    "no such file": ["fit", "missing.csv"],
    "an empty file": ["fit", "empty.csv"],
    "no columns": ["fit", "columns.csv"],
    "many bad cells": ["fit", "cells.csv"],
    "a perplexity": ["fit", "perplexity.csv"],
    "too few runs": ["fit", "few.csv"],
    "no such model": ["fit", "pile2023", "-m", "chincila"],
    "a faulty model": ["fit", "pile2023", "-m", "faulty.toml"],
    "not a fit": ["predict", "few.csv", "--N", "1B", "--D", "1T"],
    "no backtest": ["backtest", "few.csv"],
    "wrong usage": ["fit", "pile2023", "--map", "N=size"],
    "a missing option": ["reach", "few.csv"],
}


@pytest.mark.parametrize("arguments", TYPICAL.values(), ids=TYPICAL)
def test_an_error_fits_on_one_screen(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    cells = [f"r{i},{'x' if i % 2 else 7}M,1.4B,{3 + i / 100 if i % 3 else 45}" for i in range(60)]
    files = {
        "empty.csv": "",
        "columns.csv": "a,b,c\n1,2,3\n2,3,4\n",
        "cells.csv": "\n".join(["name,N,D,loss", *cells]),
        "perplexity.csv": "\n".join(["N,D,loss", *(f"{i}0M,{i}B,{30 - i}" for i in range(1, 12))]),
        "few.csv": "N,D,loss\n70M,1.4B,3.3\n160M,3.2B,2.9\n",
        "faulty.toml": (
            "law = 'aditive'\\nnoise = 'no'\\npriors.L_inf = {dist = 'Gama', reason = ''}\\n"
        ),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code in (1, 2)
    assert done.stdout == ""
    assert "rror" in done.stderr
    assert "Traceback" not in done.stderr
    assert sum(max(1, -(-len(line) // 80)) for line in done.stderr.splitlines()) <= 24


@pytest.mark.standard
def test_predict_and_frontier_print_the_python_answer(saved):
    text = run("predict", saved, "--N", "70B", "--D", "1.4T", "--D", "15T").stdout
    assert "90% equal-tailed" in text
    assert re.search(r"70B +1\.4T +5\.88e23 +1\.66 decades +1\.9\d\d \[1\.9\d\d, 1\.9\d\d\] ", text)
    rows = json.loads(run("predict", saved, "--N", "70B", "--D", "15T", "--json").stdout)["rows"]
    ours = sb.intervals(sb.predict(sb.load(saved), N="70B", D="15T")).reset_index()
    assert [r["quantity"] for r in rows] == ["loss", "new_run"]
    assert rows[0]["median"] == pytest.approx(ours["median"][0], rel=1e-12)
    answer = json.loads(run("frontier", saved, "--C", "1e24", "--ci-prob", "0.5", "--json").stdout)
    assert (answer["ci_prob"], answer["ci_kind"]) == (0.5, "eti")
    assert set(answer["rows"][0]) == {
        "C",
        "quantity",
        "median",
        "eti50_lb",
        "eti50_ub",
        "decades_beyond",
        "mcse_median",
        "mcse_eti50_lb",
        "mcse_eti50_ub",
    }


@pytest.mark.standard
def test_wrong_questions_are_answered_in_words(saved):
    assert "any two of N, D and C; got N" in run("predict", saved, "--N", "70B", code=1).stderr
    assert "is not a quantity" in run("frontier", saved, "--C", "lots", code=1).stderr


@pytest.mark.standard
def test_fit_saves_summarises_and_does_not_overwrite(tmp_path):
    path = tmp_path / "fit.nc"
    result = run("fit", "pile2023", "-m", "chinchilla", "-o", path)
    assert "Convergence checks passed" in result.stdout
    assert "saved" in result.stderr
    assert (
        "exists; --force replaces it"
        in run("fit", "pile2023", "-m", "chinchilla", "-o", path, code=1).stderr
    )
    run("fit", "pile2023", "-m", "chinchilla", "-o", path, "--force", "--seed", "1")
    assert sb.load(path).metadata["seed"] == 1
    answer = json.loads(run("summary", path, "--json").stdout)
    assert answer["gate_ok"] is True
    assert [row["parameter"] for row in answer["rows"]][:2] == ["L_inf", "N_c"]
    assert answer["rows"][0]["Besiroglu et al. 2024"] == pytest.approx(1.8172)


@pytest.mark.standard
def test_failed_gate_is_exit_code_3_everywhere(tmp_path):
    path = tmp_path / "fit.nc"
    run("fit", "pile2023", "-m", "chinchilla", "-o", path, "--draws", "5", "--tune", "20", code=3)
    assert "FAILED" in run("summary", path, code=3).stdout
    assert (
        "failed the convergence checks"
        in run("predict", path, "--N", "1B", "--D", "20B", code=3).stderr
    )


@pytest.mark.standard
def test_interrupt_is_exit_code_130_and_no_trace(tmp_path):
    command = [
        *SCALEBAYES,
        "fit",
        "hoffmann2022",
        "-m",
        "chinchilla",
        "--draws",
        "500000",
        "-o",
        str(tmp_path / "f.nc"),
    ]
    # A job in the background ignores interrupts unless it sets the handler anew.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **heeding
    ) as process:
        process.stderr.readline()  # the first note: the table is read, compiling begins
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors


INTERRUPTED_IMPORT = """
import sys
import scalebayes.cli

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "pandas":
            exec("import signal; signal.raise_signal(signal.SIGINT)")

sys.meta_path.insert(0, Interrupt())
sys.argv = ["scalebayes", "runs", "hoffmann2022"]
scalebayes.cli.main()
"""


def test_an_interrupt_of_an_import_is_exit_code_130_too(tmp_path):
    """``python -m`` would end itself by SIGINT for an interrupt that passed through `exec`."""
    (tmp_path / "interrupted_import.py").write_text(INTERRUPTED_IMPORT)
    command = [sys.executable, "-m", "interrupted_import"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--help"], "Usage"),
        (["fit", "missing.csv"], "no such file"),
        (["predict", "missing.nc", "--N", "1B", "--D", "1T"], "no saved fit at missing.nc"),
        (["fit", "columns.csv", "--map", "N=size"], "only size, seen"),
        (["fit", "-o", "x.nc", "cells.csv", "--lenient"], "row 1  loss  got abc"),
    ],
)
def test_help_and_refusals_import_little(arguments, says, tmp_path):
    (tmp_path / "columns.csv").write_text("size,seen\n1e9,1e10\n")
    (tmp_path / "cells.csv").write_text("N,D,loss\n1e9,1e10,abc\n")
    done, imported = shell(*arguments, cwd=tmp_path)
    assert says in done
    assert imported.isdisjoint({"numpy", "pandas", "pydantic", "pymc", "rich"})


def test_a_prediction_imports_no_sampler_and_no_figures(saved):
    done, imported = shell("predict", saved, "--N", "70B", "--D", "1.4T")
    assert "new run" in done
    assert imported.isdisjoint(
        {"pymc", "pytensor", "nutpie", "numba", "matplotlib", "scalebayes.fitting.fit"}
    )


def test_the_version_is_printed():
    assert run("--version").stdout.strip() == sb.__version__


def test_a_file_is_looked_at_only_by_a_command_that_would_run(tmp_path):
    gone = tmp_path / "gone.csv"
    assert "Fit a scaling law" in run("fit", gone, "--help").stdout
    assert "No such option" in run("fit", gone, "--bogus", code=2).stderr
    gone.write_text("N,D,loss\n1e9,1e10,abc\n")
    assert "ROLE=COLUMN" in run("fit", gone, "--map", "X=1", code=2).stderr


def test_help_lists_every_command_under_its_heading_with_its_whole_sentence():
    text = " ".join(run("--help").stdout.split())
    sections = REGISTRY.sections
    at = [text.index(f"{heading}:") for heading in sections]
    assert at == sorted(at)
    assert next(iter(sections)) == "Most used"
    assert len(sections["Most used"]) == 12
    assert sorted(name for names in sections.values() for name in names) == sorted(REGISTRY)
    assert "fit Fit a scaling law to a table of runs; print its posterior, a forecast" in text
    assert (
        "Decisions: probability Probability that the loss is at most a target, given any two of "
        "N, D and C." in text
    )
    assert all(f" {name} " in text for name in REGISTRY)


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_an_old_name_of_a_command_works_and_is_not_listed(old, new):
    listed = [line.split()[0] for line in run("--help").stdout.splitlines() if line.strip()]
    assert new in listed
    assert old not in listed
    assert run(old, "--help").stdout == run(new, "--help").stdout
    assert (
        run(old, "--no-such-option", code=2).stderr == run(new, "--no-such-option", code=2).stderr
    )


def test_commands_and_functions_bear_the_same_names():
    unlike = {"demo", "kaplan-or-chinchilla", "runs", "models", "convert", "fit-scores"}
    for name in REGISTRY:
        assert hasattr(sb, name.replace("-", "_")) or name in unlike, name
    assert sb.chance is sb.probability


def test_bundles_of_options_become_options_in_their_place_and_come_back_whole():
    @dataclass(frozen=True)
    class Where:
        N: int = option("--N SIZE", "Size.")
        D: int = option("--D TOKENS", "Tokens.", 2)

    seen = []

    def ask(*, first: int = 1, where: Where, last: bool = False) -> None:
        seen.append((first, where, last))

    expanded = expand(ask)
    assert list(inspect.signature(expanded).parameters) == ["first", "N", "D", "last"]
    expanded(first=3, N=4, D=5, last=True)
    assert seen == [(3, Where(4, 5), True)]

    def twice(*, D: int = 1, where: Where) -> None:
        """Have one option twice."""

    with pytest.raises(TypeError, match="an option twice"):
        expand(twice)


def test_a_command_that_is_none_is_told_and_one_like_it():
    result = run("predcit", code=2)
    assert "No such command 'predcit'. Did you mean 'predict'?" in result.stderr


def test_the_module_is_the_command():
    out = subprocess.run(
        [sys.executable, "-m", "scalebayes", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == sb.__version__


def test_help_names_values_in_words_and_not_by_types_of_python():
    group = typer.main.get_command(app)
    for name in group.list_commands(None):
        help_text = CliRunner().invoke(app, [name, "--help"]).stdout
        assert not re.search(r"<(list|path|str|int|float)", help_text), name
