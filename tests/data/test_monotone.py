"""Losses that rise with an input: planted and real cases, and tables that only look like it."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.data.findings.monotone import (
    Line,
    _second_differences,
    monotone_messages,
    rises,
)
from tests.fixtures import besiroglu_loss, cross

CASES = (
    Path(os.environ.get("SCALEBAYES_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    / "cases"
)

N = np.geomspace(1e7, 1e10, 8)
D = np.geomspace(1e9, 1e11, 5)

WIDTHS = np.array([8.0, *range(32, 513, 24)])
DESCENT = [7.2692, 4.8224, 3.9655, 3.7662, 3.8994, 4.3627, 4.7969, 5.2343, 5.3139, 5.2928, 5.1319]
DESCENT += [5.001, 4.838, 4.7141, 4.6198, 4.4848, 4.4282, 4.3336, 4.2598, 4.2069, 4.1886, 4.125]
"""Test loss against the width of a network: double descent (shared/data/cases)."""


def table(seed, noise=0.005, bump=None):
    """Runs on a grid; bump(N, D) is added to the log of the loss."""
    rng = np.random.default_rng(seed)
    n, d = cross(N, D)
    log_loss = np.log(besiroglu_loss(n, d)) + noise * rng.standard_t(4, len(n))
    if bump is not None:
        log_loss += bump(n, d)
    return sb.read_runs(pd.DataFrame({"N": n, "D": d, "loss": np.exp(log_loss)}), name="grid")


def test_double_descent_is_found_with_its_range():
    columns = pd.DataFrame({"N": WIDTHS, "loss": DESCENT})
    (message,) = sb.check_runs(sb.read_runs(columns, name="widths", own_units=True))
    assert (message.code, message.level) == ("NOT_MONOTONE", "warning")
    assert "rises with N: by 35.7% from N = 80 (run 4) to 200 (run 9)" in message.text


def test_the_file_of_double_descent_is_found_too():
    path = CASES / "15-double-descent.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    runs = sb.read_runs(path, N="n", loss="test_loss", own_units=True)
    assert [message.code for message in sb.check_runs(runs)] == ["NOT_MONOTONE"]


def test_a_rise_with_data_at_the_small_sizes_is_found_and_placed():
    def overfitted(n, d):
        return np.where(n < 2e7, 0.15 * np.log10(d / 1e9) ** 2, 0.0)

    found = rises(table(0, bump=overfitted))
    assert [rise.x for rise in found] == ["D"]
    assert found[0].held == {"N": pytest.approx(1e7)}
    assert found[0].high > 3e10  # the last run alone might be an outlier


def test_repeated_runs_show_a_rise_that_single_ones_do_not():
    rng = np.random.default_rng(4)
    sizes = np.repeat([1e7, 3e7, 1e8, 3e8], 8)
    log_loss = np.select([sizes < 2e7, sizes < 2e8], [1.0, 0.9], 0.96)
    noisy = np.exp(log_loss + 0.02 * rng.standard_normal(len(sizes)))
    runs = pd.DataFrame({"N": sizes, "loss": noisy})
    assert [rise.x for rise in rises(sb.read_runs(runs, name="seeds", strict=False))] == ["N"]
    assert rises(sb.read_runs(runs[::8], name="one seed", strict=False)) == ()


def test_distances_of_neighbours_have_the_variance_of_one_row_whatever_their_counts():
    counts = [1, 9, 1, 16, 4, 1, 25, 2]
    log_x = np.repeat(np.cumsum([0.0, 1.0, 0.5, 2.0, 1.0, 0.3, 1.0, 0.7]), counts)
    starts = np.cumsum([0, *counts[:-1]])
    line = Line(np.arange(len(log_x)), starts)
    straight_with_noise = -0.3 * log_x + np.random.default_rng(0).normal(size=(4000, len(log_x)))
    distances = _second_differences(line, log_x, straight_with_noise)
    np.testing.assert_allclose(distances.std(axis=0), 1.0, atol=0.05)  # standard error .011


def test_one_outlier_is_no_rise():
    def outlier(n, d):
        return np.where((n == N[5]) & (d == D[2]), 0.2, 0.0)

    assert rises(table(0, bump=outlier)) == ()


def test_noise_and_a_flat_loss_are_no_rise():
    """At most 1% of tables without a rise are reported, on the least favourable: constant loss."""
    reported = 0
    for seed in range(40):
        rng = np.random.default_rng([1, seed])
        n, d = cross(N[:5], D)
        loss = 3.0 * np.exp(0.01 * rng.standard_t(4, len(n)))
        runs = sb.read_runs(pd.DataFrame({"N": n, "D": d, "loss": loss}), name="flat")
        reported += bool(rises(runs))
    assert reported <= 2  # P(more than 2 of 40) is 1% at 1%


def test_published_tables_fall():
    for name in ("hoffmann2022", "pile2023"):
        assert sb.check_runs(sb.load_runs(name)) == ()


def test_inputs_that_are_not_held_make_no_line():
    rng = np.random.default_rng(0)
    sizes = np.geomspace(1e8, 1e10, 20)
    loss = besiroglu_loss(sizes, 1e20 / sizes) * np.exp(0.01 * rng.standard_normal(20))
    budget = pd.DataFrame({"N": sizes, "D": 1e20 / sizes, "loss": loss})
    assert rises(sb.read_runs(budget, name="budget")) == ()


def test_a_law_that_allows_a_rise_is_not_reproached_for_it():
    """data-limited may rise with N; a table with unique tokens is told of that law."""

    def too_large(n, _d):
        return np.where(n > 1e8, 0.4 * np.log10(n / 1e8), 0.0)

    runs = table(0, bump=too_large)
    assert [message.code for message in monotone_messages(runs)] == ["NOT_MONOTONE"]
    assert monotone_messages(runs, sb.LAWS["data-limited"].may_rise) == ()
    assert len(monotone_messages(runs, sb.LAWS["routed"].may_rise)) == 1
    limited = sb.Runs(runs.table.assign(U=1e9), "limited")
    (told,) = monotone_messages(limited)
    assert "data-limited alone allows that, as overfitting" in told.text
