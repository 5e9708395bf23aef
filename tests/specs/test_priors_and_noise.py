"""Priors and noise: NumPy's draws come from the density PyMC evaluates, and ours is PyMC's."""

import numpy as np
import pymc as pm
import pytest
from scipy import integrate, stats

from scalebayes.specs.noise import NOISES
from scalebayes.specs.parts import Prior
from scalebayes.specs.priors import DISTRIBUTIONS

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
NOISE_CASES += [("student_t", {"sigma": 0.5, "nu": 2.1})]


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
    theirs = pm.logp(getattr(pm, NOISES[name].pymc).dist(mu=0.0, **arrays), residual).eval(
        mode="FAST_COMPILE"
    )
    np.testing.assert_allclose(
        NOISES[name].logpdf(residual, **parameters), theirs, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", NOISES)
def test_noise_of_draws_broadcasts_and_scales(name):
    sigma = np.array([0.01, 0.1, 1.0]).reshape(3, 1, 1)
    parameters = {"sigma": sigma, "nu": np.full((3, 1, 1), 30.0)}
    parameters = {key: parameters[key] for key in NOISES[name].priors}
    draws = NOISES[name].draw(np.random.default_rng(0), (3, 2000, 2), **parameters)
    assert draws.shape == (3, 2000, 2)
    np.testing.assert_allclose(draws.std((1, 2)), [0.01, 0.1, 1.0], rtol=0.08)


@pytest.mark.parametrize("name", NOISES)
def test_noise_parameters_have_valid_priors(name):
    assert next(iter(NOISES[name].priors)) == "sigma"
    for prior in NOISES[name].priors.values():
        assert Prior(**prior).reason
