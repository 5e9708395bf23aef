"""The law of tuned runs: its valley, its units, its start, and Step Law's constants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalebayes.laws import LAWS
from scalebayes.laws.tuned import STEP_LAW, skewed_square, start_of_valley, step_law
from tests.fixtures import TUNED

LAW = LAWS["tuned"]
ADDITIVE = {name: TUNED[name] for name in LAW.at_best.parameter_names}
VALLEY = {name: value for name, value in TUNED.items() if name not in ADDITIVE}
BEST = {name: VALLEY[name] for name in ("rate_0", "rate_N", "rate_D", "batch_0", "batch_N")}
BEST["batch_D"] = VALLEY["batch_D"]

few = settings(deadline=None, max_examples=30)
offsets = st.floats(-3, 3).filter(lambda x: abs(x) > 1e-3)


@few
@given(st.floats(7, 12), st.floats(9, 14))
def test_the_bottom_is_the_law_of_tuned_runs(log_N, log_D):
    N, D = 10**log_N, 10**log_D
    best = LAW.best(N, D, **BEST)
    bottom = LAW(N, D, best["learning_rate"], best["batch"], **TUNED)
    assert bottom == pytest.approx(LAW.at_best(N, D, **ADDITIVE), rel=1e-9)
    assert LAW.at_best is LAWS["additive"]
    assert LAW.hyperparameters == ("learning_rate", "batch")


@few
@given(offsets, offsets)
def test_every_other_rate_and_batch_is_worse(u, z):
    best = LAW.best(1e9, 1e11, **BEST)
    bottom = LAW(1e9, 1e11, best["learning_rate"], best["batch"], **TUNED)
    rate, batch = best["learning_rate"] * np.exp(u), best["batch"] * np.exp(z)
    assert LAW(1e9, 1e11, rate, batch, **TUNED) > bottom


def test_the_best_rate_of_a_batch_follows_it_by_rho():
    best = LAW.best(1e9, 1e11, **BEST)
    rates = best["learning_rate"] * np.geomspace(0.2, 5, 4001)
    losses = LAW(1e9, 1e11, rates, 4 * best["batch"], **TUNED)
    found = rates[np.argmin(losses)]
    assert found / best["learning_rate"] == pytest.approx(4 ** VALLEY["rho"], rel=1e-3)


def test_too_high_a_rate_costs_more_than_one_as_much_too_low():
    assert skewed_square(1.0, 0.6) > skewed_square(-1.0, 0.6)
    np.testing.assert_allclose(skewed_square(np.array([-0.7, 0.4]), 1e-4), [0.49, 0.16], rtol=1e-4)


def test_the_constants_of_step_law_are_those_printed():
    # eta* = 1.79 N^-0.713 D^0.307, B* = 0.58 D^0.571 (arXiv:2503.04715, abstract)
    best = step_law(1e9, 1e11)
    assert best["learning_rate"] == pytest.approx(1.79 * 1e9**-0.713 * 1e11**0.307)
    assert best["batch"] == pytest.approx(0.58 * 1e11**0.571)
    # as the law's own parameters
    tenfold = {
        "rate_N": step_law(1e10, 1e11)["learning_rate"] / best["learning_rate"],
        "rate_D": step_law(1e9, 1e12)["learning_rate"] / best["learning_rate"],
        "batch_N": 1.0,
        "batch_D": step_law(1e9, 1e12)["batch"] / best["batch"],
    }
    derived = LAW.derive({**TUNED, **tenfold})
    assert {name: derived[name] for name in STEP_LAW} == pytest.approx(dict(STEP_LAW))


def grid(noise=0.0, diverged=0.0, seed=0):
    """Return logs of the inputs and of the loss of grids at six (N, D)."""
    rng = np.random.default_rng(seed)
    sizes = [(1e8, 2e9), (1e8, 1e10), (3e8, 6e9), (3e8, 3e10), (1e9, 2e10), (1e9, 8e10)]
    rows = []
    for N, D in sizes:
        best = LAW.best(N, D, **BEST)
        for rate in best["learning_rate"] * np.geomspace(0.2, 4, 7):
            batches = best["batch"] * np.geomspace(0.2, 4, 6)
            rows.extend((N, D, rate, batch) for batch in batches)
    inputs = dict(zip(LAW.inputs, np.array(rows).T, strict=True))
    log_loss = np.log(LAW.evaluate(inputs, TUNED))
    log_loss += noise * rng.standard_normal(len(log_loss))
    log_loss += np.where(rng.random(len(log_loss)) < diverged, 1.0, 0.0)
    return {x: np.log(values) for x, values in inputs.items()}, log_loss


def test_the_start_finds_the_valley_although_runs_diverged():
    log_inputs, log_loss = grid(noise=0.003, diverged=0.15)
    start = start_of_valley(log_inputs, log_loss)
    centre = {x: values.mean() for x, values in log_inputs.items()}
    best = LAW.best(np.exp(centre["N"]), np.exp(centre["D"]), **BEST)
    assert start["log_best_rate"] == pytest.approx(np.log(best["learning_rate"]), abs=0.3)
    assert start["log_best_batch"] == pytest.approx(np.log(best["batch"]), abs=0.3)
    assert start["log_rate_N"] == pytest.approx(np.log(VALLEY["rate_N"]), abs=0.6)
    assert start["log_batch_D"] == pytest.approx(np.log(VALLEY["batch_D"]), abs=0.6)


def test_without_a_valley_the_start_is_the_declared_one():
    log_inputs, log_loss = grid()
    assert start_of_valley(log_inputs, np.zeros_like(log_loss)) == {}
    few_rows = {x: values[:20] for x, values in log_inputs.items()}
    assert start_of_valley(few_rows, log_loss[:20]) == {}


def test_far_beyond_any_rate_the_loss_is_infinite_without_a_warning():
    losses = LAW(1e9, 1e11, np.array([1e-9, 1e10]), 1e6, **TUNED | {"skew": 3.0})
    assert np.isfinite(losses[0])
    assert losses[1] == np.inf
