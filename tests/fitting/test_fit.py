"""Sampling: refits, seeds, interruption, repeats after failed convergence checks, and refusals."""

import _thread
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.fitting import samplers
from scalebayes.fitting.fit import _more_careful
from scalebayes.fitting.graph import pymc_model
from scalebayes.fitting.samplers import _why_nutpie_stopped
from scalebayes.messages import Message
from scalebayes.posterior.diagnostics import Diagnosis
from scalebayes.utils.progress import Progress

pytestmark = pytest.mark.standard


def posterior(fit):
    return fit.stored["posterior"].to_dataset()


def test_same_seed_same_draws(fitted, load_public):
    first = fitted("hoffmann2022", "chinchilla")
    again = sb.fit(load_public("hoffmann2022"), "chinchilla", seed=0)
    other = sb.fit(load_public("hoffmann2022"), "chinchilla", seed=1)
    assert (posterior(first) == posterior(again)).all().to_array().all()
    assert not (posterior(first)["L_inf"] == posterior(other)["L_inf"]).any()


def test_cores_do_not_change_the_draws(fitted, load_public):
    one = sb.fit(load_public("hoffmann2022"), "chinchilla", seed=0, cores=1)
    assert (
        (posterior(fitted("hoffmann2022", "chinchilla")) == posterior(one)).all().to_array().all()
    )


def test_refit_compiles_nothing_and_equals_a_sampler_compiled_for_its_table(
    load_public, monkeypatch, tmp_path
):
    sb.fit(load_public("hoffmann2022"), "chinchilla", seed=0)

    def refuse(*_args, **_kwargs):
        raise AssertionError("compiled again")

    with monkeypatch.context() as patch:
        patch.setattr(samplers, "kernel", refuse)
        patch.setattr(samplers, "compile_model", refuse)
        refit = sb.fit(load_public("pile2023"), "chinchilla", seed=3)
    monkeypatch.setattr(samplers, "COMPILED", {})
    monkeypatch.setenv("SCALEBAYES_CACHE_DIR", str(tmp_path))
    fresh = sb.fit(load_public("pile2023"), "chinchilla", seed=3)
    for name in posterior(refit):
        np.testing.assert_allclose(posterior(refit)[name], posterior(fresh)[name], rtol=1e-6)


def test_scale_of_the_inputs_does_not_matter(load_public):
    # N from 1e4: parameterisations with amplitudes far from the data fail their checks here.
    table = load_public("hoffmann2022").table
    small = table.assign(N=table["N"] / 1e4, D=table["D"] / 1e2, C=table["C"] / 1e6)
    assert sb.diagnose(sb.fit(sb.Runs(small, "small"), "coupled")).ok


def test_tree_has_the_groups_arviz_expects(fitted):
    import arviz_stats as azs

    fit = fitted("hoffmann2022", "chinchilla")
    assert set(fit.stored.children) == {
        "posterior", "sample_stats", "prior", "observed_data", "constant_data",
    }  # fmt: skip
    assert list(posterior(fit)) == ["L_inf", "N_c", "alpha_N", "D_c", "alpha_D", "sigma", "nu"]
    loo = azs.loo(fit.tree)
    assert loo.n_data_points == 240
    assert loo.good_k >= max(loo.pareto_k)


def test_log_likelihood_is_pymcs(fitted):
    import pymc as pm

    fit = fitted("hoffmann2022", "chinchilla")
    graph = pymc_model(fit.runs, fit.spec)
    point = posterior(fit).isel(chain=0, draw=0)
    mu = np.log(
        fit.spec.law_object(
            fit.runs.N,
            fit.runs.D,
            **{p: float(point[p]) for p in fit.spec.law_object.parameter_names},
        )
    )
    theirs = pm.logp(
        pm.StudentT.dist(nu=float(point["nu"]), mu=mu, sigma=float(point["sigma"])),
        np.log(fit.runs.loss),
    ).eval()
    ours = fit.log_likelihood["log_loss"].isel(chain=0, draw=0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert [rv.name for rv in graph.observed_RVs] == ["log_loss"]


def test_interrupted_fit_comes_back_whole_and_flagged(load_public, monkeypatch):
    def interrupt(self, label):
        sent = []

        def update(chains):
            if not sent and sum(c.finished_draws for c in chains) > 4000:
                sent.append(True)
                _thread.interrupt_main()

        return update

    monkeypatch.setattr(Progress, "bar", interrupt)
    with pytest.warns(sb.GateWarning):
        fit = sb.fit(load_public("hoffmann2022"), "chinchilla", draws=200_000, tune=500)
    assert fit.partial
    assert "partial" in repr(fit)
    assert 0 < posterior(fit).sizes["draw"] < 200_000
    assert np.isfinite(posterior(fit).to_array()).all()
    gate = sb.diagnose(fit)
    assert not gate.ok
    assert "PARTIAL" in [m.code for m in gate.messages]


@pytest.mark.parametrize("draws_left", [0, 5])
def test_an_interrupted_retry_leaves_the_whole_attempt_before_it(
    load_public, monkeypatch, draws_left
):
    sample, calls = samplers.run_nutpie, []

    def cut_the_second(compiled, settings, seed, callback):
        calls.append(settings)
        if len(calls) == 1:
            return sample(compiled, settings, seed, callback)
        if draws_left == 0:
            raise KeyboardInterrupt
        return sample(compiled, settings | {"draws": draws_left}, seed, callback)[0], True

    monkeypatch.setattr(samplers, "run_nutpie", cut_the_second)
    with pytest.warns(sb.GateWarning):
        fit = sb.fit(load_public("pile2023"), "chinchilla", draws=90, tune=300)
    assert posterior(fit).sizes == {"chain": 4, "draw": 90}
    assert fit.partial
    assert fit.metadata["attempts"] == 1
    assert "PARTIAL" in fit.gate_failures


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"draws": 0}, "draws must be at least 1; got 0"),
        ({"chains": 0}, "chains must be at least 1"),
        ({"tune": 0}, "tune must be at least 1"),
        ({"seed": -1}, "seed must not be negative"),
        ({"target_accept": 2.0}, "target_accept must lie between 0 and 1"),
        ({"save_warmup": True}, "save_warmup: set by fit itself"),
        ({"bogus": 1}, "nutpie does not take these arguments"),
    ],
)
def test_arguments_no_sampler_can_use_are_refused(load_public, arguments, words):
    with pytest.raises(sb.FitError, match=words):
        sb.fit(load_public("pile2023"), "chinchilla", **arguments)


def test_one_chain_is_not_tried_again(load_public):
    with pytest.warns(sb.GateWarning):
        fit = sb.fit(load_public("pile2023"), "chinchilla", chains=1)
    assert fit.metadata["attempts"] == 1


@pytest.mark.parametrize(
    ("codes", "attempt", "draws", "target_accept"),
    [
        (["DIVERGENCES", "ESS_BULK"], 1, 2000, 1 - 0.05 / 3),
        (["R_HAT"], 1, 3000, 0.95),
        (["TREE_DEPTH"], 1, 3000, 0.95),
        (["R_HAT"], 2, 3000, 1 - 0.05 / 3),
    ],
)
def test_steps_get_smaller_where_a_fit_diverged_or_more_draws_did_not_help(
    codes, attempt, draws, target_accept
):
    gate = Diagnosis(tuple(Message(code, "failed", "") for code in codes), pd.DataFrame())
    settings = _more_careful({"draws": 1000, "tune": 600, "target_accept": 0.95}, gate, attempt)
    assert settings == {"draws": draws, "tune": 1200, "target_accept": pytest.approx(target_accept)}


NO_START = """All initialization points failed

Caused by:
    Logp function returned error: ErrorCode(4)

Stack backtrace:
   0: <unknown>
  11: clone3
             at ./misc/../sysdeps/unix/sysv/linux/x86_64/clone3.S:81:0"""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NO_START, "the sampler found no place to start: the posterior density is zero"),
        ("a chain\n   failed\nStack backtrace:\n 0: main", "nutpie stopped: a chain failed"),
    ],
)
def test_errors_of_nutpie_are_told_without_its_backtrace(error, words):
    reason = _why_nutpie_stopped(RuntimeError(error))
    assert reason.startswith(words)
    assert "backtrace" not in reason
    assert "\n" not in reason


def test_a_table_without_a_start_is_refused_and_the_process_ends_well(tmp_path):
    """nutpie's threads outlived the error, and the process that had printed it crashed."""
    script = tmp_path / "no_start.py"
    script.write_text(
        "from dataclasses import replace\n"
        "import scalebayes as sb\n"
        "from scalebayes.specs.table_units import KEPT, normalise\n"
        "runs = sb.load_runs('pile2023')\n"
        "spec = sb.read_model('chinchilla')\n"
        "own = normalise(runs, spec)\n"
        "far_off = sb.Runs(own.runs.table.assign(loss=50 * own.runs.loss), 'far off')\n"
        "KEPT[runs][spec.hash] = replace(own, runs=far_off)\n"
        "sb.fit(runs, spec, progress=False)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert "FitError: the sampler found no place to start" in done.stderr
    assert done.returncode == 1


def test_hopeless_settings_are_tried_three_times_and_reported(load_public):
    with pytest.warns(sb.GateWarning, match="ESS"):
        fit = sb.fit(load_public("pile2023"), "chinchilla", draws=5, tune=20)
    assert fit.metadata["attempts"] == 3
    assert fit.metadata["sampler"]["tune"] == 80
    asked = fit.metadata["asked"]
    assert (asked["draws"], asked["tune"], asked["chains"]) == (5, 20, 4)
    assert set(fit.gate_failures) >= {"ESS_BULK", "ESS_TAIL"}
    assert "FAILED" in repr(fit)


@pytest.mark.parametrize(
    ("runs", "model", "error", "words"),
    [
        ("pile2023", "chinchila", sb.SpecError, "did you mean 'chinchilla'"),
        ("few", "chinchilla", sb.RunsError, "needs at least 6"),
        ("no tokens", "chinchilla", sb.RunsError, "has no D"),
        ("no loss", "chinchilla", sb.RunsError, "no loss has no usable loss in run .*: got nan"),
        ("no size", "chinchilla", sb.RunsError, r"no size has no usable N in run 6\.7B: got 0"),
    ],
)
def test_refused_before_anything_compiles(runs, model, error, words, load_public, monkeypatch):
    monkeypatch.setattr(samplers, "compile_with", None)
    table = load_public("pile2023").table
    tables = {"pile2023": table, "few": table.iloc[:5], "no tokens": table[["N", "loss"]]}
    tables["no loss"], tables["no size"] = table.copy(), table.copy()
    tables["no loss"].iloc[4, table.columns.get_loc("loss")] = np.nan
    tables["no size"].iloc[5, table.columns.get_loc("N")] = 0
    with pytest.raises(error, match=words):
        sb.fit(sb.Runs(tables[runs], runs), model)


def test_unwritable_compile_directory_says_what_to_do(tmp_path):
    """Only nutpie's own compilation needs it: there is no C compiler on this path, so no kernel."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    code = "import scalebayes as sb; sb.fit(sb.load_runs('pile2023'), 'chinchilla')"
    environment = {
        "PATH": str(tmp_path),
        "HOME": str(blocked),
        "PYTENSOR_FLAGS": f"base_compiledir={blocked}/x",
    }
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 1
    assert "FitError" in run.stderr.splitlines()[-1]
    assert run.stderr.count("FallbackWarning") == 1  # the cache folder is unusable too
    assert "PYTENSOR_FLAGS=base_compiledir" in run.stderr
