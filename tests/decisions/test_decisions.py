"""Inverse questions and regret, against closed forms, brute-force grids and simulation."""

import json
import re

import numpy as np
import pytest
import xarray as xr
from scipy import optimize, stats
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.decisions.decide import LEAST, MEDIAN, shared_range
from scalebayes.posterior.fit import law_parameters
from scalebayes.posterior.provenance import provenance
from scalebayes.queries.curves import curve_of, first_place
from tests.fixtures import INTEGRATED, draws_around, fit_of, grid_runs

CHAINS, DRAWS = 2, 300
JOINT = ["chinchilla", "coupled", "kaplan", "kaplan-floor", "bottleneck"]
RUNS = grid_runs()


def handmade(model="chinchilla", width=0.02, **planted):
    """A fit whose draws lie independently around `VALUES`; some parameters can be given."""
    draws = draws_around(model, (CHAINS, DRAWS), width=width)
    given = {name: np.full((CHAINS, DRAWS), value) for name, value in planted.items()}
    return fit_of(model, RUNS, **draws | given)


@pytest.fixture(scope="module")
def fit():
    return handmade()


@pytest.fixture(scope="module")
def discrepant():
    return handmade("chinchilla-discrepancy")


@pytest.fixture(scope="module")
def pair(fit):
    return sb.average({"additive": fit, "kaplan": handmade("kaplan")})


def hoffmann(fit):
    """E, A, B, alpha, beta, and the frontier L = E + K (C/6)^-gamma, N* = G (C/6)^a."""
    p = law_parameters(fit)
    E, alpha, beta = p["L_inf"], p["alpha_N"], p["alpha_D"]
    A, B = p["N_c"] ** alpha, p["D_c"] ** beta
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    K = A * G**-alpha + B * G**beta
    return E, A, B, alpha, beta, G, K, alpha * beta / (alpha + beta), beta / (alpha + beta)


def of_draw(fit, chain, draw):
    return {name: value[chain, draw] for name, value in law_parameters(fit).items()}


def four_errors(share, draws=CHAINS * DRAWS):
    return 4.5 * np.sqrt(max(share * (1 - share), 0.01) / draws)


# reach


def test_compute_to_reach_a_loss_is_the_frontier_solved_for_it(fit):
    E, *_, G, K, gamma, a = hoffmann(fit)
    out = sb.reach(fit, loss=[2.3, 2.0])
    for i, loss in enumerate((2.3, 2.0)):
        C = 6 * (K / (loss - E)) ** (1 / gamma)
        np.testing.assert_allclose(out["C"][..., i], C, rtol=1e-7)
        np.testing.assert_allclose(out["N"][..., i], G * (C / 6) ** a, rtol=1e-7)
    np.testing.assert_allclose(6 * out["N"] * out["D"], out["C"], rtol=1e-12)
    assert out["reachable"].values.tolist() == [1.0, 1.0]
    assert out.attrs["note"] == ""
    middle = np.quantile(out["C"].values, 0.5, axis=(0, 1), method="higher")
    np.testing.assert_allclose(out["decades_beyond"], np.log10(middle / RUNS.C.max()).clip(0))


def test_tokens_and_parameters_to_reach_a_loss_are_the_additive_terms_solved(fit):
    E, A, B, alpha, beta, *_ = hoffmann(fit)
    tokens = sb.reach(fit, loss=2.2, N="10B")
    np.testing.assert_allclose(
        tokens["D"][..., 0], (B / (2.2 - E - A / 1e10**alpha)) ** (1 / beta), rtol=1e-9
    )
    np.testing.assert_allclose(tokens["C"], 6e10 * tokens["D"], rtol=1e-12)
    assert tokens["N"].values.tolist() == [1e10]
    size = sb.reach(fit, loss=2.3, D=[1e11, 1e12])
    for i, D in enumerate((1e11, 1e12)):
        np.testing.assert_allclose(
            size["N"][..., i], (A / (2.3 - E - B / D**beta)) ** (1 / alpha), rtol=1e-9
        )


@pytest.mark.parametrize("model", JOINT)
def test_declared_inverses_and_numeric_ones_agree(model):
    fit = handmade(model)
    law, parameters = fit.spec.law_object, {k: v.ravel() for k, v in law_parameters(fit).items()}
    target = float(law(3e9, 6e10, **{k: np.median(v) for k, v in parameters.items()}))
    for sought, held in (("D", {"N": 5e9}), ("N", {"D": 8e10})):
        x = sb.reach(fit, loss=target, **held)[sought].values.ravel()
        assert np.isfinite(x).mean() > 0.5
        for i in np.flatnonzero(np.isfinite(x))[:20]:
            p = {k: v[i] for k, v in parameters.items()}
            root = optimize.brentq(excess_at, 0.0, 92.2, args=(law, held, sought, p, target))
            assert x[i] == pytest.approx(np.exp(root), rel=1e-6)
        never = ~np.isfinite(x)
        assert (
            law(*[held.get(name, np.inf) for name in "ND"], **parameters)[never] >= target
        ).all()


def excess_at(log_x, law, held, sought, parameters, target):
    inputs = held | {sought: np.exp(log_x)}
    return law(inputs["N"], inputs["D"], **parameters) - target


def test_a_law_without_a_closed_inverse_is_solved_numerically():
    fit = handmade("product")
    p = law_parameters(fit)
    out = sb.reach(fit, loss=2.0, N=1e10)
    expected = 2e10 * (p["L_0"] * (1e9 / 1e10) ** p["alpha_N"] / 2.0) ** (1 / p["alpha_D"])
    np.testing.assert_allclose(out["D"][..., 0], expected, rtol=1e-7)


def test_a_loss_out_of_reach_says_so(fit):
    E, A, _, alpha, *_ = hoffmann(fit)
    out = sb.reach(fit, loss=[1.8, 2.3])
    share = float((E < 1.8).mean())
    assert 0.3 < share < 0.7
    # Of those above, some need over 1e40.
    assert out["reachable"].values == pytest.approx([share, 1.0], abs=0.01)
    np.testing.assert_array_equal(np.isinf(out["C"][..., 0]) | (E < 1.8), True)
    words = re.fullmatch(
        r"a loss of 1\.8 nats is not reachable in (\d+)% of draws: "
        r"it is at or below L_inf, or would take more than 1e40 FLOP",
        out.attrs["note"],
    )
    assert float(words[1]) == pytest.approx(100 * (1 - share), abs=2.5)
    at_size = sb.reach(fit, loss=1.96, N=1e10)
    assert float(at_size["reachable"][0]) == pytest.approx(
        float((E + A / 1e10**alpha < 1.96).mean()), abs=1e-12
    )
    assert "at or below the limit at that N" in at_size.attrs["note"]
    row = sb.intervals(out).xs(("C", 1.8), level=("quantity", "loss")).iloc[0]
    assert np.isfinite(row["eti90_lb"])
    assert row["eti90_ub"] == np.inf
    assert sb.intervals(sb.reach(fit, loss=0.5))["median"].tolist() == [np.inf] * 3


def test_the_least_total_with_serving_beats_every_other_size(fit):
    served = 2e12
    out = sb.reach(fit, loss=2.1, cost=sb.with_inference("2T"))
    E, A, B, alpha, beta, *_ = (x[0, :5, None] for x in hoffmann(fit))
    N = np.geomspace(1e8, 1e12, 40_000)[None]
    left = 2.1 - E - A / N**alpha
    D = np.where(left > 0, (B / np.where(left > 0, left, 1)) ** (1 / beta), np.inf)
    total = 6 * N * D + 2 * N * served
    best = total.argmin(axis=1)
    np.testing.assert_allclose(out["total"][0, :5, 0], total.min(axis=1), rtol=1e-4)
    np.testing.assert_allclose(out["N"][0, :5, 0], N[0, best], rtol=2e-2)
    np.testing.assert_allclose(
        out["total"], 6 * out["N"] * out["D"] + 2 * out["N"] * served, rtol=1e-12
    )
    assert (out["N"] < sb.reach(fit, loss=2.1)["N"]).all()


def test_money_is_the_price_of_the_cost(fit):
    price = sb.Price(per_hour=2.0, flop_per_second="4e14")
    out = sb.reach(fit, loss=2.1, price=price)
    np.testing.assert_allclose(out["money"], out["C"] / 4e14 / 3600 * 2, rtol=1e-12)
    served = sb.reach(fit, loss=2.1, price=price, cost=sb.with_inference(1e12))
    np.testing.assert_allclose(served["money"], price.of(served["total"]), rtol=1e-12)


def test_laws_of_one_input_are_inverted_in_it():
    compute = handmade("compute-floor")
    p = law_parameters(compute)
    out = sb.reach(compute, loss=2.1, price=sb.Price(2, 4e14))
    np.testing.assert_allclose(
        out["C"][..., 0], p["C_c"] * (2.1 - p["L_inf"]) ** (-1 / p["alpha_C"]), rtol=1e-9
    )
    size = handmade("kaplan-size")
    p = law_parameters(size)
    np.testing.assert_allclose(
        sb.reach(size, loss=2.1)["N"][..., 0], p["N_c"] * 2.1 ** (-1 / p["alpha_N"]), rtol=1e-9
    )


def test_an_average_reaches_in_the_share_of_its_draws(fit, pair):
    out = sb.reach(pair, loss=1.8)
    alone = [float(sb.reach(one, loss=1.8)["reachable"][0]) for one in pair.fits.values()]
    assert float(out["reachable"][0]) == pytest.approx(np.mean(alone), abs=0.01)
    middle = np.quantile(out["C"].values, 0.5, method="higher")
    assert float(out["decades_beyond"][0]) == pytest.approx(np.log10(middle / RUNS.C.max()))


def test_the_law_can_be_inverted_alone(discrepant):
    curve, law = (sb.reach(discrepant, loss=2.2, N=5e9, of=of)["D"] for of in ("curve", "law"))
    E, A, B, alpha, beta, *_ = hoffmann(discrepant)
    np.testing.assert_allclose(
        law[..., 0], (B / (2.2 - E - A / 5e9**alpha)) ** (1 / beta), rtol=1e-9
    )
    assert not np.allclose(curve, law, rtol=0.01)


def test_within_a_budget_the_discrepant_curve_reaches_as_often_as_it_lies_below(discrepant):
    for C in (2e21, 1e23):
        best = sb.frontier(discrepant, C=C)
        loss = float(best["loss"].median()) * 1.002
        share = float((sb.reach(discrepant, loss=loss)["C"] <= C).mean())
        assert 0.2 < share < 0.8
        below = float(
            sb.probability(discrepant, loss=loss, C=C, of="curve", seed=7)["probability"][0]
        )
        assert share == pytest.approx(below, abs=1.5 * four_errors(share))
    D = float(np.median(sb.reach(discrepant, loss=2.3, N=4e9)["D"]))
    assert float(
        sb.probability(discrepant, loss=2.3, N=4e9, D=D, of="curve")["probability"][0]
    ) == pytest.approx(0.5, abs=four_errors(0.5))


@pytest.mark.parametrize(
    ("model", "given", "told"),
    [
        (
            "chinchilla",
            {"loss": 2.0, "N": 1e9, "D": 1e9},
            "give N or D or neither: with both nothing is left to find",
        ),
        (
            "chinchilla",
            {"loss": [2.0, 2.1], "N": [1e9, 2e9, 3e9]},
            "loss, N and D must have one length; got 2, 3",
        ),
        ("chinchilla", {"loss": -1}, "loss must be positive; got -1"),
        ("chinchilla", {"loss": np.inf}, "loss must be finite"),
        (
            "chinchilla",
            {"loss": 1e7},
            "a loss of 1e+07 is reached before the search begins, with 10K FLOP, in 100% of",
        ),
        (
            "kaplan",
            {"loss": 1e6, "N": 1e9},
            "is reached before the search begins, with one of tokens",
        ),
        ("chinchilla", {"loss": 2.0, "of": "new_run"}, "of is 'curve' or 'law'; got 'new_run'"),
        (
            "kaplan-size",
            {"loss": 2.0, "N": 1e9},
            "'kaplan-size' is a law of N alone: give the loss alone",
        ),
        (
            "kaplan-size",
            {"loss": 2.0, "price": sb.Price(2, 4e14)},
            "'kaplan-size' does not determine the compute",
        ),
        ("product", {"loss": 2.0}, "law 'product' has no compute-optimal point"),
    ],
)
def test_losses_that_cannot_be_sought_are_told(model, given, told):
    with pytest.raises(sb.QueryError) as caught:
        sb.reach(handmade(model), **given)
    assert told in str(caught.value)


def test_quantiles_pass_over_infinity_without_turning_into_nan():
    values = np.array([[1.0, 2.0, 3.0, np.inf, np.inf]])
    data = xr.Dataset({"x": (("chain", "draw"), values)})
    for prob, low, high in ((0.5, 2.0, np.inf), (0.9, 1.2, np.inf), (1e-9, 3.0, np.inf)):
        row = sb.intervals(data, prob).iloc[0]
        assert row["median"] == 3.0
        assert row.iloc[1] == pytest.approx(low)
        assert row.iloc[2] == high
    row = sb.intervals(-data, 0.9).iloc[0]
    assert (row["median"], row.iloc[1]) == (-3.0, -np.inf)
    finite = xr.Dataset({"x": (("chain", "draw"), np.arange(7.0)[None])})
    assert sb.intervals(finite, 0.5).iloc[0, :3].tolist() == [3.0, 1.5, 4.5]


# costs


def test_serving_near_the_whole_budget_still_has_an_optimum(fit):
    cost, T = sb.with_inference("2T"), 2e12
    best = sb.frontier(fit, C=1e20, cost=cost)
    p = {k: v[0, :3, None] for k, v in law_parameters(fit).items()}
    N = 1e20 / (2 * T) * (1 - np.geomspace(1e-6, 0.9, 200_000))[None]
    loss = fit.spec.law_object(N, (1e20 - 2 * N * T) / (6 * N), **p)
    np.testing.assert_allclose(best["N"][0, :3, 0], N[0, loss.argmin(axis=1)], rtol=1e-4)
    np.testing.assert_allclose(cost.flop(best["N"], best["D"]), 1e20, rtol=1e-9)


def test_tokens_within_a_budget_each(fit):
    rule = sb.Cost("plain", lambda N, D: 6 * N * D)
    N, C = np.array([1e9, 1e10]), np.array([1e21, 1e23])
    np.testing.assert_allclose(rule.affordable_tokens(N, C), C / (6 * N), rtol=1e-9)
    assert sb.with_inference("2T").name == "6 N D + 2 N T, T = 2T"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: sb.with_inference("much"), "tokens: 'much' is not a quantity"),
        (lambda: sb.with_inference(0), "tokens must be positive; got 0"),
        (lambda: sb.Price(-2, 4e14), "per_hour must be positive; got -2"),
    ],
)
def test_costs_that_are_none_are_told(make, told):
    with pytest.raises(sb.QueryError, match=re.escape(told)):
        make()


# curves


def test_readings_of_the_discrepancy_have_the_moments_of_its_draws():
    # All draws are equal, so that predict draws from one process.
    same = handmade(INTEGRATED, width=0.0)
    N, D = np.array([2e9, 4e10, 7e10]), np.array([3e10, 1e11, 1.4e12])
    drawn = np.log(sb.predict(same, N=N, D=D, seed=3)["loss"].values.reshape(-1, 3))
    spread = drawn.std(axis=0)
    curve = curve_of(same, "curve", seed=5)
    values = curve.log_loss_shared(N, D)
    # A draw keeps its level, so the probability is linear in it.
    high, low = (
        curve.level.argmax(),
        curve.level.argmin(),
    )
    slope = (values[high] - values[low]) / (curve.level[high] - curve.level[low])
    mean = values[low] - slope * curve.level[low]
    np.testing.assert_array_less(abs(drawn.mean(axis=0) - mean), 4.5 * spread / np.sqrt(len(drawn)))
    levels = (values - mean) / curve.level[:, None]
    np.testing.assert_allclose(levels, levels[:1].repeat(len(levels), axis=0), rtol=1e-6)
    np.testing.assert_allclose(levels[0], spread, rtol=0.12)
    expected = curve_of(same, "expected", seed=5).log_loss_shared(N, D)
    np.testing.assert_array_less(
        abs(expected.mean(axis=0) - mean), 4.5 * spread / np.sqrt(len(drawn))
    )
    assert (expected.std(axis=0) < spread).all()  # what no run has shown is expected, not drawn
    np.testing.assert_allclose(
        curve_of(same, "law").log_loss_shared(N, D)[0], np.log(of_first(same, N, D)), rtol=1e-12
    )


def of_first(fit, N, D):
    return fit.spec.law_object(N, D, **of_draw(fit, 0, 0))


@pytest.mark.parametrize("which", ["law", "mean", "curve"])
def test_shared_inputs_and_each_draws_own_agree(discrepant, which):
    curve = curve_of(discrepant, which)
    N, D = np.array([2e9, 4e10, np.inf]), np.array([3e10, 1e11, np.inf])
    each = curve.log_loss_each(*(np.tile(x, (curve.draws, 1)) for x in (N, D)))
    np.testing.assert_allclose(each, curve.log_loss_shared(N, D), rtol=1e-9, atol=1e-12)


def test_the_first_of_several_crossings_counts():
    def excess(rows, x):
        return np.cos(x) + np.array([0.0, 0.5, 2.0])[rows]

    nodes = np.linspace(0.0, 10.0, 101)
    at = np.stack([excess(np.full(101, i), nodes) for i in range(3)])
    x, easy = first_place(excess, nodes, at)
    np.testing.assert_allclose(x[:2], [np.pi / 2, 2 * np.pi / 3], atol=1e-8)
    assert x[2] == np.inf
    assert not easy.any()


# probability, prefer


def test_the_chance_of_a_run_is_that_of_its_noise_around_the_curve(fit):
    out = sb.probability(fit, loss=[2.0, 2.1, 2.2], N=2e10, D=2e11)
    curve = sb.predict(fit, N=2e10, D=2e11)["loss"].values
    sigma, nu = (fit.stored["posterior"][x].values[..., None] for x in ("sigma", "nu"))
    for i, loss in enumerate((2.0, 2.1, 2.2)):
        expected = stats.t.cdf(np.log(loss / curve) / sigma, nu).mean()
        assert float(out["probability"][i]) == pytest.approx(expected, abs=four_errors(expected))
    assert (
        out["probability"].values[0] < out["probability"].values[1] < out["probability"].values[2]
    )
    assert (
        float(sb.probability(fit, loss=2.1, N=2e10, D=2e11, of="curve")["probability"][0])
        == (curve <= 2.1).mean()
    )
    np.testing.assert_allclose(out["margin"].isel(target=1) - out["margin"].isel(target=0), 0.1)
    assert "probability" in sb.intervals(out).index.names


def test_the_chance_within_a_budget_is_the_share_that_reaches_it(fit, pair):
    for one in (fit, pair):
        loss = float(sb.frontier(one, C=1e23)["loss"].median())
        chances = sb.probability(one, loss=loss, C=["1e22", 1e23, 1e24], of="curve")[
            "probability"
        ].values
        needed = sb.reach(one, loss=loss)["C"].values
        assert chances == pytest.approx(
            [(needed <= C).mean() for C in (1e22, 1e23, 1e24)], abs=1e-12
        )
        noisy = sb.probability(one, loss=loss, C=1e23)["probability"].values
        assert 0.3 < noisy[0] < 0.7


def test_the_better_allocation_by_the_law_itself(fit):
    out = sb.prefer(fit, a={"N": "70B", "D": "1.4T"}, b={"N": "140B", "C": 5.88e23})
    _, A, B, alpha, beta, *_ = hoffmann(fit)
    gain = A / 1.4e11**alpha + B / 0.7e12**beta - A / 7e10**alpha - B / 1.4e12**beta
    np.testing.assert_allclose(out["gain"][..., 0], gain, rtol=1e-6)
    assert float(out["a_better"][0]) == (gain > 0).mean()
    assert out["D_b"].values == pytest.approx([0.7e12])
    back = sb.prefer(fit, b={"N": "70B", "D": "1.4T"}, a={"N": "140B", "D": "0.7T"})
    assert float(back["a_better"][0]) == pytest.approx(1 - float(out["a_better"][0]), abs=1e-12)
    np.testing.assert_allclose(out["decades_beyond"], np.log10(5.88e23 / RUNS.C.max()), rtol=1e-9)
    spread = float(out["gain_new_run"].std())
    sigma = float(fit.stored["posterior"]["sigma"].median()) * np.sqrt(
        6 / 4
    )  # of a Student t with 6 degrees of freedom
    assert spread == pytest.approx(np.sqrt(2) * 1.95 * sigma, rel=0.3)


def test_neighbours_share_the_laws_error(discrepant):
    near, far = (
        float(sb.prefer(discrepant, a={"N": 1e11, "D": 2e12}, b={"N": N, "D": D})["gain"].std())
        for N, D in ((1.05e11, 1.9e12), (1e12, 2e11))
    )
    apart = np.log(sb.predict(discrepant, N=1e11, D=2e12)["loss"]).std()
    assert near < 0.3 * float(apart) * 2 < far * 2
    assert list(
        sb.prefer(discrepant, a={"N": 1e11, "D": 2e12}, b={"N": 1e12, "D": 2e11}).data_vars
    ) == [
        "gain_law",
        "gain",
        "gain_new_run",
    ]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (
            lambda f: sb.probability(f, loss=2, N=1e9, D=1e9, of="run"),
            "of is one of new_run, curve, law; got 'run'",
        ),
        (
            lambda f: sb.probability(f, loss=[2, 3], N=[1e9] * 3, D=1e9),
            "one loss for all inputs or one for each; got 2 for 3",
        ),
        (lambda f: sb.probability(f, loss=2, N=1e9), "predicts from any two of N, D and C; got N"),
        (
            lambda f: sb.prefer(f, a={"n": 1}, b={"N": 1, "D": 1}),
            "a and b are given by any two of N, D and C; got n",
        ),
        (
            lambda f: sb.prefer(f, a={"N": [1e9, 2e9], "D": 1e9}, b={"N": 1, "D": 1}),
            "a and b must have equally many runs; got 2",
        ),
        (lambda f: sb.regret(f, N="inf", D=1e9), "N and D must be finite"),
        (lambda f: sb.regret(f, N=1e9), "predicts from any two of N, D and C; got N"),
        (
            lambda f: sb.regret(handmade("kaplan-size"), N=1e9),
            "'kaplan-size' is not a law of N and D",
        ),
        (
            lambda f: sb.near_optimum(f, C=1e21, within=0),
            "within, a share of compute, must be positive; got 0",
        ),
        (lambda f: sb.near_optimum(f, C=1e21, nats=-1), "nats must be positive; got -1"),
        (lambda f: sb.near_optimum(f, C=1e21, prob=90), "prob must lie between 0 and 1; got 90"),
        (lambda f: sb.decide(f, C=-1), "C must be positive; got -1"),
    ],
)
def test_questions_without_an_answer_are_told_why(fit, ask, told):
    with pytest.raises(sb.QueryError) as caught:
        ask(fit)
    assert told in str(caught.value)


# regret, overtrain


def test_regret_is_the_distance_to_the_best_of_a_grid(fit):
    out = sb.regret(fit, N=[7e10, 8e9], D=[3e11, 15e12])
    grid = np.geomspace(1e9, 1e13, 20_001)
    for i, (N, D) in enumerate(((7e10, 3e11), (8e9, 15e12))):
        for chain, draw in ((0, 0), (1, 299)):
            p = of_draw(fit, chain, draw)
            losses = fit.spec.law_object(grid, N * D / grid, **p)
            lost = fit.spec.law_object(N, D, **p) - losses.min()
            here = out.isel(chain=chain, draw=draw, target=i)
            assert float(here["excess_loss"]) == pytest.approx(lost, rel=1e-4)
            assert float(here["data_ratio"]) == pytest.approx(
                D / (N * D / grid[losses.argmin()]), rel=2e-3
            )
        _, A, B, alpha, beta, _, K, gamma, _ = hoffmann(fit)
        needed = 6 * (K / (A / N**alpha + B / D**beta)) ** (1 / gamma)
        np.testing.assert_allclose(out["compute_factor"][..., i], 6 * N * D / needed, rtol=1e-6)
    assert (out["excess_loss"] >= 0).all()


def test_at_the_optimum_nothing_is_lost(fit, discrepant):
    for one in (fit, handmade("kaplan"), handmade("chinchilla-discrepancy", width=0.0)):
        best = sb.frontier(one, C=1e23).isel(chain=0, draw=0, budget=0)
        out = sb.regret(one, N=float(best["N"]), D=float(best["D"])).isel(chain=0, draw=0, target=0)
        assert float(out["excess_loss"]) == pytest.approx(0.0, abs=1e-9)
        assert float(out["compute_factor"]) == pytest.approx(1.0, abs=1e-4)
        assert float(out["data_ratio"]) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("cost", [sb.SIX_ND, sb.with_inference("10T")], ids=lambda cost: cost.name)
def test_no_run_is_better_or_cheaper_than_the_optimum_of_its_cost(discrepant, cost):
    best = sb.frontier(discrepant, C=[1e21, 1e24], cost=cost)["N"].median(("chain", "draw")).values
    near = np.concatenate([best * factor for factor in (0.99, 0.999, 1.0, 1.001, 1.01)])
    D = cost.affordable_tokens(near, np.tile([1e21, 1e24], 5))
    keep = D > 0
    out = sb.regret(discrepant, N=near[keep], D=D[keep], cost=cost)
    assert keep.sum() >= 5
    assert float(out["excess_loss"].min()) >= 0.0
    assert float(out["compute_factor"].min()) >= 1.0
    assert float(out["compute_factor"].max()) < 2.0


def test_regret_counts_serving_where_the_cost_does(fit):
    cost = sb.with_inference("10T")
    best = sb.frontier(fit, C=1e24, cost=cost).isel(chain=0, draw=0, budget=0)
    out = sb.regret(fit, N=float(best["N"]), D=float(best["D"]), cost=cost).isel(
        chain=0, draw=0, target=0
    )
    assert float(out["excess_loss"]) == pytest.approx(0.0, abs=1e-8)
    assert float(out["compute_factor"]) == pytest.approx(1.0, abs=1e-3)
    assert out.attrs["cost"] == cost.name


def test_a_longer_training_pays_where_both_lives_cost_the_same(fit):
    N, tokens = 8e9, [1e12, 15e12]
    out = sb.overtrain(fit, N=N, D=tokens)
    E, A, B, alpha, beta, G, K, gamma, a = hoffmann(fit)
    for i, D in enumerate(tokens):
        C = 6 * (K / (A / N**alpha + B / D**beta)) ** (1 / gamma)
        optimal = G * (C / 6) ** a
        T = out["pays_from"].values[..., i]
        np.testing.assert_allclose(6 * N * D + 2 * N * T, C + 2 * optimal * T, rtol=1e-6)
        np.testing.assert_allclose(
            out["next_tenfold"][..., i], B * (D**-beta - (10 * D) ** -beta), rtol=1e-9
        )
        np.testing.assert_allclose(out["loss"][..., i], E + A / N**alpha + B / D**beta, rtol=1e-9)
    assert np.isinf(sb.overtrain(fit, N="100B", D="20B")["pays_from"]).all()


# near_optimum, decide


@pytest.mark.parametrize("given", [{"within": 0.1}, {"within": 1.0}, {"nats": 0.01}])
@pytest.mark.parametrize("model", ["chinchilla", "kaplan"])
def test_the_near_optimal_range_is_that_of_a_grid(model, given):
    fit = handmade(model)
    C = 1e23
    out = sb.near_optimum(fit, C=C, **given)
    budget, given_away = C * (1 + given.get("within", 0.0)), given.get("nats", 0.0)
    grid = np.geomspace(1e7, 1e14, 40_001)
    for chain, draw in ((0, 3), (1, 7)):
        p = of_draw(fit, chain, draw)
        allowed = fit.spec.law_object(grid, C / 6 / grid, **p).min() + given_away
        good = grid[fit.spec.law_object(grid, budget / 6 / grid, **p) <= allowed]
        here = out.isel(chain=chain, draw=draw, budget=0)
        assert float(here["N_lower"]) == pytest.approx(good[0], rel=1e-3)
        assert float(here["N_upper"]) == pytest.approx(good[-1], rel=1e-3)
    lower, upper = (out[x].values[..., 0] for x in ("N_lower", "N_upper"))
    for N in (out["N_from"].values[0], out["N_to"].values[0]):
        assert ((lower <= N) & (upper >= N)).mean() >= 0.9
    assert (
        (lower <= 1.001 * out["N_to"].values[0]) & (upper >= 1.001 * out["N_to"].values[0])
    ).mean() < 0.91


def test_serving_bounds_the_range_where_it_eats_the_budget(fit):
    cost = sb.with_inference("2T")
    out = sb.near_optimum(fit, C=1e22, cost=cost)
    assert (out["N_upper"] < 1.1e22 / 4e12).all()
    assert (out["N_lower"] < out["N"]).all()


@pytest.mark.parametrize("prob", [0.2, 0.5, 0.8])
def test_the_shared_range_is_that_of_a_dense_grid(prob):
    rng = np.random.default_rng(int(10 * prob))
    lower = np.exp(rng.normal(0, 0.2, 200))
    upper = lower * np.exp(rng.uniform(0.5, 2.0, 200))
    first, last, safest, share = shared_range(lower, upper, prob)
    grid = np.geomspace(lower.min(), upper.max(), 20_001)
    inside = ((lower[:, None] <= grid) & (grid <= upper[:, None])).mean(axis=0)
    good = grid[inside >= prob]
    assert (first, last) == pytest.approx((good[0], good[-1]), rel=1e-3)
    assert share >= inside.max() - 1e-12
    assert ((lower <= safest) & (safest <= upper)).mean() == pytest.approx(share)


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        ([0.0, 0.0], [2.0, 3.0], (0.0, 2.0)),
        ([1.0, 2.0], [np.inf, np.inf], (2.0, np.inf)),
        ([0.0, 0.0], [np.inf, np.inf], (0.0, np.inf)),
    ],
)
def test_ends_that_were_not_found_bound_a_shared_range_without_a_warning(lower, upper, expected):
    found = shared_range(np.array(lower), np.array(upper), 0.9)
    assert (found.start, found.end) == expected
    assert found.share == 1.0


def test_a_near_optimal_range_states_its_probability_and_tolerance(fit):
    by_compute = sb.near_optimum(fit, C=1e22, within=0.25, prob=0.7)
    assert (by_compute.attrs["prob"], by_compute.attrs["within"]) == (0.7, "25% more compute")
    by_loss = sb.near_optimum(fit, C=1e22, nats=0.02)
    # The probability that the safest size is near optimal: the share of draws that agree on it.
    safest = float(by_loss["N_safest"][0])
    lower, upper = by_loss["N_lower"].values[..., 0], by_loss["N_upper"].values[..., 0]
    agree = np.mean((lower <= safest) & (safest <= upper))
    assert float(by_loss["probability"][0]) == pytest.approx(agree, abs=0.01)
    assert by_loss.attrs["within"] == "0.02 nats"
    runs = sb.Runs(fit.runs.table, "speech", metric="word error rate")
    speech = fit_of(fit.spec, runs, **draws_around(fit.spec, (CHAINS, 20)))
    assert sb.near_optimum(speech, C=1e22, nats=0.02).attrs["within"] == "0.02 in word error rate"


def test_two_camps_share_no_range():
    lower, upper = np.array([1.0] * 5 + [10.0] * 5), np.array([2.0] * 5 + [20.0] * 5)
    first, last, _, share = shared_range(lower, upper, 0.6)
    assert np.isnan([first, last]).all()
    assert share == 0.5
    assert shared_range(lower, upper, 0.5)[:2] in {(1.0, 2.0), (10.0, 20.0)}


@pytest.mark.parametrize("which", ["fit", "pair", "discrepant"])
def test_the_decision_is_the_least_expected_loss_of_a_grid(which, request):
    one = request.getfixturevalue(which)
    out = sb.decide(one, C=1e25)
    options = dict(zip(out["choice"].values.tolist(), range(out.sizes["option"]), strict=True))
    expected = out["expected_loss"].values
    assert expected[options[LEAST]] == expected.min()
    chosen = float(out["N"][options[LEAST]])
    grid = chosen * np.exp(np.linspace(-0.5, 0.5, 1001))
    mean = expected_loss(one, grid, 1e25 / 6 / grid)
    assert np.log(grid[mean.argmin()]) == pytest.approx(np.log(chosen), abs=0.005)
    assert expected.min() == pytest.approx(mean.min(), abs=1e-9)
    best = sb.frontier(one, C=1e25)
    assert float(out["N"][options[MEDIAN]]) == pytest.approx(float(np.median(best["N"])))
    assert len(options) == 3 + (which == "pair")


def expected_loss(fit, N, D):
    """Mean over the draws in the numbers that an average keeps of each fit."""
    if isinstance(fit, sb.Average):
        return np.mean([expected_loss(one, N, D) for one in fit.fits.values()], axis=0)
    return np.exp(curve_of(fit, "expected").log_loss_shared(N, D)).mean(axis=0)


def test_trusting_one_law_costs_what_the_other_says(fit, pair):
    out = sb.decide(pair, C=1e25)
    at = {choice: i for i, choice in enumerate(out["choice"].values.tolist())}
    lost = out["expected_excess_loss"].values
    assert lost[at[LEAST]] == lost.min()
    medians = {k: np.median(v) for k, v in law_parameters(fit).items()}
    assert float(out["N"][at["plug-in additive"]]) == pytest.approx(
        fit.spec.law_object.optimise(1e25 / 6, medians)
    )
    sizes = sorted(float(out["N"][at[f"plug-in {x}"]]) for x in ("additive", "kaplan"))
    assert sizes[0] < float(out["N"][at[LEAST]]) < sizes[1]
    assert ((out["expected_waste"] > 0) & (out["expected_waste"] < 1)).all()
    alone = sb.decide(fit, C=1e25)
    assert float(alone["expected_excess_loss"].max()) < lost.min()


def test_the_noise_of_a_new_run_at_the_optimum_is_no_part_of_the_discrepancy():
    fit = handmade("chinchilla-discrepancy")
    out = {
        of: sb.probability(fit, loss=2.0, C=1e25, of=of)["margin"].values.ravel()
        for of in ("law", "curve", "new_run")
    }
    loss = {of: np.log(2.0 - margin) for of, margin in out.items()}
    delta, noise = loss["curve"] - loss["law"], loss["new_run"] - loss["curve"]
    assert abs(np.corrcoef(delta, noise)[0, 1]) < 4 / np.sqrt(len(delta))


def test_a_chance_carries_what_its_distance_says():
    answer = sb.probability(handmade("chinchilla"), loss=2.0, C=1e27)
    assert "NOT_VALIDATED" in [message.code for message in sb.caveats(answer)]
    record = provenance(answer)
    assert record.models == ("chinchilla",)
    assert 0 < record.noise_scale < record.span < 10


# command line


def test_a_decision_with_a_price_says_what_it_costs_and_what_is_wasted(fit):
    price = sb.Price(2.0, 4e14, utilisation=0.5)
    out = sb.decide(fit, C=[1e23, 1e24], price=price)
    plain = sb.decide(fit, C=[1e23, 1e24])
    np.testing.assert_allclose(out["hours"], out["C"] / (3600 * 4e14 * 0.5))
    np.testing.assert_allclose(out["money"], 2.0 * out["hours"])
    np.testing.assert_allclose(
        out["expected_money_wasted"], out["money"] * plain["expected_waste"], rtol=1e-12
    )
    assert "money" not in plain.coords


def test_expected_values_come_with_their_monte_carlo_errors(fit):
    out = sb.decide(fit, C=1e24)
    lost = out["excess_loss"].values
    error = lost.std(axis=(0, 1)) / np.sqrt(lost.shape[0] * lost.shape[1])
    assert out["expected_excess_loss"].attrs["mcse"] == pytest.approx(error.max(), rel=0.5)
    assert out["expected_excess_loss"].attrs["mcse"] >= error.max()


@pytest.fixture(scope="module")
def files(tmp_path_factory, fit):
    folder = tmp_path_factory.mktemp("fits")
    return [sb.save(fit, folder / "additive.nc"), sb.save(handmade("kaplan"), folder / "kaplan.nc")]


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def test_reach_prints_what_is_out_of_reach(files):
    text = run("reach", files[0], "--loss", "2.1", "--loss", "1.8").stdout
    assert "least compute, C = 6 N D (the curve)" in text
    assert "90% equal-tailed" in text
    assert "note: a loss of 1.8 nats is not reachable in" in text
    answer = json.loads(run("reach", files[0], "--loss", "2.1", "--N", "10B", "--json").stdout)
    assert [row["quantity"] for row in answer["rows"]] == ["D", "C"]
    ours = sb.intervals(sb.reach(sb.load(files[0]), loss=2.1, N=1e10)).reset_index()
    assert answer["rows"][0]["median"] == pytest.approx(ours["median"][0], rel=1e-12)
    assert json.loads(run("reach", files[0], "--loss", "1.8", "--json").stdout)["note"].startswith(
        "a loss of 1.8 nats is not"
    )
    assert (
        "money, $"
        in run(
            "reach", files[0], "--loss", "2.1", "--price", "2", "--flop-per-second", "4e14"
        ).stdout
    )
    assert "give both" in run("reach", files[0], "--loss", "2.1", "--price", "2", code=2).stderr
    price = ("--price", "2", "--flop-per-second", "4e14")
    told = run("decide", files[0], "--C", "1e24", *price).stdout
    assert "money, $" in told
    assert "waste, $" in told
    assert "1.39M" in told
    assert (
        "nothing is left to find"
        in run("reach", files[0], "--loss", 2, "--N", 1, "--D", 1, code=1).stderr
    )


def test_decisions_from_several_files_are_from_their_average(files):
    answer = json.loads(run("decide", *files, "--C", "1e25", "--json").stdout)
    choices = [row["choice"] for row in answer["rows"] if row["quantity"] == "loss"]
    assert choices == [LEAST, MEDIAN, "plug-in additive", "plug-in kaplan"]
    assert answer["near_optimum"][0]["quantity"] == "N_lower"
    text = run("decide", *files, "--C", "1e25", "--within", "0.2").stdout
    assert "at most 20% more compute" in text
    assert "least expected loss" in text
    assert (
        "two files are called additive"
        in run("decide", files[0], files[0], "--C", "1e25", code=1).stderr
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["probability", "--loss", "2.0", "--N", "70B", "--D", "1.4T"], "a new run"),
        (
            ["probability", "--loss", "2.0", "--C", "1e24", "--of", "curve"],
            "at the optimum of each draw",
        ),
        (["prefer", "--a", "N=70B,D=1.4T", "--b", "N=140B,D=0.7T"], "positive where a is better"),
        (["regret", "--N", "280B", "--D", "300B"], "D / optimal D"),
        (["regret", "--N", "70B", "--D", "3T", "--serve", "10T"], "C = 6 N D + 2 N T, T = 10T"),
        (["overtrain", "--N", "8B", "--D", "15T"], "break-even,"),
    ],
)
def test_every_command_prints_its_question_and_json(files, arguments, words):
    text = run(arguments[0], files[0], *arguments[1:]).stdout
    assert words in text
    # A long heading takes several lines.
    assert {"beyond", "largest", "decades"} <= set(text.split())
    answer = json.loads(run(arguments[0], files[0], *arguments[1:], "--json").stdout)
    assert answer["ci_kind"] == "eti"
    assert "decades_beyond" in answer["rows"][0]


def test_wrong_usage_is_told(files):
    assert (
        "write N=70B,D=1.4T"
        in run("prefer", files[0], "--a", "70B", "--b", "N=1B,D=1B", code=2).stderr
    )
    wrong = run("probability", files[0], "--loss", 2, "--of", "x", code=2).stderr
    assert "'x' is not one of 'new_run', 'curve', 'law'" in wrong
