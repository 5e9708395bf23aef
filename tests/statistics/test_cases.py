"""Tables as people bring them give the answers of least squares, in whatever unit they are.

The tables are not committed (tests/conftest.py). Expected values are least squares of the log of
the loss by SciPy with many starts, and published ones where the authors give them.
"""

import warnings

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from tests.conftest import SHARED


def case(name):
    path = SHARED / "cases" / f"{name}.csv"
    if not path.is_file():
        pytest.skip(f"no {path}: these points are not committed")
    return pd.read_csv(path)


def fitted(x, values, loss, model):
    """Fit of a law of one input to a table that is read as it is."""
    runs = sb.Runs(pd.DataFrame({x: np.asarray(values, float), "loss": loss}), "case")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sb.fit(runs, model, progress=False)


def interval(values):
    return np.quantile(values, [0.05, 0.5, 0.95])


def parameters(fit):
    posterior = fit.stored["posterior"].to_dataset()
    return {name: interval(values) for name, values in posterior.items()}


@pytest.mark.standard
def test_error_against_hours_in_hours_and_in_seconds():
    """Least squares: floor 9.87 and exponent 1.07; 9.9 at 6.8 million hours."""
    table = case("11-whisper-hours")
    found = []
    for unit in (1.0, 3600.0, 1e6):
        fit = fitted("D", unit * table["hours"], table["english_wer_percent"], "data-floor")
        assert not fit.gate_failures
        found.append(parameters(fit))
        low, middle, high = found[-1]["alpha_D"]
        assert low < 1.07 < high
        assert middle == pytest.approx(1.07, abs=0.05)
        assert found[-1]["L_inf"][1] == pytest.approx(9.87, abs=0.1)
        forecast = interval(sb.predict(fit, D=6.8e6 * unit)["loss"])
        assert forecast[0] < 9.87 < forecast[2]
        assert forecast[2] - forecast[0] < 1.0
    for name in ("alpha_D", "L_inf"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-7)
        np.testing.assert_allclose(found[0][name], found[2][name], rtol=1e-7)


@pytest.mark.standard
def test_a_deviance_that_hardly_changes():
    """Published: floor .23965 and exponent .93. Least squares: .2402 and 1.22."""
    table = case("02-insurance-deviance")
    fit = fitted("D", table["n_train"], table["test_poisson_deviance"], "data-floor")
    assert not fit.gate_failures
    found = parameters(fit)
    assert found["alpha_D"][0] < 0.93 < found["alpha_D"][2]
    assert found["L_inf"][0] < 0.23965 < 0.2402 < found["L_inf"][2]
    forecast = interval(sb.predict(fit, D=10 * table["n_train"].max())["loss"])
    assert forecast == pytest.approx(0.24, abs=0.0008)


@pytest.mark.standard
@pytest.mark.parametrize("unit", [1.0, 1e15])
def test_loss_against_compute_in_petaflop_and_in_flop(unit):
    """Exponents of least squares: .26 of both arms together, .36 and .32 of each."""
    table = case("09-fvlm-steps")
    expected = {"baseline": 0.36, "foveated": 0.32}
    both = fitted("C", unit * table["FLOPs (P)"], table["Loss"], "compute-floor")
    low, _, high = parameters(both)["alpha_C"]
    assert low < 0.26 < high
    for arm, rows in table.groupby("Type"):
        one = fitted("C", unit * rows["FLOPs (P)"], rows["Loss"], "compute-floor")
        low, _, high = parameters(one)["alpha_C"]
        assert low < expected[arm] < high
