"""Simulation-based calibration: ranks of the truth are uniform, and deviations are detected.

The slow tests use laws of one input, whose refits take a fraction of a second: 200 replicates of a
spec in models/ and of the same law with a discrepancy. benchmarks/sbc.py runs every spec of models/
with more replicates; docs/sbc.md has its results. Seeds are fixed and were never chosen.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scalebayes as sb
from scalebayes.fitting.preflight import least_noise_scale
from scalebayes.specs.sweeps import read_sweeps

FILE = Path(__file__).parents[2] / "benchmarks" / "sbc.py"
SHORT = {"tune": 400}
"""Enough for four well-behaved parameters; fits that fail the checks are repeated with more."""


@pytest.fixture(scope="module")
def sbc():
    spec = importlib.util.spec_from_file_location("sbc", FILE)
    module = sys.modules["sbc"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["sbc"]


@pytest.fixture(scope="module")
def size_discrepancy():
    """Kaplan's L(N) with a discrepancy: the cheapest law that carries one."""
    spec = sb.read_model("kaplan-size").model_dump()
    del spec["priors"]["nu"]
    discrepancy = sb.read_model("coupled-discrepancy").discrepancy.model_dump()
    spec |= {"name": "size-discrepancy", "noise": "normal", "discrepancy": discrepancy}
    return type(sb.read_model("kaplan-size")).model_validate(spec)


def run(sbc, spec, replicates, **options):
    table = pd.DataFrame([sbc.replicate(spec, i, **SHORT, **options) for i in range(replicates)])
    assert not table["gate"].str.startswith("NO FIT").any()
    return table


@pytest.mark.parametrize("replicates", [20, 200])
def test_probability_of_staying_in_a_band_is_exact(sbc, replicates):
    lower, upper = sbc.simultaneous_band(replicates, 0.9)
    probability = sbc.staying_inside(lower, upper, replicates)
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(4000):
        counts = sbc.counts(rng.integers(0, 100, replicates))
        inside.append(((counts >= lower) & (counts <= upper)).all())
    assert 0.9 <= probability < 0.95
    assert np.mean(inside) == pytest.approx(probability, abs=4 * np.sqrt(0.1 * 0.9 / 4000))


def test_p_values_of_uniform_ranks_are_no_smaller_than_uniform(sbc):
    rng = np.random.default_rng(1)
    p = np.array([sbc.p_value(rng.integers(0, 100, 60)) for _ in range(200)])
    for level in (0.05, 0.2, 0.5):
        assert (
            stats.binomtest(int((p <= level).sum()), len(p), level, alternative="greater").pvalue
            > 1e-3
        )
    assert stats.binomtest(int((p <= 0.2).sum()), len(p), 0.2).pvalue > 1e-3


def test_ties_are_broken_at_random(sbc):
    rng = np.random.default_rng(2)
    infinite = np.full(99, np.inf)
    ranks = [sbc.rank(np.inf, infinite, rng) for _ in range(2000)]
    assert (min(ranks), max(ranks)) == (0, 99)
    assert sbc.rank(1.5, np.array([0.0, 1.0, 2.0]), rng) == 2


def conjugate_ranks(sbc, *, shift=0.0, scale=1.0):
    """Ranks of a Normal mean under its exact posterior, or under one shifted or rescaled."""
    rng = np.random.default_rng(3)
    table = []
    for i in range(200):
        truth = rng.normal()
        mean, sd = rng.normal(truth, 0.5) / 1.25, np.sqrt(0.2)
        table.append(
            {
                "replicate": i,
                "mu": sbc.rank(truth, rng.normal(mean + shift * sd, scale * sd, 99), rng),
            }
        )
    return pd.DataFrame(table)


def test_an_exact_posterior_passes_and_wrong_ones_do_not(sbc):
    assert not sbc.outside(conjugate_ranks(sbc))
    for fault in ({"shift": 0.5}, {"shift": -0.5}, {"scale": 0.5}, {"scale": 2.0}):
        assert set(sbc.outside(conjugate_ranks(sbc, **fault))) == {"mu"}, fault


def test_results_have_the_layout_of_arviz(sbc):
    import arviz_plots as azp

    tree = sbc.to_tree(conjugate_ranks(sbc))
    values = tree["prior_sbc"]["mu"]
    assert values.dims == ("chain", "draw")
    assert 0 < float(values.min()) < float(values.max()) < 1
    azp.plot_ecdf_pit(tree, group="prior_sbc", backend="none")


@pytest.mark.parametrize(
    "name", [x for x in sb.list_models().index if sb.read_model(x).pool is None]
)
def test_every_spec_simulates_tables(sbc, name):
    """No prior draw may give a table with a loss that is not finite: none is to be dropped."""
    spec = sb.read_model(name)
    with np.errstate(all="ignore"):
        made = [sbc.simulate(spec, np.random.SeedSequence([7, i])) for i in range(25)]
        # An exponential may give accuracies above 1: such draws have no table and no density.
        # A valley that is steep on one side overflows far from its bottom.
        if name in ("downstream", "tuned"):
            made = [one for one in made if np.isfinite(spec.law_object.log_response(one[1])).all()]
            assert len(made) > 15
        # `fit` looks at this first.
        assert all(np.isfinite(least_noise_scale(runs, spec)) for _, runs in made)
    assert all(np.isfinite(spec.law_object.log_response(runs)).all() for _, runs in made)
    truth, runs = made[0]
    assert set(spec.priors) | {"loss_far", "log_likelihood"} <= set(truth)
    assert ("N_opt" in truth) == (spec.law_object.optimal_N is not None)
    assert all(value.shape == (1,) for value in truth.values())
    assert len(runs) == (60 if name == "tuned" else 48)


def test_the_discrepancy_is_simulated_jointly_with_the_target(sbc):
    """A target next to a run has that run's delta; a far target has another; both have size eta."""
    spec = sb.read_model("chinchilla-discrepancy")
    tight = spec.model_dump()
    tight["priors"]["sigma"] |= {"sigma": 1e-9}
    tight["priors"]["eta"] |= {"median": 0.05, "sigma": 1e-9}
    spec, law = type(spec).model_validate(tight), spec.law_object
    off = []
    for i in range(200):
        truth, runs = sbc.simulate(spec, np.random.SeedSequence([8, i]))
        parameters = {name: truth[name] for name in law.parameter_names}
        far = np.log(
            truth["loss_far"] / law.function(sbc.TARGET["N"], sbc.TARGET["D"], **parameters)
        )
        off.append([*np.log(runs.loss / law.function(runs.N, runs.D, **parameters)), *far])
    inputs = pd.concat([sbc.design(), pd.DataFrame([sbc.TARGET])])
    squares = sum(
        np.subtract.outer(v, v) ** 2
        for v in (np.log10(inputs["N"].values), np.log10(inputs["D"].values))
    )
    np.testing.assert_allclose(np.std(off), 0.05, rtol=0.1)
    np.testing.assert_allclose(np.cov(np.transpose(off)) / 0.05**2, np.exp(-squares / 2), atol=0.45)


TINY = {"dist": "LogNormal", "median": 1e-6, "sigma": 1e-9, "reason": "a test"}
"""Prior of a scale that does not matter."""


@pytest.mark.parametrize(
    ("error", "size"), [("omega", 0.05), ("tau_rate", 0.3), ("tau_batch", 0.3)]
)
def test_the_runs_of_a_sweep_share_its_errors(sbc, error, size):
    """Each sweep's error has the planted size, and moves its runs as the law says."""
    stated = sb.read_model("tuned").model_dump()
    for scale in ("sigma", "share", "omega", "tau_rate", "tau_batch"):
        stated["priors"][scale] = TINY
    stated["priors"][error] = TINY | {"median": size}
    # A parabola without skew, so that a shift moves the derivative of log loss by itself alone.
    stated["priors"]["skew"] = TINY | {"median": 1e-3}
    stated["priors"]["rho"] = TINY
    spec = sb.read_model("tuned").model_validate(stated)
    law, found = spec.law_object, []
    for i in range(40):
        truth, runs = sbc.simulate(spec, np.random.SeedSequence([9, i]))
        parameters = {name: truth[name] for name in law.parameter_names}
        off = np.log(runs.loss / law.evaluate(runs, parameters))
        places = ("rate_0", "rate_N", "rate_D", "batch_0", "batch_N", "batch_D")
        best = law.best(runs.N, runs.D, **{name: parameters[name] for name in places})
        away = {x: np.log(getattr(runs, x) / best[x]) for x in best}
        members = [member > 0 for member in read_sweeps(runs).member.T]
        found += [_error_of_sweep(error, off[rows], parameters, away, rows) for rows in members]
    assert len(found) == 40 * 12
    np.testing.assert_allclose(np.std(found), size, rtol=0.15)
    assert abs(np.mean(found)) < 4 * size / np.sqrt(len(found))


def _error_of_sweep(error, off, parameters, away, rows):
    """The error of one sweep, from what its runs are off the law: the same for all of them."""
    if error == "omega":
        np.testing.assert_allclose(off, off.mean(), atol=1e-4)
        return off.mean()
    x, curvature = {"tau_rate": ("learning_rate", "c_rate"), "tau_batch": ("batch", "c_batch")}[
        error
    ]
    # c (u - e)^2 - c u^2 = c e^2 - 2 c e u: the slope in u gives e.
    slope, at_bottom = np.polyfit(away[x][rows], off / parameters[curvature], 1)
    straight = slope * away[x][rows] + at_bottom
    np.testing.assert_allclose(parameters[curvature] * straight, off, atol=1e-3)
    return -slope / 2


def test_tables_on_which_least_squares_overflows_are_fitted_all_the_same(sbc):
    spec = sb.read_model("bottleneck")
    for i in (84, 109):  # where the search for the least scatter left the numbers
        with np.errstate(all="ignore"):
            _, runs = sbc.simulate(spec, np.random.SeedSequence([int(spec.hash[:8], 16), i]))
            assert np.isfinite(least_noise_scale(runs, spec))


def test_replicates_of_other_processes_are_those_of_this_one(sbc, monkeypatch, tmp_path):
    """The processes simulate too: a fit of a table that was sent would have other priors."""
    monkeypatch.syspath_prepend(str(FILE.parent))
    monkeypatch.setattr(sbc, "RESULTS", tmp_path)
    spec = sb.read_model("kaplan-size")
    (elsewhere,) = sbc.run_missing(spec, [3], 1, **SHORT)
    here = sbc.replicate(spec, 3, **SHORT)
    ranks = [name for name in here if name != "seconds"]
    assert {name: elsewhere[name] for name in ranks} == {name: here[name] for name in ranks}


@pytest.mark.slow
def test_the_inference_of_a_law_is_calibrated(sbc):
    table = run(sbc, sb.read_model("kaplan-size"), 200)
    assert not sbc.outside(table)
    assert (table["gate"] != "").mean() < 0.05


@pytest.mark.slow
def test_the_inference_of_a_law_with_discrepancy_is_calibrated(sbc, size_discrepancy):
    table = run(sbc, size_discrepancy, 200)
    assert {"eta", "sigma", "loss_far", "log_likelihood"} <= set(sbc.quantities(table))
    assert not sbc.outside(table)


@pytest.mark.slow
def test_a_planted_error_in_the_fit_is_seen(sbc, monkeypatch):
    """A posterior whose sigma is halved: the noise, the likelihood and the far loss are wrong."""
    right = sb.fit

    def halved(*arguments, **options):
        fit = right(*arguments, **options)
        fit.stored["posterior"]["sigma"] = fit.stored["posterior"]["sigma"] * 0.5
        return fit

    monkeypatch.setattr(sb, "fit", halved)
    table = run(sbc, sb.read_model("kaplan-size"), 40)
    assert {"sigma", "log_likelihood"} <= set(sbc.outside(table))


def test_the_page_is_of_the_specs_as_they_are(sbc):
    said = sbc.read_docs()
    page = sbc.DOCS.read_text()
    named = []
    if sbc.NOT_MEASURED in page:
        named = page.split(sbc.NOT_MEASURED)[1].split(".\n")[0].strip().replace("`", "").split(", ")
    assert sorted([*said, *named]) == sorted(sbc.UNPOOLED)
    assert {name: row["hash"] for name, row in said.items()} == {
        n: sb.read_model(n).hash[:8] for n in said
    }
    assert all(int(row["replicates"]) >= 100 for row in said.values())
    words = sbc.DOCS.read_text().split(sbc.MARKERS[1])[1]
    left = [name for name, row in said.items() if row["outside"] != "none"]
    assert all(f"`{name}` left its band" in words for name in left)  # said, not only printed


def test_the_page_keeps_what_more_replicates_said(sbc, tmp_path, monkeypatch):
    page = sbc.DOCS.read_text()
    monkeypatch.setattr(sbc, "DOCS", tmp_path / "sbc.md")
    monkeypatch.setattr(sbc, "RESULTS", tmp_path / "none at hand")
    sbc.DOCS.write_text(page)
    sbc.write_docs()
    assert sbc.DOCS.read_text() == page
    monkeypatch.setattr(
        sbc, "summarise", lambda spec: {"spec": f"`{spec.name}`", "hash": "x", "replicates": 10**6}
    )
    sbc.write_docs()
    assert {row["replicates"] for row in sbc.read_docs().values()} == {str(10**6)}


def test_new_results_replace_as_many_old_ones(sbc, tmp_path, monkeypatch):
    """A change of the simulator or of the sampler does not change the hash of a spec."""
    page = sbc.DOCS.read_text()
    monkeypatch.setattr(sbc, "DOCS", tmp_path / "sbc.md")
    sbc.DOCS.write_text(page)
    old = sbc.read_docs()["chinchilla"]
    new = old | {"replicates": int(old["replicates"]), "seconds each": "9.99"}
    monkeypatch.setattr(sbc, "summarise", lambda spec: new if spec.name == "chinchilla" else {})
    sbc.write_docs()
    assert sbc.read_docs()["chinchilla"]["seconds each"] == "9.99"
