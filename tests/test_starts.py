"""Where chains start: near the mode of a long table, whose posterior is narrow, else about the initial point."""

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.engine import starts
from scalebayes.engine.kernel import evaluate, kernel
from scalebayes.graph import sampler_data, structure
from scalebayes.pooling import variable_names


def bound(model, rows):
    """The kernel of a spec on so many runs, drawn from the Chinchilla points with some scatter."""
    spec, rng = sb.read_model(model), np.random.default_rng(0)
    drawn = sb.load_runs("hoffmann2022").table.sample(rows, replace=True, random_state=0, ignore_index=True)
    runs = sb.Runs(drawn.assign(loss=drawn["loss"] * np.exp(0.003 * rng.standard_normal(rows))), "long")
    keep = [*variable_names(spec), *["weights"] * spec.samples_discrepancy]
    return kernel(spec, runs, keep, structure(spec, runs)).bind(sampler_data(runs, spec))


@pytest.mark.parametrize("model", ["chinchilla", "coupled"])
def test_chains_of_a_long_table_start_where_its_posterior_is(model):
    long = bound(model, 40_000)
    start = starts.starts(long)
    places = np.array([start(seed) for seed in range(200)])
    np.testing.assert_array_equal(places[7], starts.starts(long)(7))
    mode, spread = starts._mode(long)
    top, *slopes = evaluate(long, mode)[0]
    width = np.linalg.norm(spread, axis=1) / starts.SPREAD  # standard deviations
    assert width.max() < 0.1  # a unit would be far away
    assert np.abs(slopes * width).max() < 0.01
    fall = np.array([top - evaluate(long, place)[0][0] for place in places])
    n = len(mode)
    assert fall.mean() == pytest.approx(0.5 * n * starts.SPREAD**2 / 3, rel=0.15)  # of a Normal, were it one
    assert np.abs(places.mean(axis=0) - mode).max() < starts.SPREAD * width.max() / 4
    assert (places.std(axis=0) > 2 * width).all()  # farther apart than draws


@pytest.mark.parametrize(("model", "rows"), [("chinchilla", starts.LONG - 1), ("coupled-discrepancy", starts.LONG)])
def test_others_start_a_unit_about_the_initial_point(model, rows):
    some = bound(model, rows)
    places = np.array([starts.starts(some)(seed) for seed in range(50)]) - some.initial
    assert places.min() < -0.9
    assert places.max() > 0.9
    assert np.abs(places).max() <= 1


def test_a_density_that_has_no_top_there_leaves_chains_where_they_were(monkeypatch):
    long = bound("chinchilla", starts.LONG)
    monkeypatch.setattr(starts, "evaluate", lambda bound, point: (np.r_[point.sum(), np.ones(len(point))], None))
    assert starts._mode(long) is None
    assert np.abs(starts.starts(long)(3) - long.initial).max() <= 1
