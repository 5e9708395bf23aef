"""Starting points of chains.

Near the mode of a long table, whose posterior is narrow, else around the initial point.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.fitting import maps, starts
from scalebayes.fitting.graph import sampler_data, structure
from scalebayes.fitting.kernel.kernel import evaluate, kernel
from scalebayes.specs.pooling import variable_names
from tests.fixtures import normalised


def bound(model, rows):
    """The kernel of a spec on so many runs, drawn from the Chinchilla points with some scatter."""
    rng = np.random.default_rng(0)
    drawn = sb.load_runs("hoffmann2022").table.sample(
        rows, replace=True, random_state=0, ignore_index=True
    )
    runs = sb.Runs(
        drawn.assign(loss=drawn["loss"] * np.exp(0.003 * rng.standard_normal(rows))), "long"
    )
    runs, spec = normalised(runs, model)
    keep = [*variable_names(spec), *spec.observation.traits.kept]
    return kernel(spec, runs, keep, structure(spec, runs)).bind(sampler_data(runs, spec))


@pytest.mark.parametrize("model", ["chinchilla", "coupled"])
def test_chains_of_a_long_table_start_where_its_posterior_is(model):
    long = bound(model, 12_000)
    start = starts.starts(long)
    places = np.array([start(seed) for seed in range(40)])
    np.testing.assert_array_equal(places[7], starts.starts(long)(7))
    mode, spread = starts._mode(long, long.initial)
    top, *slopes = evaluate(long, mode)[0]
    width = np.linalg.norm(spread, axis=1) / starts.SPREAD  # standard deviations
    assert width.max() < 0.1  # a unit would be far away
    assert np.abs(slopes * width).max() < 0.01
    fall = np.array([top - evaluate(long, place)[0][0] for place in places])
    expected = 0.5 * len(mode) * starts.SPREAD**2 / 3  # of a Normal, were it one
    assert fall.mean() == pytest.approx(expected, rel=0.2)
    assert (places.std(axis=0) > 2 * width).all()  # farther apart than draws


class Density:
    """In place of the kernel of a long table: a log density of two variables and its gradient."""

    def __init__(self, density, slopes, initial, monkeypatch):
        self.layout = SimpleNamespace(free={"a": [], "b": []})
        self.arrays, self.initial = {"observed": np.zeros(starts.LONG)}, np.array(initial)
        for module in (starts, maps):
            monkeypatch.setattr(
                module, "evaluate", lambda _, z: (np.array([density(*z), *slopes(*z)]), None)
            )


def test_chains_find_modes_of_their_own(monkeypatch):
    two = Density(
        lambda a, b: -1e3 * (a**2 - 0.25) ** 2 - 1e3 * b**2,
        lambda a, b: (-4e3 * a * (a**2 - 0.25), -2e3 * b),
        [-0.1, 0.0],
        monkeypatch,
    )
    found = np.array([starts.starts(two)(seed)[0] for seed in range(20)])
    assert (found > 0.3).any()
    assert (found < -0.3).any()


def test_chains_go_no_farther_along_what_the_table_does_not_show(monkeypatch):
    wide = Density(
        lambda a, b: -(a**2) / 200 - 1e3 * b**2,
        lambda a, b: (-a / 100, -2e3 * b),
        [0.0, 0.0],
        monkeypatch,
    )
    places = np.array([starts.starts(wide)(seed) for seed in range(50)])
    assert 0.9 < np.abs(places[:, 0]).max() <= 1
    assert np.abs(places[:, 1]).max() < 0.2


@pytest.mark.parametrize(
    ("model", "rows"), [("chinchilla", starts.LONG - 1), ("coupled-discrepancy", starts.LONG)]
)
def test_others_start_a_unit_about_the_initial_point(model, rows):
    some = bound(model, rows)
    places = np.array([starts.starts(some)(seed) for seed in range(50)]) - some.initial
    assert places.min() < -0.9
    assert places.max() > 0.9
    assert np.abs(places).max() <= 1


@pytest.mark.parametrize("slope", [1.0, np.nan])
def test_a_density_that_has_no_top_there_leaves_chains_where_they_were(monkeypatch, slope):
    without = Density(
        lambda a, b: slope * (a + b), lambda a, b: (slope, slope), [0.5, 2.0], monkeypatch
    )
    assert starts._mode(without, without.initial) is None
    assert np.abs(starts.starts(without)(3) - without.initial).max() <= 1


def test_the_search_for_a_mode_ends_after_so_many_steps(monkeypatch):
    asked = []

    def slopes(a, b):
        asked.append((a, b))
        return 400 * a * (b - a**2) + 2 * (1 - a), 200 * (a**2 - b)

    valley = Density(
        lambda a, b: -100 * (b - a**2) ** 2 - (1 - a) ** 2, slopes, [-1.2, 1.0], monkeypatch
    )
    starts._mode(valley, valley.initial)
    all_steps = len(asked)
    asked.clear()
    monkeypatch.setattr(maps, "MOST", 3)
    monkeypatch.setattr(maps, "ROUNDS", 1)
    starts._mode(valley, valley.initial)
    assert len(asked) < all_steps / 2
