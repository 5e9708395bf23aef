"""The skeleton of docs/add-a-law.md, as it stands there: it is declared, fitted and asked."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytensor
import pytensor.gradient
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import scalebayes as sb
from scalebayes.laws import LAWS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "add-a-law.md").read_text("utf-8")


def block(language):
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    return text


@pytest.fixture(scope="module")
def declared(tmp_path_factory):
    """Path of the spec, with the law declared for as long as this module's tests run."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "slow.py").write_text(block("python"), "utf-8")
    (folder / "slow.toml").write_text(block("toml"), "utf-8")
    spec = importlib.util.spec_from_file_location("slow", folder / "slow.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield folder / "slow.toml"
    del LAWS["slow"]


def test_the_skeleton_is_a_law_and_a_spec(declared):
    spec = sb.read_model(declared)
    assert spec.law_object is LAWS["slow"]
    assert "L = L_inf + L_1 (log 10^9 / log N)^p" in spec.describe()
    assert LAWS["slow"](1e9, L_inf=1.5, L_1=0.5, p=3.0) == pytest.approx(2.0)


def test_the_skeletons_determinant_is_one(declared):
    vector, coordinates = pt.dvector("z"), LAWS["slow"].coordinates
    z = {name: vector[i] for i, name in enumerate(coordinates.names)}
    logs, log_jacobian = coordinates.recover(z, {"N": np.log(3e8)})
    matrix = pytensor.gradient.jacobian(
        pt.stack([logs[name] for name in LAWS["slow"].parameter_names]), vector
    )
    found = pytensor.function([vector], matrix, mode=Mode("py", None))(np.array([1.0, -1.5, 0.4]))
    assert np.linalg.slogdet(found).logabsdet == pytest.approx(log_jacobian, abs=1e-10)


@pytest.mark.standard
def test_the_skeleton_is_fitted_and_predicts(declared):
    truth = {"L_inf": 1.6, "L_1": 0.7, "p": 5.0}
    N = np.geomspace(1e6, 1e10, 40)
    loss = LAWS["slow"](N, **truth) * np.exp(
        0.002 * np.random.default_rng(0).standard_normal(len(N))
    )
    runs = sb.read_runs(pd.DataFrame({"N": N, "loss": loss}), name="slow")
    fit = sb.fit(runs, declared, draws=500, tune=500, chains=4, progress=False)
    assert fit.gate_failures == ()
    row = sb.intervals(sb.predict(fit, N=1e11)).xs("loss", level="quantity").iloc[0]
    assert row["eti90_lb"] < LAWS["slow"](1e11, **truth) < row["eti90_ub"]
    assert row["decades_beyond"] == pytest.approx(1.0)
    for name, value in truth.items():
        low, high = np.quantile(fit.stored["posterior"][name], [0.005, 0.995])
        assert low < value < high
