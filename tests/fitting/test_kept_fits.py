"""Fits kept in the cache folder: the same fit comes back and says so, any other is made."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.fitting.kept_fits import keep, place, recall
from scalebayes.posterior.diagnostics import Diagnosis
from scalebayes.posterior.fit import METADATA
from tests.fixtures import around, fit_of

SETTINGS = {"draws": 100, "tune": 50}


@pytest.fixture
def runs():
    N = np.geomspace(1e7, 1e10, 12)
    loss = (8.8e13 / N) ** 0.076 * np.exp(0.01 * np.sin(np.arange(12)))
    return sb.read_runs(pd.DataFrame({"N": N, "loss": loss}), name="sizes")


@pytest.fixture
def made(runs, tmp_path, monkeypatch):
    """A fit made by hand, an empty cache folder, and a `fit` that counts how often it samples."""
    monkeypatch.setenv("SCALEBAYES_CACHE_DIR", str(tmp_path))
    rng = np.random.default_rng(0)
    draws = {"N_c": 8.8e13, "alpha_N": 0.076, "sigma": 0.01, "nu": 20.0}
    fit = fit_of(
        "kaplan-size",
        runs,
        **around(draws, (4, 50), rng),
    )
    counted = []

    def sample(spec, runs, backend, settings, seed, bar):
        counted.append(seed)
        return fit, Diagnosis((), pd.DataFrame())

    monkeypatch.setattr("scalebayes.fitting.fit._fit", sample)
    return fit, counted


def test_the_same_fit_is_made_once_and_says_where_it_is_from(made, runs):
    fit, counted = made
    first = sb.fit(runs, "kaplan-size", cache=True)
    again = sb.fit(runs, "kaplan-size", cache=True)
    assert counted == [0]
    assert "cached" not in first.metadata
    assert again.metadata["cached"].endswith(".nc")
    xr.testing.assert_identical(
        again.stored["posterior"].to_dataset(), fit.stored["posterior"].to_dataset()
    )
    assert again.runs is runs
    sb.fit(runs, "kaplan-size")
    assert counted == [0, 0]


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"draws": 999}, {"tune": 7}, {"chains": 3}, {"target_accept": 0.9}]
)
def test_other_settings_make_another_fit(made, runs, other):
    _, counted = made
    sb.fit(runs, "kaplan-size", cache=True)
    sb.fit(runs, "kaplan-size", cache=True, **other)
    assert len(counted) == 2


def test_other_priors_rows_or_versions_make_another_fit(made, runs):
    spec = sb.read_model("kaplan-size")
    wide = spec.model_copy(
        update={
            "priors": spec.priors
            | {"sigma": spec.priors["sigma"].model_copy(update={"shift": 0.1})}
        }
    )
    fewer = sb.Runs(runs.table.iloc[1:], runs.name)
    base = place(spec, runs, SETTINGS, 0, {"pymc": "6"})
    others = [
        place(wide, runs, SETTINGS, 0, {"pymc": "6"}),
        place(spec, fewer, SETTINGS, 0, {"pymc": "6"}),
        place(spec, runs, SETTINGS, 0, {"pymc": "7"}),
    ]
    assert base == place(spec, runs, SETTINGS, 0, {"pymc": "6"})
    assert len({base, *others}) == 4


def test_a_damaged_or_foreign_file_is_not_taken(made, runs, tmp_path):
    fit, _ = made
    path = tmp_path / "fit.nc"
    assert recall(path, fit.spec, runs) is None
    path.write_bytes(b"no netCDF")
    assert recall(path, fit.spec, runs) is None
    keep(fit, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert recall(path, fit.spec, runs) is not None
    assert recall(path, fit.spec, sb.Runs(runs.table.iloc[1:], "fewer")) is None
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = b"\0" * 4096
    path.write_bytes(content)
    assert recall(path, fit.spec, runs) is None


def test_an_interrupted_fit_is_not_kept(made, tmp_path):
    fit, _ = made
    fit.stored.attrs[METADATA] = json.dumps(fit.metadata | {"partial": True})
    keep(fit, tmp_path / "fit.nc")
    assert not (tmp_path / "fit.nc").exists()


def test_a_failed_gate_is_told_again(made, runs):
    fit, _ = made
    fit.stored.attrs[METADATA] = json.dumps(fit.metadata | {"gate_failures": ["ESS_BULK"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.GateWarning)
        sb.fit(runs, "kaplan-size", cache=True)
    with pytest.warns(sb.GateWarning, match="effective draws in the bulk"):
        sb.fit(runs, "kaplan-size", cache=True)


def test_where_nothing_can_be_kept_the_fit_is_made(made, runs, tmp_path, monkeypatch):
    _, counted = made
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SCALEBAYES_CACHE_DIR", str(tmp_path / "file"))
    for _ in range(2):
        with pytest.warns(sb.FallbackWarning, match=r"cannot be created .* samples again"):
            sb.fit(runs, "kaplan-size", cache=True)
    assert len(counted) == 2
