"""What a page says to make it again makes it again, word for word."""

import html
import re
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.data.reading import Reading
from scalebayes.reports.commands import Question, remaking
from tests.fixtures import besiroglu_loss, pooled_fit, report_fit, report_runs


def made_again(page):
    """The text on a page that makes it again, and its language."""
    text = page.read_text("utf-8")
    label = "To make this report again"
    found = re.search(rf'<pre [^>]*aria-label="{label}(, in Python)?">(.*?)</pre>', text, re.DOTALL)
    return html.unescape(found[2]), "Python" if found[1] else "commands"


def table_of_columns():
    """Runs in a table with names, units and a gap of its own."""
    N = np.tile(np.geomspace(1e8, 1e10, 6), 4)
    D = np.repeat(np.geomspace(1e10, 3e11, 4), 6)
    noise = np.exp(0.005 * np.random.default_rng(4).standard_normal(24))
    bits = besiroglu_loss(N, D) * noise / np.log(2)
    table = pd.DataFrame({"size": N, "read (B)": D / 1e9, "bits": bits})
    table.loc[24] = [2e9, 50.0, np.nan]
    return table


def run(command):
    """Run a command of the command line in this process."""
    words = shlex.split(command)
    assert words[0] == "scalebayes"
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, result.output


@pytest.mark.standard
def test_the_commands_of_a_page_make_the_same_page(tmp_path, monkeypatch):
    first, fresh = tmp_path / "first", tmp_path / "fresh"
    for folder in (first, fresh):
        folder.mkdir()
    table_of_columns().to_csv(first / "my runs.csv", index=False)
    monkeypatch.chdir(first)
    run(
        "scalebayes fit 'my runs.csv' -m chinchilla --map N=size --map 'D=read (B)' "
        "--map loss=bits --scale 'read (B)=1e9' --loss-unit bits --skip-incomplete --seed 3 "
        "--draws 900 --tune 700 --quick -o mine.nc"
    )
    run(
        "scalebayes report mine.nc --C 1.23456789e23 --ci-prob 0.8 --price 2.5 "
        "--flop-per-second 4e14 --utilisation 0.5 --currency EUR -o page.html"
    )
    text, language = made_again(first / "page.html")
    assert language == "commands"

    shutil.copy(first / "my runs.csv", fresh)
    monkeypatch.chdir(fresh)
    for command in text.splitlines():
        run(command)
    assert (fresh / "report.html").read_bytes() == (first / "page.html").read_bytes()


@pytest.mark.standard
def test_the_lines_of_python_of_a_page_make_the_same_page(tmp_path, monkeypatch):
    table = table_of_columns().dropna()
    scale = {"read (B)": 1e9}
    runs = sb.read_runs(table, N="size", D="read (B)", loss="bits", loss_unit="bits", scale=scale)
    fit = sb.fit(runs, "chinchilla", seed=3, target_accept=0.97)
    price = sb.Price(2.0, "4e14", currency="EUR ")
    page = sb.report(fit, tmp_path / "page.html", N=[7e9, 7e10], D="1.4T", price=price)
    text, language = made_again(page)
    assert language == "Python"

    monkeypatch.chdir(tmp_path)
    exec(text, {"table": table})
    assert (tmp_path / "report.html").read_bytes() == page.read_bytes()


def test_a_saved_fit_records_how_its_table_was_read(tmp_path):
    runs = sb.load_runs("hoffmann2022", keep_outliers=True)
    fit = report_fit(runs=runs, draws=20)
    sb.save(fit, tmp_path / "fit.nc")
    loaded = sb.load(tmp_path / "fit.nc")
    assert loaded.runs.reading == runs.reading
    again = remaking(loaded, {"a": loaded}, Question())
    assert again.text.startswith("scalebayes fit hoffmann2022 --keep-outliers -m chinchilla")
    assert again.remarks == ()


def test_what_is_not_known_of_a_table_is_said():
    fit = report_fit(draws=20)
    (remark,) = remaking(fit, {"a": fit}, Question()).remarks
    assert remark.startswith("This fit does not record how its table was read")
    runs = sb.load_runs("hoffmann2022")
    part = report_fit(runs=replace(runs, table=runs.table.iloc[::2]), draws=20)
    (remark,) = remaking(part, {"a": part}, Question()).remarks
    assert remark.startswith("The runs were changed or selected after they were read")


def test_an_average_is_made_again_with_its_weights():
    runs = sb.load_runs("hoffmann2022")
    fits = {"sum": report_fit(runs=runs, draws=20), "kappa": report_fit("coupled", runs, draws=20)}
    mixed = sb.average(fits, weights={"sum": 3.0, "kappa": 1.0})
    again = remaking(mixed, fits, Question({"C": np.array([1e23, 2e23])}))
    assert again.language == "Python"
    assert 'runs = sb.load_runs("hoffmann2022")' in again.text
    assert 'sb.average(fits, weights={"sum": 0.75, "kappa": 0.25})' in again.text
    assert 'sb.report(subject, "report.html", C=[1e+23, 2e+23])' in again.text


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({"N": "size", "training": "chain"}, "--map N=size --map training=chain"),
        ({"strict": False, "own_units": True}, "--lenient --own-units"),
        ({"scale": {"D (B)": 1e9}, "sep": ";"}, "--scale 'D (B)=1e+09' --sep ';'"),
        ({"tokens_per_byte": 0.25, "metric": "bits"}, "--tokens-per-byte 0.25 --metric bits"),
    ],
)
def test_arguments_of_a_reading_become_options(arguments, options):
    runs = report_runs()
    reading = Reading("read_runs", "t.csv", arguments, runs.hash)
    fit = report_fit(runs=replace(runs, reading=reading), draws=20)
    again = remaking(fit, {"a": fit}, Question())
    assert again.text.startswith(f"scalebayes fit t.csv {options} -m chinchilla")


def test_a_name_of_a_table_has_no_option_so_python_makes_it_again():
    runs = report_runs()
    reading = Reading("read_runs", "t.csv", {"name": "mine"}, runs.hash)
    fit = report_fit(runs=replace(runs, reading=reading), draws=20)
    again = remaking(fit, {"a": fit}, Question())
    assert again.language == "Python"
    assert 'runs = sb.read_runs("t.csv", name="mine")' in again.text


def test_a_new_group_is_drawn_again_with_its_seed():
    pooled = pooled_fit(sb.load_runs("pile2023"), seed=0)
    for seed, written in ((0, "))"), (5, "), seed=5)")):
        view = sb.new_group(pooled, seed=seed)
        again = remaking(view, {"new": view}, Question())
        (line,) = [line for line in again.text.splitlines() if line.startswith("subject = ")]
        assert line.startswith("subject = sb.new_group(sb.fit(runs, ")
        assert line.endswith(written)
