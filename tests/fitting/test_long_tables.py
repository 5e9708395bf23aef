"""Long tables: cells, the condensed likelihood, its weights, and agreement with the exact form."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.data.cells import Cells
from scalebayes.fitting import long_tables, samplers
from scalebayes.specs import condensed
from scalebayes.specs.noise import NOISES
from scalebayes.specs.spec import with_trainings
from tests.fixtures import normalised


def checkpoints(rows, trainings=20, seed=0, offsets=0.0):
    """Checkpoints of trainings of several sizes, around a law that bends a little."""
    rng = np.random.default_rng(seed)
    each = rows // trainings
    N = np.repeat(np.geomspace(4e7, 1e10, trainings), each)
    D = 1e9 * 10 ** rng.uniform(0.0, 2.2, len(N))
    reducible = 406.4 / N**0.34 + 410.7 / D**0.28
    loss = 1.69 + reducible * np.exp(0.02 * np.sin(1.5 * np.log10(6 * N * D)))
    own = np.repeat(offsets * rng.standard_normal(trainings), each)
    loss *= np.exp(own + 0.005 * rng.standard_t(6, len(N)))
    table = pd.DataFrame({"N": N, "D": D, "loss": loss})
    if offsets:
        table["training"] = np.repeat([f"t{i}" for i in range(trainings)], each)
    return sb.Runs(table, f"{rows} checkpoints")


def whole_cells(of_run):
    """Cells at single inputs, to one of which each run belongs."""
    return Cells({}, (), np.arange(of_run.max() + 1)[:, None], of_run)


def cells_of(spec, runs, most=long_tables.CELLS):
    return long_tables.condense(spec, runs, most).cells


def weights_of(cells):
    """Weights of the runs, (cells, runs)."""
    everything = slice(0, len(cells.stencil))
    weights = np.zeros((len(cells), len(cells.stencil)))
    nodes = cells.nodes(everything)
    np.add.at(weights, (nodes.T, np.arange(len(nodes))), cells.shares(everything).T)
    return weights


def test_few_distinct_inputs_have_nodes_of_their_own():
    N = np.tile(np.geomspace(1e8, 1e10, 10), 300)
    D = np.repeat(np.geomspace(1e9, 1e11, 30), 100)
    runs = sb.Runs(pd.DataFrame({"N": N, "D": D, "loss": np.full(3000, 3.0)}), "grid")
    runs, spec = normalised(runs, "coupled-drift")
    cells = cells_of(spec, runs)
    np.testing.assert_array_equal(cells.counts, np.full(300, 10.0))
    assert set(np.unique(weights_of(cells))) == {0.0, 1.0}
    log_D = np.log(runs.D)
    np.testing.assert_allclose(cells.near(log_D), log_D.mean() + cells.distances["D"])


def test_weights_interpolate_cubic_functions_of_the_inputs():
    rng = np.random.default_rng(0)
    N, D = 1e8 * 10 ** rng.uniform(0, 2, 4000), 1e9 * 10 ** rng.uniform(0, 2, 4000)
    runs = sb.Runs(pd.DataFrame({"N": N, "D": D, "loss": np.full(4000, 3.0)}), "cloud")
    runs, spec = normalised(runs, "coupled-drift")
    cells = cells_of(spec, runs, most=500)
    assert 250 < len(cells.counts) <= 500
    assert cells.counts.sum() == pytest.approx(4000)
    log_N, log_D = np.log(runs.N), np.log(runs.D)

    def cubic(n, d):
        return 2 * n - 3 * d**3 + n**2 * d

    at_nodes = cubic(cells.distances["N"], cells.distances["D"])
    at_runs = cubic(log_N - log_N.mean(), log_D - log_D.mean())
    np.testing.assert_allclose(weights_of(cells).T @ at_nodes, at_runs, atol=1e-6)


def test_every_node_has_runs_nearby_though_some_count_for_less_than_none():
    rng = np.random.default_rng(0)
    N, D = 1e8 * 10 ** rng.uniform(0, 2, 4000), 1e9 * 10 ** rng.uniform(0, 2, 4000)
    U = D / 10 ** rng.uniform(0, 1.3, 4000)
    runs = sb.Runs(pd.DataFrame({"N": N, "D": D, "U": U, "loss": np.full(4000, 3.0)}), "cloud")
    runs, spec = normalised(runs, "data-constrained-drift")
    cells = cells_of(spec, runs, most=1000)
    assert cells.counts.min() < 0
    assert cells.sizes.min() > 0
    nearby = long_tables._runs_nearby(cells)
    assert nearby.min() > 0
    box = long_tables._box(NOISES["student_t"], 0.01 * rng.standard_t(8, 4000), 0.01, nearby)
    assert np.isfinite(box.deviation).all()


def test_runs_at_a_node_have_no_share_in_others():
    """A third of the runs have the smallest N, with a gap above it, where no node is needed."""
    rng = np.random.default_rng(0)
    N = np.r_[np.full(2000, 1e6), 1e9 * 10 ** rng.uniform(0, 2, 4000)]
    D = 1e9 * 10 ** rng.uniform(0, 2, 6000)
    runs = sb.Runs(pd.DataFrame({"N": N, "D": D, "loss": np.full(6000, 3.0)}), "gap")
    cells = cells_of(*reversed(normalised(runs, "coupled-drift")))
    assert cells.sizes.min() > 0
    assert long_tables._runs_nearby(cells).min() > 0
    weights = weights_of(cells)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    smallest = cells.distances["N"].min()
    np.testing.assert_allclose(weights[cells.distances["N"] > smallest, :2000], 0.0)


def test_an_input_of_few_values_in_each_training_has_nodes_at_them():
    """Each of 80 trainings has one N: a grid along N would give each training four."""
    table = checkpoints(4000, trainings=80, offsets=0.01)
    with_offsets = with_trainings(sb.read_model("coupled-drift"), table)
    runs, spec = normalised(table, with_offsets)
    cells = cells_of(spec, runs, most=1000)
    own = np.log(runs.N) - np.log(runs.N).mean()
    np.testing.assert_allclose(cells.distances["N"], cells.near(own))


def test_a_grid_of_many_distinct_inputs_is_made_coarser():
    """Distinct values of two inputs, each of few, may combine to more nodes than are allowed."""
    N = np.tile(np.geomspace(1e8, 1e10, 49), 49)
    D = np.repeat(np.geomspace(1e9, 1e11, 49), 49)
    runs = sb.Runs(pd.DataFrame({"N": N, "D": D, "loss": np.full(2401, 3.0)}), "grid")
    runs, spec = normalised(runs, "coupled-drift")
    cells = cells_of(spec, runs, 1000)
    assert len(cells.counts) <= 1000
    assert cells.counts.sum() == pytest.approx(2401)


def test_very_many_trainings_have_nodes_of_their_own():
    table = checkpoints(3000, trainings=600, offsets=0.01)
    with_offsets = with_trainings(sb.read_model("coupled-drift"), table)
    runs, spec = normalised(table, with_offsets)
    cells = cells_of(spec, runs, 1000)
    assert 600 <= len(cells.counts) <= 2400


def test_cells_never_hold_runs_of_two_trainings():
    table = checkpoints(3000, offsets=0.01)
    with_offsets = with_trainings(sb.read_model("coupled-drift"), table)
    runs, spec = normalised(table, with_offsets)
    assert spec.trainings
    cells = cells_of(spec, runs)
    of_training = pd.factorize(runs.table["training"])[0]
    own = cells.near(of_training)
    cell, run = np.nonzero(weights_of(cells))
    np.testing.assert_array_equal(own[cell], of_training[run])


def test_sums_over_parts_of_the_runs_are_those_of_all_weights():
    rng = np.random.default_rng(0)
    N, D = 1e8 * 10 ** rng.uniform(0, 2, 9000), 1e9 * 10 ** rng.uniform(0, 2, 9000)
    runs = sb.Runs(pd.DataFrame({"N": N, "D": D, "loss": np.full(9000, 3.0)}), "cloud")
    runs, spec = normalised(runs, "coupled-drift")
    cells = cells_of(spec, runs)
    assert len(cells.parts) > 2
    weights, values = weights_of(cells), rng.standard_normal(9000)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    np.testing.assert_allclose(cells.sum(values), weights @ values, atol=1e-9)
    np.testing.assert_allclose(cells.sizes, np.abs(weights).sum(axis=1))
    nearest = weights[np.arange(len(cells)), cells.nearest]
    np.testing.assert_allclose(nearest, weights.max(axis=1))


@pytest.mark.parametrize("noise", ["student_t", "normal"])
def test_the_condensed_likelihood_is_the_sum_over_the_runs(noise):
    """Where all runs of a cell have the same inputs, only the polynomials are approximate."""
    rng = np.random.default_rng(0)
    kind = NOISES[noise]
    of_run = rng.integers(0, 50, 4000)
    cells = whole_cells(of_run)
    residual = 0.01 * rng.standard_t(8, 4000)
    box = long_tables._box(kind, residual, 0.012, np.full(50, 80.0))
    reference = rng.uniform(0.5, 1.5, 50)
    data = condensed.condensed_data(kind, residual, cells, box) | {"reference": reference}
    values = {"sigma": 0.0101, "nu": 7.0} if noise == "student_t" else {"sigma": 0.0117}
    errors = []
    for _ in range(20):
        deviation = 0.0015 * rng.standard_normal(50)
        exact = kind.logpdf(residual - deviation[of_run], **values).sum()
        found = condensed.condensed_log_loss(
            long_tables._Numpy, data, reference + deviation, values
        )
        errors.append(found - exact)
    # A constant would change no posterior.
    assert np.std(errors) < 0.02
    assert np.abs(errors).max() < 0.2


def test_far_from_the_reference_the_condensed_likelihood_falls():
    rng = np.random.default_rng(0)
    kind = NOISES["student_t"]
    of_run = rng.integers(0, 50, 4000)
    cells = whole_cells(of_run)
    residual = 0.01 * rng.standard_t(8, 4000)
    box = long_tables._box(kind, residual, 0.012, np.full(50, 80.0))
    data = condensed.condensed_data(kind, residual, cells, box) | {"reference": np.zeros(50)}

    def at(deviation, sigma):
        curve = np.full(50, deviation)
        own = {"sigma": sigma, "nu": 7.0}
        return condensed.condensed_log_loss(long_tables._Numpy, data, curve, own)

    assert at(0.0, 0.01) > at(0.02, 0.01) > at(0.1, 0.01) > at(1.0, 0.01)
    assert at(0.0, 0.01) > at(0.0, 0.03) > at(0.0, 0.3)


def test_systematic_resampling_takes_draws_in_proportion_to_their_weights():
    weights = np.array([1.0, 3.0, 0.0, 4.0])
    rng = np.random.default_rng(0)
    places = np.stack([long_tables._systematic(rng, weights) for _ in range(4000)])
    shares = np.bincount(places.ravel(), minlength=4) / places.size
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.01)
    equal = long_tables._systematic(rng, np.ones(7))
    np.testing.assert_array_equal(equal, np.arange(7))


def test_resampling_moves_draws_and_statistics_together():
    values = xr.Dataset({"x": (("chain", "draw"), np.arange(6.0).reshape(2, 3))})
    values = values.assign_coords(chain=[0, 1], draw=[0, 1, 2])
    tree = xr.DataTree.from_dict({"posterior": values, "sample_stats": 10 * values})
    found = long_tables.resampled(tree, np.array([[0, 0, 2], [1, 2, 2]]))
    expected = [[0.0, 0.0, 2.0], [4.0, 5.0, 5.0]]
    np.testing.assert_array_equal(found["posterior"]["x"], expected)
    np.testing.assert_array_equal(found["sample_stats"]["x"], 10 * np.array(expected))
    np.testing.assert_array_equal(found["posterior"]["draw"], [0, 1, 2])


def test_smaller_steps_are_smaller_on_long_tables_too(monkeypatch):
    """A retry asks for a greater acceptance rate, and must not get the same steps again."""
    targets = []

    def record(bound, spec, settings, *rest):
        targets.append(settings["target_accept"])
        raise KeyboardInterrupt

    monkeypatch.setattr(samplers, "_sample_kernel", record)
    runs = checkpoints(2400)
    for target in (0.9, 0.97, 0.99):
        with pytest.raises(KeyboardInterrupt):
            sb.fit(runs, target_accept=target, progress=False)
    assert targets == sorted(set(targets))
    assert 0.9 < targets[0] < targets[-1] < 1


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "offsets"), [(500, 0.0), (1000, 0.0), (1000, 0.01)])
def test_condensed_and_exact_posteriors_agree(rows, offsets, monkeypatch):
    """The exact form is the oracle; the fit is short, so the tolerance is Monte Carlo error."""
    runs = checkpoints(rows, offsets=offsets)
    exact = sb.fit(runs, seed=1)
    assert "condensed" not in exact.metadata
    monkeypatch.setattr(samplers, "LONG", 100)
    monkeypatch.setattr(long_tables, "CELLS", rows // 2)
    fast = sb.fit(runs, seed=2)
    facts = fast.metadata["condensed"]
    assert facts["cells"] <= rows // 2
    assert facts["weights"]["used"]
    assert not fast.gate_failures
    tables = [sb.diagnose(exact).table, sb.diagnose(fast).table]
    for name in exact.stored["posterior"].data_vars:
        draws = [np.log(fit.stored["posterior"][name].values).ravel() for fit in (exact, fast)]
        ess = [table.loc[name, "ess_bulk"] for table in tables]
        error = np.hypot(*(x.std() / np.sqrt(n) for x, n in zip(draws, ess, strict=True)))
        assert abs(draws[0].mean() - draws[1].mean()) < 4 * error, name
        assert draws[0].std() == pytest.approx(draws[1].std(), rel=0.25), name
