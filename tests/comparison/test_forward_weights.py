"""Forward weights: each larger run is scored once, and the weights are the best mixture."""

import itertools

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.cli.inputs import parse_weights
from scalebayes.comparison.forward_weights import SAMPLER, best_weights, next_blocks
from scalebayes.queries.predictive_density import log_predictive_density


def test_blocks_score_every_larger_run_once_and_leak_nothing():
    runs = sb.load_runs("hoffmann2022")
    blocks = next_blocks(runs)
    assert len(blocks) == 5
    scored = []
    for block in blocks:
        assert block.train.C.max() < block.held_out.C.min()
        scored += list(block.held_out.table.index)
    assert len(scored) == len(set(scored))
    assert set(scored) == set(runs.table.index) - set(blocks[0].train.table.index)


def test_two_models_get_the_weights_of_the_closed_form():
    """Three runs of densities .9 and .1, one of .1 and .9: the derivative is zero at w = .8125."""
    densities = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]])
    assert best_weights(np.log(densities)) == pytest.approx([0.8125, 0.1875], abs=1e-5)
    # A constant a run, such as that of another unit of the loss, changes nothing.
    shifted = np.log(densities) + np.array([[-4000.0], [3.0], [0.0], [900.0]])
    assert best_weights(shifted) == pytest.approx([0.8125, 0.1875], abs=1e-5)


def test_three_models_get_the_best_weights_of_a_grid():
    rng = np.random.default_rng(0)
    log_densities = rng.normal(0, 1, (30, 3))
    shares = np.arange(0, 1.001, 0.01)
    grid = [(a, b, 1 - a - b) for a, b in itertools.product(shares, shares) if a + b <= 1]
    scores = np.log(np.exp(log_densities) @ np.array(grid).T).mean(axis=0)
    found = best_weights(log_densities)
    assert found == pytest.approx(grid[int(scores.argmax())], abs=0.02)
    assert np.log(np.exp(log_densities) @ found).mean() >= scores.max()


def test_a_model_that_is_always_better_gets_all_weight():
    log_densities = np.log([[0.9, 0.2, 0.1]] * 5)
    assert best_weights(log_densities) == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)


@pytest.fixture(scope="module")
def fits():
    runs = sb.load_runs("pile2023")
    options = {"draws": 200, "chains": 2, "progress": False}
    return {name: sb.fit(runs, name, **options) for name in ("chinchilla", "kaplan")}


def test_forward_weights_are_those_of_refits_to_the_smaller_runs(fits):
    average = sb.average(fits, "forward", seed=3, progress=False)
    rows = []
    for block in next_blocks(fits["kaplan"].runs):
        columns = []
        for name in fits:
            refit = sb.fit(block.train, name, seed=3, progress=False, **SAMPLER)
            columns.append(log_predictive_density(refit, block.held_out, seed=3))
        rows.append(np.column_stack(columns))
    expected = best_weights(np.concatenate(rows))
    assert [*average.weights.values()] == pytest.approx(expected)
    assert sb.predict(average, N="70B", D="1.4T")["loss"].notnull().all()


def test_one_fit_gets_all_weight_without_refits(fits):
    assert sb.average([fits["kaplan"]], "forward").weights == {"kaplan": 1.0}


def test_runs_that_cannot_be_split_are_refused(fits):
    few = sb.Runs(fits["kaplan"].runs.table.iloc[:8], "eight")
    refits = {name: sb.Fit(one.spec, few, one.stored) for name, one in fits.items()}
    with pytest.raises(sb.RunsError, match=r"eight \(8 runs\) cannot be backtested"):
        sb.average(refits, "forward")


def test_runs_without_compute_are_refused():
    table = pd.DataFrame({"D": np.geomspace(1e9, 1e11, 15), "loss": np.linspace(3, 2, 15)})
    with pytest.raises(sb.RunsError, match="has no C"):
        next_blocks(sb.read_runs(table, name="tokens"))


def test_the_command_line_takes_the_rule_by_its_name():
    assert parse_weights("forward") == "forward"
