"""The noise of docs/add-a-model.md, as printed there: registered, fitted, queried and removed."""

import importlib.util
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import scalebayes as sb
from scalebayes.fitting.graph import pymc_model
from scalebayes.posterior.likelihood import make_likelihood
from scalebayes.specs.noise import NOISES, register
from tests.fixtures import fit_of, normalised

DOCUMENT = (Path(__file__).parents[2] / "docs" / "add-a-model.md").read_text("utf-8")
LAW = ("L_inf", "N_c", "alpha_N", "D_c", "alpha_D")
DRAWS = 4000


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """The noise, registered for as long as this module's tests run."""
    _, section = DOCUMENT.split("## Add a noise\n")
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
    path = tmp_path_factory.mktemp("mine") / "laplace.py"
    path.write_text(code, "utf-8")
    spec = importlib.util.spec_from_file_location("laplace", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["laplace"] = module
    spec.loader.exec_module(module)
    yield NOISES["laplace"]
    del NOISES["laplace"], sys.modules["laplace"]


def laplace(name):
    spec = sb.read_model(name)
    priors = {n: p.model_dump() for n, p in spec.priors.items() if n != "nu"}
    return sb.Spec.model_validate(spec.model_dump() | {"noise": "laplace", "priors": priors})


@pytest.fixture
def runs(load_public):
    table = load_public("hoffmann2022").table.iloc[::6]
    return sb.Runs(table, "every sixth run")


def test_density_tail_and_quartiles_are_scipys(noise):
    residual = np.linspace(-0.1, 0.1, 21)
    theirs = stats.laplace(scale=0.02)
    np.testing.assert_allclose(noise.logpdf(residual, sigma=0.02), theirs.logpdf(residual))
    np.testing.assert_allclose(noise.tail(residual, sigma=0.02), 2 * theirs.sf(np.abs(residual)))
    middle = noise.middle(sigma=0.02)
    np.testing.assert_allclose(stats.norm(scale=middle).ppf(0.75), theirs.ppf(0.75))
    drawn = noise.draw(np.random.default_rng(0), (DRAWS,), sigma=0.02)
    assert stats.kstest(drawn, theirs.cdf).pvalue > 1e-3


def test_the_graph_has_its_density(noise, runs):
    model = pymc_model(runs, laplace("chinchilla"))
    point = model.initial_point()
    names = [*LAW, "sigma"]
    density = model.compile_logp(vars=[model["log_loss"]], sum=True)(point)
    variables = model.replace_rvs_by_values([model[name] for name in names])
    values = dict(zip(names, model.compile_fn(variables)(point), strict=True))
    sigma = values.pop("sigma")
    table, _ = normalised(runs, "chinchilla")
    residual = sb.read_model("chinchilla").law_object.log_residual(table, values)
    assert density == pytest.approx(stats.laplace.logpdf(residual, scale=sigma).sum(), rel=1e-10)


def test_a_sampled_discrepancy_takes_it(noise, runs):
    model = pymc_model(runs, laplace("chinchilla-discrepancy"))
    point = model.initial_point()
    assert np.isfinite(model.compile_logp()(point))
    assert np.isfinite(model.compile_dlogp()(point)).all()


def test_it_is_fitted_and_predicts_new_runs(noise, runs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.GateWarning)
        fit = sb.fit(runs, laplace("chinchilla"), draws=100, tune=300, chains=2)
    sigma = fit.stored["posterior"]["sigma"].values
    pointwise = make_likelihood(fit).pointwise
    values = {n: fit.stored["posterior"][n].values.reshape(-1, 1) for n in LAW}
    residual = fit.spec.law_object.log_residual(runs, values)
    theirs = stats.laplace.logpdf(residual, scale=sigma.reshape(-1, 1))
    np.testing.assert_allclose(pointwise, theirs)
    kept = fit.log_likelihood["log_loss"].values.reshape(theirs.shape)
    np.testing.assert_allclose(kept, theirs)
    assert set(sb.find_outliers(fit).columns) >= {"sds", "tail"}


def test_a_new_run_scatters_as_the_noise_does(noise, runs):
    truth = {"L_inf": 1.8, "N_c": 5e7, "alpha_N": 0.35, "D_c": 2e9, "alpha_D": 0.37, "sigma": 0.02}
    draws = {name: np.full((2, DRAWS // 2), value) for name, value in truth.items()}
    fit = fit_of(laplace("chinchilla"), runs, **draws)
    answer = sb.predict(fit, N=7e10, D=1.4e12)
    off = np.log(answer["new_run"] / answer["loss"]).values.ravel()
    assert stats.kstest(off, stats.laplace(scale=0.02).cdf).pvalue > 1e-3


def test_a_noise_is_registered_once_and_has_sigma_first(noise):
    with pytest.raises(TypeError, match="'laplace' already"):
        register("laplace", type(noise))
    nameless = type("Nameless", (type(noise),), {"priors": {}})
    with pytest.raises(TypeError, match="the first parameter of a noise is sigma"):
        register("nameless", nameless)
