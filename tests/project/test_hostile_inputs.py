"""Hostile inputs are read right or refused in one message, in bounded time; nothing is written."""

import time

import numpy as np
from hypothesis import HealthCheck, given, settings

import scalebayes as sb
from scalebayes.errors import RunsError, SpecError
from tests.hostile import delimited_files, json_files, model_files

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


@given(delimited_files())
@BOUNDED
def test_delimited_tables(tmp_path, file):
    ending, content = file
    runs = read_or_refuse(tmp_path, f"table{ending}", content, sb.read_runs, RunsError)
    if runs is not None:
        assert_sound(runs)


@given(json_files())
@BOUNDED
def test_tables_in_json(tmp_path, file):
    ending, content = file
    runs = read_or_refuse(tmp_path, f"table{ending}", content, sb.read_runs, RunsError)
    if runs is not None:
        assert_sound(runs)


@given(model_files())
@BOUNDED
def test_model_files(tmp_path, content):
    spec = read_or_refuse(tmp_path, "draft.toml", content, sb.read_model, SpecError)
    if spec is not None:
        assert spec.name == "draft"
        assert spec.describe()
