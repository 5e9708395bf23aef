"""Optimal sizes are searched once, shared by queries, and kept apart by draws, cost and fit."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.queries.inputs import Budgets, Targets, read_question
from scalebayes.queries.optima import frontier_path, kept_optima
from tests.fixtures import INTEGRATED, draws_around, fit_of, grid_runs

RUNS = grid_runs()


def made(model="chinchilla", seed=1):
    return fit_of(model, RUNS, **draws_around(model, (2, 150), seed))


@pytest.fixture
def searches(monkeypatch):
    """Budgets of each search for optima, in order."""
    found = []
    search = kept_optima.optimal_sizes

    def counted(curve, budgets, cost, *others):
        found.append(np.asarray(budgets).tolist())
        return search(curve, budgets, cost, *others)

    monkeypatch.setattr(kept_optima, "optimal_sizes", counted)
    monkeypatch.setattr(frontier_path, "optimal_sizes", counted)
    return found


@pytest.mark.parametrize("model", ["chinchilla", "chinchilla-discrepancy", "coupled"])
def test_a_decision_searches_three_times(model, searches):
    sb.decide(made(model), C=1e23)
    assert 1 <= len(searches) <= 3


def test_an_average_searches_three_times_a_fit(searches):
    both = sb.average([made("chinchilla"), made("coupled")])
    sb.decide(both, C=1e23)
    assert len(searches) <= 6


def test_the_same_question_is_searched_once(searches):
    fit = made("chinchilla-discrepancy")
    first = sb.frontier(fit, C=[1e22, 1e24])
    again = sb.frontier(fit, C=["1e22", "1e24"])
    assert len(searches) == 1
    assert first.identical(again)


def test_an_answer_that_is_changed_does_not_change_the_next():
    fit = made()
    first = sb.frontier(fit, C=1e22)
    before = first["N"].values.copy()
    first["N"].values[:] = 1.0
    np.testing.assert_array_equal(sb.frontier(fit, C=1e22)["N"].values, before)


@pytest.mark.parametrize(
    "other",
    [{"C": 1e23}, {"C": 1e22, "cost": sb.with_inference("1T")}],
)
def test_another_question_is_searched_anew(other, searches):
    fit = made("chinchilla-discrepancy")
    sb.frontier(fit, C=1e22)
    sb.frontier(fit, **other)
    assert len(searches) == 2


def test_another_seed_is_answered_as_by_a_fit_that_was_never_asked():
    fit = made(INTEGRATED)
    first = sb.frontier(fit, C=1e22)
    second = sb.frontier(fit, C=1e22, seed=1)
    assert not np.allclose(first["N"], second["N"], rtol=1e-12)
    fresh = replace(fit)
    assert second.identical(sb.frontier(fresh, C=1e22, seed=1))


def test_draws_that_were_changed_in_place_are_searched_anew(searches):
    fit = made()
    before = sb.frontier(fit, C=1e22)["N"].values
    posterior = fit.stored["posterior"].to_dataset()
    posterior["alpha_N"].values[:] *= 1.1
    after = sb.frontier(fit, C=1e22)["N"].values
    assert len(searches) == 2
    assert not np.allclose(before, after)


def test_a_plain_function_that_changes_is_searched_anew():
    fit, factor = made(), [6.0]

    def cost(N, D):
        return factor[0] * N * D

    before = sb.frontier(fit, C=1e22, cost=cost)["N"].values
    factor[0] = 12.0
    assert not np.allclose(before, sb.frontier(fit, C=1e22, cost=cost)["N"].values)


def test_searches_go_with_their_fit():
    fit = made()
    sb.frontier(fit, C=1e22)
    alive, number = weakref.ref(fit), id(fit)
    del fit
    gc.collect()
    assert alive() is None
    assert number not in kept_optima._KEPT


def test_memory_is_bounded(monkeypatch):
    fit = made()
    each = 300 * 8
    monkeypatch.setattr(kept_optima, "MOST_BYTES", 3 * each)
    for C in (1e20, 1e21, 1e22, 1e23, 1e24):
        sb.frontier(fit, C=C)
    kept = kept_optima._KEPT[id(fit)]
    assert len(kept.sizes) == len(kept.owners) == 3


def test_a_question_is_read_once():
    fit, alone = (
        made(),
        made("kaplan-compute") if "kaplan-compute" in sb.list_models().index else None,
    )
    assert read_question(fit, C="1e22") == Budgets("1e22")
    assert read_question(fit, N="70B", C="1e24") == Targets({"N": "70B", "C": "1e24"})
    assert read_question(fit, N=1e9, D=1e10) == Targets({"N": 1e9, "D": 1e10})
    assert read_question(sb.average([fit]), C=1e22) == Budgets(1e22)
    assert read_question(alone, C=1e22) == Targets({"C": 1e22})
