"""Shortcuts that change no answer.

Interpolated discrepancies, wide steps first, Newton's method, parts.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_info

import scalebayes as sb
from scalebayes.posterior.fit import law_parameters
from scalebayes.queries.curves import Curve, curve_of, nodes_between
from scalebayes.queries.optima import expected_optimum, newton, one_budget
from scalebayes.queries.optima.one_budget import numeric_optimum
from scalebayes.queries.optima.optimum import optimal_sizes
from scalebayes.utils import parallel
from tests.fixtures import draws_around, fit_of

CHAINS, DRAWS = 2, 300
TERMS = {"N_c": 0.35, "D_c": 0.4}
REPEATS = {"R_N": 5.0, "R_D": 15.0}
OVERFITTING = {"L_drop": 6.0, "U_c": 0.1, "alpha_U": 0.6}


@pytest.fixture(scope="module")
def make(load_public):
    """Fits with draws around `VALUES`; terms have their sizes at the priors' references."""

    def handmade(model, width=0.03):
        spec = sb.read_model(model)
        changed = TERMS | REPEATS | OVERFITTING | {"alpha_ND": 0.36, "sigma": 0.01, "eta": 0.01}
        values = draws_around(model, (CHAINS, DRAWS), width=width, **changed)
        runs = load_public("hoffmann2022")
        if "U" in spec.law_object.inputs:
            runs = sb.Runs(runs.table.assign(U=runs.D), runs.name)
        return fit_of(model, runs, **values)

    return handmade


@pytest.fixture(scope="module")
def discrepant(make):
    return make("coupled-discrepancy")


@pytest.mark.parametrize("which", ["expected", "curve"])
@pytest.mark.parametrize("budget", [1e20, 1e22, 5.76e23])
def test_a_discrepancy_interpolated_along_a_budget_is_the_one_computed_at_each_place(
    discrepant, which, budget
):
    curve = curve_of(discrepant, which, seed=3)
    log_N = np.random.default_rng(0).normal(0.5 * np.log(budget / 120), 0.2, curve.draws)
    assert nodes_between(log_N, budget, sb.SIX_ND) is not None
    N = np.exp(log_N)
    slow = curve.log_loss(np.arange(curve.draws), N, budget / (6 * N))
    np.testing.assert_allclose(curve.log_loss_at(log_N, budget, sb.SIX_ND), slow, atol=3e-5)


def test_a_budget_that_runs_out_is_not_interpolated(discrepant):
    cost = sb.with_inference("1T")
    curve = curve_of(discrepant, "expected")
    end = np.log(1e22 / 2e12)  # serving alone eats the budget
    log_N = end - np.random.default_rng(0).uniform(0.01, 1.0, curve.draws)
    assert nodes_between(log_N, 1e22, cost) is None
    N = np.exp(log_N)
    slow = curve.log_loss(np.arange(curve.draws), N, cost.affordable_tokens(N, 1e22))
    np.testing.assert_array_equal(curve.log_loss_at(log_N, 1e22, cost), slow)


@pytest.mark.parametrize("budget", [1e21, 5.76e23])
def test_an_interpolated_draw_is_the_one_computed_at_each_place(discrepant, budget):
    curve = curve_of(discrepant, "expected")
    log_N = np.random.default_rng(0).normal(0.5 * np.log(budget / 120), 0.1, curve.draws)
    basis = curve.known.basis
    points = basis.scale((np.exp(log_N), budget / (6 * np.exp(log_N))))
    slow = curve.known.draw_each(points, curve.pull, np.random.default_rng(7))
    quick = curve.drawn_at(log_N, budget, sb.SIX_ND, np.random.default_rng(7))
    np.testing.assert_allclose(quick, slow, atol=3e-4)  # against draws of 0.01


class Valleys:
    """Draws whose loss along a budget has its minimum at a size of their own."""

    def __init__(self, log_sizes):
        self.log_sizes = log_sizes

    def log_loss_shared(self, N, D):
        return (np.log(N) - self.log_sizes[:, None]) ** 2


def test_a_few_draws_without_an_optimum_near_stand_at_the_end_of_the_search():
    log_sizes = np.random.default_rng(0).normal(np.log(1e10), 0.3, 1000)
    log_sizes[:5] = np.log(1e25)
    start = np.full(1000, 1e10)
    found = expected_optimum.expected_optimum(Valleys(log_sizes), start, 6e40, sb.SIX_ND)
    np.testing.assert_allclose(np.log(found[5:]), log_sizes[5:], atol=0.02)
    np.testing.assert_allclose(found[:5], 1e13, rtol=1e-6)
    log_sizes[:20] = np.log(1e25)
    with pytest.raises(sb.QueryError, match=r"within 3 decades .* in 2% of the draws"):
        expected_optimum.expected_optimum(Valleys(log_sizes), start, 6e40, sb.SIX_ND)


@pytest.mark.parametrize("budget", [1e19, 1e21, 1e25])
def test_wide_steps_first_find_what_fine_ones_find(discrepant, monkeypatch, budget):
    curve = curve_of(discrepant, "expected")
    start = discrepant.spec.law_object.optimise(budget / 6, dict(curve.parameters))
    found = expected_optimum.expected_optimum(curve, start, budget, sb.SIX_ND)
    monkeypatch.setattr(expected_optimum, "PASSES", (1, 1))
    np.testing.assert_allclose(
        found, expected_optimum.expected_optimum(curve, start, budget, sb.SIX_ND), rtol=1e-11
    )
    log_N = np.linspace(np.log(start.min()) - 6.9, np.log(start.max()) + 6.9, 2001)
    least = curve.log_loss_shared(np.exp(log_N), budget / (6 * np.exp(log_N))).min(axis=1)
    at = curve.log_loss(np.arange(curve.draws), found, budget / (6 * found))
    np.testing.assert_allclose(at, least, atol=1e-5)


@pytest.mark.parametrize("cost", [sb.SIX_ND, sb.with_inference("100B")], ids=["6ND", "served"])
def test_optima_at_many_budgets_of_a_discrepancy_are_those_of_each_on_its_own(discrepant, cost):
    curve = curve_of(discrepant, "expected")
    budgets = np.geomspace(1e24, 1e20, 150)
    found = optimal_sizes(curve, budgets, cost)
    alone = np.hstack([optimal_sizes(curve, np.array([budget]), cost) for budget in budgets])
    off = np.abs(np.log(found / alone))
    assert np.median(off) < 1e-4
    assert np.quantile(off, 0.99) < 5e-3
    # Where a draw has two minima of nearly equal loss, either may be found.
    losses = [curve.loss_each(N, cost.affordable_tokens(N, budgets)) for N in (found, alone)]
    assert (losses[0] / losses[1]).max() < 1 + 1e-4


def test_a_draw_that_does_not_move_smoothly_between_budgets_is_searched(discrepant):
    """Optima of wild discrepancies jump between budgets."""
    curve = curve_of(discrepant, "expected")
    wild = replace(curve, pull=5.0 * curve.pull)
    budgets = np.geomspace(1e20, 1e24, 150)
    found = optimal_sizes(wild, budgets, sb.SIX_ND)
    alone = np.hstack([optimal_sizes(wild, np.array([budget]), sb.SIX_ND) for budget in budgets])
    has_jumped = np.abs(np.diff(np.log(alone), axis=1)) > 0.5
    assert has_jumped.any(axis=1).mean() > 0.2
    losses = [wild.loss_each(N, budgets / (6 * N)) for N in (found, alone)]
    assert np.mean(losses[0] > losses[1] * (1 + 1e-4)) < 1e-3


ULPS = 1e22 * (1 + np.finfo(float).eps * np.arange(25))
SWEEP = np.geomspace(1e8, 1e10, 7)
REPEATED = {
    "copies": np.repeat(np.geomspace(1e20, 1e25, 10), 3),
    "sweeps": np.ravel(
        [6 * SWEEP * (budget / (6 * SWEEP)) for budget in np.geomspace(1e20, 1e23, 9)]
    ),
    "differ by rounding": ULPS,
}


@pytest.mark.parametrize("budgets", REPEATED.values(), ids=REPEATED)
@pytest.mark.parametrize(
    "model", ["coupled-discrepancy", "coupled-drift", "data-limited", "data-constrained-drift"]
)
def test_budgets_that_are_equal_or_nearly_so_have_one_optimum(make, model, budgets):
    curve = curve_of(make(model), "expected")
    cost = sb.with_inference("1B")
    others = [np.full(len(budgets), 1e12)] if "U" in curve.law.inputs else []
    found = optimal_sizes(curve, budgets, cost, *others)
    for i in (0, 1, 2, len(budgets) - 1):
        same = np.isclose(budgets, budgets[i], rtol=1e-12)
        np.testing.assert_allclose(found[:, same], found[:, [i]].repeat(same.sum(), 1), rtol=1e-9)


def test_a_few_draws_without_an_optimum_near_do_not_refuse_many_budgets(discrepant):
    """Their share is that of all draws, also where only they are searched."""
    curve = curve_of(discrepant, "expected")
    pull = curve.pull.copy()
    pull[[402, 3, 74, 4]] *= 1e3
    few_wild = replace(curve, pull=pull)
    budgets = np.geomspace(1e20, 1e24, 160)
    found = optimal_sizes(few_wild, budgets, sb.SIX_ND)
    alone = np.hstack([optimal_sizes(few_wild, budgets[[i]], sb.SIX_ND) for i in (0, 50, 159)])
    tame = np.delete(np.arange(curve.draws), [402, 3, 74, 4])
    np.testing.assert_allclose(found[tame][:, [0, 50, 159]], alone[tame], rtol=1e-2)


@pytest.mark.parametrize("model", ["coupled-discrepancy", "coupled-drift"])
def test_an_optimum_just_below_the_size_that_uses_up_the_budget_is_found(make, model):
    cost = sb.with_inference("10T")
    curve = curve_of(make(model, width=0.15), "expected")
    budgets = np.geomspace(1e20, 1e24, 60)
    found = optimal_sizes(curve, budgets, cost)
    D = cost.affordable_tokens(found, budgets)
    assert (D > 0).all()
    losses = curve.loss_each(found, D)
    for i in range(0, 60, 7):
        N = budgets[i] / (2 * 10e12) * (1 - np.geomspace(1e-6, 0.5, 400))
        least = curve.log_loss_shared(N, cost.affordable_tokens(N, budgets[i])).min(axis=1)
        assert (losses[:, i] < np.exp(least) * (1 + 1e-4)).all()


def test_a_frontier_says_that_the_optimum_is_not_flat_where_twice_its_size_is_too_dear(make):
    fit = make("data-constrained-drift")
    answer = sb.frontier(fit, C=1e20, cost=sb.with_inference("1T"), U=1e12)
    assert answer.attrs["flat"] == 0
    assert np.isfinite(answer["loss"]).all()


@pytest.mark.parametrize("model", ["chinchilla", "coupled-drift"])
@pytest.mark.parametrize("times", [1.0, 0.05, 1e-17], ids=["FLOP", "cheap", "dollars"])
def test_a_cost_that_is_a_function_may_have_any_unit(make, model, times):
    fit = make(model)
    best = sb.frontier(fit, C=6e22)
    priced = sb.frontier(fit, C=6e22 * times, cost=lambda N, D: times * 6 * N * D)
    np.testing.assert_allclose(priced["N"], best["N"], rtol=1e-5)


@pytest.mark.parametrize("count", [17, 20, 60])
def test_many_budgets_of_a_cost_that_jumps_have_the_optima_of_each_on_its_own(make, count):
    cost, budgets = dearer_above(2e9, 1.3, 0.0), np.geomspace(1e20, 1e25, count)
    curve = curve_of(make("chinchilla"), "law")
    some = Curve(curve.law, {name: values[::10] for name, values in curve.parameters.items()})
    found = optimal_sizes(some, budgets, cost)
    alone = np.hstack([optimal_sizes(some, budgets[[i]], cost) for i in range(count)])
    np.testing.assert_allclose(found, alone, rtol=1e-5)


def drifting_by_fine_grid(curve, budgets, cost):
    """Optima on the fine grid of each budget, every size of which is tried: (S, budgets)."""
    start = curve.law.optimise(budgets / 6, newton.columns(curve.parameters))
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expected_optimum, "PASSES", (1,))
        for i, budget in enumerate(budgets):
            found.append(
                expected_optimum.expected_optimum(
                    curve,
                    start[:, i],
                    float(budget),
                    cost,
                    distance=expected_optimum.DISTANCE_OF_DRIFT,
                )
            )
    return np.stack(found, axis=1)


@pytest.mark.parametrize(
    "budgets", [[1e19], [1e22], [1e26], np.geomspace(1e26, 1e20, 40), [1e21, 1e21, 3e21, 1e21]]
)
def test_optima_of_drifting_laws_are_those_of_a_fine_grid(make, budgets):
    curve, budgets = curve_of(make("coupled-drift", width=0.3), "expected"), np.array(budgets)
    found = optimal_sizes(curve, budgets, sb.SIX_ND)
    # The loss itself bends by a rising function, which moves no optimum.
    unbent = replace(curve, drift=curve.drift.of_inputs)
    expected = drifting_by_fine_grid(unbent, budgets, sb.SIX_ND)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # Parabolas through the bent losses have their vertex nearly there.
    of_loss = drifting_by_fine_grid(curve, budgets, sb.SIX_ND)
    np.testing.assert_allclose(found, of_loss, rtol=2e-3)


def test_the_deepest_valley_of_a_drifting_law_is_found(make):
    """Paths that bend wildly have several valleys, and optima that jump between budgets."""
    curve = curve_of(make("coupled-drift", width=0.3), "expected")
    rng = np.random.default_rng(0)
    paths = dict(curve.drift.paths)
    for name in ("N", "D"):
        g = paths[name].g
        steps = 0.4 * rng.standard_normal(g.shape).cumsum(axis=1)
        paths[name] = replace(paths[name], g=(g + steps - steps.mean(axis=1, keepdims=True)) / 2)
    wild = replace(curve, drift=replace(curve.drift, paths=paths))
    budgets = np.geomspace(1e21, 1e25, 30)
    found = optimal_sizes(wild, budgets, sb.SIX_ND)
    expected = drifting_by_fine_grid(wild, budgets, sb.SIX_ND)
    loss = wild.loss_each(found, budgets / (6 * found))
    least = wild.loss_each(expected, budgets / (6 * expected))
    has_jumped = np.abs(np.diff(np.log(expected), axis=1)) > 1
    assert has_jumped.any(axis=1).mean() > 0.05
    assert np.mean(loss > least * (1 + 1e-6)) < 0.01


def optimum_without_newton(curve, budget, cost, *others):
    """From a fine grid by Chandrupatla's method."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(newton, "MOST_STEPS", 0)
        patch.setattr(one_budget, "GRID_SIZES", 1025)
        return numeric_optimum(curve.law, curve.parameters, float(budget), cost, *others)


@pytest.mark.parametrize("model", ["chinchilla", "coupled", "kaplan", "overtraining"])
@pytest.mark.parametrize("tokens", ["1T", "100T"])
def test_many_budgets_have_the_optima_of_each_on_its_own(make, model, tokens):
    fit, cost = make(model), sb.with_inference(tokens)
    curve, budgets = curve_of(fit, "law"), np.geomspace(1e21, 1e25, 60)
    quick = optimal_sizes(curve, budgets, cost)
    for i in (0, 1, 17, 42, 59):
        np.testing.assert_allclose(
            quick[:, i], optimum_without_newton(curve, budgets[i], cost), rtol=2e-5
        )


@pytest.mark.parametrize("unique", [1e11, 1e12, np.inf])
def test_many_budgets_of_limited_data_have_the_optima_of_each_on_its_own(make, unique):
    """The loss has kinks of its slope, not of itself, where data and parameters begin to repeat."""
    curve, budgets = curve_of(make("data-constrained"), "law"), np.geomspace(1e20, 1e25, 60)
    quick = optimal_sizes(curve, budgets, sb.SIX_ND, np.full(60, unique))
    for i in range(0, 60, 6):
        slow = optimum_without_newton(curve, budgets[i], sb.SIX_ND, unique)
        np.testing.assert_allclose(quick[:, i], slow, rtol=2e-5)


def test_many_budgets_have_the_optima_of_each_on_its_own_at_a_kink_of_the_loss(make):
    """Where larger models overfit, all unique tokens are read just once along half a decade."""
    budgets, unique = np.geomspace(1e20, 1e25, 100), 1e12
    curve = curve_of(make("data-limited"), "law")
    quick = optimal_sizes(curve, budgets, sb.SIX_ND, np.full(100, unique))
    is_at_kink = np.isclose(budgets / (6 * quick), unique, rtol=1e-5)
    assert is_at_kink.any(axis=1).mean() > 0.9
    for i in range(0, 100, 3):
        slow = optimum_without_newton(curve, budgets[i], sb.SIX_ND, unique)
        np.testing.assert_allclose(quick[:, i], slow, rtol=2e-6)


def test_unique_tokens_that_differ_from_budget_to_budget_are_each_held(make):
    curve, budgets, unique = (
        curve_of(make("data-constrained"), "law"),
        np.geomspace(1e22, 1e24, 30),
        np.r_[1e11, 1e12],
    )
    unique = np.tile(unique, 15)
    quick = optimal_sizes(curve, budgets, sb.SIX_ND, unique)
    for i in (0, 13, 28):
        slow = optimum_without_newton(curve, budgets[i], sb.SIX_ND, unique[i])
        np.testing.assert_allclose(quick[:, i], slow, rtol=2e-5)


def dearer_above(size, by, within):
    """6 N D times a factor that changes at a size, gradually in log N or at once.

    The loss at a budget then has two minima.
    """

    def dearness(N):
        return (
            1 + (by - 1) * stats.logistic.cdf(np.log(N / size), scale=within)
            if within
            else np.where(size < N, by, 1)
        )

    return sb.Cost(
        "two", lambda N, D: 6 * N * D * dearness(N), lambda N, C: C / (6 * N * dearness(N))
    )


@pytest.mark.parametrize("by", [0.7, 2.0])
@pytest.mark.parametrize(("within", "excess"), [(0.3, 1e-9), (0.1, 0.01), (0.0, 0.02)])
def test_at_a_jump_from_one_minimum_to_another_the_lower_one_is_taken(make, by, within, excess):
    """A minimum narrower than the grid's steps, as at a jump, is found to that resolution."""
    cost, budgets = dearer_above(1e10, by, within), np.geomspace(1e21, 1e25, 60)
    curve = curve_of(make("chinchilla"), "law")
    some = Curve(curve.law, {name: values[::20] for name, values in curve.parameters.items()})
    N = optimal_sizes(some, budgets, cost)
    found = some.law_each(N, cost.affordable_tokens(N, budgets))
    assert np.ptp(np.diff(np.log(N), axis=1)) > 0.1  # there is a jump
    sizes = np.geomspace(1e8, 1e13, 20_001)
    for i, budget in enumerate(budgets):
        least = some.law_each(sizes, cost.affordable_tokens(sizes, budget)).min(axis=1)
        assert (found[:, i] < least + excess).all(), i


def test_a_kink_that_newton_cannot_settle_at_is_solved_from_scratch(make):
    fit, cost = make("bottleneck"), sb.with_inference("1T")
    curve, budgets = curve_of(fit, "law"), np.geomspace(1e21, 1e23, 30)
    quick = optimal_sizes(curve, budgets, cost)
    slow = [optimum_without_newton(curve, c, cost) for c in budgets[::7]]
    np.testing.assert_allclose(quick[:, ::7], np.column_stack(slow), rtol=2e-6)


def noise_scale(fit):
    return fit.stored["posterior"]["sigma"]


@pytest.mark.parametrize("model", ["chinchilla", "coupled-discrepancy"])
def test_a_prediction_in_parts_is_that_in_one(make, monkeypatch, model):
    fit = make(model)
    N, D = np.geomspace(1e8, 1e11, 400), np.geomspace(1e12, 1e10, 400)
    monkeypatch.setattr(parallel, "VALUES_PER_PART", 10**9)
    whole = sb.predict(fit, N=N, D=D, seed=4)
    monkeypatch.setattr(parallel, "VALUES_PER_PART", 7_000)
    split = sb.predict(fit, N=N, D=D, seed=4)
    for name in set(whole) - {"new_run"}:
        np.testing.assert_array_equal(split[name], whole[name])
    off, off_whole = (np.log(x["new_run"] / x["loss"]) / noise_scale(fit) for x in (split, whole))
    assert stats.ks_2samp(off.values.ravel(), off_whole.values.ravel()).pvalue > 1e-3
    assert (
        abs(np.corrcoef(off.values.reshape(600, -1)[:20])[np.triu_indices(20, 1)]).max() < 0.25
    )  # 4.5 sd of 400
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 1)
    np.testing.assert_array_equal(sb.predict(fit, N=N, D=D, seed=4)["new_run"], split["new_run"])
    parameters = {k: v[..., None] for k, v in law_parameters(fit).items()}
    of_law = split.get("law", split["loss"])
    np.testing.assert_allclose(of_law, fit.spec.law_object(N, D, **parameters), rtol=1e-12)


def test_without_new_runs_the_curve_is_the_same(discrepant):
    whole = sb.predict(discrepant, N="70B", D="1.4T", seed=2)
    curve = sb.predict(discrepant, N="70B", D="1.4T", new_run=False, seed=2)
    assert "new_run" not in curve
    np.testing.assert_array_equal(curve["loss"], whole["loss"])


def test_questions_side_by_side_leave_linear_algebra_its_threads():
    """Of two overlapping calls the first ends first; restoring its threads would leave one."""

    def threads():
        return [one["num_threads"] for one in threadpool_info()]

    before = threads()
    inside = {name: threading.Event() for name in "AB"}
    go_on = {name: threading.Event() for name in "AB"}

    def ask(name):
        def wait(_):
            inside[name].set()
            assert go_on[name].wait(30)

        parallel.side_by_side(wait, range(parallel.LEAST_PARTS_FOR_THREADS))

    with ThreadPoolExecutor(2) as askers:
        asked = {}
        for name in "AB":
            asked[name] = askers.submit(ask, name)
            assert inside[name].wait(30)
            assert set(threads()) == {1}
        for name in "AB":
            go_on[name].set()
            asked[name].result()
    assert threads() == before
