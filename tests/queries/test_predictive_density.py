"""The log predictive density of held-out runs."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import scalebayes as sb
from scalebayes.queries.predictive_density import log_predictive_density
from tests.fixtures import CHINCHILLA, besiroglu_loss, fit_of, grid_of_sizes

N, D = grid_of_sizes()
RUNS = sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": besiroglu_loss(N, D)}), name="grid")


def one_run(loss):
    return sb.read_runs(pd.DataFrame({"N": [7e10], "D": [1.4e12], "loss": [loss]}), name="new")


@pytest.fixture
def fit():
    """A fit whose draws are alike, but for a floor of 1.8 in one chain and 1.9 in the other."""
    values = {name: np.full((2, 50), value) for name, value in CHINCHILLA.items()}
    values["L_inf"][1] = 1.9
    return fit_of("chinchilla", RUNS, **values)


def test_it_is_the_mixture_of_the_draws_densities(fit):
    curves = sb.predict(fit, N=7e10, D=1.4e12)["loss"].values[:, 0, 0]
    parts = stats.t.pdf(np.log(2.0), CHINCHILLA["nu"], np.log(curves), CHINCHILLA["sigma"])
    expected = np.log(parts.mean() / 2.0)
    assert log_predictive_density(fit, one_run(2.0))[0] == pytest.approx(expected)


def test_it_is_a_density_of_the_loss(fit):
    losses = np.linspace(1.0, 4.0, 601)
    points = pd.DataFrame({"N": 7e10, "D": 1.4e12, "loss": losses})
    density = np.exp(log_predictive_density(fit, sb.read_runs(points, name="new", strict=False)))
    assert integrate.trapezoid(density, losses) == pytest.approx(1.0, abs=2e-3)


def test_a_discrepancy_widens_it(fit):
    values = {name: np.full((2, 500), value) for name, value in CHINCHILLA.items()}
    more = {"kappa": np.full((2, 500), 1.0), "eta": np.full((2, 500), 0.05)}
    wide = fit_of("coupled-discrepancy", RUNS, **values, **more)
    draws = sb.predict(wide, N=7e10, D=1.4e12)["new_run"].values.ravel()
    at = float(np.quantile(draws, 0.7))
    expected = float(stats.gaussian_kde(draws)(at)[0])
    got = float(np.exp(log_predictive_density(wide, one_run(at))[0]))
    assert got == pytest.approx(expected, rel=0.15)
