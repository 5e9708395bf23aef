"""The discrepancy against dense Gaussian-process algebra; predictions near and far from runs."""

import warnings

import numpy as np
import pytest
from scipy import special, stats

import scalebayes as sb
from scalebayes.specs import discrepancy
from scalebayes.specs.discrepancy import KERNELS, Conditional, correlation, given_others
from scalebayes.specs.discrepancy import make_basis as make_any_basis

KERNEL = "matern52"


def make_basis(log_inputs, length, kernel=KERNEL):
    return make_any_basis(log_inputs, dict.fromkeys(log_inputs, 0.0), length, kernel)


def kernel(a, b, name=KERNEL):
    return correlation(name, a, b)


def log_inputs(rows, seed=0, repeats=0):
    rng = np.random.default_rng(seed)
    N, D = np.log(10) * rng.uniform(7.5, 10, rows), np.log(10) * rng.uniform(9, 11.5, rows)
    return {"N": np.r_[N, N[:repeats]], "D": np.r_[D, D[:repeats] + 1e-9]}


@pytest.mark.parametrize("repeats", [0, 20])
@pytest.mark.parametrize("name", KERNELS)
def test_basis_is_the_kernel(name, repeats):
    basis = make_basis(log_inputs(60, repeats=repeats), length=1.0, kernel=name)
    dense = kernel(basis.points, basis.points, name)
    np.testing.assert_allclose((basis.vectors * basis.values) @ basis.vectors.T, dense, atol=1e-6)
    np.testing.assert_allclose(
        basis.vectors.T @ basis.vectors, np.eye(len(basis.values)), atol=1e-10
    )
    assert len(basis.values) <= 60


def squared_exponential(distance):
    return np.exp(-(distance**2) / 2)


def matern(distance):
    """By its Bessel function (Stein 1999), not by the closed form for a smoothness of 5/2."""
    scaled = np.sqrt(5.0) * distance
    return 2 ** (1 - 2.5) / special.gamma(2.5) * scaled**2.5 * special.kv(2.5, scaled)


@pytest.mark.parametrize(
    ("name", "formula"), [("matern52", matern), ("squared_exponential", squared_exponential)]
)
def test_kernels_are_the_textbooks_with_lengths_in_decades(name, formula):
    N = np.array([1e9, 1e10, 3e11])
    for length in (1.0, 2.0):
        basis = make_basis({"N": np.log(N)}, length, name)
        ours = kernel(basis.points, basis.points, name)
        assert ours[0, 1:] == pytest.approx(formula(np.log10(N[1:] / N[0]) / length))
        assert np.diag(ours) == pytest.approx(1.0)


def loo_logpdf(basis, residual, sigma, eta):
    """Return the log density of each row given all others, (S, rows)."""
    mean, deviation = given_others(basis, residual, sigma, eta)
    return stats.norm.logpdf(residual, mean, deviation)


def test_low_rank_basis_agrees_with_the_exact_one(monkeypatch):
    inputs = log_inputs(600, repeats=100)
    monkeypatch.setattr(discrepancy, "EXACT_ROWS", 10_000)
    exact = make_basis(inputs, length=1.0)
    monkeypatch.setattr(discrepancy, "EXACT_ROWS", 100)
    reduced = make_basis(inputs, length=1.0)
    assert len(reduced.values) < 0.7 * len(exact.values)
    dense, low_rank = ((b.vectors * b.values) @ b.vectors.T for b in (exact, reduced))
    assert np.abs(dense - low_rank).max() < 1.1e-5
    residual = 0.01 * np.random.default_rng(1).standard_normal((1, 700))
    sigma, eta = np.array([0.004]), np.array([0.02])
    densities = [loo_logpdf(basis, residual, sigma, eta) for basis in (reduced, exact)]
    np.testing.assert_allclose(*densities, rtol=1e-3, atol=2e-3)
    far = np.random.default_rng(2).uniform(5, 12, (40, 2))
    moments = [dense_free_moments(b, residual, sigma[0], eta[0], far) for b in (exact, reduced)]
    np.testing.assert_allclose(moments[0], moments[1], atol=0.01 * eta[0])


def dense_free_moments(basis, residual, sigma, eta, points):
    """Mean and sd of delta by the package's own weights."""
    given = Conditional(basis, np.array([eta]), np.array([sigma]), residual @ basis.vectors)
    c = basis.project(points)
    mean = ((given.weights * given.rotated) @ c.T)[0]
    return np.stack([mean, eta * np.sqrt((1 - (c**2 * given.weights).sum(axis=1)).clip(0))])


@pytest.mark.parametrize("way", ["together", "each"])
def test_draws_have_the_dense_conditional_moments(way):
    basis = make_basis(log_inputs(30), length=1.0)
    sigma, eta, draws = 0.005, 0.02, 40_000
    residual = 0.01 * np.random.default_rng(1).standard_normal(30)
    given = Conditional(
        basis,
        np.full(draws, eta),
        np.full(draws, sigma),
        np.tile(residual @ basis.vectors, (draws, 1)),
    )
    points = np.array([[8.0, 10.0], [8.4, 10.2], [10.5, 12.0], [12.0, 13.0]])
    rng = np.random.default_rng(3)
    if way == "together":
        drawn = given.draw(points, rng)
    else:
        drawn = np.column_stack(
            [given.draw_each(np.tile(p, (draws, 1)), given.at_runs(rng), rng) for p in points]
        )
    covariance = eta**2 * kernel(basis.points, basis.points) + sigma**2 * np.eye(30)
    cross = eta**2 * kernel(points, basis.points)
    mean = cross @ np.linalg.solve(covariance, residual)
    spread = eta**2 * kernel(points, points) - cross @ np.linalg.solve(covariance, cross.T)
    error = np.sqrt(np.diag(spread) / draws)
    np.testing.assert_array_less(abs(drawn.mean(axis=0) - mean), 4.5 * error)
    measured = np.cov(drawn.T)
    np.testing.assert_allclose(np.diag(measured), np.diag(spread), rtol=0.05)
    if way == "together":
        scale = np.sqrt(np.outer(np.diag(spread), np.diag(spread)))
        np.testing.assert_allclose(measured / scale, spread / scale, atol=0.03)


def test_loo_density_is_the_dense_conditional():
    basis = make_basis(log_inputs(12), length=1.0)
    sigma, eta = 0.01, 0.03
    residual = 0.02 * np.random.default_rng(5).standard_normal(12)
    ours = loo_logpdf(basis, residual[None], np.array([sigma]), np.array([eta]))[0]
    covariance = eta**2 * kernel(basis.points, basis.points) + sigma**2 * np.eye(12)
    for i in range(12):
        rest = np.arange(12) != i
        gain = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[rest, i])
        spread = np.sqrt(covariance[i, i] - gain @ covariance[rest, i])
        assert ours[i] == pytest.approx(
            stats.norm(gain @ residual[rest], spread).logpdf(residual[i]), abs=1e-6
        )


def test_thousands_of_rows_keep_a_small_basis():
    basis = make_basis(log_inputs(5000), length=1.0)
    assert len(basis.values) < 700
    sample = np.random.default_rng(0).integers(0, 5000, 50)
    part = (basis.vectors[sample] * basis.values) @ basis.vectors[sample].T
    np.testing.assert_allclose(
        part, kernel(basis.points[sample], basis.points[sample]), atol=1.1e-5
    )


@pytest.mark.standard
def test_prediction_follows_the_runs_and_widens_far_from_them(fitted):
    fit = fitted("hoffmann2022", "coupled-discrepancy")
    inside = sb.predict(fit, N=fit.runs.N, D=fit.runs.D)
    residual = np.log(fit.runs.loss) - np.log(inside["loss"]).mean(("chain", "draw"))
    alone = np.log(fit.runs.loss) - np.log(inside["law"]).mean(("chain", "draw"))
    assert float((residual**2).mean()) < 0.5 * float((alone**2).mean())
    width = np.log(
        sb.predict(fit, N=[1e9, 1e10, 7e10, 1e12], D=[2e10, 2e11, 1.4e12, 2e13])["loss"]
    ).std(("chain", "draw"))
    assert (np.diff(width) > 0).all()
    assert float(width[0]) < 0.005 < 0.03 < float(width[2])


@pytest.mark.standard
def test_law_curve_and_new_run_are_kept_apart(fitted):
    fit = fitted("hoffmann2022", "coupled-discrepancy")
    loss = sb.predict(fit, N="70B", D="1.4T")
    assert list(loss) == ["law", "loss", "new_run"]
    law = fit.spec.law_object
    draws = {p: fit.stored["posterior"][p] for p in law.parameter_names}
    np.testing.assert_allclose(loss["law"].isel(target=0), law(70e9, 1.4e12, **draws), rtol=1e-12)
    best = sb.frontier(fit, C="1e24")
    assert best.attrs["optimised"] == "expected curve"
    np.testing.assert_allclose(
        best["law"].isel(budget=0), law(best["N"], best["D"], **draws).isel(budget=0), rtol=1e-12
    )
    at_optimum = sb.predict(fit, N=float(best["N"].median()), D=float(best["D"].median()))
    assert float(best["loss"].std()) == pytest.approx(float(at_optimum["loss"].std()), rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize(
    "table", ["hoffmann2022", "pile2023", "gemstones2025", "misfitting2025", "muennighoff2023"]
)
@pytest.mark.parametrize("model", ["coupled-discrepancy", "chinchilla-discrepancy"])
def test_default_settings_pass_the_gate_on_every_table(table, model, load_public):
    runs = load_public(table)
    for seed in range(5 if model == "coupled-discrepancy" else 2):  # the default at five seeds
        gate = sb.diagnose(sb.fit(runs, model, seed=seed))
        assert gate.ok, f"seed {seed}: {gate}"


@pytest.mark.slow
def test_more_than_a_thousand_runs_with_repeats_fit(load_public):
    rng = np.random.default_rng(0)
    N = np.repeat(10 ** rng.uniform(7.5, 10, 600), 2)  # every size and token count twice
    D = np.repeat(10 ** rng.uniform(9, 11.5, 600), 2)
    truth = {"L_inf": 1.8, "N_c": 5.2e7, "alpha_N": 0.35, "D_c": 1.2e9, "alpha_D": 0.37}
    loss = sb.LAWS["additive"](N, D, **truth) * np.exp(0.005 * rng.standard_normal(1200))
    table = load_public("hoffmann2022").table
    table = table.reindex(range(1200)).assign(N=N, D=D, C=6 * N * D, loss=loss)
    fit = sb.fit(
        sb.Runs(table.set_index(table.index.astype(str)), "many"),
        "chinchilla-discrepancy",
        draws=500,
    )
    assert sb.diagnose(fit).ok
    row = sb.intervals(fit.stored["posterior"].to_dataset()[["sigma"]], ci_prob=0.99).iloc[0]
    assert row["eti99_lb"] < 0.005 < row["eti99_ub"]


@pytest.mark.parametrize("model", ["coupled-discrepancy", "normal"])
def test_a_fit_and_its_queries_decompose_the_kernel_once(model, load_public, monkeypatch):
    spec = sb.read_model("coupled-discrepancy")
    if model == "normal":
        stated = spec.model_dump(exclude={"priors": {"nu"}})
        spec = sb.Spec.model_validate(stated | {"noise": "normal"})
    table = load_public("hoffmann2022").table.iloc[::6]
    runs = sb.Runs(table, "every sixth run")
    decomposed = []
    eigh = np.linalg.eigh

    def counted(matrix):
        decomposed.append(len(matrix))
        return eigh(matrix)

    monkeypatch.setattr("numpy.linalg.eigh", counted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.GateWarning)
        fit = sb.fit(runs, spec, draws=20, tune=50, chains=2)
    assert decomposed.count(len(runs)) == 1
    sb.frontier(fit, C=1e21)
    assert decomposed.count(len(runs)) == 1
