"""Simulation-based calibration of both laws (Talts et al. 2018, arXiv:1804.06788), a small one.

Parameters are drawn from the prior, losses from the parameters with every term of the noise, and
the rank of the truth among posterior draws is uniform. Losses that a fit may divide by are left
out: draws whose curve is not positive and falling are drawn again, by the same rule in every
replicate, which the prior hardly feels.
"""

import os
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import scalebayes as sb
from scalebayes.curves.condensed import correlation, drop_modes, families
from scalebayes.curves.curve_fit import layout_of
from scalebayes.curves.density import prior_of
from scalebayes.curves.fit import find_mode, sampler_around
from scalebayes.curves.laws import evaluate, points_of
from scalebayes.curves.models import read_curve_model
from tests.curves.planted import planted_curves

pytestmark = pytest.mark.slow
REPLICATES = int(os.environ.get("SCALEBAYES_SBC_REPLICATES", "30"))
RANKS = 60
"""Thinned draws among which a truth has its rank."""
LEAST_P = 1e-3
SETTINGS = {"draws": 200, "tune": 300, "chains": 4, "cores": 2, "target_accept": 0.9}


def simulate(curves, layout, prior, rng):
    """A position from the prior, and curves whose losses it gives.

    Draws with losses below 0.3 or above 30, or of which annealing saves more than a tenth, are
    drawn again: no table looks like that. They are 7% of the draws of multi-power, and 15% of those
    of annealing, so the simulated truths have slightly narrower tails than the prior.
    """
    (group,) = layout.groups
    while True:
        position = prior.draw(rng, 1)[0]
        parameters = layout.parameters(position)[group]
        sigma, s, tau, kappa = layout.noise(position)
        simulated = {}
        for run, curve in curves.runs.items():
            points = points_of(curve.schedule, curve.steps, layout.scale)
            loss, _, saved = evaluate(layout.law, parameters, points)
            if not (loss > 0.3).all() or not (loss < 30).all() or (saved / loss).max() > 0.1:
                break
            x, branch = points.log_area, np.zeros(len(loss), dtype=int)
            along = correlation(x, branch, x, branch, np.array([[np.inf]]))
            root = np.linalg.cholesky(along + 1e-10 * np.eye(len(x)))
            deviation = s * root @ rng.normal(size=len(x)) + tau * rng.normal()
            modes = drop_modes(saved / loss)
            deviation += kappa * modes @ rng.normal(size=modes.shape[-1])
            deviation += sigma * rng.normal(size=len(x))
            simulated[run] = replace(curve, losses=loss * np.exp(deviation))
        if len(simulated) == len(curves.runs):
            return position, sb.Curves(simulated, "simulated")


@pytest.mark.parametrize("name", ["multi-power", "annealing"])
def test_ranks_of_the_truth_are_uniform(name):
    model = read_curve_model(name)
    curves = planted_curves(rows=40)
    layout = layout_of(curves, model)  # of every replicate: its unit of the loss is the prior's
    assert len(families(curves, layout.scale)) == 3
    prior = prior_of(model, 1)
    rng = np.random.default_rng(0)
    ranks = []
    for replicate in range(REPLICATES):
        position, simulated = simulate(curves, layout, prior, rng)
        run = sampler_around(find_mode(simulated, model, layout)).sample
        tree, _ = run(SETTINGS, replicate, lambda *_: None)
        draws = tree["sampled"]["position"].values.reshape(-1, len(position))
        thinned = draws[np.linspace(0, len(draws) - 1, RANKS).astype(int)]
        ranks.append((thinned < position).sum(axis=0))
    shares = (np.array(ranks) + rng.uniform(size=np.shape(ranks))) / (RANKS + 1)
    p_values = [stats.kstest(share, "uniform").pvalue for share in shares.T]
    entries = [*model.law_object.sampled, "sigma", "s", "tau", "kappa"]
    assert min(p_values) > LEAST_P, dict(zip(entries, np.round(p_values, 4), strict=True))
