"""The examples in the docstrings of public names run, and print what stands there.

They have the saved fits that the reference names, and outputs agree as those of the pages do.
"""

import doctest
import inspect
import re

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from docs.paste_outputs import FENCE, ROOT, agree
from tests.fixtures import tuned_fit

PUBLIC = {name: getattr(sb, name) for name in sb.__all__}
FUNCTIONS = [name for name, thing in PUBLIC.items() if inspect.isfunction(thing)]
WITH_EXAMPLE = [
    name
    for name, thing in PUBLIC.items()
    if callable(thing) and ">>>" in (inspect.getdoc(thing) or "")
]
FITS = {
    "chinchilla": ("hoffmann2022", "chinchilla"),
    "coupled": ("hoffmann2022", "coupled"),
    "pooled": ("pile2023", "chinchilla-pooled"),
}
"""The fits that examples load: file, table and model."""
SLOW = ("backtest", "forecast", "report", "sensitivity")
"""Examples that take longer than most: they fit many times, or draw every figure."""


class Checker(doctest.OutputChecker):
    def check_output(self, want, got, optionflags):
        return agree(want, got)


@pytest.fixture(scope="module")
def saved_fits(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    for file, (table, model) in FITS.items():
        sb.save(fitted(table, model), folder / f"{file}.nc")
    sb.save(tuned_fit(), folder / "tuned.nc")
    return folder


def mark(name):
    return pytest.param(name, marks=pytest.mark.slow if name in SLOW else pytest.mark.standard)


@pytest.mark.parametrize("name", [mark(name) for name in WITH_EXAMPLE])
def test_the_example_of_a_docstring_prints_what_stands_there(name, saved_fits, monkeypatch):
    monkeypatch.chdir(saved_fits)
    monkeypatch.setenv("COLUMNS", "100")
    globs = {"sb": sb, "np": np, "pd": pd}
    example = doctest.DocTestParser().get_doctest(
        inspect.getdoc(PUBLIC[name]), globs, name, None, None
    )
    told = []
    failed, tried = doctest.DocTestRunner(Checker()).run(example, out=told.append)
    assert tried > 0
    assert failed == 0, "".join(told)


def test_every_public_function_has_an_example():
    assert [name for name in FUNCTIONS if name not in WITH_EXAMPLE] == []


def test_every_function_of_plots_has_an_example_in_the_gallery():
    gallery = (ROOT / "docs" / "gallery.md").read_text()
    blocks = [block[2] for block in FENCE.finditer(gallery) if block[1] == "python"]
    drawn = set(re.findall(r"sb\.plots\.(\w+)\(", "\n".join(blocks)))
    assert set(sb.plots.__all__) - drawn == set()
