"""Priors and noise: NumPy's draws come from the density PyMC evaluates, and ours is PyMC's."""

import numpy as np
import pymc as pm
import pytest
from scipy import integrate, stats

from scalebayes.specs.noise import NOISES
from scalebayes.specs.parts import Prior
from scalebayes.specs.priors import DISTRIBUTIONS
from tests.fixtures import grid_runs

CASES = [
    {"dist": "LogNormal", "median": 0.3, "sigma": 0.6},
    {"dist": "LogNormal", "median": 2.3, "sigma": 1.5},
    {"dist": "HalfNormal", "sigma": 0.1},
    {"dist": "HalfNormal", "sigma": 3.0},
    {"dist": "Exponential", "mean": 0.5},
    {"dist": "Gamma", "alpha": 2.0, "beta": 0.1},
    {"dist": "Gamma", "alpha": 0.7, "beta": 4.0},
    {"dist": "Beta", "alpha": 2.0, "beta": 4.0},
    {"dist": "Beta", "alpha": 1.0, "beta": 2.0},
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())))
DRAWS = 20_000
P_VALUE = 1e-3
"""Of a Kolmogorov-Smirnov test at the fixed seed; 20,000 draws show a shift of 2% of an sd."""

STUDENT_T = {"sigma": 0.03, "nu": 4.0}
NOISE_CASES = [
    ("normal", {"sigma": 0.03}),
    ("student_t", STUDENT_T),
    ("student_t", {"sigma": 2.0, "nu": 50.0}),
]
NOISE_CASES += [
    ("student_t", {"sigma": 0.5, "nu": 2.1}),
    ("diverging", {"sigma": 0.03, "nu": 4.0, "share": 0.2, "excess": 0.7}),
    ("one_sided", {"sigma": 0.03, "gap": 0.05}),
    ("one_sided", {"sigma": 0.03, "gap": 0.003}),
]


def symbolic_log_density(prior, values):
    entry = prior.distribution
    theirs = getattr(pm, entry.pymc).dist(**entry.pymc_arguments())
    return pm.logp(theirs, values).eval(mode="FAST_COMPILE")


def test_every_distribution_is_tried():
    assert {case["dist"] for case in CASES} == set(DISTRIBUTIONS)
    assert {name for name, _ in NOISE_CASES} == set(NOISES)


@every_case
def test_draws_come_from_pymcs_density(case):
    prior = Prior(**case, reason="test")
    draws = prior.draw(np.random.default_rng(0), DRAWS)
    last = 1.0 if case["dist"] == "Beta" else 1e5  # beyond 1 a share has no density
    x = np.geomspace(1e-12, last, 5001)
    cumulative = integrate.cumulative_simpson(
        np.exp(symbolic_log_density(prior, x)) * x, x=np.log(x), initial=0.0
    )
    assert cumulative[-1] == pytest.approx(1.0, abs=1e-6)
    assert (draws > 0).all()
    assert (
        stats.kstest(draws, lambda values: np.interp(np.log(values), np.log(x), cumulative)).pvalue
        > P_VALUE
    )


@every_case
def test_multiples_are_drawn_from_the_scaled_distribution(case):
    distribution = Prior(**case, reason="test").distribution
    if case["dist"] == "Beta":
        with pytest.raises(TypeError, match="a share, which has no unit"):
            distribution.scaled(3.0)
        return
    draws = distribution.scaled(3.0).draw(np.random.default_rng(0), 100)
    own = distribution.draw(np.random.default_rng(0), 100)
    np.testing.assert_allclose(draws, 3.0 * own, rtol=1e-12)


@every_case
def test_pymc_draws_the_same(case):
    """The graph's random variable of a noise, sampled by PyMC, agrees with NumPy's draws."""
    prior = Prior(**case, reason="test")
    entry = prior.distribution
    theirs = getattr(pm, entry.pymc).dist(**entry.pymc_arguments(), size=5000)
    drawn = pm.draw(theirs, random_seed=1, mode="FAST_COMPILE")
    assert stats.ks_2samp(drawn, prior.draw(np.random.default_rng(0), DRAWS)).pvalue > P_VALUE


def test_stated_in_terms_a_person_can_check():
    rng = np.random.default_rng(0)
    log_normal = Prior(dist="LogNormal", median=0.3, sigma=0.6, reason="test").draw(rng, DRAWS)
    assert np.median(log_normal) == pytest.approx(0.3, rel=0.02)
    assert np.log(log_normal).std() == pytest.approx(0.6, rel=0.02)
    assert Prior(dist="Exponential", mean=0.5, reason="test").draw(
        rng, DRAWS
    ).mean() == pytest.approx(0.5, rel=0.03)
    gamma = Prior(dist="Gamma", alpha=2.0, beta=4.0, reason="test").draw(rng, DRAWS)
    assert gamma.mean() == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize(("shape", "wider"), [((2, 4), (1, 2)), ((20, 40), (4.75, 9.5))])
def test_a_share_is_widened_until_it_would_pile_up_at_an_end(shape, wider):
    """20 and 40: sd 0.0604, and 0.1208 with a total of 61/4 - 1; 2 and 4 would go below 1."""
    share = Prior(dist="Beta", alpha=shape[0], beta=shape[1], reason="test").distribution
    found = share.widened()
    assert (found.alpha, found.beta) == pytest.approx(wider)
    assert DISTRIBUTIONS["Beta"](1.0, 2.0).widened() == DISTRIBUTIONS["Beta"](1.0, 2.0)


def test_a_shift_moves_the_support():
    prior = Prior(dist="HalfNormal", sigma=1.0, shift=2.0, reason="test")
    same = Prior(dist="HalfNormal", sigma=1.0, reason="test")
    draws = prior.draw(np.random.default_rng(0), 100)
    np.testing.assert_array_equal(draws, 2.0 + same.draw(np.random.default_rng(0), 100))


@pytest.mark.parametrize(("name", "parameters"), NOISE_CASES)
def test_noise_draws_come_from_its_density(name, parameters):
    noise = NOISES[name]
    draws = noise.draw(np.random.default_rng(0), (DRAWS,), **parameters)
    x = parameters["sigma"] * np.sinh(np.linspace(-14, 14, 20001))
    cumulative = integrate.cumulative_simpson(
        np.exp(noise.logpdf(x, **parameters)), x=x, initial=0.0
    )
    assert cumulative[-1] == pytest.approx(1.0, abs=1e-6)
    assert stats.kstest(draws, lambda values: np.interp(values, x, cumulative)).pvalue > P_VALUE


@pytest.mark.parametrize(("name", "parameters"), NOISE_CASES)
def test_noise_density_is_pymcs(name, parameters):
    residual = np.linspace(-0.5, 0.5, 41)
    # A plain 50.0 would be reduced to single precision.
    arrays = {key: np.asarray(value) for key, value in parameters.items()}
    theirs = NOISES[name].log_density(pm, residual, **arrays).eval(mode="FAST_COMPILE")
    np.testing.assert_allclose(
        NOISES[name].logpdf(residual, **parameters), theirs, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", NOISES)
def test_noise_of_draws_broadcasts_and_scales(name):
    sigma = np.array([0.01, 0.1, 1.0]).reshape(3, 1, 1)
    parameters = {"sigma": sigma, "nu": np.full((3, 1, 1), 30.0), "share": 1e-6}
    parameters |= {"excess": 0.01 * sigma, "gap": 0.01 * sigma, "decay": 0.2}
    own = {key: parameters[key] for key in NOISES[name].priors}
    parameters = NOISES[name].at(own, 0.0)
    draws = NOISES[name].draw(np.random.default_rng(0), (3, 2000, 2), **parameters)
    assert draws.shape == (3, 2000, 2)
    np.testing.assert_allclose(draws.std((1, 2)), [0.01, 0.1, 1.0], rtol=0.08)


@pytest.mark.parametrize("name", NOISES)
def test_noise_parameters_have_valid_priors(name):
    assert next(iter(NOISES[name].priors)) == "sigma"
    for prior in NOISES[name].priors.values():
        assert Prior(**prior).reason


@pytest.mark.parametrize(("name", "parameters"), NOISE_CASES)
def test_the_tail_is_that_of_the_density(name, parameters):
    noise = NOISES[name]
    x = parameters["sigma"] * np.sinh(np.linspace(-14, 14, 20001))
    density = np.exp(noise.logpdf(x, **parameters))
    for bound in (0.5, 2.0, 5.0):
        size = bound * parameters["sigma"]
        beyond = integrate.simpson(np.where(np.abs(x) >= size, density, 0.0), x=x)
        assert noise.tail(np.array(-size), **parameters) == pytest.approx(beyond, abs=2e-3)


def test_the_gap_falls_with_compute():
    noise = NOISES["one_sided"].for_law(("N", "D"))
    runs = grid_runs()
    log_scale = noise.log_scale(runs, runs)
    assert log_scale.mean() == pytest.approx(0.0, abs=1e-12)
    own = {"sigma": 0.01, "gap": 0.04, "decay": 0.2}
    at_runs = noise.at(own, log_scale)
    assert set(at_runs) == {"sigma", "gap"}
    tenfold = noise.at(own, np.log(10.0))
    assert tenfold["gap"] == pytest.approx(0.04 * 10**-0.2)
    far = noise.log_scale({"N": 1e12, "D": 1e14}, runs)
    assert noise.at(own, far)["gap"] < at_runs["gap"].min()
    np.testing.assert_array_equal(noise.data(runs)["log_scale"], log_scale)


def test_the_equivalent_of_a_gap_is_near_the_inverse_of_its_information():
    noise = NOISES["one_sided"]
    for gap in (0.02, 0.2, 1.0, 5.0):
        x = np.linspace(-12, 12 + 40 * gap, 400_001)
        log_density = noise.logpdf(x, sigma=1.0, gap=gap)
        slope = np.gradient(log_density, x)
        information = integrate.simpson(np.exp(log_density) * slope**2, x=x)
        assert noise.equivalent(sigma=1.0, gap=gap) * information == pytest.approx(1.0, abs=0.25)


def test_few_runs_that_diverged_hardly_move_the_density_of_the_others():
    parameters = {"sigma": 0.003, "nu": 4.0, "share": 0.1, "excess": 0.7}
    far = NOISES["diverging"].logpdf(np.array([1.0, 1.1]), **parameters)
    assert abs(far[1] - far[0]) < 0.2
