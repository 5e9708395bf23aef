"""The curves that a page contains, as arrays, against the curves and answers of the package."""

import base64

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.plots.loss import BUDGETS
from scalebayes.posterior.fit import law_parameters
from scalebayes.queries.curves import curve_of
from scalebayes.reports.live import page, surfaces
from scalebayes.reports.live.surfaces import Grid
from tests.fixtures import INTEGRATED, report_fit, report_runs

LOW, HIGH = np.array([8.0, 9.0]), np.array([11.5, 12.5])
GRID = Grid.over(LOW, HIGH, np.array([[8.5, 9.5], [9.5, 10.5]]))
EVERY = np.arange(4 * 60)


def small_fit(model="chinchilla", **options):
    return report_fit(model, draws=60, **options)


@pytest.fixture(scope="module")
def plain():
    return small_fit()


@pytest.fixture(scope="module")
def bent():
    return small_fit("chinchilla-discrepancy")


@pytest.fixture(scope="module")
def mixed(plain, bent):
    """An average of a fit without a discrepancy and one with it, of the same runs."""
    return sb.average({"plain": plain, "bent": bent})


def law_at_nodes(fit, rows):
    log_N, log_D = GRID.nodes
    values = {name: value.ravel()[rows, None] for name, value in law_parameters(fit).items()}
    return np.log(fit.spec.law_object(10.0**log_N, 10.0**log_D, **values))


# draws on the grid


def test_draws_of_a_law_alone_are_the_law_and_have_no_discrepancy(plain):
    rows = np.array([0, 5, 17, 200])
    found = surfaces.draws_on(plain, GRID, rows)
    np.testing.assert_allclose(found.log_loss, law_at_nodes(plain, rows), rtol=1e-12)
    assert found.unseen.shape == (np.prod(GRID.sizes),)
    assert (found.unseen == 0).all()
    assert (found.level == 0).all()
    assert found.noise.shape == (4,)


@pytest.mark.parametrize("model", ["chinchilla-discrepancy", INTEGRATED])
def test_draws_with_a_discrepancy_are_those_expected_with_the_unseen_part_beside_them(model):
    fit = small_fit(model)
    rows = EVERY[::3]
    found = surfaces.draws_on(fit, GRID, rows, seed=4)
    N, D = (10.0**log for log in GRID.nodes)
    expected = curve_of(fit, "expected", 4).log_loss_shared(N, D)[rows]
    np.testing.assert_allclose(found.log_loss, expected, rtol=1e-12)
    assert np.abs(found.log_loss - law_at_nodes(fit, rows)).max() > 1e-4
    # The variance that the runs leave, from the covariance of the runs itself.
    basis = fit.spec.observation.basis(fit.runs)
    near = basis.near(basis.scale((N, D)))
    among_runs = basis.near(basis.points)
    explained = np.einsum("ij,ij->i", near @ np.linalg.pinv(among_runs, rcond=1e-9), near)
    np.testing.assert_allclose(found.unseen, (1 - explained).clip(0), atol=1e-4)
    assert found.unseen.max() > 0.9
    assert found.unseen.min() < 0.1
    # q is eta times a standard Normal.
    eta = fit.stored["posterior"]["eta"].values.ravel()[rows]
    assert abs((found.level / eta).mean()) < 4 / np.sqrt(len(rows))
    assert (found.level / eta).std() == pytest.approx(1.0, abs=0.25)


def test_the_noise_of_a_new_run_is_that_of_its_own_draw():
    fit = report_fit(draws=250)
    sigma = fit.stored["posterior"]["sigma"]
    sigma.values[:2] *= 10.0
    found = surfaces.draws_on(fit, GRID, np.arange(1000))
    wide, narrow = found.noise[:500], found.noise[500:]
    assert np.median(np.abs(wide)) > 6 * np.median(np.abs(narrow))
    assert np.median(np.abs(narrow)) == pytest.approx(0.0036, rel=0.2)  # of t with 8 degrees


def test_draws_repeat_by_seed(bent):
    first, again, other = (surfaces.draws_on(bent, GRID, EVERY, seed) for seed in (1, 1, 2))
    for name in ("log_loss", "level", "noise"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.allclose(first.level, other.level)
    assert not np.allclose(first.noise, other.noise)


def test_an_average_has_the_draws_of_every_fit_and_the_unseen_part_of_those_with_one(
    plain, bent, mixed
):
    found = surfaces.draws_on(mixed, GRID, np.arange(480))
    np.testing.assert_allclose(found.log_loss[:240], law_at_nodes(plain, EVERY), rtol=1e-12)
    alone = surfaces.draws_on(bent, GRID, EVERY)
    np.testing.assert_allclose(found.log_loss[240:], alone.log_loss, rtol=1e-12)
    assert (found.level[:240] == 0).all()
    assert (found.level[240:] != 0).all()
    np.testing.assert_allclose(found.unseen, alone.unseen)
    assert found.noise.shape == (480,)


def test_draws_that_are_not_kept_are_not_among_those_of_an_average(plain, bent, mixed):
    kept = np.array([3, 100, 239, 240, 300, 479])
    found = surfaces.draws_on(mixed, GRID, kept)
    np.testing.assert_allclose(found.log_loss[:3], law_at_nodes(plain, kept[:3]), rtol=1e-12)
    alone = surfaces.draws_on(bent, GRID, kept[3:] - 240)
    np.testing.assert_allclose(found.log_loss[3:], alone.log_loss, rtol=1e-12)
    only_bent = surfaces.draws_on(mixed, GRID, kept[3:])
    assert only_bent.log_loss.shape[0] == 3


# thinning


def test_few_draws_are_all_kept(plain, mixed):
    rng = np.random.default_rng(0)
    assert surfaces.thin(plain, rng.standard_normal(240)).tolist() == list(range(240))
    assert surfaces.thin(mixed, rng.standard_normal(480)).tolist() == list(range(480))


def test_many_draws_are_thinned_evenly_in_the_order_of_a_quantity_within_each_fit(
    monkeypatch, plain, mixed
):
    monkeypatch.setattr(surfaces, "MOST_DRAWS", 48)
    order = np.random.default_rng(0).standard_normal(240)
    kept = surfaces.thin(plain, order)
    assert len(kept) == 48
    assert (np.diff(kept) > 0).all()
    ranks = np.argsort(np.argsort(order))[kept]
    assert sorted(ranks) == list(range(2, 240, 5))  # the middle one of every five
    both = np.concatenate([order, order + 100])
    kept = surfaces.thin(mixed, both)
    assert (kept < 240).sum() == (kept >= 240).sum() == 24
    ranks = np.argsort(np.argsort(order))[kept[:24]]
    assert sorted(ranks) == list(range(5, 240, 10))


# components


def test_nodes_weigh_most_at_the_optimal_sizes_and_a_quarter_at_a_small_distance():
    log_C = np.array([18.0, 20.0, 22.0, 24.0])
    low, high = np.array([8.0, 9.0, 10.0, 11.0]) - 0.3, np.array([8.0, 9.0, 10.0, 11.0]) + 0.3
    weights = surfaces.weights_around(GRID, log_C, low, high)
    log_N, log_D = GRID.nodes
    at = log_N + log_D + np.log10(6.0)
    middle = np.interp(at, log_C, [8.0, 9.0, 10.0, 11.0])
    distance = np.abs(log_N - middle) - 0.3
    assert (weights[distance <= 0] == 1.0).all()
    outside = distance > 0
    expected = 1 / (1 + (distance[outside] / 0.08) ** 2) ** 2
    np.testing.assert_allclose(weights[outside], expected.clip(0.02))
    assert weights.min() == 0.02


def components_of(fit, most=24):
    draws = surfaces.draws_on(fit, GRID, EVERY)
    return draws, surfaces.components(draws, np.ones(draws.log_loss.shape[1]), most)


def test_components_are_the_principal_ones(plain):
    draws, found = components_of(plain, 3)
    np.testing.assert_allclose(found.mean, draws.log_loss.mean(axis=0))
    centred = draws.log_loss - found.mean
    u, singular, axes = np.linalg.svd(centred, full_matrices=False)
    best = (u[:, :3] * singular[:3]) @ axes[:3]
    np.testing.assert_allclose(found.weights @ found.surfaces, best, atol=1e-9)
    assert found.surfaces.shape == (3, len(found.mean))


def test_components_follow_the_draws_most_closely_where_the_weight_is(plain):
    draws = surfaces.draws_on(plain, GRID, EVERY)
    log_N, _ = GRID.nodes
    weights = np.where(log_N < 9.0, 1.0, 0.02)
    errors = {}
    for name, given in {"weighted": weights, "even": np.ones(len(weights))}.items():
        found = surfaces.components(draws, given, 2)
        error = draws.log_loss - found.mean - found.weights @ found.surfaces
        errors[name] = np.sqrt((error[:, log_N < 9.0] ** 2).mean())
    assert errors["weighted"] < errors["even"]


def test_components_of_very_many_draws_come_from_a_sample_and_describe_all(monkeypatch, plain):
    monkeypatch.setattr(surfaces, "SAMPLE", 60)
    draws, found = components_of(plain)
    assert found.weights.shape[0] == 240
    error = draws.log_loss - found.mean - found.weights @ found.surfaces
    assert np.abs(error).max() < 1e-3


# packed numbers


def test_packed_surfaces_are_the_draws(plain):
    """At nodes and between them, to the rounding of two bytes and the error of the splines."""
    draws, found = components_of(plain)
    packed = surfaces.pack(draws, found, 12)
    assert packed.draws == 240
    assert packed.wide_draws.dtype == np.dtype("<i2")
    assert packed.narrow_draws.dtype == np.dtype("i1")
    assert packed.wide_draws.shape[1] + packed.narrow_draws.shape[1] == 12
    assert packed.wide_draws.shape[1] > 0
    assert packed.narrow_draws.shape[1] > 0
    assert np.abs(packed.wide_draws).max(axis=0).tolist() == [32767] * packed.wide_draws.shape[1]
    assert np.abs(packed.narrow_draws).max(axis=0).tolist() == [127] * packed.narrow_draws.shape[1]
    rng = np.random.default_rng(0)
    log_N, log_D = rng.uniform(LOW[0], HIGH[0], 50), rng.uniform(LOW[1], HIGH[1], 50)
    values = {name: value.reshape(-1, 1) for name, value in law_parameters(plain).items()}
    expected = np.log(plain.spec.law_object(10.0**log_N, 10.0**log_D, **values))
    found = packed.log_loss_shared(10.0**log_N, 10.0**log_D)
    np.testing.assert_allclose(found, expected, atol=3e-4)


def test_places_off_the_grid_have_no_loss(plain):
    packed = surfaces.pack(*components_of(plain), 12)
    N, D = 10.0 ** np.array([9.0, 7.0, 9.0, 13.0]), 10.0 ** np.array([10.0, 10.0, 14.0, 10.0])
    found = packed.log_loss_shared(N, D)
    assert (found[:, 0] < 2.0).all()
    assert (found[:, 1:] == surfaces.FAR_ABOVE).all()


def test_components_that_matter_little_take_one_byte(plain):
    draws, found = components_of(plain)
    packed = surfaces.pack(draws, found, 12)
    sizes = np.abs(found.weights[:, :12]).max(axis=0) * np.abs(found.surfaces[:12]).max(axis=1)
    assert packed.narrow_draws.shape[1] == (sizes < 0.03).sum()


def test_the_unseen_variance_and_the_levels_are_packed_too(bent):
    draws = surfaces.draws_on(bent, GRID, EVERY)
    found = surfaces.components(draws, np.ones(draws.log_loss.shape[1]), 24)
    packed = surfaces.pack(draws, found, 24)
    np.testing.assert_allclose(packed.levels, [draws.level, draws.noise], rtol=1e-6)
    at = packed.unseen.reshape(GRID.sizes)
    for axis in range(2):  # a cubic B-spline at its nodes
        left, right = (np.roll(at, shift, axis) for shift in (1, -1))
        at = (left + 4 * at + right) / 6
    inner = slice(2, -2)
    expected = draws.unseen.reshape(GRID.sizes)
    np.testing.assert_allclose(at[inner, inner], expected[inner, inner], atol=1e-5)


# the panel


@pytest.fixture(scope="module")
def live(bent):
    part, why = page.live_part(bent, {"bent": bent}, 0.9)
    assert why == ""
    return part


def test_the_panel_answers_what_the_queries_answer_beyond_the_runs(bent):
    """Loss and a new run far out, where the discrepancy is drawn: by their quantiles."""
    ahead = page._look_ahead(bent)
    packed = page._surfaces(bent, ahead, 0.9)
    N, D = np.array([1e9, 1e11]), np.array([2e10, 2e12])
    answer = sb.predict(bent, N=N, D=D)
    expected = packed.log_loss_shared(N, D)
    places = packed.grid.places(np.log10(N), np.log10(D))
    from scipy.ndimage import map_coordinates

    spline = packed.unseen.reshape(packed.grid.sizes).astype(float)
    unseen = map_coordinates(spline, places, prefilter=False, mode="mirror").clip(0)
    level, noise = packed.levels.astype(float)
    loss = expected + level[:, None] * np.sqrt(unseen)
    for values, name in ((loss, "loss"), (loss + noise[:, None], "new_run")):
        ours = np.exp(values)
        theirs = answer[name].values.reshape(-1, 2)
        sd = theirs.std(axis=0)
        np.testing.assert_array_less(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)), 0.3 * sd)
        np.testing.assert_allclose(ours.std(axis=0), sd, rtol=0.2)


def test_the_panel_finds_the_optimum_of_the_frontier(bent):
    ahead = page._look_ahead(bent)
    packed = page._surfaces(bent, ahead, 0.9)
    best = sb.frontier(bent, C=10.0**ahead.log_C)
    np.testing.assert_allclose(ahead.log_N, np.log10(best["N"].values.reshape(240, -1)))
    np.testing.assert_allclose(ahead.log_D, np.log10(best["D"].values.reshape(240, -1)))
    assert page._error(packed, ahead, ahead.kept, 0.9) <= page.TOLERANCE
    # The error is that of N*: shifted frontiers differ by their shift.
    shifted = page.Ahead(ahead.budgets, ahead.log_N + np.log10(1.1), ahead.log_D, ahead.kept)
    assert page._error(packed, shifted, ahead.kept, 0.9) == pytest.approx(1 - 1 / 1.1, abs=0.01)


def test_the_fewest_components_that_are_close_enough_are_taken(monkeypatch, plain):
    ranks = (1, 2, 3, 4, 6, 8, 12)
    monkeypatch.setattr(page, "RANKS", ranks)
    ahead = page._look_ahead(plain)
    packed = page._surfaces(plain, ahead, 0.9)
    taken = len(packed.scales)
    assert page._error(packed, ahead, ahead.kept, 0.9) <= page.ENOUGH
    draws, found = page._components(plain, ahead, packed.grid.density)
    fewer = surfaces.pack(draws, found, ranks[ranks.index(taken) - 1])
    assert page._error(fewer, ahead, ahead.kept, 0.9) > page.ENOUGH


def test_the_grid_is_denser_only_where_more_components_do_not_help(monkeypatch, plain):
    monkeypatch.setattr(page, "ENOUGH", 0.0)
    ahead = page._look_ahead(plain)
    densities = {}
    for ranks in ((1, 2), (16, 20)):
        monkeypatch.setattr(page, "RANKS", ranks)
        densities[ranks] = page._surfaces(plain, ahead, 0.9).grid.density
    assert densities == {(1, 2): 1.0, (16, 20): page.DENSITIES[-1]}


def test_the_sliders_begin_at_the_optimum_of_ten_times_the_largest_run(bent, live):
    settings = live.settings
    largest = bent.runs.max_compute
    assert settings["largest"] == pytest.approx(np.log10(largest))
    start = settings["start"]
    assert start["C"] == pytest.approx(np.log10(10 * largest))
    best = sb.frontier(bent, C=10 * largest)
    assert start["N"] == pytest.approx(np.log10(float(best["N"].median())), abs=0.01)
    assert start["N"] + start["D"] + np.log10(6) == pytest.approx(start["C"])
    assert settings["C"] == pytest.approx([np.log10(bent.runs.C.min()), 26.0])


def test_the_ranges_hold_the_runs_and_the_optima_with_a_margin(bent, live):
    best = sb.frontier(bent, C=10.0 ** np.linspace(*live.settings["C"], BUDGETS))
    for name in ("N", "D"):
        optimal = np.log10(best[name].values.reshape(-1, BUDGETS))
        low, high = np.quantile(optimal, page.CENTRAL, axis=0)
        of_runs = np.log10(getattr(bent.runs, name))
        expected = [
            min(low.min(), of_runs.min()) - page.MARGIN,
            max(high.max(), of_runs.max()) + page.MARGIN,
        ]
        assert live.settings[name] == pytest.approx(expected)


def test_the_largest_budget_is_a_hundred_times_that_of_very_large_runs():
    table = report_runs().table.copy()
    table[["N", "D"]] *= 100.0
    table["C"] = 6 * table["N"] * table["D"]
    runs = sb.Runs(table, "large")
    ahead = page._look_ahead(small_fit(runs=runs))
    assert ahead.log_C[-1] == pytest.approx(np.log10(100 * runs.max_compute))
    assert ahead.log_C[-1] > 26.0


def test_arrays_of_the_page_have_the_shapes_that_its_settings_state(live):
    settings = live.settings
    nodes = int(np.prod(settings["sizes"]))
    counts = {
        "mean": ("<f4", nodes),
        "unseen": ("<f4", nodes),
        "components": ("<i2", nodes * (settings["wide"] + settings["narrow"])),
        "wideDraws": ("<i2", settings["draws"] * settings["wide"]),
        "narrowDraws": ("i1", settings["draws"] * settings["narrow"]),
        "levels": ("<f4", 2 * settings["draws"]),
    }
    assert set(live.arrays) == set(counts)
    for name, (kind, count) in counts.items():
        values = np.frombuffer(base64.b64decode(live.arrays[name]), kind)
        assert values.size == count, name
    assert len(settings["scales"]) == settings["wide"] + settings["narrow"]


def test_the_sentence_says_how_many_draws_there_are_and_rounds_the_error_up():
    assert page._sentence(240, 240, 0.0011).startswith("This page contains all 240 posterior draws")
    text = page._sentence(240, 500, 0.0011)
    assert text.startswith("This page contains 240 of 500 posterior draws of the curve")
    assert "agree with those of the package to 0.2% or better at 10 budgets" in text
