"""Planted faults, each of which must be caught although a sampler may report nothing.

A stuck chain, two modes, saturated trees, a trace padded with NaN, a table without noise, wrong
units, duplicated outliers, and a design that identifies nothing. Chains are planted in a real
posterior.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.fitting import samplers
from scalebayes.fitting.samplers import trim
from scalebayes.posterior.diagnostics import convergence
from tests.fixtures import BESIROGLU_PARAMETERS

LAW = sb.LAWS["additive"]
TRUTH = BESIROGLU_PARAMETERS


def simulated(scatter, rows=60, seed=0, N=None, D=None):
    rng = np.random.default_rng(seed)
    N = 10 ** rng.uniform(7.5, 10, rows) if N is None else N
    D = 10 ** rng.uniform(9, 11.5, rows) if D is None else D
    loss = LAW.function(N, D, **TRUTH) * np.exp(scatter * rng.standard_normal(len(N)))
    return pd.DataFrame({"N": N, "D": D, "loss": loss})


@pytest.fixture(scope="module")
def sound(fitted):
    return fitted("pile2023", "chinchilla")


def planted(fit, fault):
    """The gate on a copy of a fit's tree after a fault was planted in it."""
    tree = fit.stored.copy(deep=True)
    fault(tree)
    return convergence(tree)


def codes(gate):
    return {message.code for message in gate.messages if message.level == "failed"}


@pytest.mark.standard
def test_a_sound_posterior_passes(sound):
    assert planted(sound, lambda tree: None).ok


@pytest.mark.standard
def test_a_stuck_chain_is_caught(sound):
    def stick(tree):
        for name in tree["posterior"].data_vars:
            tree["posterior"][name][2] = float(tree["posterior"][name][2, 0])

    assert {"STUCK", "R_HAT"} <= codes(planted(sound, stick))


@pytest.mark.standard
def test_two_modes_are_caught(sound):
    def split(tree):
        values = tree["posterior"]["alpha_N"]
        values[:2] = values[:2] + 3 * float(values.std())

    assert "R_HAT" in codes(planted(sound, split))


@pytest.mark.standard
def test_saturated_trees_are_caught(sound):
    def saturate(tree):
        tree["sample_stats"]["reached_max_treedepth"][0, :40] = True

    assert "TREE_DEPTH" in codes(planted(sound, saturate))


@pytest.mark.standard
def test_a_trace_padded_with_nan_is_caught_and_trimmed(sound):
    def pad(tree):
        for name in tree["posterior"].data_vars:
            tree["posterior"][name][3, 600:] = np.nan

    assert "NAN" in codes(planted(sound, pad))
    sampled = {
        group: sound.stored[group].to_dataset().copy(deep=True)
        for group in ("posterior", "sample_stats")
    }
    pad(tree := xr.DataTree.from_dict(sampled))
    kept, partial = trim(tree, 1000)
    assert partial
    assert np.isfinite(kept["posterior"].to_dataset().to_array()).all()


@pytest.mark.parametrize("model", ["chinchilla", "coupled-discrepancy", "kaplan-floor"])
def test_a_table_without_noise_is_refused_before_anything_compiles(model, monkeypatch):
    monkeypatch.setattr(samplers, "compile_with", None)
    spec = sb.read_model(model)
    law, rng = spec.law_object, np.random.default_rng(1)
    values = {name: TRUTH.get(name, 0.7) for name in law.parameter_names}
    N, D = 10 ** rng.uniform(7.5, 10, 60), 10 ** rng.uniform(9, 11.5, 60)
    runs = sb.read_runs(
        pd.DataFrame({"N": N, "D": D, "loss": law.function(N, D, **values)}), name="exact"
    )
    with pytest.raises(
        sb.RunsError, match=f"losses of exact follow the law '{law.name}' to .*there is no noise"
    ):
        sb.fit(runs, spec)


@pytest.mark.standard
def test_a_millionth_of_noise_is_noise_enough(fitted):
    fitted("pile2023", "chinchilla")  # compiles the sampler
    fit = sb.fit(sb.read_runs(simulated(1e-6), name="quiet"), "chinchilla", draws=500)
    assert sb.diagnose(fit).ok
    assert float(fit.stored["posterior"]["sigma"].median()) == pytest.approx(1e-6, rel=0.5)


@pytest.mark.parametrize(
    ("column", "factor", "words"),
    [
        ("N", 1e-6, "in millions or billions"),
        ("D", 1e-9, "in millions or billions"),
        ("C", 1e-15 / 86400, "PF-days"),
    ],
)
def test_wrong_units_are_refused(column, factor, words):
    table = simulated(0.01)
    table["C"] = 6 * table["N"] * table["D"]
    table[column] *= factor
    with pytest.raises(sb.RunsError, match=words):
        sb.read_runs(table)


def test_perplexities_are_refused():
    table = simulated(0.01)
    with pytest.raises(sb.RunsError, match="a perplexity"):
        sb.read_runs(table.assign(loss=np.exp(table["loss"])))


@pytest.mark.standard
def test_duplicated_outliers_are_caught(fitted):
    table = simulated(0.01)
    bad = table.iloc[:1].assign(loss=table["loss"].iloc[0] * 1.6)
    doubled = pd.concat([table, bad, bad, bad], ignore_index=True)
    with pytest.raises(sb.RunsError, match="each run once"):
        sb.read_runs(doubled)
    fitted("pile2023", "chinchilla")  # compiles the sampler
    kept = sb.read_runs(doubled, strict=False, name="doubled")
    messages = {m.code: m.text for m in sb.diagnose(sb.fit(kept, "chinchilla")).messages}
    assert messages["REPEATED_RUNS"].endswith("run 62, run 63")
    assert messages["FAR_OFF"].endswith("run 61, run 62, run 63")
    clean = sb.diagnose(sb.fit(sb.read_runs(table, name="clean"), "chinchilla"))
    assert not {"REPEATED_RUNS", "FAR_OFF"} & {m.code for m in clean.messages}


@pytest.mark.standard
def test_outliers_are_far_off_the_curve_with_a_discrepancy_too(fitted):
    fitted("hoffmann2022", "coupled-discrepancy")  # compiles the sampler
    runs = sb.read_runs(simulated(0.01), name="one bad")
    loss = runs.loss * np.where(np.arange(60) == 7, 1.6, 1.0)
    fit = sb.fit(
        replace(runs, table=runs.table.assign(loss=loss)), "coupled-discrepancy", draws=500
    )
    found = {m.code: m.text for m in sb.diagnose(fit).messages}
    assert found["FAR_OFF"].endswith("run 8")


@pytest.mark.standard
@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ({"D": np.geomspace(1e9, 1e11, 20), "N": np.full(20, 1e9)}, {"ONE_N", "PRIOR_DECIDES"}),
        ({"N": np.geomspace(1e8, 1e10, 20), "D": np.geomspace(2e9, 2e11, 20)}, {"D_FOLLOWS_N"}),
    ],
)
def test_a_design_that_identifies_nothing_is_told(design, expected, fitted):
    fitted("pile2023", "chinchilla")  # compiles the sampler
    runs = sb.read_runs(simulated(0.005, **design), name="poor")
    gate = sb.diagnose(sb.fit(runs, "chinchilla"))
    assert expected <= {m.code for m in gate.messages}
