"""Outliers under the noise of a fit, against scipy, and runs given twice."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scalebayes as sb
from scalebayes.posterior.likelihood import residuals
from scalebayes.specs.noise import NOISES
from tests.fixtures import BESIROGLU_PARAMETERS, around, bare_fit, priors_without_noise

SHAPE = (2, 300)


def make_fit(runs, model="chinchilla", **update):
    """Draws close to Besiroglu's values and to a scatter of 0.4%."""
    spec = sb.read_model(model)
    priors = priors_without_noise(spec)
    spec = sb.Spec.model_validate(spec.model_dump() | {"priors": priors} | update)
    rng = np.random.default_rng(0)
    values = BESIROGLU_PARAMETERS | {"sigma": 0.004, "nu": 3.0, "eta": 0.01}
    values = {name: values[name] for name in spec.priors}
    return bare_fit(spec, runs, around(values, SHAPE, rng, width=0.001))


@pytest.fixture(scope="module")
def all_runs():
    return sb.load_runs("hoffmann2022", keep_outliers=True)


@pytest.mark.parametrize("noise", ["student_t", "normal"])
def test_tail_probabilities_are_scipys(all_runs, noise):
    fit = make_fit(all_runs, noise=noise)
    out = sb.find_outliers(fit)
    posterior = fit.stored["posterior"].to_dataset()
    sigma = posterior["sigma"].values.ravel()
    nu = posterior["nu"].values.ravel() if noise == "student_t" else np.full(sigma.shape, np.inf)
    residual = residuals(fit)
    for run in (out.index[0], out.index[100], out.index[-1]):
        i = fit.runs.table.index.get_loc(run)
        size = np.abs(residual[:, i]) / sigma
        tail = np.mean(
            [stats.t.cdf(-s, n) + stats.t.sf(s, n) for s, n in zip(size, nu, strict=True)]
        )
        assert out.loc[run, "tail"] == pytest.approx(tail, rel=1e-9)
        assert out.loc[run, "tail_rows"] == pytest.approx(min(1.0, 245 * tail), rel=1e-9)
        middle = stats.t.ppf(0.75, nu) / stats.norm.ppf(0.75)
        assert out.loc[run, "sds"] == pytest.approx(
            np.median(residual[:, i] / sigma / middle), rel=1e-9
        )
        plain = np.mean(2 * stats.norm.cdf(-size / middle))
        assert out.loc[run, "normal_tail_rows"] == pytest.approx(
            min(1.0, 245 * plain), rel=1e-9, abs=1e-300
        )
    assert out["tail"].is_monotonic_increasing
    inputs = ["N", "D", "C", "loss"]
    assert [name for name in out if name in all_runs.table] == inputs
    pd.testing.assert_frame_equal(out[inputs].sort_index(), all_runs.table[inputs].sort_index())


@pytest.mark.parametrize("noise", ["student_t", "normal"])
def test_the_five_rows_that_the_field_leaves_out_are_flagged(all_runs, noise):
    out = sb.find_outliers(make_fit(all_runs, noise=noise))
    highest = all_runs.table["loss"].nlargest(5).index
    assert (out.loc[highest, "verdict"] != "").all()
    assert (out["verdict"] != "").sum() < 0.1 * len(out)
    if noise == "normal":
        assert (out.loc[highest, "verdict"] == "outlier").all()


def test_with_a_discrepancy_residuals_are_those_from_the_other_rows(all_runs):
    runs = sb.Runs(all_runs.table.iloc[:30], "part")
    fit = make_fit(runs, "chinchilla-discrepancy", noise="normal")
    out = sb.find_outliers(fit)
    from scalebayes.posterior.likelihood import make_likelihood

    table = make_likelihood(fit)
    dense = table.known.basis.project(table.known.basis.points) @ table.known.basis.vectors.T
    posterior = (
        fit.stored["posterior"].to_dataset().stack(sample=("chain", "draw"), create_index=False)
    )
    for run in (out.index[0], out.index[15]):
        i = runs.table.index.get_loc(run)
        rest = np.delete(np.arange(30), i)
        sds = []
        for s in range(0, 600, 60):
            sigma, eta = float(posterior["sigma"][s]), float(posterior["eta"][s])
            covariance = sigma**2 * np.eye(30) + eta**2 * dense
            gain = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[rest, i])
            spread = np.sqrt(covariance[i, i] - gain @ covariance[rest, i])
            sds.append((table.residual[s, i] - gain @ table.residual[s, rest]) / spread)
        np.testing.assert_allclose(table.standardised()[::60, i], sds, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "scatter"), [("normal", {"sigma": 0.5}), ("student_t", {"sigma": 0.5, "nu": 3.0})]
)
def test_tails_and_middle_are_those_of_the_noises_own_draws(name, scatter):
    noise = NOISES[name]
    scatter = {k: np.asarray(v) for k, v in scatter.items()}
    drawn = noise.draw(np.random.default_rng(0), (200_000,), **scatter)
    for size in (0.2, 1.0, 3.0):
        expected = (np.abs(drawn) >= size).mean()
        assert float(noise.tail(np.array(-size), **scatter)) == pytest.approx(expected, abs=4e-3)
    assert float(noise.middle(**scatter)) == pytest.approx(
        np.quantile(np.abs(drawn), 0.5) / 0.67449, rel=0.01
    )


def test_an_average_has_no_one_noise(all_runs):
    fit = make_fit(all_runs)
    with pytest.raises(sb.QueryError, match="ask each fit of the average by itself"):
        sb.find_outliers(sb.average({"a": fit, "b": fit}))


def test_rows_given_twice_are_found():
    rows = [
        (1e9, 2e10, 2.5),
        (1.005e9, 2.01e10, 2.8),
        (1e9, 2e10, 2.5),
        (1e9, 4e10, 2.5),
        (1.02e9, 2e10, 3.0),
    ]
    rows += [(5e9, 1e11, 2.2), (5.01e9, 1e11, 2.203)]  # two seeds that agree
    runs = sb.read_runs(pd.DataFrame(rows, columns=["N", "D", "loss"]), name="twice", strict=False)
    out = sb.find_duplicates(runs)
    assert out[["first", "second", "kind"]].values.tolist() == [
        ["1", "2", "losses disagree"],
        ["1", "3", "identical"],
        ["2", "3", "losses disagree"],
    ]
    assert out["difference"].tolist() == pytest.approx([np.log(2.8 / 2.5), 0.0, np.log(2.5 / 2.8)])
    assert len(sb.find_duplicates(runs, different=0.2)) == 1
    with pytest.raises(
        sb.QueryError, match=r"same and different must be positive shares; got 0 and 0\.02"
    ):
        sb.find_duplicates(runs, same=0)


def test_a_table_without_repeats_has_none():
    assert sb.find_duplicates(sb.load_runs("pile2023")).empty
