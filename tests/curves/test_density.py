"""The condensed likelihood: its gradient, and the dense covariance of all checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

import scalebayes as sb
from scalebayes.curves.condensed import (
    Condensed,
    Family,
    condense,
    correlation,
    drop_modes,
    families,
)
from scalebayes.curves.conditioning import deviations_given
from scalebayes.curves.curve_fit import layout_of
from scalebayes.curves.density import Density, gaussian, prior_of
from scalebayes.curves.laws import evaluate, points_of
from scalebayes.curves.models import read_curve_model
from tests.curves.planted import planted_curves

NOISE = (4e-4, 1.2e-3, 9e-4, 0.08)


def prepared(rows, groups=1, model="multi-power", branches=False):
    curves = planted_curves(rows=rows, groups=groups, branches=branches)
    spec = read_curve_model(model)
    layout = layout_of(curves, spec)
    prior = prior_of(spec, groups)
    found = families(curves, layout.scale)
    parameters = layout.parameters(prior.mean)
    return layout, prior, found, condense(found, layout.law, parameters, layout.scale), parameters


@pytest.mark.parametrize("model", ["multi-power", "annealing"])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_gradient_is_that_of_the_density(model, groups):
    layout, prior, _, data, _ = prepared(120, groups, model, branches=True)
    density = Density(layout, prior, data)
    position = prior.mean + 0.1 * np.random.default_rng(1).normal(size=len(prior.mean))
    _, slope = density(position)
    sides = 1e-5 * np.eye(len(position))
    differences = [
        (density(position + side)[0] - density(position - side)[0]) / 2e-5 for side in sides
    ]
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-6 * np.abs(slope).max())


def dense(found, layout, parameters, noise):
    """Residuals and the covariance of all rows of a family, written out."""
    sigma, s, tau, kappa = noise
    residual, log_area, branch, drops = [], [], [], []
    for place, each in enumerate(found.branches):
        points = points_of(each.curve.schedule, each.curve.steps[each.rows], layout.scale)
        loss, _, saved = evaluate(layout.law, parameters[found.group], points)
        residual.append(each.log_loss - np.log(loss))
        log_area.append(each.log_area)
        branch.append(np.full(len(each.rows), place))
        drops.append(saved / loss)
    residual, log_area, branch = map(np.concatenate, (residual, log_area, branch))
    modes = drop_modes(np.concatenate(drops))
    along = correlation(log_area, branch, log_area, branch, found.parting)
    same_run = branch[:, None] == branch
    covariance = sigma**2 * np.eye(len(residual)) + s**2 * along + tau**2
    return residual, covariance + kappa**2 * same_run * (modes @ modes.T)


def test_few_checkpoints_have_the_dense_density():
    """With a node at every checkpoint nothing is approximated."""
    layout, _, found, data, parameters = prepared(25, branches=True)
    expected = 0.0
    for family in found:
        residual, covariance = dense(family, layout, parameters, NOISE)
        expected += stats.multivariate_normal(cov=covariance).logpdf(residual)
    value, _, _ = gaussian(data, data.estimate, NOISE)
    assert data.free == 0
    assert value == pytest.approx(expected, rel=1e-9)


def test_many_checkpoints_say_of_the_noise_what_the_dense_density_says():
    """The most likely sigma and s of simulated residuals, condensed and not."""
    layout, _, found, _, parameters = prepared(150)
    rng = np.random.default_rng(3)
    simulated, residuals = [], []
    for family in found:
        residual, covariance = dense(family, layout, parameters, NOISE)
        own = np.linalg.cholesky(covariance) @ rng.normal(size=len(residual))
        (branch,) = family.branches
        moved = replace(branch, log_loss=branch.log_loss - residual + own)
        simulated.append(Family((moved,), family.parting))
        residuals.append(own)
    data = condense(simulated, layout.law, parameters, layout.scale)
    assert data.free > 100

    def condensed_density(logs):
        return -gaussian(data, data.estimate, (*np.exp(logs), *NOISE[2:]))[0]

    def dense_density(logs):
        total = 0.0
        for family, own in zip(found, residuals, strict=True):
            _, covariance = dense(family, layout, parameters, (*np.exp(logs), *NOISE[2:]))
            total -= stats.multivariate_normal(cov=covariance).logpdf(own)
        return total

    start = np.log(NOISE[:2])
    one, other = (
        optimize.minimize(density, start, method="Nelder-Mead", options={"xatol": 0.01}).x
        for density in (condensed_density, dense_density)
    )
    # What u does between two nodes counts as noise of checkpoints.
    np.testing.assert_allclose(one, other, atol=0.1)


def test_branches_have_one_path_until_they_part():
    at = np.array([0.0, 0.5])
    parting = np.array([[np.inf, 0.2], [0.2, np.inf]])
    trunk, other = np.array([0, 0]), np.array([1, 1])
    same = correlation(at, trunk, at, trunk, parting)
    across = correlation(at, trunk, at, other, parting)
    assert across[0, 0] == same[0, 0] == 1
    assert 0 < across[1, 1] < same[1, 1]
    strangers = np.array([[np.inf, -np.inf], [-np.inf, np.inf]])
    assert (correlation(at, trunk, at, other, strangers) == 0).all()


def test_a_forecast_is_conditioned_as_the_dense_normal_distribution_is():
    """Means and standard deviations of the deviations given the run's own checkpoints."""
    curves = planted_curves(rows=30).select(["cosine"])
    spec = read_curve_model("multi-power")
    layout = layout_of(curves, spec)
    position = prior_of(spec, 1).mean.copy()
    position[-4:] = np.log(NOISE)
    fit = sb.CurveFit(spec, curves, None)
    curve = curves["cosine"]
    ahead = np.array([0.9, 1.4]) + np.log(curve.areas[-1] / layout.scale.area)
    rng = np.random.default_rng(0)
    draws = deviations_given(fit, curve, np.tile(position, (10_000, 1)), ahead, rng)

    (found,) = families(curves, layout.scale)
    residual, covariance = dense(found, layout, layout.parameters(position), NOISE)
    sigma, s, tau, kappa = NOISE
    own, zero = found.branches[0].log_area, np.zeros(30, dtype=int)
    branch = zero[: len(own)]
    to_targets = s**2 * correlation(ahead, zero[:2], own, branch, found.parting)
    of_targets = s**2 * correlation(ahead, zero[:2], ahead, zero[:2], found.parting)
    weight = np.linalg.solve(covariance, to_targets.T).T
    np.testing.assert_allclose(draws.along.mean(0), weight @ residual, atol=5 * s / 100)
    expected = np.sqrt(np.diag(of_targets - weight @ to_targets.T))
    np.testing.assert_allclose(draws.along.std(0), expected, rtol=0.04)
    of_offset = np.linalg.solve(covariance, np.full(len(own), tau**2))
    assert draws.offset.mean() == pytest.approx(of_offset @ residual, abs=5 * tau / 100)
    assert draws.offset.std() == pytest.approx(np.sqrt(tau**2 - tau**2 * of_offset.sum()), rel=0.04)
    assert sigma < kappa


def test_modes_of_the_error_of_annealing_have_its_size():
    for drop in (0.03, 0.06, 0.1):
        size = np.sqrt((drop_modes(np.array(drop)) ** 2).sum())
        assert 0.85 * drop < size <= drop * 1.0001
    assert (drop_modes(np.array(0.0)) == 0).all()


def test_condensing_pads_families_of_different_length():
    *_, data, _ = prepared(60, branches=True)
    assert isinstance(data, Condensed)
    assert (~data.is_node).any()
    assert (data.variance[~data.is_node] == 0).all()
