"""Returns, lines of equal loss, and stopping above convergence, against closed forms."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.laws import LAWS
from scalebayes.posterior.fit import law_parameters
from tests.fixtures import around, fit_of

SHAPE = (2, 40)
# Printed constants by equation (docs/constants.md).
KAPLAN = {"N_c": 6.4e13, "alpha_N": 0.076, "D_c": 1.8e13, "alpha_D": 0.103}


@pytest.fixture(scope="module")
def made():
    """Fits by model, with draws within about 1% of sensible values."""
    kept = {}

    def get(model, eta=0.02):
        if (model, eta) not in kept:
            rng = np.random.default_rng(1)
            spec = sb.read_model(model)
            values = {"L_inf": 1.8, "alpha_N": 0.35, "alpha_D": 0.37, "kappa": 0.8}
            values |= {"sigma": 0.01, "nu": 5.0}
            if "L_inf" not in spec.priors:  # without a floor the slopes are smaller
                values |= {"alpha_N": 0.076, "alpha_D": 0.103}
            draws = around(values, SHAPE, rng)
            nats = 0.4 if "L_inf" in spec.priors else 2.2
            draws |= {
                "N_c": 1e9 * nats ** (1 / draws["alpha_N"]),
                "D_c": 2e10 * nats ** (1 / draws["alpha_D"]),
            }
            draws |= {"eta": np.full(SHAPE, eta), "L_0": np.full(SHAPE, 2.5)}
            wanted = [*spec.law_object.parameter_names, *spec.scatter_names]
            kept[model, eta] = fit_of(
                model, sb.load_runs("hoffmann2022"), **{name: draws[name] for name in wanted}
            )
        return kept[model, eta]

    return get


def additive(p, N, D):
    return p["L_inf"] + (p["N_c"] / N) ** p["alpha_N"] + (p["D_c"] / D) ** p["alpha_D"]


# returns


def test_more_parameters_and_data_take_off_what_their_terms_lose(made):
    fit = made("chinchilla")
    p = law_parameters(fit)
    out = sb.returns(fit, N="70B", D="1.4T", factor=[2, 10, 1000])
    n, d = (p["N_c"] / 70e9) ** p["alpha_N"], (p["D_c"] / 1.4e12) ** p["alpha_D"]
    for i, factor in enumerate([2, 10, 1000]):
        np.testing.assert_allclose(
            out["gain_N"][..., i], n * (1 - factor ** -p["alpha_N"]), rtol=1e-9
        )
        np.testing.assert_allclose(
            out["gain_D"][..., i], d * (1 - factor ** -p["alpha_D"]), rtol=1e-9
        )
    np.testing.assert_allclose(
        out["gain_all"], np.repeat((n + d)[..., None], 3, axis=-1), rtol=1e-9
    )
    np.testing.assert_allclose(out["loss"][..., 0], additive(p, 70e9, 1.4e12))
    assert out["factor"].values.tolist() == [2, 10, 1000]
    assert out["C"].values.tolist() == [6 * 70e9 * 1.4e12] * 3
    expected = np.log10(np.array([2, 10, 1000]) * 6 * 70e9 * 1.4e12 / fit.runs.max_compute)
    np.testing.assert_allclose(out["decades_beyond"], expected)


def test_more_compute_is_spent_at_the_median_optimum(made):
    fit = made("chinchilla")
    p = law_parameters(fit)
    out = sb.returns(fit, C=[1e21, 1e23])
    for i, C in enumerate([1e21, 1e23]):

        def at(budget):
            ratio = (
                p["alpha_N"] * p["N_c"] ** p["alpha_N"] / (p["alpha_D"] * p["D_c"] ** p["alpha_D"])
            )
            exponent = 1 / (p["alpha_N"] + p["alpha_D"])
            N = np.median(ratio**exponent * (budget / 6) ** (p["alpha_D"] * exponent))
            return N, additive(p, N, budget / 6 / N)

        N, start = at(C)
        np.testing.assert_allclose(out["N"][..., i], N, rtol=1e-9)
        np.testing.assert_allclose(out["loss"][..., i], start, rtol=1e-9)
        np.testing.assert_allclose(out["gain_C"][..., i], start - at(10 * C)[1], rtol=1e-7)
    # At the optimum, ten times the compute is worth more than ten times either of its halves.
    assert (out["gain_C"] > out["gain_N"]).all()
    assert (out["gain_C"] > out["gain_D"]).all()


def test_off_the_optimum_more_compute_repairs_it_too(made):
    fit = made("chinchilla")
    out = sb.returns(fit, N="175B", D="300B", factor=1.0001)
    lost = sb.regret(fit, N="175B", D="300B")["excess_loss"]
    assert (out["gain_N"] < 1e-4).all()
    np.testing.assert_allclose(out["gain_C"], lost, atol=1e-3)


def test_returns_count_a_cost_as_told(made):
    fit, cost = made("chinchilla"), sb.with_inference("10T")
    out = sb.returns(fit, C=1e23, cost=cost)
    np.testing.assert_allclose(cost.flop(out["N"], out["D"]), 1e23, rtol=1e-9)
    assert out.attrs["cost"] == cost.name


def test_a_discrepancy_is_drawn_jointly(made):
    wide = made("coupled-discrepancy", eta=0.2)
    out = sb.returns(wide, N="7T", D="1400T", factor=[1.0001, 1000])
    assert float(out["gain_N"][..., 0].std()) < 0.01  # what is off here is off there
    # Far apart, the two deviate independently by eta of the loss.
    assert float(out["gain_N"][..., 1].std()) > 0.2
    calm = made("coupled-discrepancy", eta=1e-9)
    p = law_parameters(calm)
    law = LAWS["coupled"]
    expected = law(7e9, 140e9, **p) - law(70e9, 140e9, **p)
    np.testing.assert_allclose(
        sb.returns(calm, N="7B", D="140B")["gain_N"][..., 0], expected, rtol=1e-5
    )


def test_returns_of_an_average_mix_its_models(made):
    both = sb.average({"a": made("chinchilla"), "b": made("coupled")})
    out = sb.returns(both, C=1e22)
    assert set(out["model"].values) == {"a", "b"}
    assert out["gain_C"].shape == (1, 160, 1)
    assert "gain_C" in sb.intervals(out).index.get_level_values("quantity")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"C": 1e22, "factor": 1}, "factor must be finite and above 1; got 1"),
        (
            {"C": [1e22, 1e23], "factor": [2, 3, 4]},
            "one factor for all, or one for each; got 3 for 2",
        ),
        ({"N": "inf", "D": 1e12}, "N and D must be finite"),
        ({"N": 1e9}, "got N"),
        ({}, "got nothing"),
    ],
)
def test_returns_refuses_in_words(made, arguments, message):
    with pytest.raises(sb.QueryError, match=message):
        sb.returns(made("chinchilla"), **arguments)


def test_laws_of_one_input_trade_nothing(made):
    for ask in (lambda f: sb.returns(f, N=1e9, D=1e9), lambda f: sb.isoloss(f, N=1e9, loss=2.0)):
        with pytest.raises(sb.QueryError, match="'kaplan-size' is not a law of N and D"):
            ask(made("kaplan-size"))


# lines of equal loss


def test_a_contour_is_the_closed_form_and_agrees_with_reach(made):
    fit = made("chinchilla")
    p = law_parameters(fit)
    out = sb.isoloss(fit, N=["10B", "70B", "1T"], loss=2.0)
    for i, N in enumerate([1e10, 7e10, 1e12]):
        rest = 2.0 - p["L_inf"] - (p["N_c"] / N) ** p["alpha_N"]
        expected = np.full(SHAPE, np.inf)
        expected[rest > 0] = (p["D_c"] * np.maximum(rest, 1e-9) ** (-1 / p["alpha_D"]))[rest > 0]
        expected[expected > 1e40] = np.inf
        np.testing.assert_allclose(out["D"][..., i], expected, rtol=1e-9)
        assert float(out["reachable"][i]) == np.isfinite(expected).mean()
        reached = sb.reach(fit, loss=2.0, N=N)
        np.testing.assert_allclose(out["D"][..., i], reached["D"][..., 0])
    assert 0 < float(out["reachable"][0]) < 1
    never = sb.isoloss(fit, N="1M", loss=2.0)
    assert np.isinf(never["D"]).all()
    assert (float(never["reachable"][0]), float(never["decades_beyond"][0])) == (0.0, 0.0)
    np.testing.assert_allclose(out["C"], 6 * out["D"].values * out["N"].values)


def test_along_the_contour_of_a_run_each_draw_keeps_its_own_loss(made):
    for model, of in [("kaplan", "curve"), ("coupled-discrepancy", "law")]:
        fit = made(model)
        p = law_parameters(fit)
        out = sb.isoloss(fit, N=["70B", "140B", "1T"], like={"N": "70B", "D": "1.4T"}, of=of)
        law = fit.spec.law_object
        asked = {name: values[..., None] for name, values in p.items()}
        np.testing.assert_allclose(law(out["N"].values, out["D"].values, **asked), np.repeat(
            law(70e9, 1.4e12, **asked), 3, axis=-1), rtol=1e-8)  # fmt: skip
        np.testing.assert_allclose(out["data_ratio"][..., 0], 1.0, rtol=1e-7)
        assert (out["data_ratio"][..., 2] < out["data_ratio"][..., 1]).all()
        np.testing.assert_allclose(
            out["compute_ratio"], out["data_ratio"].values * out["N"].values / 70e9
        )


def test_kaplans_larger_models_need_the_data_his_law_says():
    """Kaplan's eq. 1.5 solved for D: D_c / D = L^(1/alpha_D) - (N_c/N)^(alpha_N/alpha_D)."""
    law = LAWS["kaplan"]
    L = law(1e9, 2e10, **KAPLAN)
    by_hand = KAPLAN["D_c"] / (L ** (1 / 0.103) - (6.4e13 / 1e10) ** (0.076 / 0.103))
    assert float(law.inverses["D"](L, 1e10, **KAPLAN)) == pytest.approx(by_hand, rel=1e-9)
    assert by_hand < 1e10  # ten times larger, less than half the data


def test_a_discrepancy_keeps_its_level_along_the_contour(made):
    fit = made("coupled-discrepancy")
    out = sb.isoloss(fit, N=["3B", "30B"], like={"N": "3B", "D": "60B"}, seed=3)
    np.testing.assert_allclose(out["data_ratio"][..., 0], 1.0, rtol=1e-6)
    given = sb.isoloss(fit, N="3B", loss=2.4, seed=3)
    np.testing.assert_allclose(given["D"], sb.reach(fit, loss=2.4, N="3B", seed=3)["D"])


def test_contours_of_an_average_count_from_its_median(made):
    both = sb.average({"a": made("chinchilla"), "b": made("coupled")})
    out = sb.isoloss(both, N="1T", like={"N": "70B", "C": "5.88e23"})
    beyond = np.log10(np.median(out["C"]) / both.runs.max_compute)
    assert float(out["decades_beyond"][0]) == pytest.approx(beyond, rel=1e-9)
    assert float(out["reachable"][0]) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either a loss or a run of equal loss"),
        ({"loss": 2, "like": {"N": 1e9, "D": 1e10}}, "give either a loss or a run"),
        ({"like": {"N": 1e9, "E": 1e10}}, "any two of N, D and C; got E"),
        ({"like": {"N": [1e9, 2e9], "D": 1e10}}, "one run of finite N and D"),
        ({"loss": [2, 3, 4]}, "one loss, or one for each size; got 3 for 2"),
        ({"loss": 2, "of": "new_run"}, "of is 'curve' or 'law'; got 'new_run'"),
        ({"loss": 1e5}, "a loss of 1e\\+05 is reached before the search begins"),
    ],
)
def test_isoloss_refuses_in_words(made, arguments, message):
    with pytest.raises(sb.QueryError, match=message):
        sb.isoloss(made("chinchilla"), N=["1B", "2B"], **arguments)


# stopping above convergence


@pytest.mark.parametrize(
    "model", ["chinchilla", "coupled", "kaplan", "kaplan-floor", "coupled-discrepancy"]
)
def test_the_reducible_loss_is_a_constant_ratio_above_the_converged_one(made, model):
    fit = made(model, eta=1e-9) if "discrepancy" in model else made(model)
    p = law_parameters(fit)
    out = sb.above_converged(fit, C=[1e20, 1e26])
    kappa = {"chinchilla": 1.0}.get(model, p.get("kappa", p["alpha_D"]))
    constant = (1 + p["alpha_N"] / p["alpha_D"]) ** kappa
    for i in range(2):
        n = (p["N_c"] / out["N"][..., i].values) ** p["alpha_N"]
        floor = p.get("L_inf", 0.0)
        # The optimum is flat: an N that is off by a thousandth, as with a discrepancy, changes the
        # ratio little.
        close = 5e-3 if "discrepancy" in model else 1e-7
        np.testing.assert_allclose(
            out["loss_above_converged"][..., i], n * (constant - 1), rtol=close
        )
        np.testing.assert_allclose(
            out["above_converged"][..., i], n * (constant - 1) / (floor + n), rtol=close
        )
    falls = out["above_converged"][..., 1] < out["above_converged"][..., 0] * (1 - 1e-6)
    assert falls.all() == ("L_inf" in p)


def test_a_model_that_stops_above_convergence_is_that_of_the_frontier_at_the_cost(made):
    fit = made("chinchilla")
    served = sb.Cost("training and 2T tokens served", lambda N, D: 6 * N * D + 2 * N * 2e12)
    out, best = (ask(fit, C=1e22, cost=served) for ask in (sb.above_converged, sb.frontier))
    np.testing.assert_array_equal(out["N"], best["N"])
    assert (out["above_converged"] < sb.above_converged(fit, C=1e22)["above_converged"]).all()


def test_kaplans_rule_of_ten_percent_belongs_to_his_law_of_steps():
    """1.059 by L(N, D), 1.10 by L(N, S), a law of N and steps; both by brute force."""
    N = np.geomspace(1e7, 1e13, 200_001)
    loss = LAWS["kaplan"](N, 1e22 / (6 * N), **KAPLAN)
    best = N[loss.argmin()]
    ratio = loss.min() / LAWS["kaplan"](best, np.inf, **KAPLAN)
    assert ratio == pytest.approx((1 + 0.076 / 0.103) ** 0.103, rel=1e-6)
    assert round(ratio, 3) == 1.059
    steps = {"N_c": 6.5e13, "alpha_N": 0.077, "S_c": 2.1e3, "alpha_S": 0.76}  # eq. 1.6, table 3
    S = 1e14 / N  # at a fixed batch compute is N S
    loss = (steps["N_c"] / N) ** 0.077 + (steps["S_c"] / S) ** 0.76
    best = N[loss.argmin()]
    ratio = loss.min() / (steps["N_c"] / best) ** 0.077
    assert ratio == pytest.approx(1 + 0.077 / 0.76, rel=1e-6)
    assert round(ratio, 2) == 1.10


def test_a_product_of_powers_has_nothing_to_stop_at(made):
    with pytest.raises(sb.QueryError, match="no compute-optimal point"):
        sb.above_converged(made("product"), C=1e22)


# the command line


@pytest.fixture(scope="module")
def saved(made, tmp_path_factory):
    return sb.save(made("chinchilla"), tmp_path_factory.mktemp("fits") / "chinchilla.nc")


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_commands_print_what_the_functions_say(made, saved):
    fit = made("chinchilla")
    for arguments, expected in [
        (
            ("returns", "--C", "1e22", "--factor", "2", "--factor", "10"),
            sb.returns(fit, C=1e22, factor=[2, 10]),
        ),
        (
            ("isoloss", "--N", "1T", "--like", "N=70B,D=1.4T"),
            sb.isoloss(fit, N=1e12, like={"N": 7e10, "D": 1.4e12}),
        ),
        (("isoloss", "--N", "1T", "--loss", "1.95"), sb.isoloss(fit, N=1e12, loss=1.95)),
        (("above-converged", "--C", "1e22"), sb.above_converged(fit, C=1e22)),
    ]:
        name, *rest = arguments
        rows = json.loads(run(name, saved, *rest, "--json").stdout)["rows"]
        assert [row["median"] for row in rows] == pytest.approx(
            sb.intervals(expected)["median"].tolist(), rel=1e-9
        )


def test_commands_speak_to_people(saved):
    told = run("returns", saved, "--N", "70B", "--D", "1.4T").stdout
    for heading in (
        "factor",
        "gain from more N",
        "gain from more D",
        "gain from more C",
        "loss above the floor",
    ):
        assert heading in told
    assert "D over the run's" in run("isoloss", saved, "--N", "1T", "--like", "N=70B,D=1.4T").stdout
    told = run("above-converged", saved, "--C", "1e22").stdout.split()
    assert {"share", "above", "converged"} <= set(told)
    for arguments, code, words in [
        (("isoloss", saved, "--N", "1T"), 1, "give either a loss or a run"),
        (("isoloss", saved, "--N", "1T", "--like", "70B"), 2, "write N=70B,D=1.4T"),
        (("returns", saved), 1, "got nothing"),
        (("returns", saved, "--C", "1e22", "--factor", "0.5"), 1, "above 1; got 0.5"),
    ]:
        assert words in re.sub(r"[│\s]+", " ", run(*arguments, code=code).stderr)
