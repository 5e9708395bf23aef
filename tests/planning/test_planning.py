"""Next runs: covariances against exact updating, batches against all batches, sweeps, commands."""

import importlib.util
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.data.findings.design import design_precision
from scalebayes.planning.conditioning import Belief, after, after_all, believe, best_batch, floor
from scalebayes.planning.plan import _bracket_faults, _describe_guess
from scalebayes.planning.target import LEAST_SHAPES, ask, candidate_grid, noise_variance
from scalebayes.specs.noise import NOISES
from tests.fixtures import (
    BESIROGLU,
    INTEGRATED,
    around,
    draws_around,
    fit_of,
    in_nats,
    noiseless_runs,
    priors_without_noise,
)

SHAPE = (4, 1000)
SIGMA = 0.02
TARGET = {"N": 70e9, "D": 1.4e12}


@pytest.fixture
def linear():
    """A fit of `product`: its log loss is linear in jointly Normal log L_0, alpha_N, alpha_D."""

    def make(noise="normal", sd=(0.01, 0.02, 0.015), seed=0, **more):
        rng = np.random.default_rng(seed)
        root = np.diag(sd) @ np.linalg.cholesky([[1, 0.5, -0.3], [0.5, 1, 0.2], [-0.3, 0.2, 1]])
        theta = rng.standard_normal((SHAPE[0] * SHAPE[1], 3)) @ root.T + [np.log(2.6), 0.3, 0.3]
        spec = sb.read_model("product").model_dump() | {"noise": noise}
        spec["priors"] = priors_without_noise(sb.read_model("product"))
        draws = {"L_0": np.exp(theta[:, 0]), "alpha_N": theta[:, 1], "alpha_D": theta[:, 2]}
        draws |= {"sigma": np.full(len(theta), SIGMA)} | (
            {} if noise == "normal" else {"nu": np.full(len(theta), 4.0)}
        )
        draws = {k: v.reshape(SHAPE) for k, v in draws.items()}
        return fit_of(sb.Spec.model_validate(spec), noiseless_runs(), **draws, **more), theta

    return make


def features(N, D):
    """Row of d log L / d (log L_0, alpha_N, alpha_D)."""
    return np.column_stack(
        [np.ones(np.size(N)), np.log(1e9 / np.atleast_1d(N)), np.log(2e10 / np.atleast_1d(D))]
    )


def exact_variance(prior, target, rows, noise):
    """Variance of target' theta given rows of a linear model with Normal noise (conjugate)."""
    precision = np.linalg.inv(prior) + rows.T @ rows / noise
    return float(target @ np.linalg.solve(precision, target))


# conditioning


def test_updating_is_that_of_the_conjugate_linear_model():
    rng = np.random.default_rng(0)
    prior, rows, target = (
        np.diag([1.0, 0.5, 2.0]) + 0.2,
        rng.normal(size=(6, 3)),
        rng.normal(size=3),
    )
    belief = Belief(
        target @ prior @ target, rows @ prior @ target, rows @ prior @ rows.T, np.full(6, 0.3)
    )
    for chosen in ([0], [3, 1], [2, 2, 2], [5, 0, 4, 1, 0]):
        expected = exact_variance(prior, target, rows[chosen], 0.3)
        assert after_all(belief, chosen).variance == pytest.approx(expected, rel=1e-12)
    assert belief.gains[3] == pytest.approx(
        belief.variance - exact_variance(prior, target, rows[[3]], 0.3), rel=1e-12
    )
    assert floor(belief) == pytest.approx(0.0, abs=1e-5)  # six candidates tell three parameters
    alone = Belief(belief.variance, belief.shared[:1], belief.covariance[:1, :1], np.array([0.3]))
    known = belief.variance - belief.shared[0] ** 2 / belief.covariance[0, 0]
    assert floor(alone) == pytest.approx(known, rel=1e-4)


def test_covariances_are_those_of_the_draws():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
    belief = believe(draws[:, 0], draws[:, 1:], 0.1)
    expected = np.cov(draws.T)
    assert belief.variance == pytest.approx(expected[0, 0])
    np.testing.assert_allclose(belief.shared, expected[0, 1:])
    np.testing.assert_allclose(belief.covariance, expected[1:, 1:])


@pytest.mark.parametrize(
    ("noise", "parameters"), [("normal", {"sigma": 0.3}), ("student_t", {"sigma": 0.3, "nu": 4.0})]
)
def test_equivalent_noise_is_the_inverse_fisher_information(noise, parameters):
    def score_squared(r):
        step = 1e-5
        score = (
            NOISES[noise].logpdf(r + step, **parameters)
            - NOISES[noise].logpdf(r - step, **parameters)
        ) / (2 * step)
        return score**2 * np.exp(NOISES[noise].logpdf(r, **parameters))

    information = 2 * integrate.quad(score_squared, 0, 60, points=[0.3, 1, 5], limit=500)[0]
    assert NOISES[noise].equivalent(**parameters) == pytest.approx(1 / information, rel=1e-5)


def random_belief(rng, candidates):
    root = rng.normal(size=(candidates + 1, 4)) * rng.uniform(0.2, 2, 4)
    joint = root @ root.T
    return Belief(
        joint[0, 0], joint[0, 1:], joint[1:, 1:], np.full(candidates, rng.uniform(0.1, 2))
    )


def test_batches_are_as_good_as_the_best_of_all_batches():
    """All multisets of seven candidates are tried; a chosen batch is rarely and slightly worse."""
    rng = np.random.default_rng(0)
    shortfalls = []
    for _ in range(100):
        belief, costs = random_belief(rng, 7), rng.choice([1.0, 2.0, 4.0, 8.0], 7)
        budget, most = rng.choice([4.0, 8.0, 12.0]), int(rng.integers(1, 5))
        if costs.min() > budget:
            continue
        batch = best_batch(belief, costs, budget, most)
        assert len(batch) <= most
        assert costs[batch].sum() <= budget * (1 + 1e-9)
        all_batches = (
            b
            for k in range(1, most + 1)
            for b in itertools.combinations_with_replacement(range(7), k)
        )
        paid = [list(b) for b in all_batches if costs[list(b)].sum() <= budget]
        best = min(after_all(belief, b).variance for b in paid)
        ours = after_all(belief, batch).variance
        assert ours >= best - 1e-9 * belief.variance
        shortfalls.append((ours - best) / (belief.variance - best))
    assert len(shortfalls) > 80
    assert np.mean(np.array(shortfalls) < 1e-9) > 0.95
    assert max(shortfalls) < 0.1


def test_runs_come_in_the_order_of_worth_per_cost():
    belief = random_belief(np.random.default_rng(1), 6)
    costs = np.array([1.0, 1.0, 3.0, 3.0, 9.0, 9.0])
    batch = best_batch(belief, costs, 20.0, 4)
    for place, candidate in enumerate(batch):
        worth = belief.gains[batch[place:]] / costs[batch[place:]]
        assert worth[0] == worth.max()
        belief = after(belief, candidate)


# next_runs


@pytest.mark.parametrize("noise", ["normal", "student_t"])
def test_expected_variance_is_the_exact_one_where_log_loss_is_linear(linear, noise):
    fit, theta = linear(noise)
    N, D = np.array([1e8, 1e9, 1e10, 2e11]), np.array([1e11, 1e10, 2e10, 1e9])
    plan = sb.next_runs(fit, budget=3e21, target=TARGET, candidates={"N": N, "D": D}, batch=4)
    variance = SIGMA**2 * (1.0 if noise == "normal" else 7 / 5)  # (nu + 3) / (nu + 1) at nu = 4
    assert noise_variance(fit) == pytest.approx(variance)
    target, prior = features(**TARGET)[0], np.cov(theta.T)
    now = target @ prior @ target
    for k in range(1, len(plan.table) + 1):
        made = plan.table.iloc[:k]
        left = exact_variance(
            prior, target, features(made["N"].to_numpy(), made["D"].to_numpy()), variance
        )
        assert plan.table["variance_left"].iloc[k - 1] == pytest.approx(left / now, rel=1e-6)
    loss = sb.predict(fit, **TARGET)["loss"]
    width = float(np.diff(np.quantile(loss, [0.05, 0.95]))[0])
    assert plan.table.attrs["width_now"] == pytest.approx(width)
    np.testing.assert_allclose(plan.table["width"], width * np.sqrt(plan.table["variance_left"]))
    assert plan.table["total_cost"].iloc[-1] <= 3e21
    np.testing.assert_allclose(plan.table["cost"], 6 * plan.table["N"] * plan.table["D"])
    assert set(plan.table["N"]) <= {*N[:3], 2e11}


@pytest.fixture
def additive():
    """A fit of a model with draws scattered around Besiroglu's values."""

    def make(model="chinchilla", width=0.02, seed=1, runs=None, **changed):
        values = {
            "L_inf": 1.8,
            "N_c": 4.8e7,
            "alpha_N": 0.35,
            "D_c": 1.2e9,
            "alpha_D": 0.37,
            "kappa": 1.0,
        }
        values |= {"sigma": 0.005, "nu": 6.0, "eta": 0.01}
        rng = np.random.default_rng(seed)
        spec = sb.read_model(model)
        draws = around({name: values[name] for name in spec.priors}, SHAPE, rng, width)
        draws |= {name: np.full(SHAPE, value) for name, value in changed.items()}
        return fit_of(spec, runs or noiseless_runs(), **draws)

    return make


def test_the_optimal_size_is_a_target_too(additive):
    fit = additive()
    plan = sb.next_runs(fit, budget=1e22, target={"C": "1e24"})
    size = sb.frontier(fit, C=1e24)["N"]
    low, high = np.quantile(size, [0.05, 0.95])
    assert plan.table.attrs["width_now"] == pytest.approx(high / low)
    assert plan.table.index.name == "run"
    assert plan.table.index[0] == 1
    log_width = np.log(plan.table["width"])
    np.testing.assert_allclose(log_width, np.log(high / low) * np.sqrt(plan.table["variance_left"]))
    assert plan.table["variance_left"].is_monotonic_decreasing
    # The same by regression of log N* on simulated losses of all chosen runs, with noise added.
    runs = plan.table
    curve = np.log(sb.predict(fit, N=runs["N"], D=runs["D"])["loss"].values.reshape(-1, len(runs)))
    noisy = curve + np.sqrt(noise_variance(fit)) * np.random.default_rng(0).standard_normal(
        curve.shape
    )
    design = np.column_stack([np.ones(len(noisy)), noisy])
    t = np.log(size.values.ravel())
    residual = t - design @ np.linalg.lstsq(design, t)[0]
    assert runs["variance_left"].iloc[-1] == pytest.approx(residual.var() / t.var(), abs=0.02)


@pytest.mark.parametrize("seed", [0, 5])
def test_the_size_and_the_curve_at_candidates_have_one_discrepancy(seed):
    """Of equal parameters in all draws N* depends on the drawn discrepancy alone, as the curve."""
    draws = draws_around(INTEGRATED, (4, 250), width=0.0, eta=0.05)
    fit = fit_of(INTEGRATED, noiseless_runs(), **draws)
    candidates = {"N": [3e8, 1e9, 3e9, 1e10], "D": [3e10, 1e10, 3e9, 1e9]}
    question = ask(fit, {"C": 6e19}, candidates, 1e21, sb.SIX_ND, seed)
    best = np.log(sb.frontier(fit, C=6e19, seed=seed)["N"].values.ravel())
    np.testing.assert_array_equal(question.target, best)
    # The runs determine the discrepancy among them, so the curve there explains the size.
    left = floor(question.belief) / question.belief.variance
    assert left < 0.9


def test_default_candidates_are_runs_that_the_budget_pays_for(additive):
    fit = additive()
    table = candidate_grid(fit, 1e21)
    np.testing.assert_allclose(6 * table["N"] * table["D"], table["cost"], rtol=1e-9)
    assert table["cost"].max() == 1e21
    assert table["cost"].min() >= fit.runs.C.min()
    assert table["tokens_per_param"].between(0.1, 1000).all()
    served = sb.Cost("with inference", lambda N, D: 6 * N * D + 2e12 * N)
    other = candidate_grid(fit, 1e24, served)
    np.testing.assert_allclose(served.flop(other["N"], other["D"]), other["cost"], rtol=1e-9)
    with pytest.raises(
        sb.QueryError, match="FLOP are less than the cheapest run of the table costs"
    ):
        candidate_grid(fit, 1e15)


def test_a_fit_of_one_ray_is_offered_runs_off_it(additive):
    """The range of tokens per parameter among the candidates is never as narrow as a ray."""
    ray = noiseless_runs().table.assign(D=lambda t: 20 * t["N"]).drop(columns="C")
    fit = additive(runs=sb.Runs(ray.assign(C=6 * ray["N"] * ray["D"]), "ray"))
    shapes = candidate_grid(fit, 1e22)["tokens_per_param"]
    assert shapes.max() / shapes.min() == pytest.approx(LEAST_SHAPES)
    assert np.sqrt(shapes.max() * shapes.min()) == pytest.approx(20)
    plan = sb.next_runs(fit, budget=1e22, target={"C": 1e24})
    assert np.abs(np.log(plan.table["tokens_per_param"] / 20)).max() > np.log(2)
    assert "the runs of the fit have nearly one D/N" in plan.notes[0]
    assert "nearly one D/N" not in " ".join(
        sb.next_runs(additive(), budget=1e22, target=TARGET).notes
    )


def test_distinct_runs_are_made_once_each(additive):
    fit = additive()
    N, D = [1e9, 2e9, 4e9, 1e9], [1e10, 1e10, 1e10, 4e10]
    asked = {"budget": 1e22, "target": TARGET, "candidates": {"N": N, "D": D}, "batch": 4}
    once = sb.next_runs(fit, **asked, distinct=True).table
    assert len(once) == len(once.drop_duplicates(["N", "D"])) == 4
    again = sb.next_runs(fit, **asked).table
    assert len(again.drop_duplicates(["N", "D"])) < 4
    assert again["variance_left"].iloc[-1] <= once["variance_left"].iloc[-1]


def test_distinct_batches_are_as_good_as_the_best_of_all():
    rng = np.random.default_rng(2)
    shortfalls = []
    for _ in range(40):
        belief, costs = random_belief(rng, 7), rng.choice([1.0, 2.0, 4.0], 7)
        batch = best_batch(belief, costs, 8.0, 3, distinct=True)
        assert len(set(batch)) == len(batch) <= 3
        assert costs[batch].sum() <= 8.0 * (1 + 1e-9)
        kinds = itertools.chain(*(itertools.combinations(range(7), k) for k in (1, 2, 3)))
        best = min(
            after_all(belief, kind).variance for kind in kinds if costs[list(kind)].sum() <= 8.0
        )
        ours = after_all(belief, batch).variance
        shortfalls.append((ours - best) / (belief.variance - best))
    assert np.mean(np.array(shortfalls) < 1e-9) > 0.9
    assert max(shortfalls) < 0.1


def test_an_average_of_models_is_planned_for_as_one(additive):
    pair = sb.average({"a": additive(), "b": additive("kaplan-floor", kappa=1.0)})
    plan = sb.next_runs(pair, budget=1e22, target=TARGET)
    answer = sb.predict(pair, **TARGET)["loss"]
    assert plan.table.attrs["width_now"] == pytest.approx(
        float(np.diff(np.quantile(answer, [0.05, 0.95]))[0])
    )
    mean = np.mean([noise_variance(fit) for fit in pair.fits.values()])
    assert noise_variance(pair) == pytest.approx(mean)


def test_a_discrepancy_far_from_all_candidates_stays(additive):
    fit = additive("chinchilla-discrepancy", width=1e-4, eta=0.03, sigma=1e-3)
    far = {"N": 1e13, "D": 1e15}
    plan = sb.next_runs(fit, budget=1e22, target=far)
    assert plan.table["variance_left"].iloc[-1] > 0.95
    assert "mostly because of how far the law is off at the target" in plan.notes[0]
    # A run at the target itself tells the curve there, discrepancy and all.
    noise = noise_variance(fit)
    there = sb.next_runs(
        fit, budget=1e30, target=far, candidates={"N": [1e13], "D": [1e15]}, batch=1
    )
    assert there.table["variance_left"].iloc[0] == pytest.approx(noise / (0.03**2 + noise), rel=0.1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": {}}, "a target is {'N': ..., 'D': ...} or {'C': ...}; got {}"),
        ({"target": {"N": "70B"}}, "any two of N, D and C; got N"),
        ({"target": {"N": ["70B", "1B"], "D": "1T"}}, "a plan takes one target; got 2"),
        ({"target": {"C": [1e21, 1e22]}}, "a plan takes one target; got 2"),
        ({"budget": "inf"}, "budget is one finite number of FLOP; got inf"),
        ({"budget": "much"}, "budget: 'much' is not a quantity"),
        ({"batch": 0}, "batch is the largest number of runs, at least 1; got 0"),
        ({"candidates": {"N": [1e9]}}, "candidates need columns N and D; got N"),
        (
            {"candidates": {"N": [1e9], "D": [1e9, 1e10]}},
            "candidates need finite N and D in equal numbers; got 1 and 2",
        ),
        ({"candidates": {"N": [1e12], "D": [1e12]}}, "no candidate costs 1e22 FLOP or less"),
        (
            {"candidates": {"N": [1e9] * 300, "D": [1e10] * 300}},
            "300 candidates: at most 255 can be drawn jointly",
        ),
    ],
)
def test_plans_that_cannot_be_made_are_told_why(additive, options, told):
    with pytest.raises(sb.QueryError) as caught:
        sb.next_runs(additive(), **({"budget": 1e22, "target": TARGET} | options))
    assert told in str(caught.value)


# runs_needed


def test_the_number_of_runs_is_that_of_repeats_of_one_run(linear):
    fit, theta = linear()
    at = {"N": 1e10, "D": 1e11}
    row = features(**at)[0]
    variance = row @ np.cov(theta.T) @ row
    now = float(np.diff(np.quantile(sb.predict(fit, **at)["loss"], [0.05, 0.95]))[0])
    share = 0.1
    expected = int(
        np.ceil(SIGMA**2 / variance * (1 / share**2 - 1))
    )  # of v s^2 / (n v + s^2) = share^2 v
    one = {"N": [at["N"]], "D": [at["D"]]}
    need = sb.runs_needed(fit, target=at, width=share * now, run_budget=1e22, candidates=one)
    assert need.runs == expected > 5
    assert need.table["runs"].tolist() == [expected]
    assert need.table["cost"].tolist() == [expected * 6e21]
    assert need.message.startswith(
        f"{expected} runs of at most 1e22 FLOP each: the 90% equal-tailed interval"
    )
    assert sb.runs_needed(fit, target=at, width=2 * now, run_budget=1e22, candidates=one).runs == 0
    few = sb.runs_needed(fit, target=at, width=share * now, run_budget=1e22, candidates=one, most=3)
    assert few.runs is None
    assert few.message.startswith("Not with 3 runs")


def test_a_width_that_no_number_of_runs_reaches_is_said_so(linear):
    fit, theta = linear()
    row, target = features(1e10, 1e12)[0], features(**TARGET)[0]
    prior = np.cov(theta.T)
    left = 1 - (row @ prior @ target) ** 2 / (row @ prior @ row) / (target @ prior @ target)
    now = float(np.diff(np.quantile(sb.predict(fit, **TARGET)["loss"], [0.05, 0.95]))[0])
    one = {"N": [1e10], "D": [1e12]}
    lowest = np.sqrt(left) * now
    need = sb.runs_needed(fit, target=TARGET, width=0.99 * lowest, run_budget=1e23, candidates=one)
    assert need.runs is None
    assert need.message.startswith("Never: ")
    assert (
        f"stays slightly more than {lowest:.2g} nats wide, because these runs cannot determine "
        "the law's parameters fully" in need.message
    )
    assert (
        sb.runs_needed(
            fit, target=TARGET, width=1.01 * lowest, run_budget=1e23, candidates=one
        ).runs
        > 0
    )


@pytest.mark.parametrize(
    ("target", "width", "told"), [(TARGET, 0, "above 0"), ({"C": 1e24}, 1.0, "above 1; got 1")]
)
def test_a_width_that_is_none_is_refused(additive, target, width, told):
    with pytest.raises(sb.QueryError, match=told):
        sb.runs_needed(additive(), target=target, width=width, run_budget=1e21)


# plan


def test_a_sweep_is_laid_out_as_asked():
    plan = sb.plan(["1e18", "1e21"], levels=4, sizes=7, span=16, budget="7.78e21")
    table = plan.table
    assert len(table) == 28
    np.testing.assert_allclose(table["C"].unique(), [1e18, 1e19, 1e20, 1e21])
    np.testing.assert_allclose(6 * table["N"] * table["D"], table["C"])
    for budget, rows in table.groupby("C"):
        np.testing.assert_allclose(rows["N"].iloc[3], np.sqrt(budget / 120), rtol=1e-3)
        assert rows["N"].max() / rows["N"].min() == pytest.approx(16)
        np.testing.assert_allclose(np.diff(np.log(rows["N"])), np.log(16) / 6)
    assert table["total_cost"].iloc[-1] == table.attrs["total_cost"] == pytest.approx(7 * 1.111e21)
    assert len(plan.notes) == 1
    assert plan.notes[0].startswith("D/N varies by a factor of 256 at each compute")
    # N* is log-normal, 90% within a factor 3; the inner sizes end half a step inside.
    inner = np.log(16) / 2 - np.log(16) / 12
    exact = 2 * stats.norm.cdf(inner / (np.log(3) / stats.norm.ppf(0.95))) - 1
    np.testing.assert_allclose(table["p_bracketed"], exact, atol=1e-3)


def test_a_plan_says_what_its_spread_determines_and_one_ray_would_not():
    plan = sb.plan([1e18, 1e20], levels=3, sizes=5)
    log_N, log_D = np.log(plan.table["N"]), np.log(plan.table["D"])
    planned = design_precision(log_N.to_numpy(), log_D.to_numpy(), 0.005)
    C = plan.table["C"].to_numpy()
    one_ratio = design_precision(0.5 * np.log(C), 0.5 * np.log(C), 0.005)
    note = plan.notes[-1]
    assert f"a factor of {planned.factor:.2g} (90%)" in note
    assert f"a standard error of {planned.ratio_error:.2g}, and the loss" in note
    assert f"{one_ratio.ratio_error:.2g} and {one_ratio.loss_error:.1%}" in note
    assert "would determine the compute-optimal N" not in note
    assert one_ratio.factor > 20 * planned.factor


def test_a_narrow_plan_says_what_span_would_do():
    note = sb.plan([1e18, 1e20], levels=3, sizes=5, span=1.1, strict=False).notes[-1]
    span = float(note.partition("(a span of ")[2].partition(")")[0])
    wider = sb.plan([1e18, 1e20], levels=3, sizes=5, span=span, strict=False)
    log_N, log_D = np.log(wider.table["N"]), np.log(wider.table["D"])
    # Even sizes tell a little less than runs at the ends of the spread.
    assert design_precision(log_N.to_numpy(), log_D.to_numpy(), 0.005).factor < 2.5


def test_bracketed_minima_are_those_of_the_law_in_the_sweep(additive):
    fit = additive(width=0.3)
    table = sb.plan([1e22, 1e24], around=fit, span=3, strict=False).table
    posterior = fit.stored["posterior"]
    parameters = {
        k: posterior[k].values.reshape(-1, 1) for k in fit.spec.law_object.parameter_names
    }
    for _, rows in table.groupby("C"):
        losses = fit.spec.law_object(rows["N"].to_numpy(), rows["D"].to_numpy(), **parameters)
        lowest = losses.argmin(axis=1)
        inside = ((lowest > 0) & (lowest < len(rows) - 1)).mean()
        assert 0.2 < inside < 0.95
        assert rows["p_bracketed"].iloc[0] == pytest.approx(inside, abs=0.05)


def test_guesses_of_the_optimum(additive):
    fit = additive()
    N = float(sb.frontier(fit, C=1e20)["N"].median())
    middle = {"sizes": 7, "strict": False}
    assert sb.plan([1e20, 1e22], around=fit, **middle).table["N"].iloc[3] == pytest.approx(N)
    values = BESIROGLU
    G = (values["alpha"] * values["A"] / (values["beta"] * values["B"])) ** (
        1 / (values["alpha"] + values["beta"])
    )
    exact = G * (1e20 / 6) ** (values["beta"] / (values["alpha"] + values["beta"]))
    served = sb.with_inference("200B")
    at_a_cost = sb.plan([1e22, 1e24, 1e26], around=fit, cost=served, span=2, **middle).table
    for i, budget in enumerate([1e22, 1e24, 1e26]):
        best = float(sb.frontier(fit, C=budget, cost=served)["N"].median())
        assert at_a_cost["N"].iloc[7 * i + 3] == pytest.approx(best, rel=1e-3)
    published = sb.plan([1e20, 1e22], around="chinchilla: Besiroglu et al. 2024", **middle)
    assert published.table["N"].iloc[3] == pytest.approx(exact, rel=1e-3)
    prior = sb.plan([1e20, 1e22], around=in_nats("chinchilla"), **middle)
    # A prior for any table of runs says little about this one.
    assert prior.table["p_bracketed"].iloc[0] < 0.5
    assert "a span of" in prior.notes[0]
    assert "the prior of chinchilla-in-nats" in prior.title
    with pytest.raises(sb.QueryError, match="relative to a table of runs, so without one"):
        sb.plan([1e20, 1e22], around="chinchilla")


def test_the_title_names_the_guess(additive):
    middle = {"sizes": 7, "strict": False}
    fit = additive()
    guesses = [
        ("chinchilla: Besiroglu et al. 2024", "values of chinchilla: Besiroglu et al. 2024"),
        (in_nats("chinchilla"), "prior of chinchilla-in-nats"),
        (20, "20 tokens per parameter, within a factor 3 of N with probability 90%"),
        (fit, "posterior of chinchilla to grid"),
    ]
    for guess, words in guesses:
        assert words in sb.plan([1e20, 1e22], around=guess, **middle).title
    assert _describe_guess("chinchilla") == "the prior of chinchilla"


@pytest.mark.parametrize(("share", "is_advised"), [(0.0, True), (0.05, True), (0.6, False)])
def test_draws_without_an_optimum_are_bracketed_by_no_span(share, is_advised):
    """A bracket of 80% of the draws can leave out a few that have no optimum, but not most."""
    ratio = np.exp(np.linspace(-2.0, 2.0, 1001))[:, None]
    ratio[: int(1001 * share)] = np.nan
    (note,) = _bracket_faults(np.array([1e20]), np.array([0.3]), ratio, 7, 3.0)
    assert ("no span would do" in note) != is_advised
    assert "30% at C = 1e20 only, for a span of 3" in note


def test_the_span_advised_does_bracket():
    with pytest.raises(sb.QueryError) as caught:
        sb.plan([1e19, 1e21], span=4)
    advised = float(re.search(r"a span of ([\d.e+]+) would make it 80%", str(caught.value))[1])
    assert sb.plan([1e19, 1e21], span=advised * 1.05).table["p_bracketed"].min() > 0.8
    assert sb.plan([1e19, 1e21], span=advised * 0.9, strict=False).table["p_bracketed"].max() < 0.8


def test_all_reasons_to_refuse_come_at_once_and_become_notes():
    asked = {"C": [1e20, 3e20], "sizes": 4, "span": 3.0, "budget": 1e21}
    with pytest.raises(sb.QueryError) as caught:
        sb.plan(**asked)
    for reason in (
        "4 sizes a budget: a parabola needs at least 5",
        "budgets over 0.48 decades of compute: an exponent needs at least 1",
        "1.6e21 FLOP in all, but the budget is 1e21: the same sweeps fit it up to C = 1.88e20",
        "the minimum is bracketed with a probability of 4",
    ):
        assert reason in str(caught.value)
    plan = sb.plan(**asked, strict=False)
    assert len(plan.notes) == 5
    assert all(note in str(caught.value) for note in plan.notes[:-1])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"around": "chinchilla: Me 2030"},
            "no values called 'Me 2030' are published for 'chinchilla'; there are 'chin",
        ),
        ({"around": -1.0}, "around is tokens per parameter, a model or a fit; got -1.0"),
        ({"around": "kaplan-size"}, "'kaplan-size' is a law of N alone: it has no optimal N"),
        ({"around": "mixture-of-experts"}, "N* of 'mixture-of-experts' also depends on E"),
        ({"around": "data-constrained"}, "N* of 'data-constrained' also depends on U"),
        ({"around": "tuned"}, "the priors of 'tuned' are relative to a table of runs"),
        (
            {"levels": 3, "C": [1e20, 1e21, 1e22]},
            "levels needs the least and the largest C and 2 levels or more; got 3",
        ),
        ({"sizes": 1}, "a sweep needs 2 sizes or more, over a span above 1; got 1 over 16"),
        ({"C": "inf"}, "C must be finite"),
        ({"budget": "lots"}, "budget: 'lots' is not a quantity"),
    ],
)
def test_sweeps_that_cannot_be_laid_out_are_told_why(options, told):
    with pytest.raises(sb.QueryError) as caught:
        sb.plan(**({"C": [1e19, 1e21]} | options))
    assert told in str(caught.value)


def test_a_sweep_with_another_cost_keeps_to_it():
    served = sb.Cost("with inference", lambda N, D: 6 * N * D + 2e9 * N)
    table = sb.plan([1e21, 1e23], cost=served).table
    np.testing.assert_allclose(served.flop(table["N"], table["D"]), table["cost"], rtol=1e-6)


# command line


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def saved(tmp_path, additive):
    return sb.save(additive(), tmp_path / "fit.nc")


def test_next_prints_the_python_answer(saved, tmp_path):
    result = run(
        "next-runs", saved, "--budget", "1e22", "--N", "70B", "--D", "1.4T", "--batch", "3"
    )
    ours = sb.next_runs(sb.load(saved), budget=1e22, target=TARGET, batch=3)
    assert result.stdout.strip() == str(ours)
    assert "90% equal-tailed interval" in result.stdout
    answer = json.loads(run("next-runs", saved, "--budget", "1e22", "--C", "1e24", "--json").stdout)
    assert answer["target"] == "N* at 1e24 FLOP"
    assert set(answer["rows"][0]) >= {"N", "D", "cost", "width", "variance_left"}
    (tmp_path / "choices.csv").write_text("N,D\n1B,20B\n2B,40B\n")
    chosen = run(
        "next-runs",
        saved,
        "--budget",
        "1e21",
        "--C",
        "1e24",
        "--candidates",
        tmp_path / "choices.csv",
    ).stdout
    assert re.search(r"\n  [12]B +[24]0B +20 ", chosen)


def test_needed_prints_the_answer(saved):
    need = sb.runs_needed(sb.load(saved), target={"C": 1e24}, width=1.2, run_budget=1e21)
    result = run("runs-needed", saved, "--C", "1e24", "--width", "1.2", "--run-budget", "1e21")
    assert result.stdout.strip() == str(need)
    answer = json.loads(
        run(
            "runs-needed", saved, "--C", "1e24", "--width", "1.2", "--run-budget", "1e21", "--json"
        ).stdout
    )
    assert answer["runs"] == need.runs


def test_plan_prints_runs_and_refusals(saved):
    result = run("plan", "--C", "1e18", "--C", "1e21", "--levels", "4", "--budget", "1e22")
    assert result.stdout.startswith("4 isoFLOP sweeps of 7 sizes, 28 runs, 7.78e21 FLOP in all")
    answer = json.loads(
        run("plan", "--C", "1e19", "--C", "1e21", "--around", saved, "--json").stdout
    )
    assert answer["total_cost"] == pytest.approx(7 * 1.01e21)
    assert len(answer["rows"]) == 14
    refused = run("plan", "--C", "1e20", "--sizes", "3", code=1)
    assert "3 sizes a budget" in refused.stderr
    assert refused.stdout == ""
    assert "note: 3 sizes" in run("plan", "--C", "1e20", "--sizes", "3", "--lenient").stdout


def test_commands_say_what_is_missing(saved, tmp_path):
    asked = run("next-runs", saved, "--budget", "1e22", code=2).stderr
    assert "give --N and --D for the loss of a run, or --C for N*" in re.sub(r"[│\s]+", " ", asked)
    assert (
        "no saved fit at"
        in run("plan", "--C", "1e20", "--around", tmp_path / "none.nc", code=1).stderr
    )
    (tmp_path / "empty.csv").write_text("")
    empty = run(
        "next-runs",
        saved,
        "--budget",
        "1e22",
        "--C",
        "1e24",
        "--candidates",
        tmp_path / "empty.csv",
        code=1,
    )
    assert "cannot read candidates" in empty.stderr


# simulation


@pytest.mark.slow
def test_chosen_runs_narrow_the_target_as_far_as_expected_and_more_than_a_sweep_of_equal_cost():
    """Truths from the posterior, simulated losses, refits to old and new runs.

    benchmarks/next_runs.py runs this at length.
    """
    file = Path(__file__).parents[2] / "benchmarks" / "next_runs.py"
    module = importlib.util.spec_from_file_location("next_runs_benchmark", file)
    benchmark = importlib.util.module_from_spec(module)
    module.loader.exec_module(benchmark)
    base = sb.fit(benchmark.thinned(sb.load_runs("hoffmann2022")), "chinchilla", seed=0)
    table = benchmark.compare(base, benchmark.TARGETS["N* at 5.76e23"], sweeps=3, truths=6)
    assert not table[["chosen failed", "sweep failed"]].to_numpy().any()
    chosen, sweep = (np.exp(np.log(table[name]).mean()) for name in ("chosen", "sweep"))
    assert chosen == pytest.approx(table["expected"].iloc[0], rel=0.15)
    assert chosen < sweep


def test_the_runs_of_a_plan_are_numbered_from_one():
    table = sb.plan([1e19, 1e21], strict=False).table
    assert table.index.name == "run"
    assert list(table.index) == list(range(1, len(table) + 1))
