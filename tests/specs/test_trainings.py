"""Offsets of trainings: densities, posteriors, answers and files, against independent results."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import scalebayes as sb
from scalebayes.fitting.many.jobs import Job
from scalebayes.posterior.diagnostics import residuals_at_median
from scalebayes.posterior.fit import residuals
from scalebayes.posterior.likelihood import make_likelihood
from scalebayes.specs.noise import NOISES
from scalebayes.specs.spec import with_trainings
from scalebayes.specs.trainings import NewTraining, SharedTrainings, read_trainings
from tests.fixtures import besiroglu_loss

OMEGA, SIGMA = 0.02, 0.004
PARAMETERS = {"sigma": 0.01, "omega": 0.03}


def checkpoints(trainings=14, each=6, seed=0):
    """Runs of trainings of several sizes, with an error of each training and noise."""
    rng = np.random.default_rng(seed)
    N = np.repeat(np.geomspace(5e7, 5e9, trainings), each)
    D = np.tile(np.geomspace(1e9, 1e11, each), trainings)
    error = np.repeat(OMEGA * rng.standard_normal(trainings), each)
    error += SIGMA * rng.standard_normal(len(N))
    names = np.repeat([f"t{i}" for i in range(trainings)], each)
    loss = besiroglu_loss(N, D) * np.exp(error)
    table = pd.DataFrame({"N": N, "D": D, "loss": loss, "training": names})
    return sb.read_runs(table, name="checkpoints")


def normal_noise():
    stated = sb.read_model("chinchilla").model_dump() | {"name": "plain", "noise": "normal"}
    del stated["priors"]["nu"]
    return sb.Spec.model_validate(stated)


@pytest.fixture(scope="module")
def fit():
    return sb.fit(checkpoints(), normal_noise(), seed=3, draws=500, progress=False)


def test_a_table_decides_whether_a_spec_has_offsets():
    plain, shared = sb.read_model("chinchilla"), checkpoints()
    with_offsets = with_trainings(plain, shared)
    assert (plain.trainings, with_offsets.trainings) == (False, True)
    assert set(with_offsets.priors) - set(plain.priors) == {"omega"}
    assert with_offsets.hash != plain.hash
    assert "offset from the curve" in with_offsets.describe()
    assert isinstance(with_offsets.observation, SharedTrainings)
    apart = sb.read_runs(shared.table.drop(columns="training"), name="apart")
    assert with_trainings(with_offsets, apart) == plain
    assert Job("one", shared, "chinchilla").spec == with_offsets
    pooled = sb.read_model("chinchilla-pooled")
    assert with_trainings(pooled, shared) == pooled


def test_a_pooled_spec_with_offsets_is_refused():
    stated = sb.read_model("chinchilla-pooled").model_dump() | {"trainings": True}
    with pytest.raises(ValueError, match="no offsets of trainings"):
        sb.Spec.model_validate(stated)


def test_the_error_of_a_new_run_adds_the_offset_to_normal_noise():
    noise = NewTraining(NOISES["normal"])
    both = np.hypot(*PARAMETERS.values())
    at = np.linspace(-0.1, 0.1, 41)
    np.testing.assert_allclose(
        noise.logpdf(at, **PARAMETERS), stats.norm.logpdf(at, scale=both), rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(
        noise.tail(at, **PARAMETERS), 2 * stats.norm.sf(np.abs(at), scale=both), atol=1e-6
    )
    drawn = noise.draw(np.random.default_rng(0), (200_000,), **PARAMETERS)
    assert drawn.std() == pytest.approx(both, rel=0.01)
    assert noise.equivalent(**PARAMETERS) == pytest.approx(both**2)
    assert noise.middle(**PARAMETERS) == pytest.approx(both)


def test_the_density_of_a_new_run_under_heavy_tails_is_a_convolution():
    noise = NewTraining(NOISES["student_t"])
    parameters = PARAMETERS | {"nu": 3.0}
    for at in (0.0, 0.05, -0.2):

        def product(offset, at=at):
            given = stats.t.pdf(at - offset, 3.0, scale=0.01)
            return given * stats.norm.pdf(offset, scale=0.03)

        by_quadrature, _ = integrate.quad(product, -0.3, 0.3, points=[at, 0.0], epsabs=1e-12)
        ours = np.exp(noise.logpdf(np.array(at), **parameters))
        assert ours == pytest.approx(by_quadrature, rel=1e-4)


@pytest.mark.standard
def test_offsets_follow_their_distribution_given_the_other_parameters(fit):
    """Under Normal noise an offset given all else is Normal, of mean and variance known."""
    posterior = fit.stored["posterior"].to_dataset()
    offset = fit.stored["trainings"]["offset"].values.reshape(-1, 14)
    sigma, omega = (posterior[name].values.reshape(-1, 1) for name in ("sigma", "omega"))
    mean_residual = residuals(fit).reshape(-1, 14, 6).mean(axis=2)
    precision = 6 / sigma**2 + 1 / omega**2
    mean = 6 / sigma**2 * mean_residual / precision
    standardised = (offset - mean) * np.sqrt(precision)
    assert np.abs(standardised.mean(axis=0)).max() < 0.1
    assert np.abs(standardised.std(axis=0) - 1).max() < 0.1
    correlation = np.corrcoef(standardised.T) - np.eye(14)
    assert np.abs(correlation).max() < 0.12


@pytest.mark.standard
def test_parameters_follow_the_density_with_offsets_integrated_out(fit):
    """The posterior of sigma and omega, by a grid over them at fixed law, agrees with the fit.

    On the grid the law is held at its medians, hence the tolerances.
    """
    posterior = fit.stored["posterior"].to_dataset()
    assert sb.diagnose(fit).ok
    sigma, omega = float(posterior["sigma"].median()), float(posterior["omega"].median())
    runs = fit.runs
    names = fit.spec.law_object.parameter_names
    median = {name: float(posterior[name].median()) for name in names}
    residual = fit.spec.law_object.log_residual(runs, median)
    member = read_trainings(runs).of_run
    same = member[:, None] == member[None, :]
    omegas = np.geomspace(0.004, 0.08, 25)
    sigmas = np.geomspace(0.002, 0.008, 25)
    log_density = np.empty((25, 25))
    for i, one in enumerate(omegas):
        for j, other in enumerate(sigmas):
            covariance = one**2 * same + other**2 * np.eye(len(residual))
            log_density[i, j] = stats.multivariate_normal.logpdf(residual, cov=covariance)
            prior_omega, prior_sigma = fit.spec.priors["omega"], fit.spec.priors["sigma"]
            log_density[i, j] += prior_omega.logpdf(np.array(one)) + np.log(one)
            log_density[i, j] += prior_sigma.logpdf(np.array(other)) + np.log(other)
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    mean_log_omega = weights.sum(axis=1) @ np.log(omegas)
    mean_log_sigma = weights.sum(axis=0) @ np.log(sigmas)
    assert np.log(omega) == pytest.approx(mean_log_omega, abs=0.25)
    assert np.log(sigma) == pytest.approx(mean_log_sigma, abs=0.1)


@pytest.mark.standard
def test_a_new_run_has_the_error_of_a_new_training(fit):
    answer = sb.predict(fit, N=1e9, D=2e10)
    error = np.log(answer["new_run"] / answer["loss"])
    posterior = fit.stored["posterior"].to_dataset()
    expected = float(np.sqrt((posterior["sigma"] ** 2 + posterior["omega"] ** 2).mean()))
    assert float(error.std()) == pytest.approx(expected, rel=0.06)
    assert float(np.log(answer["loss"]).std()) < expected


@pytest.mark.standard
def test_densities_and_residuals_are_those_given_the_offsets(fit):
    offsets = fit.spec.observation.offsets_at_runs(fit.stored, fit.runs).reshape(-1, len(fit.runs))
    sigma = fit.stored["posterior"]["sigma"].values.reshape(-1, 1)
    expected = stats.norm.logpdf(residuals(fit) - offsets, scale=sigma)
    kept = fit.log_likelihood["log_loss"].values.reshape(expected.shape)
    np.testing.assert_allclose(kept, expected, rtol=1e-8)
    np.testing.assert_allclose(make_likelihood(fit).joint(), expected.sum(axis=1), rtol=1e-8)
    assert residuals_at_median(fit).std() == pytest.approx(SIGMA, rel=0.25)


@pytest.mark.standard
def test_a_saved_fit_keeps_its_offsets(fit, tmp_path):
    again = sb.load(sb.save(fit, tmp_path / "fit.nc"))
    assert again.spec == fit.spec
    assert list(again.runs.table["training"]) == list(fit.runs.table["training"])
    for answer in ("loss", "new_run"):
        np.testing.assert_array_equal(
            sb.predict(again, N=1e9, D=2e10)[answer], sb.predict(fit, N=1e9, D=2e10)[answer]
        )


@pytest.mark.standard
@pytest.mark.parametrize(
    "model", ["chinchilla", pytest.param("coupled-discrepancy", marks=pytest.mark.slow)]
)
def test_other_models_take_offsets_too(model):
    made = sb.fit(checkpoints(), model, draws=300, chains=4, progress=False)
    assert made.metadata["engine"] == {"route": "kernel"}
    omega = float(made.stored["posterior"]["omega"].median())
    assert 0.5 * OMEGA < omega < 2 * OMEGA
    assert "omega" in sb.power_scaling(made).index
