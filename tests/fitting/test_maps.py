"""Coordinates that the sampler learns: the C functions, the maps, and the posterior under them."""

from dataclasses import replace

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.fitting import maps, samplers
from scalebayes.fitting.graph import sampler_data
from scalebayes.fitting.kernel.kernel import evaluate
from scalebayes.specs.drifting_law import DriftingLaw
from tests.fixtures import normalised

CURVED = (0, 3)


@pytest.fixture(scope="module")
def bound():
    """The kernel of the default model on the Pile's runs."""
    runs, spec = normalised(sb.load_runs("pile2023"), "coupled-drift")
    kernel = samplers.engine(spec, runs).sampler.kernel
    return kernel.bind(sampler_data(runs, spec))


def some_map(size):
    """A map with a matrix, skews and bends of its own, near the start of a kernel."""
    rng = np.random.default_rng(1)
    order = [*CURVED, *(k for k in range(size) if k not in CURVED)]
    matrix = np.empty((size, size))
    matrix[order] = 0.1 * np.eye(size) + 0.01 * np.tril(rng.standard_normal((size, size)))
    bends = 0.05 * rng.standard_normal((size, 6))
    bends[[*CURVED]] = 0.0
    directions = np.array([[1.0, 0.0], [0.0, 1.0], [np.sqrt(0.5), np.sqrt(0.5)]])
    return maps.Map(
        0.1 * rng.standard_normal(size), matrix, np.array([0.5, -0.7]), directions, bends
    )


def test_the_density_of_x_is_that_of_y_and_the_jacobian(bound):
    size = len(bound.layout.entries)
    chosen = some_map(size)
    mapped = chosen.of(bound)
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(5):
        x = rng.standard_normal(size)
        y = chosen(x[None])[0]
        (density, *_), kept = evaluate(bound, y)
        (mapped_density, *_), mapped_kept = evaluate(mapped, x)
        np.testing.assert_allclose(mapped_kept, kept, rtol=1e-12)
        shift = 1e-6 * np.eye(size)
        jacobian = (chosen(x + shift) - chosen(x - shift)) / 2e-6
        _, log_determinant = np.linalg.slogdet(jacobian)
        differences.append(mapped_density - density - log_determinant)
    # Up to a constant.
    np.testing.assert_allclose(differences, differences[0], atol=1e-5)
    assert len({round(value, 3) for value in differences}) == 1


def test_the_gradient_of_x_is_that_of_its_density(bound):
    size = len(bound.layout.entries)
    mapped = some_map(size).of(bound)
    x = np.random.default_rng(0).standard_normal(size)
    gradient = evaluate(mapped, x)[0][1:]
    by_differences = []
    for side in 1e-5 * np.eye(size):
        rise = evaluate(mapped, x + side)[0][0] - evaluate(mapped, x - side)[0][0]
        by_differences.append(rise / 2e-5)
    np.testing.assert_allclose(gradient, by_differences, rtol=1e-5, atol=1e-5)


def test_a_learnt_map_makes_a_bent_and_skewed_posterior_standard_normal():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20_000, 5))
    first = z[:, 0] + 0.6 * np.sqrt(1 + z[:, 0] ** 2)
    second = 2 * z[:, 1] + first
    stiff = 0.01 * z[:, 2] + np.sqrt(1 + (first - 0.5) ** 2)
    y = np.stack([z[:, 3], stiff, second, first, 3 * z[:, 4] + z[:, 3]], axis=1)
    in_order = np.eye(5)[:, [3, 2, 0, 1, 4]]  # the curved entries are the first of x
    nothing = maps.Map(np.zeros(5), in_order, np.zeros(2), np.zeros((0, 2)), np.zeros((5, 0)))
    found = maps.learned(y, (3, 2), nothing)
    image = found(rng.standard_normal((20_000, 5)))
    np.testing.assert_allclose(image.mean(axis=0), y.mean(axis=0), atol=0.06)
    np.testing.assert_allclose(np.cov(image.T), np.cov(y.T), rtol=0.06, atol=0.06)
    assert found.skews[0] == pytest.approx(0.6, abs=0.05)
    tails = np.quantile(image[:, 3], [0.01, 0.99])
    np.testing.assert_allclose(tails, np.quantile(y[:, 3], [0.01, 0.99]), atol=0.1)
    # What is left of the bend is little beside its own standard deviation.
    residual = found.matrix[1, 2:]
    assert np.linalg.norm(residual) < 0.15
    assert y[:, 1].std() > 0.5


def test_the_normal_approximation_is_at_the_mode(bound):
    found = maps.normal_at_mode(bound, CURVED)
    slopes = evaluate(found.of(bound), np.zeros(len(found.centre)))[0][1:]
    assert np.abs(slopes).max() < 0.1  # in standard deviations


def test_with_too_few_tuning_draws_the_sampler_keeps_its_own_coordinates(bound):
    settings = {"tune": 20, "chains": 4, "draws": 10}
    assert samplers.mapped_model(bound, ("logit_phi",), settings, seed=0) is None


def test_without_a_curvature_the_sampler_keeps_its_own_coordinates(bound, monkeypatch):
    monkeypatch.setattr(maps, "curvature", lambda _, at: np.full((len(at), len(at)), np.nan))
    settings = {"tune": 1500, "chains": 4, "draws": 10, "maxdepth": 10}
    assert samplers.mapped_model(bound, ("logit_phi",), settings, seed=0) is None


@pytest.mark.slow
def test_the_posterior_is_that_of_the_samplers_own_coordinates(monkeypatch):
    """NUTS in the coordinates of the graph is the oracle."""
    runs = sb.load_runs("hoffmann2022")
    learnt = sb.fit(runs, seed=1, draws=2000)
    own = DriftingLaw.traits.fget

    def without_a_map(self):
        return replace(own(self), curved=())

    monkeypatch.setattr(DriftingLaw, "traits", property(without_a_map))
    plain = sb.fit(runs, seed=2, draws=2000, target_accept=0.9)
    tables = [sb.diagnose(learnt).table, sb.diagnose(plain).table]
    for name in (*learnt.spec.law_object.parameter_names, "sigma", "nu", "tau", "tau_loss"):
        a = np.log(learnt.stored["posterior"][name].values).ravel()
        b = np.log(plain.stored["posterior"][name].values).ravel()
        ess = [table.loc[name, "ess_bulk"] for table in tables]
        error = np.hypot(a.std() / np.sqrt(ess[0]), b.std() / np.sqrt(ess[1]))
        assert abs(a.mean() - b.mean()) < 4 * error, name
        assert a.std() == pytest.approx(b.std(), rel=0.25), name
