"""Comparison of models, against other computations.

Leave-one-out, refits, weights, differences, kappa and counting.
"""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import optimize, stats
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.comparison import compare as comparing
from scalebayes.comparison.compare import comparison_table, difference_table
from scalebayes.comparison.coupling import NEIGHBOURHOODS
from scalebayes.laws import LAWS
from scalebayes.posterior.fit import METADATA, law_parameters
from scalebayes.posterior.provenance import provenance
from scalebayes.studies.kaplan_or_chinchilla import (
    MODELS,
    advice,
    check_output_folder,
    describe,
    study,
    write,
)
from scalebayes.studies.small_models import local_exponent, simulated_exponents
from tests.fixtures import INTEGRATED, draws_around, fit_of, grid_runs

CHAINS, DRAWS = 2, 250
RUNS = grid_runs()


def make_fit(
    model="chinchilla", runs=RUNS, seed=1, draws=DRAWS, width=0.01, failures=(), **posterior
):
    """A fit whose draws lie independently around `VALUES`; some parameters can be given."""
    values = draws_around(model, (CHAINS, draws), seed, width, eta=0.01)
    return fit_of(model, runs, failures, **values | posterior)


@pytest.fixture(scope="module")
def fits():
    return {model: make_fit(model, seed=i) for i, model in enumerate(MODELS)}


@pytest.fixture(scope="module")
def compared(fits):
    return sb.compare(fits, reloo=False)


# leave-one-out


def importance_loo(fit):
    """Leave-one-out by plain importance sampling: harmonic mean of the densities over draws."""
    density = fit.log_likelihood["log_loss"].values.reshape(-1, len(fit.runs))
    return -np.log(np.exp(-density).mean(axis=0))


def test_scores_are_those_of_importance_sampling(fits, compared):
    for label, fit in fits.items():
        assert compared.table.loc[label, "elpd"] == pytest.approx(
            importance_loo(fit).sum(), abs=0.3
        )
        elpd_i = compared.loo[label].elpd_i.values
        assert compared.table.loc[label, "se"] == pytest.approx(
            np.sqrt(len(RUNS)) * elpd_i.std(ddof=1)
        )
    best = compared.table.index[0]
    assert (compared.table["elpd"].diff().dropna() <= 0).all()
    for label in compared.table.index[1:]:
        gap = compared.loo[label].elpd_i.values - compared.loo[best].elpd_i.values
        row = compared.table.loc[label]
        assert row["elpd_diff"] == pytest.approx(gap.sum())
        assert row["dse"] == pytest.approx(np.sqrt(len(RUNS)) * gap.std(ddof=1), rel=0.03)
        assert row["p_worse"] == pytest.approx(stats.norm.cdf(-gap.sum() / row["dse"]), abs=1e-6)


def test_stacking_weights_make_the_best_mixture(fits, compared):
    density = np.exp(
        np.column_stack([compared.loo[label].elpd_i.values for label in compared.table.index])
    )

    def loss(free):
        weights = np.exp(free) / np.exp(free).sum()
        return -np.log(density @ weights).sum()

    best = optimize.minimize(
        loss, np.zeros(density.shape[1]), method="Nelder-Mead", options={"maxiter": 20000}
    )
    weights = compared.table["stacking"].to_numpy()
    assert weights.sum() == pytest.approx(1)
    assert -np.log(density @ weights).sum() == pytest.approx(best.fun, abs=0.01)
    pooled = compared.average("stacking")
    assert pooled.weights == pytest.approx(compared.table["stacking"].to_dict(), abs=1e-9)
    assert pooled.weights == pytest.approx(sb.average(fits, "stacking").weights, abs=1e-4)
    assert set(compared.average().weights.values()) == {1 / len(fits)}


def test_an_average_of_the_comparison_answers_queries(compared):
    out = sb.predict(compared.average({"kaplan": 1, "chinchilla": 3}), N="70B", D="1.4T")
    assert set(np.unique(out["model"])) == {"kaplan", "chinchilla"}


def outlying(model="chinchilla", count=1):
    """A fit in which some draws of a wide posterior know a run that no other draw expects."""
    table = RUNS.table.copy()
    table.iloc[:count, table.columns.get_loc("loss")] *= 1.6
    return make_fit(model, replace(RUNS, table=table), width=0.05)


def test_too_many_high_pareto_k_are_told_and_not_refitted(monkeypatch):
    monkeypatch.setattr(comparing, "MOST_REFITS", 0)
    found = sb.compare({"a": outlying(), "b": outlying("kaplan")})
    high = {label: int((loo.pareto_k > loo.good_k).sum()) for label, loo in found.loo.items()}
    assert high["a"] > 0
    assert found.table["high_k"].to_dict() == found.table["high_k_left"].to_dict() == high
    assert (
        f"a: Pareto k is above {found.loo['a'].good_k:.2f} for {high['a']} of 24 runs"
        in found.notes[0]
    )
    assert "not to be relied on; compare(..., reloo=True)" in found.notes[0]


def test_runs_with_high_pareto_k_are_refitted_without_them(monkeypatch):
    from scalebayes.comparison import leave_one_out

    whole, asked = outlying(), []

    def pretend(runs, spec, *, seed, **settings):
        asked.append((runs, spec.name, seed, settings))
        return make_fit(spec.name, runs, seed=7, failures=["R_HAT"])

    monkeypatch.setattr(leave_one_out, "fit", pretend)
    found = sb.compare({"a": whole, "b": make_fit("kaplan", whole.runs, width=0.001)}, reloo=True)
    before = sb.compare({"a": whole, "b": make_fit("kaplan", whole.runs, width=0.001)}, reloo=False)
    high = before.loo["a"].pareto_k.values > before.loo["a"].good_k
    names = whole.runs.table.index[high]
    assert [
        sorted(set(whole.runs.table.index) - set(runs.table.index))
        for runs, *_ in asked[: high.sum()]
    ] == [[name] for name in names]
    assert asked[0][1:] == ("chinchilla", 0, {"draws": DRAWS, "tune": 1000, "chains": CHAINS})
    assert found.table.loc["a", ["high_k", "high_k_left"]].tolist() == [high.sum(), 0]
    kept = ~high
    np.testing.assert_array_equal(
        found.loo["a"].elpd_i.values[kept], before.loo["a"].elpd_i.values[kept]
    )
    # The density of the run left out, by hand: the mean over the refit's draws.
    refit = make_fit("chinchilla", asked[0][0], seed=7)
    run = whole.runs.table.loc[names[0]]
    law = refit.spec.law_object(run["N"], run["D"], **law_parameters(refit))
    posterior = refit.stored["posterior"]
    density = stats.t.pdf(
        np.log(run["loss"] / law), posterior["nu"].values, scale=posterior["sigma"].values
    )
    assert float(found.loo["a"].elpd_i.sel(run=names[0])) == pytest.approx(np.log(density.mean()))
    assert any(
        "refits without" in note and "failed the convergence checks" in note for note in found.notes
    )


def test_a_refit_with_a_discrepancy_scores_the_run_given_all_others():
    from scalebayes.comparison.leave_one_out import LeaveOneOut

    whole = make_fit(INTEGRATED)
    wrapper = LeaveOneOut(whole)
    kept, out = wrapper.sel_observations(5)
    refit = make_fit(INTEGRATED, replace(RUNS, table=RUNS.table.iloc[kept]), seed=3)
    ours = wrapper.log_likelihood__i(out, refit.stored).values[1, 17]
    # By the conditional of a multivariate Normal, straight from the covariance of all rows.
    parameters = {k: v[1, 17] for k, v in law_parameters(refit).items()}
    posterior = refit.stored["posterior"].sel(chain=1, draw=17)
    eta, sigma = float(posterior["eta"]), float(posterior["sigma"])
    residual = np.log(RUNS.loss / whole.spec.law_object(RUNS.N, RUNS.D, **parameters))
    points = np.column_stack([np.log10(RUNS.N), np.log10(RUNS.D)]) / whole.spec.discrepancy.length
    r = np.sqrt(5 * ((points[:, None] - points[None]) ** 2).sum(axis=-1))
    covariance = eta**2 * (1 + r + r**2 / 3) * np.exp(-r) + sigma**2 * np.eye(len(RUNS))
    weights = np.linalg.solve(covariance[np.ix_(kept, kept)], covariance[kept, 5])
    mean, variance = weights @ residual[kept], covariance[5, 5] - weights @ covariance[kept, 5]
    assert ours == pytest.approx(stats.norm.logpdf(residual[5], mean, np.sqrt(variance)), abs=1e-4)


@pytest.mark.slow
def test_leave_one_out_is_brute_force_on_a_small_table(fitted):
    """Refit without each run in turn; an estimate from few refits must agree with all refits."""
    fitted("hoffmann2022", "chinchilla")  # compiles the sampler
    runs = grid_runs(np.geomspace(1e8, 1e10, 4), [1e9, 1e10, 1e11], name="small")
    fit = sb.fit(runs, "chinchilla", seed=3, progress=False)
    other = make_fit("kaplan", runs, draws=500)
    exact = []
    for i in range(len(runs)):
        without = sb.fit(
            replace(runs, table=runs.table.drop(runs.table.index[i])),
            fit.spec,
            seed=3,
            progress=False,
        )
        law = fit.spec.law_object(runs.N[i], runs.D[i], **law_parameters(without))
        posterior = without.stored["posterior"]
        nu, sigma = posterior["nu"].values, posterior["sigma"].values
        exact.append(np.log(stats.t.pdf(np.log(runs.loss[i] / law), nu, scale=sigma).mean()))
    found = sb.compare({"fit": fit, "other": other}, reloo=True)
    assert found.table.loc["fit", "high_k_left"] == 0
    np.testing.assert_allclose(found.loo["fit"].elpd_i.values, exact, atol=0.15)
    assert found.table.loc["fit", "elpd"] == pytest.approx(sum(exact), abs=0.4)


# what cannot be compared


def test_one_fit_compares_with_nothing(fits):
    with pytest.raises(
        sb.QueryError, match="a comparison needs two fits or more; got one, 'kaplan'"
    ):
        sb.compare([fits["kaplan"]])


def test_different_runs_do_not_compare(fits):
    other = make_fit("kaplan", grid_runs(np.geomspace(1e8, 1e10, 5), np.geomspace(1e9, 1e11, 4)))
    with pytest.raises(sb.QueryError, match="were fitted to different runs"):
        sb.compare({"a": fits["chinchilla"], "b": other})


def test_a_table_too_long_for_a_log_likelihood_is_not_compared(fits, monkeypatch):
    long = replace(fits["kaplan"])
    monkeypatch.setattr("scalebayes.posterior.derived.pointwise.MOST_VALUES", 1000)
    with pytest.raises(sb.QueryError, match="the table of 'b' is too long for a pointwise log"):
        sb.compare({"a": fits["chinchilla"], "b": long})


def test_a_density_of_the_loss_compares_after_the_jacobian(fits):
    """The docstring's rule: log density of loss plus log loss is the log density of log loss."""
    import arviz_stats as azs

    fit = fits["chinchilla"]
    log_loss = xr.DataArray(
        np.log(RUNS.loss), dims="run", coords={"run": RUNS.table.index.to_numpy()}
    )
    on_loss = azs.loo(fit.tree, pointwise=True, var_name="log_loss", log_jacobian=-log_loss)
    row, run, sigma, nu = (
        3,
        RUNS.table.iloc[3],
        fit.stored["posterior"]["sigma"],
        fit.stored["posterior"]["nu"],
    )
    law = fit.spec.law_object(run["N"], run["D"], **law_parameters(fit))
    by_hand = stats.t.pdf(np.log(run["loss"] / law), nu.values, scale=sigma.values) / run["loss"]
    assert float(on_loss.elpd_i[row]) == pytest.approx(-np.log((1 / by_hand).mean()), abs=0.01)


# words


def test_the_sentence_names_the_best_and_what_is_not_clear(compared):
    text = compared.sentence()
    best, second = compared.table.index[:2]
    tried = "Leaving out one of the 24 runs of the table grid at a time"
    assert f"{tried}, {best} predicts it best; {second} is " in text
    assert "not of runs beyond them" in text
    same = sb.compare({"a": make_fit(seed=1), "b": make_fit(seed=2)}, reloo=False).sentence()
    assert "behind in log score, no clear difference" in same


@pytest.mark.parametrize(
    ("difference", "error", "is_clear"),
    [
        (5.0, 1.0, True),
        (5.0, 10.0, False),  # within two standard errors
        (1.0, 0.1, False),  # too small for a normal approximation
        (3.9, 0.1, False),
        (4.1, 0.1, True),
        (19.0, 10.0, False),
        (21.0, 10.0, True),
    ],
)
def test_a_difference_is_clear_beyond_four_and_two_standard_errors(
    compared, difference, error, is_clear
):
    table = compared.table.iloc[:2].copy()
    table.loc[table.index[1], ["elpd_diff", "dse"]] = [-difference, error]
    text = replace(compared, table=table).sentence()
    assert f"{table.index[1]} is {difference:.1f} (s.e. {error:.1f}) behind in log score" in text
    assert ("no clear difference" in text) != is_clear


def test_fits_that_failed_their_gate_are_told(fits):
    found = sb.compare(
        {"good": fits["kaplan"], "bad": make_fit(failures=["R_HAT", "ESS_BULK"])}, reloo=False
    )
    assert found.notes[0] == "bad failed its convergence checks: R_HAT, ESS_BULK"
    assert "note: bad failed its convergence checks" in repr(found)
    record = provenance(found.difference(C=1e22))
    assert record.failures == ("bad: R_HAT", "bad: ESS_BULK")


def test_the_comparison_as_text(compared):
    lines = comparison_table(compared).splitlines()
    assert lines[0].split("  ")[1].strip() == "model"
    assert lines[1].split()[0] == compared.table.index[0]
    assert len(lines) == 1 + len(compared.fits)


# differences


def test_the_difference_of_losses_is_that_of_independent_draws(fits, compared):
    out = compared.difference(N="70B", D=["1.4T", "15T"])
    pairs = list(zip(out["model"].values, out["against"].values, strict=True))
    assert pairs[0] == ("kaplan", "chinchilla")
    assert len(pairs) == 6
    assert out["D"].values.tolist() == [1.4e12, 15e12]
    for i, (a, b) in enumerate(pairs):
        asked = (sb.predict(fits[x], N=7e10, D=[1.4e12, 15e12])["loss"] for x in (a, b))
        first, second = (loss.isel(target=1).values.ravel() for loss in asked)
        every = (first[:, None] - second).ravel()  # all pairs of draws, not a random pairing
        ours = out["loss_difference"].isel(target=1, pair=i)
        assert float(ours.mean()) == pytest.approx(every.mean(), abs=1e-9)
        assert float(ours.std()) == pytest.approx(every.std(), rel=0.15)
        row = sb.intervals(out).xs((15e12, a, b), level=("D", "model", "against")).iloc[0]
        assert row["p_below"] == pytest.approx((every < 0).mean(), abs=0.05)


def test_the_ratio_of_optima_is_that_of_independent_draws(fits):
    few = {"kaplan": fits["kaplan"], "chinchilla": make_fit(draws=100)}
    out = sb.compare(few, reloo=False).difference(C=[1e21, 1e24])
    assert dict(out.sizes) == {"chain": 1, "draw": 2 * 100, "budget": 2, "pair": 1}
    a, b = (np.log(sb.frontier(fit, C=1e24)["N"].values.ravel()) for fit in few.values())
    log_ratio = np.log(out["N_ratio"].isel(budget=1, pair=0))
    assert float(log_ratio.mean()) == pytest.approx(a.mean() - b.mean(), abs=0.05)
    assert float(log_ratio.std()) == pytest.approx(np.hypot(a.std(), b.std()), rel=0.15)
    table = sb.intervals(out)
    assert table.index.names == ["C", "model", "against", "quantity"]
    ratio = table.xs("N_ratio", level="quantity").iloc[1]
    assert ratio["p_below"] == pytest.approx(float((out["N_ratio"].isel(budget=1) < 1).mean()))
    assert table["decades_beyond"].max() == pytest.approx(np.log10(1e24 / RUNS.max_compute))


@pytest.mark.parametrize(
    "given", [{"N": 7e10, "C": 1e23}, {"D": 1e12, "C": 1e23}, {"N": 7e10, "D": 1e12}]
)
def test_two_of_three_inputs_are_a_run_and_not_a_budget(fits, compared, given):
    """With C among them the answer is at the size given, not at the optimum of C."""
    N = given.get("N", 1e23 / 6 / given.get("D", 1.0))
    D = given.get("D", 1e23 / 6 / N)
    answers = compared.answers(**given)
    out = compared.difference(**given)
    losses = {}
    for label, fit in fits.items():
        expected = sb.predict(fit, N=N, D=D)["loss"]
        assert answers[label]["loss"].dims == ("chain", "draw", "target")
        np.testing.assert_allclose(answers[label]["loss"], expected, rtol=1e-9)
        losses[label] = float(expected.mean())
    for pair in range(out.sizes["pair"]):
        model, against = (str(out[name].values[pair]) for name in ("model", "against"))
        mean = float(out["loss_difference"].isel(pair=pair).mean())
        assert mean == pytest.approx(losses[model] - losses[against], abs=1e-9)
    assert "N_ratio" not in out
    assert float(out["D"][0]) == pytest.approx(D)


def test_the_seed_of_a_difference_is_that_of_the_answers_and_of_the_pairing():
    pair = {"a": make_fit(INTEGRATED), "b": make_fit("chinchilla")}
    compared = sb.compare(pair, reloo=False)
    far = {"N": 1e12, "D": 1e13}
    drawn = {}
    for seed in (0, 5):
        out = compared.difference(**far, seed=seed)["loss_difference"].values.ravel()
        losses = {name: fit["loss"] for name, fit in compared.answers(**far, seed=seed).items()}
        expected = sb.predict(pair["a"], **far, seed=seed)["loss"]
        np.testing.assert_array_equal(losses["a"], expected)
        # Whatever the pairing, the mean of the differences is the difference of the means.
        assert out.mean() == pytest.approx(float(losses["a"].mean() - losses["b"].mean()))
        drawn[seed] = out
    assert drawn[0].mean() != pytest.approx(drawn[5].mean(), abs=1e-9)


def test_discrepancies_of_two_models_are_drawn_apart():
    """The same spec and draws twice: were one stream used for both, the difference would vanish."""
    twice = {"a": make_fit("coupled-discrepancy"), "b": make_fit("coupled-discrepancy")}
    far = sb.predict(twice["a"], N=1e12, D=1e13)["loss"].values
    out = sb.compare(twice, reloo=False).difference(N=1e12, D=1e13)["loss_difference"]
    assert float(out.std()) == pytest.approx(np.sqrt(2) * far.std(), rel=0.15)


def test_differences_as_text(compared):
    text = difference_table(compared.difference(C="1e24"))
    assert re.search(r"1e24 +kaplan against chinchilla +loss minus loss +[+-]\d\.\d{3} \[", text)
    assert re.search(r"1e24 +kaplan against chinchilla +N\* over N\* ", text)


# kappa


def test_kappa_chances_are_shares_of_draws():
    shape = (CHAINS, DRAWS)
    kappa = np.full(shape, 0.95)
    kappa[0, :50], kappa[0, 50:100], kappa[1, :25] = 0.05, 0.5, 0.37
    floor = np.full(shape, 1.8)
    floor[1, :10] = 0.01
    fit = make_fit("coupled", kappa=kappa, alpha_D=np.full(shape, 0.37), L_inf=floor)
    found = sb.coupling(fit)
    chances = found.probabilities["posterior"].to_dict()
    share = 1 / (CHAINS * DRAWS)
    assert chances["additive"] == pytest.approx(375 * share)
    assert chances["bottleneck"] == pytest.approx(50 * share)
    assert chances["between"] == pytest.approx(50 * share)
    assert chances["kaplan-coupling"] == pytest.approx(25 * share)
    assert chances["kaplan"] == pytest.approx(10 * share)
    prior = fit.stored["prior"].to_dataset()
    near = np.abs(np.log(prior["kappa"])) <= np.log(1.1)
    assert found.probabilities.loc["additive", "prior"] == pytest.approx(float(near.mean()))
    table = sb.intervals(found.draws)
    assert table.loc["kappa", "median"] == 0.95
    assert table.loc["kappa", "p_below"] == 1.0
    assert table.loc["floor_share", "median"] == pytest.approx(1.8 / RUNS.loss.min())
    assert set(found.probabilities.index) == set(NEIGHBOURHOODS)


@pytest.mark.parametrize(
    ("kappa", "words"),
    [
        (
            0.8,
            r"0\.(79|80)\d* \[.*\] \(90% equal-tailed\): the terms couple more than in "
            r"Chinchilla's sum \(1\) and far",
        ),
        (
            0.36,
            r"couple far more than in Chinchilla's sum \(1\); the interval does not distinguish "
            r"it from Kaplan's law",
        ),
        (
            1.0,
            r"far less than in Kaplan's law \(alpha_D = 0\.37\); the interval does not "
            r"distinguish it from Chinchilla's",
        ),
        (0.2, r"couple far more than in Chinchilla's sum \(1\) and more than in Kaplan's law"),
    ],
)
def test_kappa_in_a_sentence(kappa, words):
    rng = np.random.default_rng(0)
    draws = kappa * np.exp(0.02 * rng.standard_normal((CHAINS, DRAWS)))
    text = sb.coupling(make_fit("coupled", kappa=draws, width=0.02)).sentence()
    assert text.startswith("kappa of coupled on grid is ")
    assert re.search(words, text), text


def test_kappa_beside_a_discrepancy_says_so():
    found = sb.coupling(make_fit("coupled-discrepancy"))
    assert found.discrepancy
    assert "kappa of coupled-discrepancy on grid (beside a discrepancy) is" in found.sentence(0.5)
    assert "50% equal-tailed" in found.sentence(0.5)


def test_kappa_of_a_law_alone_is_beside_no_discrepancy(fits):
    found = sb.coupling(fits["coupled"])
    assert not found.discrepancy
    assert "beside a discrepancy" not in found.sentence()


def test_laws_without_a_free_kappa_are_told(fits):
    with pytest.raises(
        sb.QueryError, match="'chinchilla' has no free kappa; fit a model of the law coupled"
    ):
        sb.coupling(fits["chinchilla"])
    with pytest.raises(sb.QueryError, match="one fit at a time; got Average"):
        sb.coupling(sb.average(fits))


# counting


def test_counting_goes_there_and_back():
    N = np.geomspace(1, 1e13, 40)
    total = sb.total_parameters(N)
    np.testing.assert_allclose(total, N + 47491 * N ** (1 / 3))
    np.testing.assert_allclose(sb.non_embedding_parameters(total), N, rtol=1e-10)
    assert sb.non_embedding_parameters(70e9) == pytest.approx(
        optimize.brentq(lambda n: n + 47491 * n ** (1 / 3) - 70e9, 1e9, 1e11), rel=1e-9
    )


@pytest.mark.parametrize(
    ("source", "non_embedding", "total", "loss"),
    [("besiroglu2024", 0.7805, 0.5154, -0.0690), ("hoffmann2022", 0.7388, 0.4577, -0.0659)],
)
def test_pearce_and_song_are_reproduced(source, non_embedding, total, loss):
    law = LAWS["additive"]
    published = next(p for p in sb.read_model("chinchilla").published if p.source == source)
    found = simulated_exponents(law, law.from_notation(published.values))
    assert found["non_embedding"] == pytest.approx(non_embedding, rel=0.001)
    assert found["total"] == pytest.approx(total, rel=0.001)
    assert found["loss_non_embedding"] == pytest.approx(loss, rel=0.001)


def test_simulated_exponents_of_draws_are_those_of_each_draw(fits):
    parameters = {k: v[:, :3] for k, v in law_parameters(fits["coupled"]).items()}
    together = simulated_exponents(LAWS["coupled"], parameters)
    alone = simulated_exponents(LAWS["coupled"], {k: float(v[1, 2]) for k, v in parameters.items()})
    for name, value in alone.items():
        assert together[name].shape == (CHAINS, 3)
        assert together[name][1, 2] == pytest.approx(float(value), rel=1e-9)


def test_the_local_exponent_is_the_closed_form(fits):
    """At the optimum alpha A N_T^-alpha g = beta B D^-beta, g the log slope of N_T in N.

    Pearce and Song (2024).
    """
    parameters = {k: v[0, :4] for k, v in law_parameters(fits["chinchilla"]).items()}
    a, b = parameters["alpha_N"], parameters["alpha_D"]

    def compute(log_N):
        N = np.exp(log_N)
        total, slope = N + 47491 * np.cbrt(N), 1 + 47491 / 3 * N ** (-2 / 3)
        n = (parameters["N_c"] / total) ** a
        D = parameters["D_c"] * (a * n * slope * N / total / b) ** (-1 / b)
        return np.log(6 * N * D)

    for C in (1e15, 1e19, 1e24):
        ends = []
        for c in (C / 2, C * 2):
            roots = [
                optimize.brentq(lambda x, i=i, c=c: compute(x)[i] - np.log(c), 0, 60)
                for i in range(4)
            ]
            ends.append(roots)
        expected = np.diff(ends, axis=0)[0] / np.log(4)
        np.testing.assert_allclose(
            local_exponent(LAWS["additive"], parameters, C), expected, rtol=1e-4
        )


def test_non_embedding_compute_is_a_cost(fits):
    out = sb.frontier(fits["chinchilla"], C=1e20, cost=sb.NON_EMBEDDING)
    np.testing.assert_allclose(
        6 * sb.non_embedding_parameters(out["N"]) * out["D"], 1e20, rtol=1e-9
    )
    assert out.attrs["cost"] == "6 N D, N without embeddings"


# the study


@pytest.fixture(scope="module")
def studied(fits):
    return study({label: fits[label] for label in MODELS})


def test_advice_is_the_optimum_and_what_was_missed(fits):
    models = pd.DataFrame({"N": [175e9, 70e9], "D": [300e9, 1.4e12]}, index=["GPT-3", "Chinchilla"])
    for fit in fits.values():
        out = advice(fit, models)
        law, parameters = fit.spec.law_object, law_parameters(fit)
        if not fit.spec.has_discrepancy:
            best = law.optimise(175e9 * 300e9, parameters)
            np.testing.assert_allclose(out["N_best"].isel(target=0), best, rtol=1e-9)
            missed = law(175e9, 300e9, **parameters) - law(best, 175e9 * 300e9 / best, **parameters)
            np.testing.assert_allclose(out["regret"].isel(target=0), missed, atol=1e-12)
        assert (out["regret"] >= -1e-6).all()  # of a bent law the optimum is found to 0.1% of N
        np.testing.assert_allclose(
            out["loss"], sb.predict(fit, N=models["N"], D=models["D"])["loss"]
        )
        assert out["model"].values.tolist() == ["GPT-3", "Chinchilla"]
        assert float(out["decades_beyond"][0]) == pytest.approx(
            np.log10(6 * 175e9 * 300e9 / RUNS.max_compute)
        )


def test_the_study_says_it_all(studied):
    text = describe(studied)
    for wanted in (
        r"kaplan, these runs +0\.\d+ \[",
        r"Kaplan \(non-embedding N and C\) +0\.73",
        r"Hoffmann, approach 3 +0\.46 \[0\.454, 0\.455\] +10-90%",
        r"Besiroglu et al\. 2024 +0\.5126 +0\.5154 +0\.7805 ",
        r"Hoffmann et al\. 2022 +0\.4565 +0\.4577 +0\.7388 ",
        r"GPT-3: 175B parameters on 300B tokens, 3\.15e23 FLOP, 1\.72 decades beyond",
        r"Kaplan, as printed \(non-embedding N\) +518B",
        r"kappa of coupled on grid is",
        r"kappa of coupled-drift on grid \(at the centre of the runs\)",
        r"In short: .* from 0\.457 to\s0\.739 .* and 0\.513 to 0\.781 ",
        r"90% equal-tailed",
    ):
        assert re.search(wanted, text, re.DOTALL), f"{wanted}\n{text}"
    assert set(studied.owners.index.unique("law")) == set(MODELS)
    assert studied.exponents.loc["Hoffmann, approach 1", "a"] == 0.5
    assert max(map(len, text.splitlines())) <= 120


def test_the_study_is_written_and_nothing_replaced(studied, tmp_path):
    folder, said = tmp_path / "out", []
    check_output_folder(folder, MODELS, force=False)
    write(studied, folder, said.append)
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [*(f"{m}.nc" for m in MODELS), "frontier.png"]
    )
    assert said[0].startswith("wrote ")
    with pytest.raises(sb.ScaleBayesError, match=r"already holds kaplan\.nc, .*--force"):
        check_output_folder(folder, MODELS, force=False)


# the command line


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def saved(fits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    return [sb.save(fits[label], folder / f"{label}.nc") for label in ("chinchilla", "coupled")]


@pytest.fixture
def no_sampling(monkeypatch):
    """Fits made by hand in place of the sampler's."""

    def by_hand(runs, spec, *, seed=0, **settings):
        return make_fit(spec.name, runs, seed, draws=50)

    for module in ("scalebayes", "scalebayes.comparison.leave_one_out"):
        monkeypatch.setattr(f"{module}.fit", by_hand)


def test_saved_fits_are_compared(saved, compared):
    text = run("compare", *saved, "--N", "70B", "--D", "1.4T").stdout
    assert "predicts it best" in text
    assert re.search(r"^equal pool\n  N +D +C ", text, re.MULTILINE)
    assert re.search(r"70B +1\.4T +5\.88e23 +chinchilla against coupled +loss minus loss ", text)
    answer = json.loads(run("compare", *saved, "--C", "1e24", "--json").stdout)
    assert [row["quantity"] for row in answer["differences"]] == ["loss_difference", "N_ratio"]
    by_model = {row["model"]: row for row in answer["rows"]}
    assert by_model["coupled"]["elpd"] == pytest.approx(compared.table.loc["coupled", "elpd"])
    assert (answer["ci_prob"], answer["ci_kind"]) == (0.9, "eti")


def test_a_table_is_fitted_and_compared(no_sampling):
    text = run("compare", "pile2023", "--models", "kaplan,chinchilla", "--C", "1e22").stdout
    assert "Leaving out one of the 15 runs of Dey et al. 2023 and Biderman et al. 2023" in text
    assert "kaplan against chinchilla" in text


def test_refits_can_be_asked_for_and_left_out(no_sampling, tmp_path):
    asked = [
        "compare",
        *(sb.save(outlying(m), tmp_path / f"{m}.nc") for m in ("chinchilla", "kaplan")),
    ]
    assert "not to be relied on" in run(*asked, "--no-reloo").stderr
    assert "fitted again without each" in run(*asked, "--reloo").stderr


def test_the_coupling_of_a_saved_fit(saved):
    assert run("coupling", saved[1]).stdout.startswith("kappa of coupled on grid is")
    answer = json.loads(run("coupling", saved[1], "--json").stdout)
    assert [row["neighbourhood"] for row in answer["probabilities"]] == list(NEIGHBOURHOODS)
    assert answer["rows"][0]["quantity"] == "kappa"
    assert "'chinchilla' has no free kappa" in run("coupling", saved[0], code=1).stderr


def test_the_study_in_one_command(no_sampling, tmp_path):
    result = run("kaplan-or-chinchilla", "--out", tmp_path / "out")
    assert "Kaplan or Chinchilla, on the same 240 runs of Hoffmann et al. 2022" in result.stdout
    assert "wrote" in result.stderr
    assert (tmp_path / "out" / "frontier.png").stat().st_size > 20_000
    assert (
        "--force replaces them"
        in run("kaplan-or-chinchilla", "--out", tmp_path / "out", code=1).stderr
    )
    answer = json.loads(run("kaplan-or-chinchilla", "--json").stdout)
    assert set(answer["couplings"]) == {"coupled", "coupled-drift"}
    assert {row["quantity"] for row in answer["rows"]} == {
        "loss",
        "N_best",
        "D_best",
        "tokens_per_param",
        "regret",
    }
    assert answer["counting"][0]["source"] == "Hoffmann et al. 2022"


def test_an_interrupted_or_failed_fit_is_an_exit_code(tmp_path, monkeypatch):
    bad = sb.save(make_fit("coupled", failures=["R_HAT"]), tmp_path / "bad.nc")
    assert "failed the convergence checks (R_HAT)" in run("coupling", bad, code=3).stderr
    good = sb.save(make_fit("chinchilla"), tmp_path / "good.nc")
    assert (
        "note: bad failed its convergence checks: R_HAT"
        in run("compare", bad, good, "--no-reloo", code=3).stderr
    )

    def half(runs, spec, *, seed):
        fit = make_fit(spec.name, runs)
        fit.stored.attrs[METADATA] = json.dumps(fit.metadata | {"partial": True})
        return fit

    monkeypatch.setattr("scalebayes.fit", half)
    result = run("compare", "pile2023", code=130)
    assert result.stdout == ""
    assert "interrupted" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["compare"], 2, "Missing argument"),
        (
            ["compare", "hoffmann2022", "a.nc"],
            2,
            "give one table of runs, or saved fits (.nc) only",
        ),
        (["compare", "missing.nc", "other.nc"], 1, "no saved fit at missing.nc"),
        (
            ["compare", "hoffmann2022", "--models", "kaplan,chinchila"],
            1,
            "did you mean 'chinchilla'",
        ),
    ],
)
def test_wrong_commands_are_told(arguments, code, words):
    result = run(*arguments, code=code)
    assert result.stdout == ""
    assert words in re.sub(r"[│\s]+", " ", result.stderr)


def test_one_saved_fit_is_not_compared(saved):
    assert "needs two fits or more; got one" in run("compare", saved[0], code=1).stderr
