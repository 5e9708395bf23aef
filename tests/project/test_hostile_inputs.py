"""Hostile inputs are read right or refused in one message, in bounded time; nothing is written."""

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scalebayes as sb
from scalebayes.errors import FitError, RunsError, SpecError
from tests.fixtures import report_fit
from tests.hostile import (
    delimited_files,
    edited_fits,
    json_files,
    model_files,
    sound_files,
    with_damage,
)

SECONDS = 5.0
"""Time within which every input is read or refused; all of them take milliseconds."""
BOUNDED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def read_or_refuse(folder, name, content, read, error):
    """Return what was read, or None for one message that names the file; nothing is written."""
    path = folder / name
    path.write_bytes(content)
    before = time.perf_counter()
    try:
        result = read(path)
    except error as refusal:
        message = str(refusal)
        assert path.stem in message
        assert "Traceback" not in message
        result = None
    assert time.perf_counter() - before < SECONDS
    assert [each.name for each in folder.iterdir()] == [name]
    assert path.read_bytes() == content
    path.unlink()
    return result


def assert_sound(runs):
    numbers = runs.table.select_dtypes("number")
    assert np.isfinite(numbers).all(axis=None)
    assert (numbers > 0).all(axis=None)
    assert runs.table.index.is_unique
    assert {"N", "D", "C"} & set(runs.table)


@pytest.mark.parametrize("strategy", [delimited_files, json_files])
def test_tables(tmp_path, strategy):
    @given(strategy())
    @BOUNDED
    def check(file):
        ending, content = file
        runs = read_or_refuse(tmp_path, f"table{ending}", content, sb.read_runs, RunsError)
        if runs is not None:
            assert_sound(runs)

    check()


@given(sound_files())
@BOUNDED
def test_sound_tables_are_read_as_they_are(tmp_path, file):
    table, content = file
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    try:
        runs = sb.read_runs(path)
    except RunsError as refusal:
        assert "may mark decimals or thousands" in str(refusal)  # noqa: PT017 - rare, and right
        return
    for name, values in table.items():
        assert runs.table[name].tolist() == values


@given(model_files())
@BOUNDED
def test_model_files(tmp_path, content):
    spec = read_or_refuse(tmp_path, "draft.toml", content, sb.read_model, SpecError)
    if spec is not None:
        assert spec.name == "draft"
        assert spec.describe()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return sb.save(report_fit(chains=2, draws=20), tmp_path_factory.mktemp("fits") / "small.nc")


@pytest.mark.parametrize("strategy", [with_damage, edited_fits])
def test_saved_fits(tmp_path, saved, strategy):
    fit = sb.load(saved)

    @given(st.data())
    @settings(BOUNDED, max_examples=25)
    def check(data):
        ending, content = data.draw(strategy(saved))
        loaded = read_or_refuse(tmp_path, f"fit{ending}", content, sb.load, FitError)
        if loaded is not None:
            assert loaded.stored.identical(fit.stored)
            assert (loaded.spec, loaded.runs.hash) == (fit.spec, fit.runs.hash)
            assert loaded.metadata == fit.metadata

    check()
