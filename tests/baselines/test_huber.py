"""Fits by the log-Huber loss against numbers recomputed from the authors' points; bootstrap."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import check_grad

import scalebayes as sb
from scalebayes.baselines import huber

# From points of full precision.
PUBLISHED = {
    "E": 1.81722,
    "A": 477.83,
    "B": 2143.42,
    "alpha": 0.34731,
    "beta": 0.36717,
}
# From 4000 bootstrap resamples.
STANDARD_ERROR = {
    "L_inf": 0.0257,
    "A": 124.5,
    "alpha_N": 0.0154,
    "alpha_D": 0.0206,
}
# 95% interval. Its standard error, 1293.3, has too long a tail to be reproduced by 400 draws.
B_INTERVAL = (
    1042,
    5810,
)


@pytest.fixture(scope="module")
def chinchilla_points():
    return sb.load_runs("hoffmann2022")


@pytest.fixture(scope="module")
def optimum(chinchilla_points):
    return huber.huber(chinchilla_points)


def total(runs, parameters):
    return huber.log_huber(
        np.log(runs.loss / huber.LAW.function(runs.N, runs.D, **parameters))
    ).sum()


def synthetic(rows, noise, seed=0):
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(7, 10, rows), 10 ** rng.uniform(9, 12, rows)
    truth = huber.LAW.from_notation(PUBLISHED)
    loss = huber.LAW.function(N, D, **truth) * np.exp(rng.normal(0, noise, rows))
    return sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name="synthetic"), truth


def test_optimum_is_the_one_recomputed_from_the_points(chinchilla_points, optimum):
    ours = optimum | huber.LAW.derive(optimum)
    theirs = huber.LAW.from_notation(PUBLISHED) | {"A": PUBLISHED["A"], "B": PUBLISHED["B"]}
    for name, digits in {
        "L_inf": 1e-5,
        "alpha_N": 1e-4,
        "alpha_D": 1e-4,
        "A": 3e-4,
        "B": 3e-4,
    }.items():
        # Our points keep six digits of theirs.
        assert ours[name] == pytest.approx(theirs[name], rel=digits), name
    assert total(chinchilla_points, optimum) == pytest.approx(0.0010182740, abs=1e-8)
    assert total(chinchilla_points, optimum) < total(
        chinchilla_points, huber.LAW.from_notation(PUBLISHED)
    )


def test_the_fit_of_gemstones_is_reproduced(load_public):
    published = next(p for p in sb.read_model("chinchilla").published if p.source == "mcleish2025")
    ours = huber.huber(load_public("gemstones2025"))
    theirs = huber.LAW.from_notation(published.values)
    for name, value in {"L_inf": 2.0748, "alpha_N": 0.3003, "alpha_D": 0.5802}.items():
        assert ours[name] == pytest.approx(value, rel=3e-4), name
        assert theirs[name] == value
    assert huber.LAW.derive(ours)["A"] == pytest.approx(226.1, rel=1e-3)
    assert huber.LAW.derive(ours)["B"] == pytest.approx(2.7e5, rel=0.02)  # printed to two digits


def test_gradient_is_that_of_the_objective(chinchilla_points):
    table = huber._table(chinchilla_points)
    for x in ([0.5, -1.0, -1.5, 0.3, 0.4], [0.7, -0.3, -2.0, 0.6, 0.2]):
        error = check_grad(
            lambda z: huber._objective(z, table)[0],
            lambda z: huber._objective(z, table)[1],
            np.array(x),
        )
        assert error < 1e-3  # of a gradient of some hundreds


def test_huber_is_squares_then_absolute_values():
    assert huber.log_huber(np.array([0.0, 1e-3, -1e-3])) == pytest.approx([0, 5e-7, 5e-7])
    assert huber.log_huber(np.array([-0.5])) == pytest.approx(1e-3 * (0.5 - 5e-4))


def test_law_without_noise_is_found_again():
    runs, truth = synthetic(60, 0.0)
    assert huber.huber(runs) == pytest.approx(truth, rel=1e-3)


def test_too_few_runs_are_refused_in_words():
    runs, _ = synthetic(5, 0.01)
    with pytest.raises(
        sb.RunsError, match="synthetic has 5 runs: a point fit of 5 parameters needs more"
    ):
        huber.huber(runs)


def test_bootstrap_has_the_shape_of_a_posterior_and_follows_its_seed():
    runs, _ = synthetic(40, 0.01)
    first, again, other = (huber.bootstrap(runs, 12, seed) for seed in (1, 1, 2))
    assert dict(first.sizes) == {"chain": 1, "draw": 12}
    assert tuple(first) == huber.LAW.parameter_names
    assert first.identical(again)
    assert not first.equals(other)


def test_forecast_holds_the_residuals_of_the_fit():
    runs, truth = synthetic(200, 0.02)
    draws = huber.forecast(runs, np.array([1e9, 1e10]), np.array([2e10, 1e11]), seed=3, draws=300)
    assert draws.shape == (300, 2)
    assert np.log(draws[:, 0]).std() == pytest.approx(0.02, rel=0.25)
    assert np.median(draws[:, 0]) == pytest.approx(huber.LAW.function(1e9, 2e10, **truth), rel=0.01)


@pytest.mark.standard
def test_bootstrap_agrees_with_the_published_standard_errors(chinchilla_points):
    draws = huber.bootstrap(chinchilla_points, 400)
    values = {name: draws[name].values for name in draws}
    values |= huber.LAW.derive(values)
    for name, error in STANDARD_ERROR.items():
        assert values[name].std() == pytest.approx(error, rel=0.2), name
    assert np.quantile(values["B"], [0.025, 0.975]) == pytest.approx(B_INTERVAL, rel=0.2)
