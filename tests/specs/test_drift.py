"""Laws whose local exponents drift: paths, densities, and answers that follow from each draw."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pytensor.compile.mode import Mode
from scipy import integrate, stats

import scalebayes as sb
from scalebayes.costs.cost import SIX_ND
from scalebayes.fitting.graph import build_model, sampler_data
from scalebayes.planning.target import ask
from scalebayes.posterior.likelihood import make_likelihood
from scalebayes.queries.curves import curve_of
from scalebayes.specs import drift as drifting
from scalebayes.specs.drift import STEP_LOG, Knots, Paths
from scalebayes.specs.drifting_law import GROUP, TAU, TAU_LOSS, Drifting
from scalebayes.specs.parts import Drift
from scalebayes.specs.table_units import normalise
from tests.fixtures import around, fit_of, runs_of_every_input

FAST = {"mode": Mode("py", None)}
TRUTH = {"L_inf": 1.8, "N_c": 5.2e7, "alpha_N": 0.35, "D_c": 1.2e9, "alpha_D": 0.37, "kappa": 0.9}
SIZES = {"sigma": 0.005, "nu": 6.0, "tau": 0.2, "tau_loss": 0.25}
SPEC = sb.read_model("coupled-drift")
DECADES = np.arange(-3.0, 12.0)


def table(rows=30):
    """Runs on a cloud of N and D around a law, with noise."""
    rng = np.random.default_rng(0)
    N, D = 10 ** rng.uniform(8, 10, rows), 10 ** rng.uniform(9, 11, rows)
    loss = sb.LAWS["coupled"](N, D, **TRUTH) * np.exp(0.005 * rng.standard_normal(rows))
    return sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name="by hand")


@pytest.fixture(scope="module")
def fit():
    """Draws made by hand: parameters around the truth, paths from their prior."""
    shape = (2, 200)
    values = around(TRUTH, shape, np.random.default_rng(0))
    sizes = {name: np.full(shape, value) for name, value in SIZES.items()}
    return fit_of(SPEC, table(), **values, **sizes)


def log_loss(fit, N, D):
    """Return the log loss of every draw at shared N and D, (S, K)."""
    return curve_of(fit, "curve").log_loss_shared(np.atleast_1d(N), np.atleast_1d(D))


# Paths.


def test_only_slopes_at_the_centre_are_sheared():
    bend = Drifting({}, None, {"N": 2.0, "loss": 3.0})
    coordinates = ["log_G_N", "log_G_D", "kappa_N", "L_inf"]
    assert [bend.shear(name) for name in coordinates] == [5.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (-9.0, 3.0)])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 3.5])
def test_knots_are_the_fewest_that_span_the_table_and_the_spare_are_shared(low, high, scale):
    low, high = low * scale, high * scale
    knots = Knots.around(np.array([low, 0.0, high]))
    needed = int(np.ceil(high / STEP_LOG)) - int(np.floor(low / STEP_LOG)) + 1
    assert len(knots) == min(each for each in drifting.KNOT_COUNTS if each >= needed)
    below = int(np.floor(low / STEP_LOG)) - knots.first
    above = knots.last - int(np.ceil(high / STEP_LOG))
    assert above - below in (0, 1)
    assert below >= 0


def test_weights_integrate_exp_g_between_and_beyond_the_knots():
    knots = Knots(-3, 4)
    rng = np.random.default_rng(1)
    g = rng.standard_normal(len(knots))
    places = STEP_LOG * np.array([-5.2, -3.0, -1.3, 0.0, 0.4, 2.0, 3.9, 6.5])
    heights = knots.weights(places) @ np.exp(g)

    def slope(x):
        return np.interp(x, knots.numbers * STEP_LOG, np.exp(g))

    breaks = knots.numbers * STEP_LOG
    for place, height in zip(places, heights, strict=True):
        expected = integrate.quad(slope, 0.0, place, points=breaks, limit=200)[0]
        assert height == pytest.approx(expected, abs=1e-8)
    paths = Paths(knots, np.stack([g, -g]))
    np.testing.assert_allclose(paths.at(places)[0], heights, atol=1e-12)
    rows = np.zeros(len(places), int)
    np.testing.assert_allclose(paths.of_each(rows, places), heights, atol=1e-12)


def test_paths_are_brownian_motions_from_the_centre_on_either_side():
    knots = Knots(-4, 8)
    covariance = knots.brownian() @ knots.brownian().T
    decades = knots.numbers / 4.0
    same_side = np.sign(decades[:, None]) == np.sign(decades)
    nearer = np.minimum(np.abs(decades[:, None]), np.abs(decades))
    np.testing.assert_allclose(covariance, np.where(same_side, nearer, 0.0))


def test_continued_paths_go_on_with_the_same_variance():
    knots = Knots(-2, 2)
    paths = Paths(knots, np.zeros((4000, len(knots))))
    tau = np.full(4000, 0.3)
    further = paths.continued(tau, np.random.default_rng(0))
    np.testing.assert_array_equal(further.g[:, 40:-40], paths.g)
    at = further.knots.numbers == 2 + 4 * 4  # four decades beyond the last knot
    assert further.g[:, at].std() == pytest.approx(0.3 * 2, rel=0.05)


def test_extreme_inputs_and_paths_give_a_loss_without_a_warning():
    """Warnings are errors in tests. Least sizes for a loss are sought far from all runs."""
    law = sb.LAWS["coupled"]
    knots = Knots(-4, 4)
    steep = np.broadcast_to(np.log(9.0) * np.abs(knots.numbers) / 4, (2, len(knots)))
    tau, rng = np.full(2, 0.5), np.random.default_rng(0)
    paths = {name: Paths(knots, steep).continued(tau, rng) for name in ("N", "D", "loss")}
    drift = drifting.Drift(law, {"N": np.log(1e9), "D": np.log(2e10)}, paths)
    values = {"L_inf": 1.7, "N_c": 5e7, "alpha_N": 0.5, "D_c": 1e9, "alpha_D": 0.4, "kappa": 0.8}
    parameters = {name: np.full(2, value) for name, value in values.items()}
    sizes = np.array([1e-30, 1.0, 1e9, 1e30, np.inf])
    loss = drift.log_loss(parameters, [sizes, np.full(5, 2e10)])
    assert not np.isnan(loss).any()
    assert (np.diff(loss, axis=1) <= 0).all()


def test_what_lies_beyond_the_runs_does_not_change_the_loss_of_a_run():
    """Runs over eight decades of the reducible loss, beyond the knots of its path on both sides."""
    N, D = 10 ** np.array([4.0, 8.0, 14.0]), 10 ** np.array([6.0, 10.0, 16.0])
    runs = sb.Runs(pd.DataFrame({"N": N, "D": D, "loss": [9.0, 2.5, 1.8]}), "far apart")
    observation, rng = SPEC.observation, np.random.default_rng(0)
    labels = {"chain": [0], "draw": np.arange(20)}
    paths = {
        f"g_{name}": (("chain", "draw", f"knot_{name}"), rng.standard_normal((1, 20, len(knots))))
        for name, knots in observation.knots(runs).items()
    }
    tau = ("chain", "draw"), np.full((1, 20), 0.3)
    taus = dict.fromkeys(observation.traits.amplitudes, tau)
    tree = xr.DataTree.from_dict(
        {"posterior": xr.Dataset(taus, labels), GROUP: xr.Dataset(paths, labels)}
    )
    parameters = {name: np.full(20, value) for name, value in TRUTH.items()}
    losses = [observation.drift(tree, runs, seed).log_loss(parameters, [N, D]) for seed in (0, 1)]
    np.testing.assert_allclose(*losses, rtol=1e-9)


# The graph.


def drifted_density(spec, runs, point):
    """Log density of a point of the graph, up to a constant, by NumPy and SciPy."""
    law, observation = spec.law_object, spec.observation
    data = sampler_data(runs, spec)
    sizes = {
        name: np.exp(point[f"{name}_log__"])
        for name in ("sigma", *observation.priors)
        if f"{name}_log__" in point
    }
    nu = 2 + np.exp(point["nu_above_2_log__"])
    density = 0.0
    for name, size in sizes.items():
        density += spec.priors[name].logpdf(size) + np.log(size)
    density += spec.priors["nu"].logpdf(nu) + point["nu_above_2_log__"]

    phi = 1 / (1 + np.exp(-(data["start_logit_phi"] + point["logit_phi"])))
    paths, shears = {}, {}
    for name, knots in observation.knots(runs).items():
        if name == "loss":
            told, y, turned = data["told_loss"], point["y_loss"], knots.brownian()
            tau, median, shear = sizes["tau_loss"], TAU_LOSS["median"], data["shear_loss"]
        else:
            told, y, turned = data[f"told_{name}"], point[f"y_{name}"], data[f"turned_{name}"]
            tau, median, shear = sizes["tau"], TAU["median"], data[f"shear_{name}"]
        z = y * (tau / median) ** -told
        if name == "loss" and law.floor:
            reducible = np.exp(data["at_loss"] * (1 - phi) / 0.6)
            above = 0.4 + 0.6 * reducible - phi
            above = (above + np.hypot(above, 0.05)) / 2
            z = z + data["follow_loss"] @ np.log((1 - phi) * reducible / above) / tau
        if f"profile_{name}" in data:
            profile = data[f"profile_{name}"]
            above = (profile - phi + np.hypot(profile - phi, 0.05)) / 2
            z = z + data[f"follow_{name}"] @ np.log(profile * (1 - phi) / above) / tau
        density += -0.5 * z @ z - np.log(tau / median) * told.sum()
        g = tau * turned @ z
        paths[name] = Paths(knots, g[None])
        shears[name] = shear @ g

    z = {}
    for name, step in law.coordinates.steps().items():
        z[name] = data[f"start_{name}"] + step * point[name]
        quantity = name.removeprefix("log_G_")
        if quantity in shears and quantity != name:
            z[name] = z[name] - shears[quantity] - shears.get("loss", 0.0)
    centre = {x: data[f"centre_{x}"] for x in law.inputs}
    symbols = {name: pt.dscalar(name) for name in z}
    logs, _ = law.coordinates.recover(symbols, centre)
    stated = pt.stack([logs[name] for name in law.parameter_names])
    of_z = pt.stack(
        [
            pytensor.gradient.grad(x, [*symbols.values()], disconnected_inputs="ignore")
            for x in [logs[n] for n in law.parameter_names]
        ]
    )
    found = pytensor.function([*symbols.values()], [stated, of_z], **FAST)
    log_values, jacobian = found(*z.values())
    parameters = dict(zip(law.parameter_names, np.exp(log_values), strict=True))

    # Priors of scales are stated on their terms at a reference, whose logs are the rows here.
    rows = dict(zip(law.parameter_names, jacobian, strict=True))
    total_rows, stated = [], {}
    for parameter in law.parameters:
        name, prior = parameter.name, spec.priors[parameter.name]
        log_value, row = np.log(parameters[name]), rows[name]
        if prior.at is not None and parameter.exponent:
            exponent = parameters[parameter.exponent]
            log_ratio = log_value - np.log(prior.at)
            log_value = exponent * log_ratio
            row = exponent * (row + log_ratio * rows[parameter.exponent])
        stated[name] = log_value, row
        if prior.over is not None:
            log_value = log_value - stated[prior.over][0]
            row = row - stated[prior.over][1]
        density += prior.logpdf(np.exp(log_value)) + log_value
        total_rows.append(row)
    density += np.linalg.slogdet(np.array(total_rows)).logabsdet

    def bend(x):
        return paths[x].at(np.log(getattr(runs, x)) - centre[x])[0]

    inputs = {x: np.exp(centre[x] + bend(x)) for x in law.inputs}
    reducible = law.reducible(inputs, parameters)
    if "loss" in paths:
        at_centre = law.reducible({x: np.exp(c) for x, c in centre.items()}, parameters)
        reducible = at_centre * np.exp(paths["loss"].at(np.log(reducible / at_centre))[0])
    residual = np.log(runs.loss) - np.log(parameters["L_inf"] + reducible)
    return density + stats.t(nu, scale=sizes["sigma"]).logpdf(residual).sum()


@pytest.mark.parametrize("law", ["coupled", "additive", "data-floor"])
def test_the_density_is_prior_times_jacobian_times_likelihood(law):
    of_law = {"coupled": "coupled", "additive": "chinchilla", "data-floor": "data-floor"}[law]
    plain = sb.read_model(of_law)
    drift = Drift(reason="for this test")
    priors = {name: plain.priors[name] for name in plain.law_object.parameter_names}
    spec = type(plain)(name="drifting", title=plain.title, law=law, drift=drift, priors=priors)
    normal = normalise(runs_of_every_input(9, seed=0), spec)
    runs, spec = normal.runs, normal.spec
    model = build_model(runs, spec)
    compiled = model.compile_logp(**FAST)
    rng = np.random.default_rng(2)
    densities, expected = [], []
    for _ in range(3):
        point = model.initial_point()
        for name, value in point.items():
            point[name] = value + 0.3 * rng.standard_normal(value.shape)
        densities.append(float(compiled(point)))
        expected.append(float(drifted_density(spec, runs, point)))
    np.testing.assert_allclose(np.diff(densities), np.diff(expected), rtol=1e-7, atol=1e-7)


# Answers.


def test_the_loss_falls_in_both_inputs_towards_the_floor_under_every_draw(fit):
    centre = np.exp([np.log(fit.runs.N).mean(), np.log(fit.runs.D).mean()])
    along = 10.0**DECADES
    fixed = np.ones_like(along)
    for N, D in ((centre[0] * along, centre[1] * fixed), (centre[0] * fixed, centre[1] * along)):
        assert (np.diff(log_loss(fit, N, D), axis=1) <= 0).all()
    at_limit = np.exp(log_loss(fit, np.inf, np.inf))[:, 0]
    floor = fit.stored["posterior"]["L_inf"].values.ravel()
    np.testing.assert_allclose(at_limit, floor, rtol=1e-6)


def test_uncertainty_grows_with_the_distance_from_the_runs(fit):
    centre = np.exp([np.log(fit.runs.N).mean(), np.log(fit.runs.D).mean()])
    away = 10.0 ** np.array([1.0, 3.0, 5.0])
    draws = np.exp(log_loss(fit, centre[0] * away, centre[1] * away))
    floor = fit.stored["posterior"]["L_inf"].values.reshape(-1, 1)
    widths = np.log(draws - floor).std(axis=0)
    assert (np.diff(widths) > 0).all()


def test_an_answer_is_a_function_of_the_draw_alone(fit):
    """What else is asked, and with which seed, changes nothing."""
    alone = sb.predict(fit, N="70B", D="1.4T", new_run=False, seed=1)["loss"]
    together = sb.predict(fit, N=["1B", "70B"], D=["20B", "1.4T"], new_run=False, seed=2)["loss"]
    np.testing.assert_array_equal(alone.values[..., 0], together.values[..., 1])
    best = sb.frontier(fit, C=[1e22, 1e24])
    here = sb.predict(fit, N="1B", D="20B", new_run=False)
    np.testing.assert_allclose(
        here["law"], np.exp(_law(fit, 1e9, 2e10))[:, None].reshape(2, 200, 1)
    )
    flat = best.stack(sample=("chain", "draw"))
    curve = curve_of(fit, "curve")
    loss = np.exp(curve.log_loss_each(flat["N"].values.T, flat["D"].values.T))
    np.testing.assert_allclose(loss, flat["loss"].values.T, rtol=1e-12)


def _law(fit, N, D):
    values = {name: fit.stored["posterior"][name].values.ravel() for name in TRUTH}
    return np.log(sb.LAWS["coupled"](N, D, **values))


def test_the_frontier_is_the_minimiser_of_each_draw(fit):
    budget = 1e23
    best = sb.frontier(fit, C=budget)["N"].values.ravel()
    curve = curve_of(fit, "curve")
    grid = np.geomspace(1e6, 1e14, 4001)
    on_grid = curve.log_loss_shared(grid, budget / (6 * grid))
    brute = grid[on_grid.argmin(axis=1)]
    rows = np.arange(len(best))
    here = curve.log_loss(rows, best, budget / (6 * best))
    # The loss is what a choice of N costs: it is the least to a millionth everywhere.
    np.testing.assert_array_less(here - on_grid.min(axis=1), 1e-6)
    assert np.median(np.abs(np.log(best / brute))) < 0.005


def test_regret_is_that_of_joint_draws_on_a_grid(fit):
    budget = 1e23
    grid = np.geomspace(1e8, 1e12, 801)
    loss = np.exp(curve_of(fit, "curve").log_loss_shared(grid, budget / (6 * grid)))
    expected_regret = (loss - loss.min(axis=1, keepdims=True)).mean(axis=0)
    choices = sb.decide(fit, C=budget)
    best = choices.isel(option=0)
    assert float(best["expected_excess_loss"]) == pytest.approx(expected_regret.min(), rel=0.01)
    assert float(best["N"]) == pytest.approx(grid[loss.mean(axis=0).argmin()], rel=0.02)
    asked = sb.regret(fit, N=2e10, C=budget)["excess_loss"].mean()
    assert float(asked) == pytest.approx(np.interp(2e10, grid, expected_regret), rel=0.01)


def test_reach_inverts_each_draw(fit):
    found = sb.reach(fit, loss=2.2, N="10B")["D"].values.ravel()
    back = np.exp(curve_of(fit, "curve").log_loss(np.arange(400), np.full(400, 1e10), found))
    finite = np.isfinite(found)
    assert finite.mean() > 0.9
    np.testing.assert_allclose(back[finite], 2.2, rtol=1e-6)


def test_log_likelihood_residuals_and_curves_are_of_the_bent_law(fit):
    likelihood = make_likelihood(fit)
    curve = log_loss(fit, fit.runs.N, fit.runs.D)
    expected = stats.t(6.0, scale=0.005).logpdf(np.log(fit.runs.loss) - curve)
    np.testing.assert_allclose(likelihood.pointwise, expected, rtol=1e-9)
    kept = fit.log_likelihood["log_loss"].values.reshape(expected.shape)
    np.testing.assert_allclose(kept, expected, rtol=1e-9)
    residual = sb.diagnose(fit)
    assert residual is not None


def test_a_saved_fit_answers_as_before(fit, tmp_path):
    path = tmp_path / "drift.nc"
    sb.save(fit, path)
    again = sb.load(path)
    before = sb.frontier(fit, C=[1e22, 1e26])["N"]
    np.testing.assert_allclose(sb.frontier(again, C=[1e22, 1e26])["N"], before, rtol=1e-9)


def again(fit, seed):
    """Return a fit by other draws of the same posterior, to a table that differs by a rounding."""
    runs = replace(fit.runs, table=fit.runs.table.assign(loss=fit.runs.loss * (1 + 1e-9)))
    shape = (2, 200)
    values = around(TRUTH, shape, np.random.default_rng(seed))
    sizes = {name: np.full(shape, value) for name, value in SIZES.items()}
    made = fit_of(SPEC, runs, **values, **sizes)
    # Other paths too: those of the same draws, in another order.
    order = np.random.default_rng(seed).permutation(shape[1])
    for name in made.stored["drift"].data_vars:
        paths = made.stored["drift"][name]
        made.stored["drift"][name] = paths.copy(data=paths.values[:, order])
    return made


def test_a_recipe_against_itself_is_neither_better_nor_cheaper(fit):
    arms = {"one": fit, "the same": again(fit, seed=5)}
    budgets = [1e22, 1e23, 1e24]
    ratio = sb.multiplier(arms, baseline="one", C=budgets)
    np.testing.assert_allclose(ratio["p_saves"].isel(arm=0), 0.5, atol=0.1)
    middle = ratio["multiplier"].isel(arm=0).median(("chain", "draw"))
    np.testing.assert_allclose(middle, 1.0, atol=0.1)
    better = sb.contrast(arms, N="10B", D="200B")["p_best"].isel(target=0)
    assert float(better.sel(arm="one")) == pytest.approx(0.5, abs=0.1)


def test_multipliers_of_two_recipes_are_reciprocal(fit):
    """If B needs r C for A's loss at C, A needs C for B's loss at r C, so 1/r of its compute."""
    one_draw = {name: np.full((1, 1), value) for name, value in (TRUTH | SIZES).items()}
    other_draw = one_draw | {"L_inf": np.full((1, 1), 1.75)}
    arms = {"A": fit_of(SPEC, table(), **one_draw), "B": fit_of(SPEC, table(31), **other_draw)}
    budget = 1e23
    ratio = float(sb.multiplier(arms, baseline="B", C=budget)["multiplier"].squeeze())
    back = float(sb.multiplier(arms, baseline="A", C=budget * ratio)["multiplier"].squeeze())
    assert 0.01 < ratio < 0.9
    assert back == pytest.approx(1 / ratio, rel=0.01)


def test_the_value_of_a_run_is_that_of_brute_force(fit):
    """The linear rule of `next_runs` against weights of all draws for each outcome of a run."""
    candidates = pd.DataFrame({"N": [3e9, 2e10], "D": [6e10, 4e11]})
    target = {"N": 7e10, "D": 1.4e12}
    question = ask(fit, target, candidates, 1e24, SIX_ND, seed=0)
    left = question.belief.variance - question.belief.gains

    log_target = log_loss(fit, target["N"], target["D"])[:, 0]
    at_candidates = log_loss(fit, candidates["N"].to_numpy(), candidates["D"].to_numpy())
    noise = stats.t(SIZES["nu"], scale=SIZES["sigma"])
    rng = np.random.default_rng(0)
    for k in range(2):
        outcomes = at_candidates[:, k] + noise.rvs(len(log_target), random_state=rng)
        density = noise.pdf(outcomes[:, None] - at_candidates[:, k])
        weights = density / density.sum(axis=1, keepdims=True)
        variance = weights @ log_target**2 - (weights @ log_target) ** 2
        # Draws this far into the tails are few: weights of 400 draws understate what is left.
        assert variance.mean() == pytest.approx(left[k], rel=0.25)
