"""Monte Carlo errors of quantiles, and the digits that are printed by them."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.display.numbers import decimals_known, known, percent
from scalebayes.summaries.monte_carlo import quantile_errors, share_error
from scalebayes.summaries.summary import exponents
from scalebayes.summaries.text import cell, exponents_table
from scalebayes.utils.arviz import azs
from tests.fixtures import report_fit

LEVELS = [0.5, 0.05, 0.95]


def chains(correlation, count=400):
    """Autoregressive chains with a standard Normal distribution, (4, 1000, count)."""
    rng = np.random.default_rng(0)
    shocks = rng.standard_normal((4, 1000, count))
    x = shocks.copy()
    for i in range(1, x.shape[1]):
        x[:, i] = correlation * x[:, i - 1] + np.sqrt(1 - correlation**2) * shocks[:, i]
    return x


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_errors_are_the_spread_of_quantiles_between_seeds_and_those_of_arviz(correlation):
    draws = chains(correlation)
    quantiles = np.quantile(draws, LEVELS, axis=(0, 1))
    errors = quantile_errors(draws, quantiles, LEVELS).mean(axis=1)
    np.testing.assert_allclose(errors, quantiles.std(axis=1), rtol=0.15)
    dataset = xr.Dataset({"x": (("chain", "draw", "of"), draws)})
    for level, error in zip(LEVELS, errors, strict=True):
        theirs = azs.mcse(dataset, method="quantile", prob=level)["x"]
        assert error == pytest.approx(float(theirs.mean()), rel=0.12)


def test_the_error_of_a_share_is_never_zero_and_knows_correlation():
    assert share_error(np.ones((4, 250))) == pytest.approx(1 / 1000)
    independent = np.tile([0.0, 1.0], (4, 125))
    assert share_error(independent) == pytest.approx(np.sqrt(0.25 / 1000))
    stuck = np.repeat([[0.0], [1.0], [0.0], [1.0]], 250, axis=1)
    assert share_error(stuck) > 0.07


def test_one_draw_and_infinite_draws_have_some_answer():
    one = np.zeros((1, 1))
    assert quantile_errors(one, np.zeros(1), [0.5]) == [0.0]
    draws = np.where(np.arange(1000) < 400, 1.0, np.inf).reshape(4, 250)
    errors = quantile_errors(draws, np.array([np.inf, 1.0]), [0.9, 0.1])
    assert np.isnan(errors[0])
    assert errors[1] == 0.0


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (81.6e9, 2e9, 80e9),
        (81.6e9, 1e9, 82e9),
        (1.906, 0.0031, 1.91),
        (-0.0447, 0.002, -0.04),
        (3.0, 40.0, 3.0),  # the first digit stays
        (0.0, 0.1, 0.0),
        (1.906, np.nan, 1.906),
        (np.inf, 0.1, np.inf),
        (1.906, np.inf, 2.0),  # an end next to draws that are infinite
    ],
)
def test_digits_below_the_error_are_not_written(value, error, expected):
    assert known(value, error) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("error", "decimals"), [(0.0031, 2), (0.01, 2), (0.011, 1), (3.0, -1)])
def test_decimals_are_those_that_the_error_allows(error, decimals):
    assert decimals_known(error) == decimals
    assert decimals_known(np.nan) == np.inf


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.004, "under 1%"),
        (0.023, "2%"),
        (0.117, "12%"),
        (0.4962, "50%"),
        (0.873, "88%"),
        (0.971, "97%"),
        (0.9951, "over 99%"),
        (np.nan, "-"),
    ],
)
def test_shares_are_written_in_steps_of_their_error(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("values", "errors", "scale", "text"),
    [
        ([1.9065, 1.8209, 1.9718], [0.001, 0.003, 0.0013], False, "1.91 [1.82, 1.97]"),
        ([1.9065, 1.8209, 1.9718], [0.001, 0.012, 0.0013], False, "1.91 [1.8, 2.0]"),
        ([2.96e10, 1.177e10, 7.67e10], [5e8, 3.5e8, 2e9], True, "30B [12B, 80B]"),
        ([109.8, 16.3, 693.0], [3.9, 0.8, 41.0], False, "110 [16, 700]"),
        ([1.9065, 1.8209, 1.9718], [np.nan] * 3, False, "1.91 [1.82, 1.97]"),
        ([5.0, 5.0, 5.0], [0.1] * 3, False, "5"),
    ],
)
def test_an_interval_is_written_to_the_digits_that_are_known(values, errors, scale, text):
    names = ["median", "eti90_lb", "eti90_ub"]
    row = dict(zip(names, values, strict=True))
    row |= {f"mcse_{name}": error for name, error in zip(names, errors, strict=True)}
    assert cell(pd.Series(row), 0.9, scale) == text


def test_a_quantity_without_draws_is_written_to_the_digits_of_its_own_error():
    share = xr.DataArray(0.8437, attrs={"mcse": 0.012})
    table = sb.intervals(xr.Dataset({"p": share, "q": 0.8437}))
    assert cell(table.loc["p"], 0.9) == "0.8"
    assert table.loc["p", ["mcse_eti90_lb", "mcse_eti90_ub"]].isna().all()
    assert cell(table.loc["q"], 0.9) == "0.8437"


def test_exponents_of_fits_are_written_to_the_digits_that_are_known():
    fit = report_fit()
    table = exponents({"fit": fit})
    row = sb.summary(fit).loc["a_opt"]
    assert table.loc["fit, these runs", "a"] == row["median"]
    assert table.loc["fit, these runs", "mcse_high"] == row["mcse_eti90_ub"]
    text = exponents_table({"fit": fit})
    assert cell(row, 0.9) in text
    assert "0.73" in text


def test_errors_of_a_table_are_those_of_its_draws_and_not_printed():
    draws = chains(0.5, 1)[..., 0]
    dataset = xr.Dataset({"x": (("chain", "draw"), draws), "p": 0.5})
    table = sb.intervals(dataset)
    errors = table.loc["x", ["mcse_median", "mcse_eti90_lb", "mcse_eti90_ub"]].to_numpy(float)
    quantiles = np.quantile(draws, LEVELS)
    np.testing.assert_allclose(errors, quantile_errors(draws, quantiles, LEVELS))
    assert table.loc["p", ["mcse_median"]].isna().all()
    assert "mcse" not in repr(table) + table._repr_html_()


def test_a_median_between_two_modes_is_printed_within_its_interval():
    """Its Monte Carlo error may exceed the distance to the ends, which are known well."""
    row = {
        "median": 1.75,
        "eti90_lb": 1.62,
        "eti90_ub": 1.98,
        "mcse_median": 0.3,
        "mcse_eti90_lb": 0.002,
        "mcse_eti90_ub": 0.002,
    }
    median, low, high = map(float, re.findall(r"[\d.]+", cell(row, 0.9)))
    assert low <= median <= high
    assert len(cell(row, 0.9).split(" ")[0]) <= 4  # and with no more digits than that needs


def test_a_share_and_its_complement_are_rounded_alike():
    for share in np.random.default_rng(0).uniform(0.02, 0.98, 100):
        both = int(percent(share).rstrip("%")) + int(percent(1 - share).rstrip("%"))
        assert both == 100
