"""The seed of every query reaches all that it draws: the same again, and other numbers for another.

The discrepancy is integrated out, so that its values at the runs are drawn by the query too.
"""

import numpy as np
import pytest

import scalebayes as sb
from tests.fixtures import INTEGRATED, report_fit, report_runs

RUN = {"N": 1e11, "D": 2e12}
QUERIES = {
    "predict": (lambda fit, seed: sb.predict(fit, **RUN, seed=seed), ["loss", "new_run"]),
    "frontier": (lambda fit, seed: sb.frontier(fit, C=1e24, seed=seed), ["N", "D", "loss"]),
    "reach": (lambda fit, seed: sb.reach(fit, loss=2.1, seed=seed), ["C"]),
    "isoloss": (lambda fit, seed: sb.isoloss(fit, N=5e10, like=RUN, seed=seed), ["D"]),
    "decide": (lambda fit, seed: sb.decide(fit, C=1e24, seed=seed), ["N", "loss", "excess_loss"]),
    "near_optimum": (lambda fit, seed: sb.near_optimum(fit, C=1e24, seed=seed), ["N", "N_lower"]),
    "probability": (
        lambda fit, seed: sb.probability(fit, loss=2.1, **RUN, seed=seed),
        ["margin"],
    ),
    "probability of a budget": (
        lambda fit, seed: sb.probability(fit, loss=2.1, C=1e24, seed=seed),
        ["margin"],
    ),
    "prefer": (
        lambda fit, seed: sb.prefer(fit, a=RUN, b={"N": 2e11, "D": 1e12}, seed=seed),
        ["gain", "gain_new_run"],
    ),
    "regret": (
        lambda fit, seed: sb.regret(fit, **RUN, seed=seed),
        ["excess_loss", "compute_factor", "data_ratio"],
    ),
    "overtrain": (
        lambda fit, seed: sb.overtrain(fit, **RUN, seed=seed),
        ["loss", "next_tenfold", "excess_loss", "compute_factor", "data_ratio"],
    ),
    "returns": (lambda fit, seed: sb.returns(fit, **RUN, seed=seed), ["gain_N", "gain_D"]),
    "contrast": (
        lambda fit, seed: sb.contrast({"a": fit, "b": other_recipe(fit)}, **RUN, seed=seed),
        ["loss", "difference"],
    ),
}


def other_recipe(fit):
    """A fit of another table without a discrepancy."""
    return report_fit("chinchilla", sb.Runs(fit.runs.table[1:], "b"), draws=50)


@pytest.fixture(scope="module")
def fit():
    return report_fit(INTEGRATED, report_runs(), draws=50)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_repeats_by_its_seed_in_all_that_it_draws(fit, name):
    query, drawn = QUERIES[name]
    first, again, other = query(fit, 1), query(fit, 1), query(fit, 2)
    for variable in drawn:
        np.testing.assert_array_equal(first[variable], again[variable])
        differs = ~np.isclose(first[variable].values, other[variable].values, rtol=1e-9, atol=0)
        assert differs.mean() >= 0.5, variable  # the baseline of a contrast has no difference


def test_losses_within_one_answer_have_one_seed(fit):
    """The loss beside the excess loss is that of `predict` with the same seed."""
    for seed in (1, 2):
        expected = sb.predict(fit, **RUN, seed=seed, new_run=False)
        found = sb.overtrain(fit, **RUN, seed=seed)
        for name in ("loss", "law"):
            np.testing.assert_array_equal(found[name], expected[name])
        regret = sb.regret(fit, **RUN, seed=seed)
        for name in ("excess_loss", "compute_factor", "data_ratio"):
            np.testing.assert_array_equal(found[name], regret[name])
        near, best = (query(fit, C=1e24, seed=seed) for query in (sb.near_optimum, sb.frontier))
        np.testing.assert_array_equal(near["N"], best["N"])
