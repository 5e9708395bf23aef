"""Runs left out, against exact Gaussian algebra, importance sums by hand, and refits."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import scalebayes as sb
from scalebayes.posterior import likelihood as likelihood_module
from scalebayes.posterior.fit import METADATA, law_parameters
from scalebayes.posterior.likelihood import make_likelihood, residuals
from scalebayes.units import format_quantity
from scalebayes.validation import influence as influence_module
from scalebayes.validation.influence import smoothed_weights, trusted_k
from scalebayes.validation.text import shifts_table
from tests.fixtures import (
    BESIROGLU_PARAMETERS,
    INTEGRATED,
    draws_around,
    fit_of,
    grid_of_sizes,
    grid_runs,
)

CHAINS, DRAWS = 4, 1500
MANY = 10_000
"""Draws a chain: weights that move a mean by its own sd leave few effective draws."""
SIGMA, ETA = 0.02, 0.03
TARGET = {"N": 3e10, "D": 4e11}


def table_of_runs(rows=14, seed=0):
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(8, 10, rows), 10 ** rng.uniform(9.5, 11.5, rows)
    N[rows // 2 :] = N[: rows - rows // 2]  # every size twice
    loss = 2.6 * (1e9 / N) ** 0.06 * (2e10 / D) ** 0.05 * np.exp(SIGMA * rng.standard_normal(rows))
    loss[3] *= 1.05
    return sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name="plane")


RUNS = table_of_runs()


def make_fit(spec, runs, values):
    shape = next(iter(values.values())).shape
    coords = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    posterior = xr.Dataset(
        {name: (("chain", "draw"), value) for name, value in values.items()}, coords
    )
    tree = xr.DataTree.from_dict({"posterior": posterior})
    tree.attrs[METADATA] = json.dumps({"partial": False, "gate_failures": []})
    return sb.Fit(spec, runs, tree)


class Plane:
    """A law linear in logs, with known Gaussian noise: every posterior is a known Gaussian."""

    mean, spread = np.array([np.log(2.6), 0.06, 0.05]), np.diag([0.1, 0.03, 0.03]) ** 2

    def __init__(self, discrepancy):
        about = {"name": "plane", "title": "plane", "law": "product", "noise": "normal"}
        priors = sb.read_model("product").model_dump()["priors"]
        about["priors"] = {name: priors[name] for name in ("L_0", "alpha_N", "alpha_D")}
        if discrepancy:
            about["discrepancy"] = {"length": 1.0, "reason": "test"}
        self.spec, self.eta = sb.Spec(**about), ETA if discrepancy else 0.0

    def design(self, N, D):
        return np.column_stack([np.ones_like(N), np.log(1e9 / N), np.log(2e10 / D)])

    def kernel(self, a, b):
        """The package's own correlation between points, from its basis on all of them."""
        both = np.concatenate([np.column_stack(a), np.column_stack(b)])
        if not self.eta:
            return np.zeros((len(a[0]), len(b[0])))
        basis = make_likelihood(self.fit(RUNS, draws=2)).known.basis
        points = basis.scale(both.T)
        dense = replace(basis, points=points, vectors=np.eye(len(points))).project(points)
        return dense[: len(a[0]), len(a[0]) :]

    def given(self, N, D, log_loss):
        """Gaussian posterior of the coefficients."""
        X = self.design(N, D)
        covariance = SIGMA**2 * np.eye(len(N)) + self.eta**2 * self.kernel((N, D), (N, D))
        precision = np.linalg.inv(self.spread) + X.T @ np.linalg.solve(covariance, X)
        pull = np.linalg.solve(self.spread, self.mean) + X.T @ np.linalg.solve(covariance, log_loss)
        return np.linalg.solve(precision, pull), np.linalg.inv(precision)

    def curve(self, N, D, log_loss):
        """Mean latent loss at the target, from the joint Gaussian of log losses and curve."""
        x, X = self.design(*(np.array([TARGET[k]]) for k in "ND")), self.design(N, D)
        at = tuple(np.array([TARGET[k]]) for k in "ND")
        covariance = (
            X @ self.spread @ X.T
            + self.eta**2 * self.kernel((N, D), (N, D))
            + SIGMA**2 * np.eye(len(N))
        )
        cross = x @ self.spread @ X.T + self.eta**2 * self.kernel(at, (N, D))
        mean = x @ self.mean + cross @ np.linalg.solve(covariance, log_loss - X @ self.mean)
        variance = (
            x @ self.spread @ x.T + self.eta**2 - cross @ np.linalg.solve(covariance, cross.T)
        )
        return float(np.exp(mean + variance / 2).item())

    def fit(self, runs, draws=DRAWS, seed=0):
        if draws == 2:
            mean, spread = self.mean, self.spread
        else:
            mean, spread = self.given(runs.N, runs.D, np.log(runs.loss))
        rng = np.random.default_rng(seed)
        log_L_0, alpha_N, alpha_D = np.moveaxis(
            rng.multivariate_normal(mean, spread, (CHAINS, draws)), -1, 0
        )
        values = {"L_0": np.exp(log_L_0), "alpha_N": alpha_N, "alpha_D": alpha_D}
        values["sigma"] = np.full((CHAINS, draws), SIGMA)
        if self.eta:
            values["eta"] = np.full((CHAINS, draws), self.eta)
        return make_fit(self.spec, runs, values)


@pytest.mark.parametrize("discrepancy", [False, True])
@pytest.mark.parametrize("by", ["run", "size"])
def test_shifts_are_those_of_the_gaussian_posterior_without_the_runs(discrepancy, by):
    plane = Plane(discrepancy)
    fit = plane.fit(RUNS, draws=MANY)
    out = sb.influence(fit, **TARGET, by=by, refit=False, progress=False)
    whole = plane.curve(RUNS.N, RUNS.D, np.log(RUNS.loss))
    sd = out.attrs["sd"]
    assert out.attrs["mean"] == pytest.approx(whole, abs=0.05 * sd)
    assert len(out) == (len(RUNS) if by == "run" else len(np.unique(RUNS.N)))
    checked = 0
    for key, row in out.iterrows():
        left_out = RUNS.table.index == key if by == "run" else np.isclose(RUNS.N, key)
        kept = RUNS.table[~left_out]
        exact = (
            plane.curve(kept["N"].to_numpy(), kept["D"].to_numpy(), np.log(kept["loss"].to_numpy()))
            - whole
        )
        assert row["shift_sd"] == pytest.approx(row["shift"] / sd)
        if row["pareto_k"] < 0.7:
            assert row["shift"] == pytest.approx(exact, abs=0.05 * sd), key
            checked += 1
    assert checked >= 0.8 * len(out)
    assert (out["shift"].abs().diff().dropna() <= 0).all()
    assert abs(out["shift_sd"].iloc[0]) > 0.4  # there is something to find


@pytest.mark.parametrize("discrepancy", [False, True])
def test_density_of_runs_left_out_is_the_dense_conditional(discrepancy):
    plane = Plane(discrepancy)
    fit = plane.fit(RUNS, draws=3)
    table, N, D = make_likelihood(fit), RUNS.N, RUNS.D
    covariance = SIGMA**2 * np.eye(len(N)) + plane.eta**2 * plane.kernel((N, D), (N, D))
    residual = residuals(fit)
    whole = stats.multivariate_normal(np.zeros(len(N)), covariance)
    np.testing.assert_allclose(table.joint(), whole.logpdf(residual), rtol=1e-8)
    rows, rest = np.array([2, 5, 9]), np.delete(np.arange(len(N)), [2, 5, 9])
    others = stats.multivariate_normal(np.zeros(len(rest)), covariance[np.ix_(rest, rest)])
    density, mean, variance = table.left_out(rows, np.zeros((0, 2)))
    np.testing.assert_allclose(
        density, whole.logpdf(residual) - others.logpdf(residual[:, rest]), rtol=1e-7
    )
    assert mean.shape == variance.shape == (CHAINS * 3, 0)


def test_discrepancy_without_runs_is_the_dense_conditional(monkeypatch):
    plane = Plane(True)
    fit = plane.fit(RUNS, draws=3)
    table, N, D = make_likelihood(fit), RUNS.N, RUNS.D
    at = np.array([3e10, 2e9]), np.array([4e11, 3e10])
    points = table.known.basis.scale(at)
    covariance = SIGMA**2 * np.eye(len(N)) + ETA**2 * plane.kernel((N, D), (N, D))
    cross = ETA**2 * plane.kernel(at, (N, D))
    for rows in ([], [0], [2, 5, 9]):
        rest = np.delete(np.arange(len(N)), rows).astype(int)
        gain = cross[:, rest] @ np.linalg.inv(covariance[np.ix_(rest, rest)])
        mean = residuals(fit)[:, rest] @ gain.T
        variance = ETA**2 - (gain * cross[:, rest]).sum(axis=1)
        ours = table.left_out(np.array(rows), points)[1:] if rows else table.off(points)
        np.testing.assert_allclose(ours[0], mean, atol=1e-7)
        np.testing.assert_allclose(ours[1], np.broadcast_to(variance, ours[1].shape), atol=1e-8)
    whole = table.left_out(np.array([2, 5, 9]), points)
    monkeypatch.setattr(likelihood_module, "VALUES", 20)  # two draws at once
    for one, other in zip(whole, table.left_out(np.array([2, 5, 9]), points), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.fixture(scope="module")
def chinchilla():
    """Draws around Besiroglu's values; the runs are theirs with noise."""
    rng = np.random.default_rng(4)
    spec = sb.read_model("chinchilla")
    best = BESIROGLU_PARAMETERS
    N, D = grid_of_sizes(5, 4)
    loss = spec.law_object(N, D, **best) * np.exp(0.01 * rng.standard_t(5, len(N)))
    runs = sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name="grid")
    width = {"L_inf": 0.003, "N_c": 0.02, "alpha_N": 0.004, "D_c": 0.02, "alpha_D": 0.004}
    values = {
        k: v * np.exp(width[k] * rng.standard_normal((CHAINS, DRAWS))) for k, v in best.items()
    }
    values["sigma"] = 0.01 * np.exp(0.1 * rng.standard_normal((CHAINS, DRAWS)))
    values["nu"] = 5.0 * np.exp(0.1 * rng.standard_normal((CHAINS, DRAWS)))
    return make_fit(spec, runs, values)


def test_log_size_is_reweighted_by_the_likelihood_of_the_runs(chinchilla):
    """Against plain importance weights from SciPy; Pareto smoothing changes light tails little."""
    out = sb.influence(chinchilla, C="1e23", by="size", refit=False, progress=False)
    posterior = chinchilla.stored["posterior"].to_dataset()
    log_N = np.log(sb.frontier(chinchilla, C=1e23)["N"].values.ravel())
    law = chinchilla.spec.law_object
    flat = {name: value.ravel() for name, value in law_parameters(chinchilla).items()}
    for N, row in out.iterrows():
        density = np.zeros(CHAINS * DRAWS)
        for _, run in chinchilla.runs.table[np.isclose(chinchilla.runs.N, N)].iterrows():
            residual = np.log(run["loss"] / law(run["N"], run["D"], **flat))
            density += stats.t.logpdf(
                residual, posterior["nu"].values.ravel(), 0, posterior["sigma"].values.ravel()
            )
        weights = np.exp(-(density - density.max()))
        assert row["pareto_k"] < 0.5
        assert row["shift"] == pytest.approx(
            np.average(log_N, weights=weights) - log_N.mean(), abs=0.01 * log_N.std()
        )
        assert row["runs"] == 4
    assert out.attrs["decision"] == "log N* at 1e23 FLOP"
    assert (out.attrs["mean"], out.attrs["sd"]) == pytest.approx((log_N.mean(), log_N.std()))


def test_weights_are_those_of_arviz_loo(chinchilla):
    import arviz_stats as azs

    table = make_likelihood(chinchilla)
    density = table.pointwise.reshape(CHAINS, DRAWS, -1)
    tree = xr.DataTree.from_dict(
        {
            "posterior": chinchilla.stored["posterior"].to_dataset(),
            "log_likelihood": xr.Dataset({"log_loss": (("chain", "draw", "run"), density)}),
        }
    )
    loo = azs.loo(tree, pointwise=True, var_name="log_loss")
    for i in (0, 7, 13):
        weights, k = smoothed_weights(chinchilla, table.pointwise[:, i])
        assert k == pytest.approx(float(loo.pareto_k[i]), abs=1e-6)
        elpd = np.log(weights @ np.exp(table.pointwise[:, i]))
        assert elpd == pytest.approx(float(loo.elpd_i[i]), abs=1e-6)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"C": [1e21, 1e22]}, "influence takes one budget; got 2"),
        ({"N": [1e9, 2e9], "D": 1e11}, "influence takes one target; got 2"),
        ({"N": 1e9}, "'chinchilla' predicts from any two of N, D and C; got N"),
        ({"C": "lots"}, "C: 'lots' is not a quantity"),
        ({"C": 1e21, "by": "row"}, "by is 'run' or 'size'; got 'row'"),
    ],
)
def test_questions_without_an_answer_are_told_why(chinchilla, given, told):
    with pytest.raises(sb.QueryError, match=told.replace("*", r"\*")):
        sb.influence(chinchilla, **given)


def test_an_average_is_asked_fit_by_fit(chinchilla):
    with pytest.raises(sb.QueryError, match="ask each fit of the average by itself"):
        sb.influence(sb.average({"a": chinchilla, "b": chinchilla}), C=1e21)


def test_the_expectation_of_a_loss_has_no_noise_of_drawn_discrepancies():
    """Of equal parameters in all draws the expectation is one number, with and without runs."""
    spec = sb.read_model(INTEGRATED)
    values = draws_around(spec, (2, 20), width=0.0, eta=0.03)
    fit = fit_of(spec, grid_runs(), **values)
    table = make_likelihood(fit)
    loss = influence_module.decision(fit, **TARGET)
    law = float(spec.law_object(**TARGET, **{k: v[0, 0] for k, v in law_parameters(fit).items()}))
    assert loss.draws(fit).std() > 1e-4
    rows = np.arange(16, 24)
    for expected, given in (
        (loss.expected(fit, table), sb.predict(fit, **TARGET)),
        (
            loss.expected_without(fit, table, rows),
            sb.predict(influence_module.without_rows(fit, rows), **TARGET),
        ),
    ):
        np.testing.assert_allclose(expected, expected[0], rtol=1e-12)
        drawn = given["loss"].values
        assert expected[0] == pytest.approx(drawn.mean(), abs=4 * drawn.std() / np.sqrt(40))
        assert expected[0] != pytest.approx(law, rel=1e-6)
    assert loss.expected(fit, table)[0] != loss.expected_without(fit, table, rows)[0]


def test_the_mean_loss_over_a_normal_discrepancy_is_that_of_a_lognormal(chinchilla):
    loss = influence_module.decision(chinchilla, **TARGET)
    count = loss.draws(chinchilla).size
    mean, variance = np.full((count, 1), -0.1), np.full((count, 1), 0.3)
    normal = np.random.default_rng(0).normal(-0.1, np.sqrt(0.3), 200_000)
    found = loss._with_discrepancy(chinchilla, mean, variance)
    without = loss._with_discrepancy(chinchilla, 0 * mean, 0 * variance)
    np.testing.assert_allclose(found / without, np.exp(normal).mean(), rtol=0.01)


def test_a_law_that_drifts_is_weighed_by_its_own_draws():
    fit = fit_of("coupled-drift", grid_runs(), **draws_around("coupled-drift", (2, 100)))
    table = make_likelihood(fit)
    loss = influence_module.decision(fit, **TARGET)
    drawn = sb.predict(fit, **TARGET)["loss"].values.ravel()
    np.testing.assert_array_equal(loss.expected(fit, table), drawn)
    np.testing.assert_array_equal(loss.expected_without(fit, table, np.array([3])), drawn)


@pytest.mark.parametrize("given", [{"N": 3e10, "C": 7.2e22}, {"D": 4e11, "C": 7.2e22}, TARGET])
def test_a_target_is_any_two_of_the_three_inputs(chinchilla, given):
    asked = influence_module.decision(chinchilla, **given)
    assert asked.words == "loss at N = 30B, D = 400B, C = 7.2e22"
    expected = sb.predict(chinchilla, **TARGET)["loss"].values.ravel()
    np.testing.assert_allclose(asked.draws(chinchilla), expected)


@pytest.fixture
def refits(monkeypatch, chinchilla):
    """Refits made by hand, with a floor 1% higher; return the calls. No weights are trusted."""
    calls = []

    def refit(runs, spec, **settings):
        calls.append((runs, spec, settings))
        posterior = chinchilla.stored["posterior"].to_dataset()
        values = {str(name): values.values for name, values in posterior.data_vars.items()}
        again = make_fit(spec, runs, values | {"L_inf": 1.01 * values["L_inf"]})
        failures = ["R_HAT"] if len(calls) == 1 else []
        again.stored.attrs[METADATA] = json.dumps({"partial": False, "gate_failures": failures})
        return again

    monkeypatch.setattr(influence_module, "sample", refit)
    monkeypatch.setattr(influence_module, "TRUSTED_K", -np.inf)
    return calls


def test_runs_whose_weights_are_not_trusted_are_fitted_again_without_them(chinchilla, refits):
    out = sb.influence(chinchilla, **TARGET, seed=6, draws=70, progress=False)
    floor = BESIROGLU_PARAMETERS["L_inf"]
    assert out["refitted"].all()
    np.testing.assert_allclose(out["shift"], 0.01 * floor, rtol=0.01)
    np.testing.assert_allclose(out["shift_sd"], out["shift"] / out.attrs["sd"])
    assert out["gate_failed"].sum() == 1
    assert out.loc[chinchilla.runs.table.index[0], "gate_failed"]
    assert len(refits) == len(chinchilla.runs)
    for place, (runs, spec, settings) in enumerate(refits):
        assert list(runs.table.index) == list(chinchilla.runs.table.index.delete(place))
        assert spec == chinchilla.spec
        assert settings == {"seed": 6, "draws": 70, "progress": False}
    text = shifts_table(out)
    assert text.count("by refit") == len(out)
    assert text.count("by refit, checks FAILED") == 1


def test_without_refits_the_weights_answer_whatever_their_tail(chinchilla, refits):
    out = sb.influence(chinchilla, **TARGET, refit=False, by="size", progress=False)
    assert refits == []
    assert not out["refitted"].any()
    assert not out["gate_failed"].any()
    text = shifts_table(out)
    assert text.count("by importance weights") == len(out)
    sizes = [format_quantity(float(N)) for N in out.index]
    assert [line.split()[0] for line in text.splitlines()[-len(out) :]] == sizes


@pytest.mark.parametrize(("size", "k"), [(100, 0.5), (1000, 2 / 3), (2200, 0.7), (100_000, 0.7)])
def test_fewer_draws_can_be_trusted_up_to_a_smaller_k(size, k):
    assert trusted_k(size) == pytest.approx(k, abs=1e-3)


def test_shifts_are_printed_in_the_unit_of_the_decision(chinchilla):
    columns = {"shift": [0.01234], "shift_sd": [-0.5], "pareto_k": [0.31]}
    columns |= {"refitted": [False], "gate_failed": [False]}
    by_run = pd.DataFrame({"N": [1e9], "D": [2e10], "loss": [2.5]} | columns, index=["a"])
    by_size = pd.DataFrame({"runs": [4]} | columns, index=[1e9])
    expected = {
        ("loss at N = 1B", "nats per token"): "in nats",
        ("loss at N = 1B", "word error rate"): "in word error rate",
        ("log N* at 1e23 FLOP", "nats per token"): "in log N",
    }
    for (decision, metric), heading in expected.items():
        for table in (by_run, by_size):
            table.attrs = {"decision": decision, "metric": metric}
            head, line = shifts_table(table).splitlines()
            assert heading in head
            assert "-0.50" in line
            assert "+0.0123" in line
            assert "0.31" in line
    assert head.split()[:2] == ["N", "runs"]
    assert line.split()[:2] == ["1B", "4"]
    head, line = shifts_table(by_run.assign().drop(columns="D")).splitlines()
    assert head.split()[:3] == ["run", "N", "loss"]
    assert line.split()[:3] == ["a", "1B", "2.5"]


@pytest.mark.slow
def test_few_runs_are_fitted_again_and_agree_with_refits_by_hand(fitted):
    fit = fitted("pile2023", "chinchilla")
    out = sb.influence(fit, C="1e23", seed=3, progress=False)
    assert out["refitted"].any()
    assert not out["refitted"].all()
    assert (out["refitted"] == (out["pareto_k"] > 0.7)).all()
    log_N = np.log(sb.frontier(fit, C=1e23)["N"])
    settled = out[~out["refitted"]].index[:2]
    for run in [*out[out["refitted"]].index[:1], *settled]:
        others = sb.Runs(fit.runs.table.drop(index=run), "others")
        exact = (
            np.log(sb.frontier(sb.fit(others, "chinchilla", seed=7), C=1e23)["N"]).mean()
            - log_N.mean()
        )
        assert out.loc[run, "shift"] == pytest.approx(
            float(exact), abs=0.15 * float(log_N.std())
        ), run
