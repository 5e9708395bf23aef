"""Real fits to real points: does the sampler converge, and are its answers the right ones?"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scalebayes as sb
from scalebayes.summaries.summary import with_derived
from tests.fixtures import prior_of

TABLES = ("hoffmann2022", "pile2023", "gemstones2025", "misfitting2025", "muennighoff2023")


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("model", ["chinchilla", "kaplan-floor", "coupled"])
def test_default_settings_pass_the_gate_on_every_table(table, model, load_public):
    runs = load_public(table)
    for seed in range(5):
        gate = sb.diagnose(sb.fit(runs, model, seed=seed))
        assert gate.ok, f"seed {seed}: {gate}"
        assert gate.table["r_hat"].max() <= 1.01
        assert gate.table[["ess_bulk", "ess_tail"]].min(axis=None) >= 400


@pytest.mark.slow
@pytest.mark.parametrize("model", ["kaplan", "product", "kaplan-compute", "compute-floor"])
def test_other_models_pass_the_gate_on_the_chinchilla_points(model, fitted):
    assert sb.diagnose(fitted("hoffmann2022", model)).ok


@pytest.mark.slow
@pytest.mark.parametrize("model", ["overtraining", "routed"])
def test_runs_simulated_from_a_prior_pass_the_gate_and_give_back_what_was_planted(model):
    spec, law = sb.read_model(model), sb.read_model(model).law_object
    rng = np.random.default_rng(0)
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(3e7, 1e10, 8), np.geomspace(1e9, 3e11, 6)))
    table = pd.DataFrame({"N": N, "D": D, "E": rng.choice([1.0, 8, 64, 512], len(N))})
    below = []
    for seed in range(5):
        typical = sb.Runs(table.assign(loss=2.5), name="typical")
        truth = {name: float(value[0]) for name, value in prior_of(typical, spec, 1, seed).items()}
        curve = law.function(
            *(table[x].to_numpy() for x in law.inputs), **{p: truth[p] for p in law.parameter_names}
        )
        runs = sb.Runs(
            table.assign(loss=curve * np.exp(0.01 * rng.standard_normal(len(N)))), name="simulated"
        )
        fit = sb.fit(runs, spec, seed=seed, progress=False)
        assert sb.diagnose(fit).ok, f"seed {seed}: {sb.diagnose(fit)}"
        posterior = fit.stored["posterior"]
        below += [float((posterior[p] < truth[p]).mean()) for p in law.parameter_names]
    inside = np.mean([0.05 < share < 0.95 for share in below])
    assert inside > 0.65  # 90% of 20 to 30 values that come in correlated sets of one fit


@pytest.mark.standard
def test_additive_posterior_lies_within_one_standard_error_of_besiroglu(fitted):
    fit = fitted("hoffmann2022", "chinchilla")
    means = with_derived(fit).mean()
    published = next(p for p in fit.spec.published if p.source == "besiroglu2024")
    ours = {
        "E": means["L_inf"],
        "A": means["A"],
        "B": means["B"],
        "alpha": means["alpha_N"],
        "beta": means["alpha_D"],
    }
    for name, value in published.values.items():
        assert abs(float(ours[name]) - value) < published.standard_error[name], name


@pytest.mark.standard
def test_additive_posterior_agrees_with_an_independent_student_t_posterior(fitted):
    # Means and sds of a Student-t posterior of the same 240 rows, computed elsewhere with other
    # priors and another sampler.
    posterior = with_derived(fitted("hoffmann2022", "chinchilla"))
    for name, mean, sd in (
        ("L_inf", 1.8075, 0.015),
        ("alpha_N", 0.345, 0.009),
        ("alpha_D", 0.361, 0.010),
    ):
        assert abs(float(posterior[name].mean()) - mean) < 0.25 * sd, name
        assert abs(float(posterior[name].std()) / sd - 1) < 0.15, name
    a = sb.intervals(posterior[["a_opt"]]).iloc[0]
    assert (a["median"], a["eti90_lb"], a["eti90_ub"]) == pytest.approx(
        (0.511, 0.494, 0.528), abs=0.002
    )


@pytest.mark.standard
def test_chinchilla_budget_holds_chinchillas_size(fitted):
    best = sb.frontier(fitted("hoffmann2022", "chinchilla"), C=5.76e23)
    row = sb.intervals(best).xs("N", level="quantity").iloc[0]
    assert row["eti90_lb"] < 70e9 < row["eti90_ub"]
    assert (row["eti90_lb"], row["eti90_ub"]) == pytest.approx((60e9, 85e9), rel=0.02)


@pytest.mark.standard
def test_kappa_of_the_chinchilla_points(fitted):
    row = sb.intervals(
        fitted("hoffmann2022", "coupled").stored["posterior"].to_dataset()[["kappa"]]
    ).iloc[0]
    assert (row["median"], row["eti90_lb"], row["eti90_ub"]) == pytest.approx(
        (0.81, 0.76, 0.87), abs=0.01
    )


@pytest.mark.slow
def test_posterior_agrees_with_quadrature():
    """Natural coordinates, Jacobian, prior and likelihood against a grid over the parameters."""
    runs = sb.load_runs("pile2023")
    runs = sb.Runs(runs.table[runs.table["group"] == "cerebras-gpt"], "cerebras-gpt")
    spec = sb.read_model("size-floor").model_copy(
        update={"noise": "normal", "priors": normal_priors("size-floor")}
    )
    fit = sb.fit(runs, spec, seed=0, draws=2000)
    grid, weights = quadrature(runs)
    logs = np.log(
        fit.stored["posterior"].to_dataset()
    )  # on this scale the tails are light enough for sds to compare
    effective = sb.diagnose(fit).table["ess_bulk"]
    for name, values in grid.items():
        mean = float((weights * np.log(values)).sum())
        sd = float(np.sqrt((weights * (np.log(values) - mean) ** 2).sum()))
        assert abs(float(logs[name].mean()) - mean) < 4 * sd / np.sqrt(effective[name]), name
        assert abs(float(logs[name].std()) / sd - 1) < 0.08, name


def normal_priors(model):
    return {name: prior for name, prior in sb.read_model(model).priors.items() if name != "nu"}


def quadrature(runs):
    """Posterior of size-floor with Normal noise on a grid of L_inf, loss, slope and sigma.

    Loss T = L_inf + R and slope G = alpha R are those at the geometric mean of N. The runs know
    them to a percent or so, whatever the floor is, and a grid must be finer than that.
    """
    typical, centre = (np.exp(np.log(x).mean()) for x in (runs.loss, runs.N))
    # The log of a floor near zero has a long tail, in which a grid of even steps has no points.
    floors = np.concatenate([np.geomspace(1e-7, 0.02, 20), np.linspace(0.04, 1.7, 80)])
    L_inf, width = floors[:, None, None, None], np.gradient(floors)[:, None, None, None]
    size = typical * np.linspace(0.94, 1.06, 90)[None, :, None, None] - L_inf
    slope = np.exp(np.linspace(np.log(0.1), np.log(0.5), 90))[None, None, :, None]
    alpha = slope / size
    sigma = np.exp(np.linspace(np.log(0.002), np.log(0.3), 30))[None, None, None, :]
    log_density = np.log(width) + stats.beta.logpdf(L_inf / typical, 1.0, 1.0)
    log_density = log_density + stats.lognorm.logpdf(size, 1.3, scale=0.3 * typical)
    log_density = log_density + stats.lognorm.logpdf(alpha, 0.7, scale=0.4) + np.log(alpha)
    log_density = log_density + stats.lognorm.logpdf(sigma, 1.0, scale=0.01) + np.log(sigma)
    for N, loss in zip(runs.N, runs.loss, strict=True):
        residual = np.log(loss) - np.log(L_inf + size * (centre / N) ** alpha)
        log_density = log_density + stats.norm.logpdf(residual, scale=sigma)
    weights = np.exp(log_density - log_density.max())
    return {"L_inf": L_inf, "alpha_N": alpha, "sigma": sigma}, weights / weights.sum()


@pytest.mark.standard
def test_planted_parameters_are_recovered():
    truth = {"L_inf": 1.8, "N_c": 5.2e7, "alpha_N": 0.35, "D_c": 1.2e9, "alpha_D": 0.37}
    rng = np.random.default_rng(20261122)
    N = 10 ** rng.uniform(7.7, 10.3, 200)
    D = 10 ** rng.uniform(9.0, 11.5, 200)
    law = sb.LAWS["additive"]
    loss = law(N, D, **truth) * np.exp(0.004 * rng.standard_t(4, 200))
    runs = sb.Runs(
        sb.load_runs("hoffmann2022").table.iloc[:200].assign(N=N, D=D, C=6 * N * D, loss=loss),
        "planted",
    )
    fit = sb.fit(runs, "chinchilla", seed=0)
    rows = sb.intervals(fit.stored["posterior"].to_dataset(), ci_prob=0.99)
    for name, value in truth.items():
        assert rows.loc[name, "eti99_lb"] < value < rows.loc[name, "eti99_ub"], name
    far = (
        sb.intervals(sb.predict(fit, N=70e9, D=1.4e12), ci_prob=0.99)
        .xs("loss", level="quantity")
        .iloc[0]
    )
    assert far["eti99_lb"] < law(70e9, 1.4e12, **truth) < far["eti99_ub"]
