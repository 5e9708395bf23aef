"""A discrepancy under Student-t noise is sampled: queries use its draws.

It agrees with integrating the discrepancy out.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scalebayes as sb
from scalebayes.posterior.fit import SAMPLED
from scalebayes.posterior.likelihood import make_likelihood
from scalebayes.specs.observation import Bases
from tests.fixtures import around, fit_of

TRUTH = {"L_inf": 1.8, "N_c": 5.2e7, "alpha_N": 0.35, "D_c": 1.2e9, "alpha_D": 0.37, "kappa": 0.9}


def with_noise(spec, noise, **priors):
    """The same spec under other noise."""
    kept = {name: getattr(spec, name) for name in ("title", "law", "about", "discrepancy")}
    known = {name: prior for name, prior in spec.priors.items() if name not in ("sigma", "nu")}
    return type(spec)(name=f"{spec.name}-{noise}", noise=noise, priors=known | priors, **kept)


SPEC = sb.read_model("coupled-discrepancy")


@pytest.fixture(scope="module")
def fit():
    """Draws made by hand on thirty runs: parameters around the truth, weights standard Normal."""
    rng = np.random.default_rng(0)
    N, D = 10 ** rng.uniform(8, 10, 30), 10 ** rng.uniform(9, 11, 30)
    loss = sb.LAWS["coupled"](N, D, **TRUTH) * np.exp(0.01 * rng.standard_normal(30))
    runs = sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name="by hand")
    shape = (2, 300)
    values = around(TRUTH, shape, rng)
    scatter = {
        "sigma": np.full(shape, 0.01),
        "nu": np.full(shape, 5.0),
        "eta": np.full(shape, 0.03),
    }
    weights = rng.standard_normal((*shape, 32))
    return fit_of(SPEC, runs, **values, **scatter, weights=weights)


def test_the_discrepancy_at_the_runs_is_kept_apart_from_the_parameters(fit):
    assert fit.stored[SAMPLED]["delta"].shape == (2, 300, 30)
    assert set(fit.stored["posterior"].data_vars) == set(SPEC.priors)
    assert "delta" in sb.diagnose(fit).table.index


def test_a_curve_at_a_run_is_the_law_with_the_discrepancy_drawn_there(fit):
    found = sb.predict(fit, N=fit.runs.N, D=fit.runs.D)
    delta = np.log(found["loss"] / found["law"]).values
    drawn = fit.spec.observation.delta_at_runs(fit.stored, fit.runs)
    assert drawn.std() == pytest.approx(0.03, rel=0.05)
    # The part that the leading vectors omit.
    np.testing.assert_allclose(delta, drawn, atol=5 * 0.03 * np.sqrt(1e-4))


def test_answers_do_not_depend_on_the_signs_of_eigenvectors(fit, monkeypatch):
    """A saved fit is asked on other machines, whose eigenvectors may point the other way."""
    before = sb.predict(fit, N=[2e8, 7e10], D=[2e9, 1.4e12])["loss"]
    eigh = np.linalg.eigh

    def turned(matrix):
        values, vectors = eigh(matrix)
        return values, vectors * np.where(np.arange(len(values)) % 2, -1.0, 1.0)

    monkeypatch.setattr("scalebayes.specs.discrepancy.np.linalg.eigh", turned)
    monkeypatch.setattr("scalebayes.specs.observation.BASES", Bases())
    again = replace(fit, runs=replace(fit.runs))  # without what it has kept
    assert not np.allclose(again.discrepancy.basis.vectors, fit.discrepancy.basis.vectors)
    at_a_run = [sb.predict(one, N=fit.runs.N[:3], D=fit.runs.D[:3])["loss"] for one in (fit, again)]
    # Directions that no run determines are drawn along other axes.
    np.testing.assert_allclose(at_a_run[0], at_a_run[1], rtol=3e-3)
    after = sb.predict(again, N=[2e8, 7e10], D=[2e9, 1.4e12])["loss"]
    np.testing.assert_allclose(
        before.mean(("chain", "draw")), after.mean(("chain", "draw")), rtol=3e-3
    )


def test_far_from_the_runs_the_discrepancy_is_as_wide_as_its_prior(fit):
    found = sb.predict(fit, N=1e20, D=1e22)
    assert float(np.log(found["loss"] / found["law"]).std()) == pytest.approx(0.03, rel=0.06)


def test_runs_are_independent_given_the_draws(fit):
    table = make_likelihood(fit)
    posterior = {name: fit.stored["posterior"][name].values[..., None] for name in SPEC.priors}
    law = sb.LAWS["coupled"](fit.runs.N, fit.runs.D, **{name: posterior[name] for name in TRUTH})
    delta = fit.spec.observation.delta_at_runs(fit.stored, fit.runs)
    residual = np.log(fit.runs.loss) - np.log(law) - delta
    expected = stats.t(5.0, scale=0.01).logpdf(residual)
    np.testing.assert_allclose(fit.log_likelihood["log_loss"], expected, rtol=1e-9)
    np.testing.assert_allclose(table.joint(), expected.sum(axis=-1).ravel(), rtol=1e-9)
    points = table.known.basis.scale((np.array([7e10]), np.array([1.4e12])))
    density, mean, variance = table.left_out(np.array([3]), points)
    np.testing.assert_allclose(density, expected[..., 3].ravel(), rtol=1e-9)
    again = np.log(
        sb.predict(fit, N=7e10, D=1.4e12)["loss"] / sb.predict(fit, N=7e10, D=1.4e12)["law"]
    )
    z = (again.values.ravel() - mean[:, 0]) / np.sqrt(variance[:, 0])
    assert abs(z.mean()) < 4 / np.sqrt(600)
    assert z.std() == pytest.approx(1.0, abs=0.12)


def test_every_decision_takes_it(fit):
    best = sb.frontier(fit, C=[1e21, 1e24])
    assert best.attrs["optimised"] == "expected curve"
    assert np.isfinite(best["N"]).all()
    assert np.isfinite(sb.regret(fit, N=1e10, D=2e11)["excess_loss"]).all()
    assert len(sb.influence(fit, C=1e23, refit=False, progress=False)) == 30
    assert set(sb.find_outliers(fit)["verdict"]) <= {"outlier", "heavy tail", ""}


def test_a_saved_fit_answers_alike(fit, tmp_path):
    sb.save(fit, tmp_path / "fit.nc")
    again = sb.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(
        sb.frontier(again, C=1e23)["loss"], sb.frontier(fit, C=1e23)["loss"]
    )


@pytest.mark.slow
def test_with_hardly_any_tail_it_agrees_with_the_way_that_integrates(load_public):
    """nu above 500: Student-t noise is Normal, so both treatments have one posterior."""
    runs = load_public("pile2023")
    normal = with_noise(SPEC, "normal")
    nu = {"dist": "Gamma", "alpha": 2.0, "beta": 0.1, "shift": 500.0, "reason": "as good as Normal"}
    fits = [
        sb.fit(runs, spec, seed=1, draws=2000)
        for spec in (normal, with_noise(normal, "student_t", nu=nu))
    ]
    asked = []
    for one in fits:
        assert sb.diagnose(one).ok
        found = sb.predict(one, N=1e11, D=1e12)["loss"].values.ravel()
        values = {
            name: np.log(one.stored["posterior"][name].values.ravel()) for name in normal.priors
        }
        asked.append(
            values
            | {"loss": np.log(found), "N*": np.log(sb.frontier(one, C=1e23)["N"].values.ravel())}
        )
    for name in asked[0]:
        a, b = asked[0][name], asked[1][name]
        error = np.sqrt((a.var() + b.var()) / 1000)  # at least a thousand effective draws each
        assert abs(a.mean() - b.mean()) < 4 * error, name
        assert a.std() / b.std() == pytest.approx(1.0, abs=0.12), name
