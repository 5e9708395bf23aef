"""Statistics of chains against ArviZ, which is the oracle."""

import arviz_stats as azs
import numpy as np
import pytest
import xarray as xr

from scalebayes.posterior.chains import chain_statistics, energy_information, monte_carlo_errors


def autoregressive(shape, correlation):
    draws = np.random.default_rng(0).standard_normal(shape)
    for i in range(1, shape[1]):
        draws[:, i] += correlation * draws[:, i - 1]
    return draws


def statistics_of_arviz(draws):
    variable = xr.Dataset({"x": (("chain", "draw"), draws)})
    found = [
        azs.rhat(variable),
        azs.ess(variable, method="bulk"),
        azs.ess(variable, method="tail"),
        azs.mcse(variable, method="mean"),
        azs.mcse(variable, method="sd"),
    ]
    return [float(each["x"]) for each in found]


def statistics_of_ours(draws):
    found = chain_statistics(draws)
    return [found.r_hat, found.ess_bulk, found.ess_tail, *monte_carlo_errors(draws)]


@pytest.mark.parametrize("shape", [(4, 1000), (2, 101), (1, 300), (4, 7), (3, 4), (4, 3)])
@pytest.mark.parametrize("correlation", [0.0, 0.95, -0.6])
@pytest.mark.parametrize("digits", [15, 1])  # with one digit there are ties
def test_statistics_are_those_of_arviz(shape, correlation, digits):
    draws = autoregressive(shape, correlation).round(digits)
    expected = statistics_of_arviz(draws)
    assert statistics_of_ours(draws) == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_draws_that_are_not_finite_or_do_not_move_are_as_in_arviz():
    infinite, unknown, stuck = autoregressive((3, 4, 100), 0.0)
    infinite[0, 0] = np.inf
    unknown[0, 0] = np.nan
    stuck[0] = 3.0
    with np.errstate(invalid="ignore", divide="ignore"):
        for draws in (unknown, stuck, np.ones((4, 100))):
            expected = statistics_of_arviz(draws)
            assert statistics_of_ours(draws) == pytest.approx(expected, rel=1e-12, nan_ok=True)
        found = statistics_of_ours(infinite)[:3]
        assert found == pytest.approx(statistics_of_arviz(infinite)[:3], rel=1e-12)


def test_the_information_of_the_energy_is_that_of_arviz():
    energy = autoregressive((4, 500), 0.8)
    np.testing.assert_allclose(energy_information(energy), azs.bfmi(energy), rtol=1e-12)
