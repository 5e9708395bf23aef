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
from scalebayes.validation.influence import smoothed_weights
from tests.fixtures import BESIROGLU_PARAMETERS, grid_of_sizes

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
    posterior = chinchilla.tree["posterior"].to_dataset()
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
            "posterior": chinchilla.tree["posterior"].to_dataset(),
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
