"""Runs that share a training: how a table says so, and tables that look like it."""

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.data.findings.trainings import (
    _are_checkpoints,
    has_shared_trainings,
    replicate_scale,
)
from tests.conftest import shared_table
from tests.fixtures import besiroglu_loss, cross, grid_runs


def checkpoints(**columns):
    """Five trainings with eight checkpoints each, at even steps of D."""
    N, D = cross(np.geomspace(1e8, 1e10, 5), 1e10 * np.arange(1, 9))
    order = np.lexsort((D, N))
    N, D = N[order], D[order]
    rng = np.random.default_rng(0)
    loss = besiroglu_loss(N, D) * np.exp(0.002 * rng.standard_normal(40))
    return pd.DataFrame({"N": N, "D": D, "loss": loss, **columns})


def codes(runs):
    return [message.code for message in sb.check_runs(runs)]


def test_checkpoints_without_a_name_are_told_how_to_name_them():
    (message,) = sb.check_runs(sb.read_runs(checkpoints(), name="checkpoints"))
    assert (message.code, message.level) == ("SHARED_TRAINING", "note")
    assert "40 of 40 rows look like checkpoints of 5 trainings" in message.text
    assert "--map training=COLUMN" in message.text


@pytest.mark.parametrize("name", ["training", "Training ID", "trajectory"])
def test_a_column_of_trainings_is_recognised(name):
    runs = sb.read_runs(checkpoints(**{name: np.repeat([*"abcde"], 8)}), name="checkpoints")
    assert "5 trainings" in repr(runs)
    assert has_shared_trainings(runs)
    assert codes(runs) == []


def test_a_column_may_be_chosen_and_counts_for_the_hash():
    table = checkpoints(seed=np.repeat(np.arange(5), 8))
    named = sb.read_runs(table, training="seed", name="checkpoints")
    assert list(named.table["training"][:9]) == ["0"] * 8 + ["1"]
    assert named.hash != sb.read_runs(table, name="checkpoints").hash


def test_a_mark_of_the_rows_to_fit_names_no_training():
    runs = sb.read_runs(checkpoints(training=np.tile([1, 0], 20)), name="marked")
    assert "training" not in runs.table
    assert not has_shared_trainings(runs)


def test_one_training_a_row_shares_nothing():
    runs = sb.read_runs(checkpoints(training=[f"t{i}" for i in range(40)]), name="apart")
    assert not has_shared_trainings(runs)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([1, 2, 3, 4, 5], True),
        ([1, 2, 5, 6, 7], True),  # two checkpoints left out
        ([1, 2, 6, 7, 8], False),
        ([1, 2, 3, 4, 5.4], False),
        ([1, 2, 3], False),
    ],
)
def test_checkpoints_are_few_steps_apart(steps, expected):
    assert _are_checkpoints(pd.Series(2e9 * np.array(steps, float))) == expected


def test_designed_grids_and_published_sweeps_are_not_taken_for_checkpoints():
    for runs in (grid_runs(), sb.load_runs("hoffmann2022"), sb.load_runs("pile2023")):
        assert "SHARED_TRAINING" not in codes(runs)


def test_gemstones_are_told_that_they_share_twenty_trainings():
    table = shared_table("gemstones2025")
    (message,) = sb.check_runs(sb.read_runs(table, name="gemstones2025"))
    assert message.code == "SHARED_TRAINING"
    assert "199 of 199 rows look like checkpoints of 20 trainings" in message.text
    shape = table["width"].astype(str) + "x" + table["depth"].astype(str)
    named = sb.read_runs(table.assign(training=shape), name="gemstones2025")
    assert "20 trainings" in repr(named)
    assert "SHARED_TRAINING" not in codes(named)


def test_seeds_show_the_noise_and_checkpoints_of_one_training_do_not():
    rng = np.random.default_rng(2)
    N = np.repeat(np.geomspace(1e8, 1e9, 4), 6)
    loss = besiroglu_loss(N, 2e10) * np.exp(0.01 * rng.standard_normal(24))
    table = pd.DataFrame({"N": N, "D": 2e10, "loss": loss})
    scale, freedom = replicate_scale(sb.read_runs(table, name="seeds"))
    by_hand = np.log(loss).reshape(4, 6).std(axis=1, ddof=1)
    assert freedom == 20
    assert scale == pytest.approx(np.sqrt(np.mean(by_hand**2)))
    assert codes(sb.read_runs(table, name="seeds")) == ["REPLICATES"]
    one = table.assign(training=np.repeat([*"abcd"], 6))
    assert replicate_scale(sb.read_runs(one, name="one training each")) is None
