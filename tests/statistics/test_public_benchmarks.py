"""benchmarks/public.py: which files it recognises, its metrics, and its scores of real curves."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from tests.conftest import shared_table

FILE = Path(__file__).parents[2] / "benchmarks" / "public.py"
AUTHORS = {
    "domain": "Domain",
    "task": "Task",
    "model": "Model",
    "examples": "Seen Examples",
    "loss": "Loss",
    "training": "Training",
}
"""Columns of the benchmark of Alabdulmohsin et al. (2022), by ours."""
DECODER = "NMT/log_perplexity/Dec-only"


@pytest.fixture(scope="module")
def public():
    spec = importlib.util.spec_from_file_location("public", FILE)
    module = sys.modules["public"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["public"]


@pytest.fixture
def grid():
    """Train and test files of N, D and loss; the second is ten times larger."""
    train = pd.DataFrame({"N": [1e8, 3e8, 1e9], "D": [2e9, 6e9, 2e10], "loss": [3.4, 3.0, 2.7]})
    return train, train.assign(N=train["N"] * 10, loss=[3.2, 2.8, 2.5])


def test_curves_are_read_in_the_layout_of_their_authors(public, tmp_path):
    ours = shared_table("one_input_curves")
    theirs = ours.drop(columns="curve").rename(columns=AUTHORS)
    theirs.to_csv(tmp_path / "benchmark.csv", index=False)
    tasks, skipped = public.find_tasks(tmp_path)
    assert skipped == []
    assert len(tasks) == ours["curve"].nunique() == 28
    assert {task.benchmark for task in tasks} == {"IC", "NMT", "LM"}
    for task in tasks:
        rows = ours[ours["curve"] == task.name]
        np.testing.assert_array_equal(task.train.D, rows.loc[rows["training"] == 1, "examples"])
        np.testing.assert_array_equal(task.held_out.loss, rows.loc[rows["training"] == 0, "loss"])


def test_a_folder_with_a_file_for_each_curve_is_read(public, tmp_path):
    rows = shared_table("one_input_curves").query("curve == @DECODER")
    for name in ("first", "second"):
        rows[["examples", "loss", "training"]].to_csv(tmp_path / f"{name}.csv", index=False)
    tasks, _ = public.find_tasks(tmp_path)
    assert [task.name for task in tasks] == ["first", "second"]
    assert {(len(task.train), len(task.held_out)) for task in tasks} == {(10, 1)}


def test_train_and_test_files_are_a_grid_and_other_files_are_skipped(public, tmp_path, grid):
    train, test = grid
    folder = tmp_path / "farseer"
    folder.mkdir()
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    train.to_csv(tmp_path / "other.csv", index=False)
    (task,), skipped = public.find_tasks(tmp_path)
    assert (task.kind, task.name) == ("grid", "farseer/train.csv")
    np.testing.assert_array_equal(task.held_out.loss, test["loss"])
    assert skipped == ["other.csv: no split was recognised"]


def test_ladders_have_marked_targets_or_predict_their_largest_size(public, tmp_path):
    shared_table("corpora2025").to_csv(tmp_path / "corpora.csv", index=False)
    ladder = shared_table("olmo_ladder2024")
    ladder.to_csv(tmp_path / "ladder.csv", index=False)
    target = pd.DataFrame({"params": [6.888e9], "tokens": [3.945e12], "loss": [2.4829]})
    target.to_csv(tmp_path / "ladder.targets.csv", index=False)
    tasks, skipped = public.find_tasks(tmp_path)
    assert skipped == []
    sizes = {task.name: (len(task.train), len(task.held_out)) for task in tasks}
    assert sizes == {"slimpajama-chunk1": (89, 1), "starcoder": (84, 1), "ladder": (24, 7)}
    olmo = tasks[-1]
    assert olmo.train.N.max() < 1.3e9
    assert olmo.held_out.N.max() == 6.888e9


def test_a_table_of_curves_with_two_inputs_is_skipped_with_a_reason(public, tmp_path):
    columns = {"steps": [1, 2], "examples": [3, 4], "loss": [0.5, 0.4], "training": [1, 0]}
    pd.DataFrame(columns).to_csv(tmp_path / "two.csv", index=False)
    tasks, (reason,) = public.find_tasks(tmp_path)
    assert tasks == []
    assert "and one input; got steps, examples, loss, training" in reason


def test_metrics_are_those_of_their_definitions(public):
    observed = np.array([1.0, 2.0, 4.0])
    median = np.array([1.0, 2.0 * np.e, 4.0])
    assert public.rmsle(median, observed) == pytest.approx(np.sqrt(1 / 3))
    assert public.relative_error(median, observed) == pytest.approx((np.e - 1) / 3)
    correlated = np.polyval([0.9, 0.2], observed)
    residual = observed - correlated
    expected = 1 - residual.var() / observed.var() - residual.mean() ** 2 / observed.var()
    assert public.r_squared(correlated, observed) == pytest.approx(expected)
    assert public.r_squared(np.full(3, observed.mean()), observed) == pytest.approx(0.0)


def test_a_real_curve_is_fitted_and_scored(public, tmp_path):
    rows = shared_table("one_input_curves").query("curve == @DECODER")
    rows.to_csv(tmp_path / "curve.csv", index=False)
    tasks, _ = public.find_tasks(tmp_path)
    metrics = public.run(tasks, [None, "kaplan-data"])
    assert metrics["model"].tolist() == ["data-drift", "kaplan-data"]
    fit = sb.fit(tasks[0].train, "kaplan-data", seed=0, **public.SAMPLER)
    forecast = float(sb.predict(fit, D=tasks[0].held_out.D)["new_run"].median())
    error = abs(np.log(forecast / tasks[0].held_out.loss[0]))
    assert metrics["rmsle"][1] == pytest.approx(error)
    ours, published = public.tables(metrics)
    assert "| NMT | kaplan-data | 1 | 1 | 1 |" in ours
    assert "NSL-PFN" in published
