"""`Fit.tree` under ArviZ: its functions run, and the groups that are computed are right."""

import copy
import pickle
from dataclasses import replace

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import scalebayes as sb
from scalebayes.posterior.derived.log_prior import STEP, log_density
from scalebayes.posterior.stated import stated_spec
from scalebayes.specs.spec import with_trainings
from tests.fixtures import INTEGRATED, draws_around, fit_of, grid_runs, pooled_fit

SHAPE = (4, 500)
KINDS = ["chinchilla", "coupled-drift", "coupled-discrepancy", "integrated", "trainings", "pooled"]
LEVEL = 1e-4
"""Probability below which a distribution is taken for another one."""


def checkpoints():
    """Return the grid of runs, those of one size being of one training."""
    runs = grid_runs()
    names = [f"of {N:.3g}" for N in runs.N]
    return sb.read_runs(runs.table.assign(training=names), name="checkpoints")


def make(kind):
    """Return a fit of draws by hand of one kind of model."""
    if kind == "pooled":
        return pooled_fit(sb.load_runs("pile2023"), seed=0)
    if kind == "trainings":
        runs = checkpoints()
        spec = with_trainings(sb.read_model("chinchilla"), runs)
        trainings = runs.table["training"].nunique()
        weights = np.random.default_rng(2).standard_normal((*SHAPE, trainings))
        draws = draws_around(spec, SHAPE, omega=0.02)
        return fit_of(spec, runs, **draws, offset_weights=weights)
    spec = INTEGRATED if kind == "integrated" else sb.read_model(kind)
    return fit_of(spec, grid_runs(), **draws_around(spec, SHAPE))


@pytest.fixture(scope="module")
def fits():
    return {kind: make(kind) for kind in KINDS}


def flat(group, name):
    """Return a variable of a group with chains one after the other, (draws, ...)."""
    values = group[name].values
    return values.reshape(-1, *values.shape[2:])


def residuals_over_sigma(fit, replicated, curve):
    """Return (log loss - curve) / sigma of replicated losses, (draws, runs)."""
    sigma = flat(fit.stored["posterior"], "sigma")[:, None]
    return (flat(replicated, "log_loss") - curve) / sigma


def p_value_under_t(standardised, nu):
    """Return the p value that each row is Student t of its own degrees of freedom."""
    uniform = stats.t.cdf(standardised, nu[:, None])
    return stats.kstest(uniform.ravel(), "uniform").pvalue


# what ArviZ does with it


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")  # draws by hand
def test_arviz_takes_the_tree(fits, kind):
    tree = fits[kind].tree
    table = az.psense_summary(tree)
    assert np.isfinite(table[["prior", "likelihood"]].to_numpy()).all()
    pit = az.loo_pit(tree)["log_loss"].values
    assert ((pit >= 0) & (pit <= 1)).all()
    assert az.loo_score(tree).mean < 0  # the negative of a CRPS, which is positive
    for group in ("posterior_predictive", "prior_predictive"):
        assert az.plot_ppc_dist(tree, group=group).viz["figure"]
    assert az.plot_loo_pit(tree).viz["figure"]
    assert az.plot_psense_dist(tree, var_names=["alpha_N"]).viz["figure"]
    plt.close("all")


def test_arviz_summaries_have_89_percent_by_default_and_ours_90(fits):
    by_default = az.summary(fits["chinchilla"].tree, var_names=["alpha_N"])
    assert "eti89_lb" in by_default
    theirs = az.summary(
        fits["chinchilla"].tree, var_names=["alpha_N"], ci_prob=0.9, round_to="none"
    )
    ours = sb.summary(fits["chinchilla"])
    assert float(theirs["eti90_lb"].iloc[0]) == pytest.approx(ours.loc["alpha_N", "eti90_lb"])


@pytest.mark.parametrize("kind", KINDS)
def test_groups_have_arviz_attributes(fits, kind):
    fit = fits[kind]
    tree = fit.tree
    for name in ("posterior", "posterior_predictive", "prior_predictive", "log_prior"):
        attributes = tree[name].attrs
        assert attributes["model"] == fit.spec.name
        assert attributes["inference_library"] == "nutpie"


def test_a_sampled_fit_knows_when_and_how_it_was_made(fitted):
    attributes = fitted("pile2023", "kaplan-size").tree["posterior"].attrs
    assert {"created_at", "inference_library_version", "sampling_time"} <= attributes.keys()
    assert attributes["sampling_time"] > 0


def test_files_keep_what_was_sampled_and_the_tree_is_made_again_the_same(fits, tmp_path):
    fit = fits["chinchilla"]
    path = sb.save(fit, tmp_path / "fit.nc")
    loaded = sb.load(path)
    assert not {"log_likelihood", "posterior_predictive"} & set(loaded.stored.children)
    for name in ("log_likelihood", "posterior_predictive", "prior_predictive", "log_prior"):
        assert loaded.tree[name].to_dataset().identical(fit.tree[name].to_dataset())
    assert not set(fit.stored["posterior"].attrs)  # the stored groups are left as they are


def test_a_view_of_a_group_has_its_own_runs(fits):
    pooled = fits["pooled"]
    view = sb.group(pooled, "pythia")
    assert view.tree["posterior_predictive"].sizes["run"] == len(view.runs)
    assert "log_prior" not in view.tree.children
    unseen = sb.new_group(pooled).tree
    assert not {"posterior_predictive", "prior_predictive", "log_prior"} & set(unseen.children)


# posterior predictive


def test_replicates_of_a_law_have_its_noise(fits):
    fit = fits["chinchilla"]
    standardised = residuals_over_sigma(fit, fit.tree["posterior_predictive"], log_law(fit))
    assert p_value_under_t(standardised, flat(fit.stored["posterior"], "nu")) > LEVEL


def log_law(fit):
    """Return the log of the law at the runs, (draws, runs)."""
    posterior = fit.stored["posterior"]
    values = {n: flat(posterior, n)[:, None] for n in fit.spec.law_object.parameter_names}
    return np.log(fit.spec.law_object(fit.runs.N, fit.runs.D, **values))


def test_replicates_of_a_drifting_law_lie_around_the_bent_curve(fits):
    fit = fits["coupled-drift"]
    loss = sb.predict(fit, N=fit.runs.N, D=fit.runs.D)["loss"].values
    curve = np.log(loss.reshape(-1, len(fit.runs)))
    standardised = residuals_over_sigma(fit, fit.tree["posterior_predictive"], curve)
    assert p_value_under_t(standardised, flat(fit.stored["posterior"], "nu")) > LEVEL


def test_replicates_lie_around_the_law_with_its_discrepancy(fits):
    fit = fits["coupled-discrepancy"]
    curve = log_law(fit) + flat(fit.stored["discrepancy"], "delta")
    standardised = residuals_over_sigma(fit, fit.tree["posterior_predictive"], curve)
    assert p_value_under_t(standardised, flat(fit.stored["posterior"], "nu")) > LEVEL


def test_replicates_keep_the_offset_of_their_training(fits):
    fit = fits["trainings"]
    offset = fit.stored["trainings"]["offset"]
    of_runs = offset.sel(training=fit.runs.table["training"].to_list()).values
    curve = log_law(fit) + of_runs.reshape(-1, len(fit.runs))
    standardised = residuals_over_sigma(fit, fit.tree["posterior_predictive"], curve)
    assert p_value_under_t(standardised, flat(fit.stored["posterior"], "nu")) > LEVEL


def test_replicates_under_an_integrated_discrepancy_are_given_all_other_runs(fits):
    fit = fits["integrated"]
    posterior = fit.stored["posterior"]
    basis = fit.spec.observation.basis(fit.runs)
    correlation = (basis.vectors * basis.values) @ basis.vectors.T
    residual = np.log(fit.runs.loss) - log_law(fit)
    replicated = flat(fit.tree["posterior_predictive"], "log_loss") - log_law(fit)
    rows = len(fit.runs)
    standardised = []
    for draw in range(0, len(residual), 20):
        sigma, eta = flat(posterior, "sigma")[draw], flat(posterior, "eta")[draw]
        covariance = eta**2 * correlation + sigma**2 * np.eye(rows)
        for i in range(rows):
            rest = np.arange(rows) != i
            gain = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[rest, i])
            deviation = np.sqrt(covariance[i, i] - gain @ covariance[rest, i])
            mean = gain @ residual[draw, rest]
            standardised.append((replicated[draw, i] - mean) / deviation)
    assert stats.kstest(standardised, "norm").pvalue > LEVEL


def test_replicates_of_a_pooled_fit_have_the_law_of_their_group(fits):
    pooled = fits["pooled"]
    name = "cerebras-gpt"
    rows = np.flatnonzero(pooled.runs.table["group"] == name)
    view = sb.group(pooled, name)
    curve = np.log(sb.predict(view, N=view.runs.N, D=view.runs.D)["loss"].values)
    curve = curve.reshape(-1, len(rows))
    replicated = pooled.tree["posterior_predictive"].isel(run=rows)
    standardised = residuals_over_sigma(view, replicated, curve)
    assert p_value_under_t(standardised, flat(view.stored["posterior"], "nu")) > LEVEL


# prior predictive


def test_losses_under_the_prior_are_those_of_its_draws(fits):
    fit = fits["chinchilla"]
    prior = fit.stored["prior"]
    values = {n: flat(prior, n)[:, None] for n in fit.spec.law_object.parameter_names}
    curve = np.log(fit.spec.law_object(fit.runs.N, fit.runs.D, **values))
    replicated = flat(fit.tree["prior_predictive"], "log_loss")
    standardised = (replicated - curve) / flat(prior, "sigma")[:, None]
    assert p_value_under_t(standardised, flat(prior, "nu")) > LEVEL


def drawn_from_prior(fit, group):
    prior = fit.stored["prior"].to_dataset()
    drawn = fit.spec.observation.draw_prior(prior, fit.runs, np.random.default_rng(5))
    return prior, drawn[group]


def test_drift_under_the_prior_is_a_brownian_motion_of_size_tau(fits):
    prior, paths = drawn_from_prior(fits["coupled-drift"], "drift")
    for path, size in (("N", "tau"), ("D", "tau"), ("loss", "tau_loss")):
        over_tau = paths[f"g_{path}"] / prior[size]
        np.testing.assert_array_equal(over_tau.sel({f"knot_{path}": 0.0}), 0.0)
        after_a_decade = over_tau.sel({f"knot_{path}": 1.0}).values.ravel()
        assert stats.kstest(after_a_decade, "norm").pvalue > LEVEL
        one_step = over_tau.sel({f"knot_{path}": 1.0}) - over_tau.sel({f"knot_{path}": 0.75})
        assert stats.kstest(2 * one_step.values.ravel(), "norm").pvalue > LEVEL


@pytest.mark.parametrize("kind", ["coupled-discrepancy", "integrated"])
def test_a_discrepancy_under_the_prior_has_its_kernel(fits, kind):
    fit = fits[kind]
    prior, drawn = drawn_from_prior(fit, "discrepancy")
    unit = flat(drawn, "delta") / flat(prior, "eta")[:, None]
    basis = fit.spec.observation.basis(fit.runs)
    kernel = (basis.vectors * basis.values) @ basis.vectors.T
    np.testing.assert_allclose(np.cov(unit.T), kernel, atol=0.12)
    # It reaches the losses: without it they would be the law with its noise.
    tree = fit.tree["prior_predictive"]
    values = {n: flat(prior, n)[:, None] for n in fit.spec.law_object.parameter_names}
    curve = np.log(fit.spec.law_object(fit.runs.N, fit.runs.D, **values))
    off = (flat(tree, "log_loss") - curve) / flat(prior, "eta")[:, None]
    quiet = flat(prior, "sigma") < 0.2 * flat(prior, "eta")
    assert np.median(off[quiet] ** 2) == pytest.approx(stats.chi2(1).median(), rel=0.25)


def test_offsets_under_the_prior_are_shared_by_a_training(fits):
    fit = fits["trainings"]
    prior, drawn = drawn_from_prior(fit, "trainings")
    unit = flat(drawn, "offset") / flat(prior, "omega")[:, None]
    assert stats.kstest(unit.ravel(), "norm").pvalue > LEVEL


# log prior


def test_a_bent_law_and_a_straight_one_have_the_log_prior_of_their_parameters(fits):
    for kind in ("chinchilla", "coupled-drift", "trainings"):
        fit = fits[kind]
        sizes = fit.spec.observation.traits.amplitudes
        expected = [*fit.spec.priors, *(f"given {size}" for size in sizes)]
        assert list(fit.tree["log_prior"].data_vars) == expected


def test_the_log_prior_of_a_pooled_fit_is_that_of_its_population(fits):
    fit = fits["pooled"]
    spec, tree = stated_spec(fit), fit.tree["log_prior"]
    posterior = fit.stored["posterior"]

    exponent = posterior["alpha_N_population"].values
    prior = spec.priors["alpha_N"]
    assert (prior.dist, prior.shift, prior.over) == ("LogNormal", 0.0, None)
    width, median = prior.arguments["sigma"], prior.arguments["median"]
    # The density of the log of a LogNormal variable.
    expected = stats.norm.logpdf(np.log(exponent), np.log(median), width)
    np.testing.assert_allclose(tree["alpha_N_population"], expected, rtol=1e-8)

    spread = posterior["alpha_N_spread"].values
    of_spread = spec.spread["alpha_N"]
    np.testing.assert_allclose(
        tree["alpha_N_spread"], log_density(of_spread, np.log(spread)), rtol=1e-8
    )
    # d log p / d log s of a LogNormal is -(log s - log median) / sigma^2; half of it is the weight.
    slope = -np.log(spread / of_spread.arguments["median"]) / of_spread.arguments["sigma"] ** 2
    np.testing.assert_allclose(tree["given alpha_N_spread"], slope / 2, atol=STEP)


def test_power_scaling_of_a_pooled_fit_is_of_its_population(fits, monkeypatch):
    table = sb.power_scaling(fits["pooled"])
    assert {"alpha_N_population", "alpha_N_spread", "nu"} <= set(table.index)
    assert "alpha_N" not in table.index
    assert np.isfinite(table[["prior", "likelihood"]].to_numpy()).all()
    with pytest.raises(sb.QueryError):
        sb.power_scaling(fits["pooled"], C=1e23)
    long = replace(fits["pooled"])
    monkeypatch.setattr("scalebayes.posterior.derived.pointwise.MOST_VALUES", 1000)
    with pytest.raises(sb.QueryError, match="too long a table"):
        sb.power_scaling(long)
    of_runs = {"log_likelihood", "posterior_predictive", "prior_predictive"}
    assert not of_runs & set(long.tree.children)


def test_copies_and_pickles_of_a_fit_hold_no_computed_groups(fits):
    fit = replace(fits["chinchilla"])
    size = len(pickle.dumps(fit))
    tree = fit.tree
    again = pickle.loads(pickle.dumps(fit))
    assert len(pickle.dumps(fit)) < 1.01 * size
    assert "tree" not in vars(copy.deepcopy(fit))
    xr.testing.assert_identical(again.tree, tree)
