"""Comparison of recipes, on fits made by hand.

Differences, P(best), compute multipliers and fits by group.
"""

import json
import re

import numpy as np
import pytest
import xarray as xr
from scipy import integrate, stats
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.comparison import recipes
from scalebayes.posterior.fit import law_parameters
from tests.fixtures import draws_around, fit_of, noiseless_runs

SHAPE = (4, 1000)
LAW = {"L_inf": 1.8, "N_c": 4e7, "alpha_N": 0.35, "D_c": 1e9, "alpha_D": 0.37}
AT = {"N": 1e9, "D": 2e10}
"""Where the loss of `product` is L_0."""


def normal(mean, sd, seed):
    """Evenly spread normal draws in a random order."""
    levels = (np.arange(SHAPE[0] * SHAPE[1]) + 0.5) / (SHAPE[0] * SHAPE[1])
    return np.random.default_rng(seed).permutation(stats.norm.ppf(levels, mean, sd)).reshape(SHAPE)


@pytest.fixture
def product():
    """A fit whose loss at `AT` is normal."""

    def make(name, mean, sd, seed=0, **options):
        draws = {
            "alpha_N": np.full(SHAPE, 0.1),
            "alpha_D": np.full(SHAPE, 0.1),
            "sigma": np.full(SHAPE, 0.01),
        }
        draws |= {"nu": np.full(SHAPE, 5.0), "L_0": normal(mean, sd, seed)}
        return fit_of("product", noiseless_runs(name, mean / 10), **draws, **options)

    return make


@pytest.fixture
def additive():
    def make(name, saved=1.0, model="chinchilla", shift=0.0, **changed):
        """A law that needs C where the unchanged law needs saved * C: smaller N_c and D_c."""
        share = np.sqrt(np.broadcast_to(saved, SHAPE))
        values = LAW | {"kappa": 1.0, "sigma": 0.005, "nu": 5.0, "eta": 1e-6} | changed
        spec = sb.read_model(model)
        draws = {key: np.full(SHAPE, float(values[key])) for key in spec.priors}
        draws["N_c"], draws["D_c"] = draws["N_c"] / share, draws["D_c"] / share
        return fit_of(spec, noiseless_runs(name, shift), **draws)

    return make


# contrast


def test_differences_and_p_best_are_those_of_independent_normals(product):
    means, sds = {"A": 3.0, "B": 2.99, "C": 3.02}, {"A": 0.02, "B": 0.03, "C": 0.05}
    out = sb.contrast(
        {k: product(k, means[k], sds[k], seed=i) for i, k in enumerate(means)}, baseline="A", **AT
    )
    assert out["loss"].dims == ("chain", "draw", "target", "arm")
    for arm in means:
        others = [k for k in means if k != arm]

        def best(x, arm=arm, others=others):
            survive = np.prod([stats.norm.sf(x, means[k], sds[k]) for k in others])
            return stats.norm.pdf(x, means[arm], sds[arm]) * survive

        exact = integrate.quad(best, 2.5, 3.5, points=[means[arm]])[0]
        assert float(out["p_best"].sel(arm=arm)[0]) == pytest.approx(
            exact, abs=4 * 0.5 / np.sqrt(out.sizes["draw"])
        )
    assert float(out["p_best"].sum()) == pytest.approx(1.0)
    difference = out["difference"].sel(arm="B").isel(target=0)
    expected = stats.norm.ppf([0.05, 0.5, 0.95], -0.01, np.hypot(0.02, 0.03))
    np.testing.assert_allclose(np.quantile(difference, [0.05, 0.5, 0.95]), expected, atol=0.003)
    assert (out["difference"].sel(arm="A") == 0).all()


def test_fits_with_the_same_draws_in_the_same_order_are_still_paired_as_independent(product):
    out = sb.contrast({"A": product("A", 3.0, 0.02), "B": product("B", 3.0000001, 0.02)}, **AT)
    assert float(out["difference"].sel(arm="B").std()) == pytest.approx(0.02 * np.sqrt(2), rel=0.05)


@pytest.mark.parametrize(("asked", "where"), [(AT, ""), ({"C": 1e23}, " at the optimum")])
def test_every_quantity_of_a_contrast_is_described(additive, asked, where):
    arms = {
        "plain": additive("A"),
        "bent": additive("B", model="chinchilla-discrepancy", shift=0.1),
    }
    out = sb.contrast(arms, **asked)
    words = {name: values.attrs["long_name"] for name, values in out.data_vars.items()}
    assert words == {
        "loss": f"loss of the curve{where}",
        "law": f"loss of the law alone{where}",
        "difference": f"loss of the curve{where}, minus that of plain",
        "law_difference": f"loss of the law alone{where}, minus that of plain",
        "p_best": "probability of the least loss",
    }
    units = {name: values.attrs["units"] for name, values in out.data_vars.items()}
    assert units.pop("p_best") == "share"
    assert 0 < out["p_best"].attrs["mcse"] < 0.05
    assert set(units.values()) == {"nats per token"}


def test_one_arm_shows_the_draws_that_predict_and_frontier_give(additive):
    arms = {
        "A": additive("A"),
        "B": additive("B", np.random.default_rng(0).uniform(1, 2, SHAPE), shift=0.1),
    }
    run, best = sb.contrast(arms, N="70B", D="1.4T"), sb.contrast(arms, C=1e23)
    for name, fit in arms.items():
        for answer, own in (
            (run, sb.predict(fit, N="70B", D="1.4T")),
            (best, sb.frontier(fit, C=1e23)),
        ):
            ours = np.sort(answer["loss"].sel(arm=name).values.ravel())
            np.testing.assert_allclose(ours, np.sort(own["loss"].values.ravel()), rtol=1e-12)
            np.testing.assert_allclose(
                answer["decades_beyond"].sel(arm=name), own["decades_beyond"]
            )
    assert float(best["C"][0]) == 1e23


@pytest.mark.parametrize(
    "given", [{"N": 7e10, "C": 1e23}, {"D": 1e12, "C": 1e23}, {"N": 7e10, "D": 1e12}]
)
def test_two_of_three_inputs_are_a_run_and_not_a_budget(additive, given):
    """With C among them the arms are compared at the size given, not at their optima."""
    N = given.get("N", 1e23 / 6 / given.get("D", 1.0))
    D = given.get("D", 1e23 / 6 / N)
    arms = {"A": additive("A"), "B": additive("B", 2.0, shift=0.1)}
    out = sb.contrast(arms, **given)
    losses = {name: sb.predict(arm, N=N, D=D)["loss"].values for name, arm in arms.items()}
    for name in arms:
        expected = np.sort(losses[name].ravel())
        np.testing.assert_allclose(np.sort(out["loss"].sel(arm=name).values.ravel()), expected)
    expected = float(losses["B"].mean() - losses["A"].mean())
    assert float(out["difference"].sel(arm="B").mean()) == pytest.approx(expected)
    assert (float(out["N"][0]), float(out["D"][0])) == pytest.approx((N, D))


def test_the_law_and_the_curve_are_kept_apart_where_an_arm_has_a_discrepancy(additive):
    arms = {
        "A": additive("A"),
        "B": additive("B", model="chinchilla-discrepancy", shift=0.1, eta=0.05),
    }
    # Decades beyond the runs, where delta has its prior.
    out = sb.contrast(arms, N="700B", D="300T")
    assert float(np.log(out["loss"] / out["law"]).sel(arm="B").std()) == pytest.approx(
        0.05, rel=0.1
    )
    assert (out["loss"] == out["law"]).sel(arm="A").all()
    assert float(out["law_difference"].std()) == pytest.approx(0.0, abs=1e-12)
    assert float(out["difference"].sel(arm="B").std()) > 0.05


def test_an_average_is_an_arm_like_any_other(additive, product):
    pooled = sb.average({"a": additive("B", 0.5, shift=0.1), "b": additive("B", 2.0, shift=0.1)})
    arms = {"A": additive("A"), "B": pooled}
    out, m = sb.contrast(arms, C=1e22), sb.multiplier(arms, C=1e22)
    assert len(np.unique(out["loss"].sel(arm="B").values.round(9))) == 2
    np.testing.assert_allclose(np.unique(m["multiplier"].values.round(2)), [0.5, 2.0])
    assert float(m["p_saves"][0, 0]) == pytest.approx(0.5, abs=0.02)


def test_intervals_show_probabilities_without_bounds(product):
    out = sb.contrast(
        {"A": product("A", 3.0, 0.02), "B": product("B", 2.9, 0.02, 1)}, N=[1e9, 1e10], D=2e10
    )
    rows = sb.intervals(out).reset_index().set_index(["arm", "N", "quantity"])
    assert rows.loc[("B", 1e9, "p_best"), "median"] == pytest.approx(
        float(out["p_best"].sel(arm="B")[0])
    )
    assert np.isnan(rows.loc[("B", 1e9, "p_best"), ["eti90_lb", "eti90_ub"]].astype(float)).all()
    assert rows.loc[("B", 1e10, "difference"), "eti90_ub"] == pytest.approx(
        float(np.quantile(out["difference"].sel(arm="B")[..., 1], 0.95))
    )


# multiplier


def test_the_multiplier_of_shrunken_scales_is_the_planted_one(additive):
    saved = np.exp(np.random.default_rng(0).normal(np.log(1.5), 0.2, SHAPE))
    m = sb.multiplier(
        {"A": additive("A"), "B": additive("B", saved, shift=0.1)}, C=[1e20, 1e22, 1e25]
    )
    assert m["multiplier"].dims == ("chain", "draw", "budget", "arm")
    assert m["arm"].values.tolist() == ["B"]
    for budget in range(3):
        ours = np.sort(m["multiplier"].isel(budget=budget).values.ravel())
        np.testing.assert_allclose(ours, np.sort(saved.ravel()), rtol=1e-3)
    np.testing.assert_allclose(m["p_saves"].values.ravel(), (saved > 1).mean(), atol=1e-3)
    # Beyond the baseline's runs by more than C, for it needs more than C.
    expected = np.log10(np.median(saved) * 1e25 / 6e21)
    assert float(m["decades_beyond"][-1, 0]) == pytest.approx(expected, abs=0.01)


def test_the_multiplier_solves_for_equal_losses(additive):
    """Another floor and other exponents: no closed form, so each draw is solved by bisection."""
    a, b = additive("A"), additive("B", shift=0.1, L_inf=1.85, alpha_N=0.4, N_c=5e7)
    got = float(sb.multiplier({"A": a, "B": b}, C=1e21)["multiplier"][0, 0, 0, 0])
    low, high = 1e15, 1e27
    wanted = float(sb.frontier(b, C=1e21)["loss"][0, 0, 0])
    for _ in range(100):
        middle = np.sqrt(low * high)
        above = float(sb.frontier(a, C=middle)["loss"][0, 0, 0]) > wanted
        low, high = (middle, high) if above else (low, middle)
    assert got == pytest.approx(low / 1e21, rel=1e-3)


def test_along_its_frontier_each_draw_of_a_law_alone_has_its_own_optimum():
    """With a discrepancy all share the median size, where the discrepancy is drawn jointly."""
    path = np.geomspace(1e19, 1e23, 12)
    runs = noiseless_runs()
    alone, curved = (
        fit_of(model, runs, **draws_around(model, (2, 40), width=0.1))
        for model in ("chinchilla", "chinchilla-discrepancy")
    )
    found = recipes._along(alone, path, seed=3)["loss"]
    best = sb.frontier(alone, C=path)["loss"]
    np.testing.assert_allclose(found.values, best.values)
    found = recipes._along(curved, path, seed=3)["loss"]
    sizes = sb.frontier(curved, C=path)["N"].median(("chain", "draw")).values
    np.testing.assert_allclose(recipes._median_sizes(curved, path), sizes, rtol=0.01)
    expected = sb.predict(curved, N=recipes._median_sizes(curved, path), C=path, seed=3)["loss"]
    np.testing.assert_allclose(found.values, expected.values)


def test_a_loss_that_some_draws_of_the_baseline_reach_is_never_reached_by_the_others(additive):
    """Three draws of ten of the baseline have a floor above any loss of the arm."""
    floor = np.where(np.arange(SHAPE[1]) % 10 < 3, 2.5, 1.8) * np.ones(SHAPE)
    base = additive("A")
    base.stored["posterior"]["L_inf"].values[:] = floor
    m = sb.multiplier({"A": base, "B": additive("B", 2.0, shift=0.1)}, C=[1e22, 1e24])
    np.testing.assert_allclose(m["p_never"].values, 0.3)
    np.testing.assert_allclose(m["p_saves"].values, 1.0)
    finite = m["multiplier"].values[np.isfinite(m["multiplier"].values)]
    np.testing.assert_allclose(finite, 2.0, rtol=2e-3)


def test_a_loss_below_the_baselines_floor_is_never_reached(additive):
    arms = {"A": additive("A", L_inf=2.5), "B": additive("B", shift=0.1, L_inf=1.0)}
    m = sb.multiplier(arms, C=1e24)
    assert np.isinf(m["multiplier"]).all()
    assert float(m["p_never"][0, 0]) == 1.0
    row = sb.intervals(m).xs("multiplier", level="quantity").iloc[0]
    assert np.isinf(row[["median", "eti90_lb", "eti90_ub"]].astype(float)).all()
    back = sb.multiplier(arms, baseline="B", C=1e24)
    assert (back["multiplier"] == 0).all()


def test_quantiles_among_infinite_draws_are_infinite_and_the_others_are_numbers():
    values = np.r_[np.linspace(1.0, 2.0, 900), np.full(100, np.inf)].reshape(1, 1000, 1)
    data = xr.Dataset({"m": (("chain", "draw", "target"), values)}, {"N": ("target", [1.0])})
    row = sb.intervals(data).iloc[0]
    assert row["median"] == pytest.approx(np.quantile(values, 0.5))
    assert row["eti90_lb"] == pytest.approx(np.quantile(values, 0.05))
    assert row["eti90_ub"] == np.inf


def test_a_discrepancy_is_one_smooth_curve_along_the_frontier(additive):
    fit = additive("A", model="chinchilla-discrepancy", eta=0.05)
    path = np.geomspace(1e23, 1e27, 41)
    out = recipes._along(fit, path, 0)
    delta = np.log(out["loss"] / out["law"]).values.reshape(-1, 41)
    assert delta[:, 20:].std() == pytest.approx(0.05, rel=0.1)
    steps = np.corrcoef(delta[:, 30], delta[:, 31])[0, 1]
    assert steps > 0.97  # a tenth of a decade apart; independent draws would have 0


def test_a_small_discrepancy_leaves_the_planted_multiplier(additive):
    arms = {
        "A": additive("A", model="coupled-discrepancy"),
        "B": additive("B", 1.7, model="coupled-discrepancy", shift=0.0001),
    }
    m = sb.multiplier(arms, C=[1e20, 1e22])
    medians = m["multiplier"].median(("chain", "draw")).values.ravel()
    along = recipes._along(arms["A"], np.geomspace(1e20, 1e23, 10), 0)
    off = np.log(along["loss"] / along["law"]).std(("chain", "draw")).max()
    assert float(off) < 1e-4
    np.testing.assert_allclose(medians, 1.7, rtol=0.02)


def test_laws_of_compute_alone_are_their_own_frontier():
    values = {"L_inf": 1.5, "alpha_C": 0.15, "sigma": 0.01, "nu": 5.0}
    draws = {k: np.full(SHAPE, v) for k, v in values.items()}
    arms = {
        "A": fit_of("compute-floor", noiseless_runs("A"), C_c=np.full(SHAPE, 1e20), **draws),
        "B": fit_of("compute-floor", noiseless_runs("B", 0.1), C_c=np.full(SHAPE, 0.4e20), **draws),
    }
    np.testing.assert_allclose(sb.multiplier(arms, C=1e22)["multiplier"], 2.5, rtol=1e-3)
    assert float(sb.contrast(arms, C=1e22)["p_best"].sel(arm="B")[0]) == 1.0


# refusals and notes


def test_what_cannot_be_contrasted_is_told_why(product, additive):
    a, b = product("A", 3.0, 0.02), product("B", 2.9, 0.02)
    with pytest.raises(sb.QueryError, match="needs two fits or more by label"):
        sb.contrast({"A": a}, **AT)
    with pytest.raises(sb.QueryError, match="no fit is called 'C'; there are A, B"):
        sb.contrast({"A": a, "B": b}, baseline="C", **AT)
    with pytest.raises(
        sb.QueryError, match="'A' and 'B' were fitted to the same runs: two models of one recipe"
    ):
        sb.multiplier({"A": a, "B": a}, C=1e21)
    with pytest.raises(sb.QueryError, match="no compute-optimal point"):
        sb.multiplier({"A": a, "B": b}, C=1e21)
    with pytest.raises(sb.QueryError, match="C must be finite"):
        sb.multiplier({"A": additive("A"), "B": additive("B", shift=0.1)}, C="inf")
    with pytest.raises(sb.QueryError, match="any two of N, D and C; got N"):
        sb.contrast({"A": a, "B": b}, N="70B")
    sizes = {
        k: np.full(SHAPE, v)
        for k, v in {"N_c": 1e13, "alpha_N": 0.08, "sigma": 0.01, "nu": 5.0}.items()
    }
    with pytest.raises(
        sb.QueryError, match="'kaplan-size' predicts from N, or from two of N, D and C; got C"
    ):
        sb.multiplier(
            {"A": additive("A"), "B": fit_of("kaplan-size", noiseless_runs("B", 0.1), **sizes)},
            C=1e21,
        )


def test_runs_in_two_tables_are_pointed_out(product):
    whole = noiseless_runs("whole")
    part = sb.Runs(whole.table.iloc[:15], "part")
    draws = law_parameters(product("A", 3.0, 0.02)) | {
        "sigma": np.full(SHAPE, 0.01),
        "nu": np.full(SHAPE, 5.0),
    }
    out = sb.contrast(
        {"A": fit_of("product", whole, **draws), "B": fit_of("product", part, **draws)}, **AT
    )
    assert out.attrs["notes"] == "A and B have 15 runs in common, but are taken as independent"


def test_groups_are_fitted_one_by_one(monkeypatch):
    runs = noiseless_runs("two", group=["old"] * 8 + ["new"] * 12)
    seen = {}

    def fit(part, spec, **options):
        seen[part.name] = (part.table["group"].unique().tolist(), len(part), spec.name, options)
        return part.name

    monkeypatch.setattr(recipes, "fit", fit)
    assert sb.fit_groups(runs, "chinchilla", seed=3) == {"old": "two, old", "new": "two, new"}
    assert seen["two, old"] == (["old"], 8, "chinchilla", {"seed": 3})
    assert seen["two, new"] == (["new"], 12, "chinchilla", {"seed": 3})
    with pytest.raises(sb.RunsError, match="none has no group: its columns are N, D, C, loss"):
        sb.fit_groups(noiseless_runs("none"), "chinchilla")
    few = noiseless_runs("few", group=["a"] * 3 + ["b"] * 12 + ["c"] * 5)
    with pytest.raises(
        sb.RunsError,
        match=re.escape("'chinchilla' needs at least 6 runs a group; few has a: 3, c: 5"),
    ):
        sb.fit_groups(few, "chinchilla")


# command line


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def saved(tmp_path, additive):
    sb.save(additive("A"), tmp_path / "old.nc")
    sb.save(additive("B", 2.0, shift=0.1), tmp_path / "new.nc")
    return tmp_path


def test_contrast_prints_the_python_answer(saved):
    result = run("contrast", saved / "old.nc", saved / "new.nc", "--C", "1e22")
    assert "90% equal-tailed" in result.stdout
    assert re.search(r"1e22 +new +0\.52 decades +2\.00\d +over 99% +under 1%", result.stdout)
    assert "treated as independent" in result.stderr
    answer = json.loads(
        run("contrast", saved / "old.nc", f"b={saved / 'new.nc'}", "--C", "1e22", "--json").stdout
    )
    assert answer["baseline"] == "old"
    values = {(row["arm"], row["quantity"]): row["median"] for row in answer["rows"]}
    assert values["b", "multiplier"] == pytest.approx(2.0, rel=1e-3)
    assert values["b", "p_best"] == 1.0
    loss = run(
        "contrast",
        saved / "old.nc",
        saved / "new.nc",
        "--N",
        "70B",
        "--D",
        "1.4T",
        "--baseline",
        "new",
    ).stdout
    assert "difference from new" in loss
    assert "multiplier" not in loss


def test_contrast_says_what_is_wrong_in_words(saved, product):
    assert "needs two fits" in run("contrast", saved / "old.nc", "--C", "1e22", code=1).stderr
    twice = run("contrast", saved / "old.nc", saved / "old.nc", "--C", "1e22", code=2).stderr
    assert "two fits are called 'old'" in re.sub(r"[│\s]+", " ", twice)
    same = run("contrast", saved / "old.nc", f"b={saved / 'old.nc'}", "--C", "1e22", code=1).stderr
    assert "fitted to the same runs" in same
    sb.save(product("C", 3.0, 0.1, gate_failures=["R_HAT"]), saved / "failed.nc")
    failed = run(
        "contrast", saved / "old.nc", saved / "failed.nc", "--N", "1B", "--D", "20B", code=3
    ).stderr
    assert "failed the convergence checks (failed: R_HAT)" in failed
