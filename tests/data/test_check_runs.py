"""What cannot be right is said of a table before a model is fitted to it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.data.findings.design import (
    _factor_in_words,
    design_precision,
    information,
    needed_spread,
    on_one_ray,
    spread_out,
)
from scalebayes.data.findings.slips import find_slip
from tests.conftest import SHARED, public_runs
from tests.fixtures import besiroglu_loss, cross


def warnings_of(runs):
    return {
        message.code: message.text for message in sb.check_runs(runs) if message.level == "warning"
    }


def sweep(noise=0.003, seed=0):
    """A sweep of eight sizes with six amounts of data."""
    N, D = cross(np.geomspace(5e7, 5e9, 8).round(), np.geomspace(1e9, 1e11, 6).round())
    noise = noise * np.random.default_rng(seed).standard_normal(len(N))
    return pd.DataFrame({"N": N, "D": D, "loss": besiroglu_loss(N, D) * np.exp(noise)})


def read(table, **arguments):
    return sb.read_runs(table, name="sweep", **arguments)


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_sweep_has_no_warning(seed):
    assert warnings_of(read(sweep(seed=seed))) == {}


@pytest.mark.parametrize("name", ["hoffmann2022", "pile2023", "gemstones2025", "olmo_ladder2024"])
def test_public_tables_have_no_warning(name):
    assert warnings_of(public_runs(name)) == {}


@pytest.mark.parametrize(
    ("x", "place", "factor"),
    [("N", 6, 10.0), ("N", 2, 1e-3), ("D", 3, 0.1), ("D", 1, 1e3), ("loss", 3, np.log(2))],
)
def test_rows_off_by_a_common_factor_are_all_named(x, place, factor):
    table = sweep()
    by = "N" if x == "loss" else x
    is_wrong = (table[by] == np.unique(table[by])[place]).to_numpy()
    table.loc[is_wrong, x] *= factor
    slip = find_slip(read(table, strict=False))
    assert slip is not None
    assert slip.x == x
    assert slip.factor == pytest.approx(1 / factor)
    assert slip.runs == tuple(str(row + 1) for row in np.flatnonzero(is_wrong))
    text = warnings_of(read(table, strict=False))["COMMON_FACTOR"]
    assert f"the {x} of runs {', '.join(slip.runs)}" in text
    change = f"divided by {factor:.3g}" if factor > 1 else f"multiplied by {1 / factor:.3g}"
    assert f"their {x} is {change}" in text


def test_rows_of_a_label_may_be_off_in_the_loss():
    table = sweep()
    table["family"] = np.resize(["a", "b", "c"], len(table))
    is_bits = (table["family"] == "b").to_numpy()
    table.loc[is_bits, "loss"] /= np.log(2)
    slip = find_slip(read(table))
    assert (slip.x, slip.where) == ("loss", "group = b")
    assert len(slip.runs) == is_bits.sum()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the cases are not beside the checkout")
def test_the_slip_among_the_cases_is_found_and_said_before_a_fit():
    path = SHARED / "cases" / "07-toy-laws-long.csv"
    slip = find_slip(sb.read_runs(path))
    assert (slip.x, slip.factor, len(slip.runs)) == ("N", 0.1, 10)
    assert slip.where == "N = 40M"
    result = CliRunner().invoke(app, ["fit", str(path), "-m", "nosuch"])
    assert "COMMON_FACTOR" in result.stderr


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_sizes_and_tokens_on_one_curve_are_told_with_the_spread_needed(power):
    N = np.geomspace(1e8, 1e10, 10)
    D = 20 * 1e8 * (N / 1e8) ** power
    text = warnings_of(read(pd.DataFrame({"N": N, "D": D, "loss": besiroglu_loss(N, D)})))[
        "ONE_RAY"
    ]
    assert "at equal compute, D/N does not vary" in text
    assert "As many runs whose D/N varies by a factor of" in text


@pytest.mark.parametrize(("decades", "noise"), [(0.0, None), (0.2, None), (0.2, 0.05)])
def test_the_numbers_of_a_design_are_those_of_its_information(decades, noise):
    """The noise is that of runs of equal inputs, where some differ."""
    N = np.geomspace(1e8, 1e10, 12)
    swing = 0.25 * decades * np.log(10) * np.resize([-1.0, 1.0, 1.0, -1.0], 12)
    N, D = N * np.exp(-swing), 20 * N * np.exp(swing)
    loss = besiroglu_loss(N, D)
    if noise is not None:
        N, D, loss = np.tile(N, 2), np.tile(D, 2), np.append(loss, loss * np.exp(noise))
    text = warnings_of(read(pd.DataFrame({"N": N, "D": D, "loss": loss})))["ONE_RAY"]
    log_N, log_D = np.log(N), np.log(D)
    sigma = 0.005 if noise is None else noise / np.sqrt(2)
    factor = design_precision(log_N, log_D, sigma).factor
    assert factor > 2
    words = f"{factor:.2g}" if factor < 100 else "more than 100"
    assert f"FLOP within a factor of {words} (90%)" in text
    if decades:
        # The trend of D/N with compute takes up a little of the swing.
        stated = float(text.partition("D/N varies by a factor of ")[2].partition(" only")[0])
        assert stated == pytest.approx(10**decades, rel=0.1)
    else:
        assert "D/N does not vary:" in text
    needed = needed_spread(log_N, log_D, sigma)
    assert f"whose D/N varies by a factor of {10**needed:.2g} at each compute" in text


def test_the_factor_of_an_optimum_is_that_of_numerical_derivatives():
    """Of the posterior of log (E, A, B, alpha, beta) with unit priors, by finite differences."""
    rng = np.random.default_rng(0)
    n, d = rng.normal(size=(2, 12))
    n, d = n - n.mean(), d - d.mean()
    alpha, beta = 0.34, 0.28
    at = np.log([0.6, 0.2, 0.2, alpha, beta])
    most = (n + d).max()

    def log_loss(log_parameters):
        floor, a, b, slope, other = np.exp(log_parameters)
        return np.log(floor + a * np.exp(-slope * n) + b * np.exp(-other * d))

    def log_optimum(log_parameters):
        _, a, b, slope, other = np.exp(log_parameters)
        return (np.log(slope * a / (other * b)) + other * most) / (slope + other)

    def derivative(function):
        steps = 1e-5 * np.eye(5)
        return np.array([(function(at + h) - function(at - h)) / 2e-5 for h in steps])

    jacobian, slope = derivative(log_loss), derivative(log_optimum)
    precision = jacobian @ jacobian.T / 0.01**2 + np.eye(5)
    sd = np.sqrt(slope @ np.linalg.solve(precision, slope))
    expected = np.exp(stats.norm.ppf(0.95) * sd)
    assert design_precision(5 + n, 7 + d, 0.01).factor == pytest.approx(expected, rel=1e-3)


def test_on_one_ray_the_variance_of_the_ratio_grows_as_kricheli_says():
    """As (alpha - beta)^-2, without a prior; with spread of D/N it does not grow."""
    n = np.linspace(-2.3, 2.3, 10)
    contrast = np.array([0.0, 0.0, 0.0, 1.0, -1.0])

    def variance(difference, spread):
        exponents = (0.31 + difference / 2, 0.31 - difference / 2)
        moved = spread_out(n, n, spread)
        return contrast @ np.linalg.solve(information(*moved, 0.005, exponents), contrast)

    scaled = [variance(e, 0.0) * e**2 for e in (0.08, 0.04, 0.02)]
    np.testing.assert_allclose(scaled, scaled[0], rtol=0.1)
    assert variance(0.02, 1.0) == pytest.approx(variance(0.08, 1.0), rel=0.2)
    assert variance(0.02, 1.0) < 1e-4 * variance(0.02, 0.0)


def test_errors_of_exponents_and_of_a_larger_run_are_those_of_numerical_derivatives():
    rng = np.random.default_rng(1)
    n, d = rng.normal(size=(2, 12))
    n, d = n - n.mean(), d - d.mean()
    far = (n + d).max() + np.log(10)
    at_n, at_d = (far - np.log(10)) / 2, (far + np.log(10)) / 2
    centre = np.log([0.6, 0.2, 0.2, 0.34, 0.28])

    def log_loss(log_parameters, n, d):
        floor, a, b, slope, other = np.exp(log_parameters)
        return np.log(floor + a * np.exp(-slope * n) + b * np.exp(-other * d))

    steps = 1e-5 * np.eye(5)

    def derivative(n, d):
        rows = [(log_loss(centre + h, n, d) - log_loss(centre - h, n, d)) / 2e-5 for h in steps]
        return np.array(rows)

    jacobian = derivative(n, d)
    covariance = np.linalg.inv(jacobian @ jacobian.T / 0.01**2 + np.eye(5))
    ratio = 0.34 / 0.28 * np.array([0, 0, 0, 1, -1])
    larger = derivative(at_n, at_d)
    precision = design_precision(5 + n, 7 + d, 0.01)
    assert precision.ratio_error == pytest.approx(np.sqrt(ratio @ covariance @ ratio), rel=1e-3)
    loss_error = np.expm1(stats.norm.ppf(0.95) * np.sqrt(larger @ covariance @ larger))
    assert precision.loss_error == pytest.approx(loss_error, rel=1e-3)


def test_a_ray_tells_less_than_a_spread_design_of_the_same_compute():
    N = np.geomspace(1e8, 1e10, 10)
    log_N, log_D = np.log(N), np.log(20 * N)
    moved_N, moved_D = spread_out(log_N, log_D, 1.0)
    np.testing.assert_allclose(moved_N + moved_D, log_N + log_D)
    assert np.ptp(moved_D - moved_N) == pytest.approx(np.log(10))
    np.testing.assert_allclose(np.diff(np.subtract(*on_one_ray(moved_N, moved_D))), 0, atol=1e-9)
    ray, spread = design_precision(log_N, log_D, 0.005), design_precision(moved_N, moved_D, 0.005)
    assert ray.factor > 10 * spread.factor
    assert ray.ratio_error > 5 * spread.ratio_error
    assert ray.loss_error > 3 * spread.loss_error
    text = warnings_of(read(pd.DataFrame({"N": N, "D": 20 * N, "loss": besiroglu_loss(N, 20 * N)})))
    assert f"in place of {ray.ratio_error:.2g}, and the loss at 10 times" in text["ONE_RAY"]


def test_a_table_whose_ratios_differ_lies_on_no_ray():
    N = np.geomspace(1e8, 1e10, 8)
    ratio = 20 * np.resize([0.3, 1.0, 3.0], 8)
    table = pd.DataFrame({"N": N, "D": ratio * N, "loss": besiroglu_loss(N, ratio * N)})
    assert "ONE_RAY" not in warnings_of(read(table))


@pytest.mark.parametrize(("factor", "words"), [(2.5, "2.5"), (99, "99"), (250.0, "more than 100")])
def test_large_factors_have_no_number(factor, words):
    assert _factor_in_words(factor) == words


def test_the_needed_spread_is_enough_and_less_is_not():
    log_N = np.log(np.geomspace(1e8, 1e10, 10))
    log_D = np.log(20) + log_N
    needed = needed_spread(log_N, log_D, 0.005)
    assert 0.2 < needed < 2
    places = np.resize([-0.5, 0.5, 0.0], 10)

    def factor(spread):
        half = 0.5 * spread * np.log(10) * places
        return design_precision(log_N - half, log_D + half, 0.005).factor

    assert factor(needed) <= 2 < factor(needed - 0.1)
    assert factor(0) > 10
    assert needed_spread(log_N, log_D, 10.0) is None


def test_the_information_matrix_agrees_with_least_squares_on_many_tables():
    N, D = cross(np.geomspace(1e8, 1e10, 5), np.geomspace(1e9, 1e11, 5))
    log_N, log_D = np.log(N), np.log(D)
    narrow = design_precision(log_N, log_D, 0.002).factor
    assert design_precision(log_N, log_D, 0.02).factor > narrow > 1
    # Four times the runs at one noise scale: half the standard error, up to the prior.
    four = design_precision(np.tile(log_N, 4), np.tile(log_D, 4), 0.002).factor
    assert np.log(narrow) / np.log(four) == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("inputs", [["N", "D"], ["N"], ["D"]])
def test_a_loss_that_rises_all_over_is_told(inputs):
    table = sweep()[["N", "D", "loss"]]
    table["loss"] = 5 - table["loss"]
    chosen = table.groupby(inputs, as_index=False)["loss"].mean() if len(inputs) == 1 else table
    text = warnings_of(read(chosen, strict=False))["NOT_MONOTONE"]
    assert "the loss rises" in text


def test_a_scattered_table_whose_loss_rises_is_told_by_its_pairs():
    rng = np.random.default_rng(0)
    N, D = np.exp(rng.uniform(18, 23, 40)), np.exp(rng.uniform(21, 25, 40))
    table = pd.DataFrame({"N": N, "D": D, "loss": 5 - besiroglu_loss(N, D)})
    text = warnings_of(read(table))["NOT_MONOTONE"]
    assert "pairs of runs of which one has more N and no less D" in text
    assert "is the column an accuracy" in text
    falling = table.assign(loss=besiroglu_loss(N, D))
    assert "NOT_MONOTONE" not in warnings_of(read(falling))
    noise = table.assign(loss=3 * np.exp(0.01 * rng.standard_normal(40)))
    assert "NOT_MONOTONE" not in warnings_of(read(noise))


def test_losses_a_thousand_times_too_small_are_told():
    table = sweep()
    table["loss"] /= 1000
    text = warnings_of(read(table))["LOSS_UNIT"]
    assert "(--scale loss=1000)" in text
    assert "LOSS_UNIT" not in warnings_of(read(table, metric="mean squared error"))
    assert "LOSS_UNIT" not in warnings_of(read(sweep()))
    small = table.assign(N=table["N"] / 1e7, D=table["D"] / 1e8)
    assert "LOSS_UNIT" not in warnings_of(read(small, own_units=True))


def test_warnings_come_before_a_fit_and_once_with_runs(tmp_path):
    N = np.geomspace(1e8, 1e10, 10)
    path = tmp_path / "ray.csv"
    pd.DataFrame({"N": N, "D": 20 * N, "loss": besiroglu_loss(N, 20 * N)}).to_csv(path, index=False)
    fit = CliRunner().invoke(app, ["fit", str(path), "-m", "nosuch"])
    assert "ONE_RAY" in fit.stderr
    checked = CliRunner().invoke(app, ["runs", str(path)])
    assert checked.output.count("ONE_RAY") == 1


def test_a_group_off_by_no_likely_factor_is_no_slip():
    table = sweep()
    is_off = (table["N"] == np.unique(table["N"])[3]).to_numpy()
    table.loc[is_off, "loss"] *= 1.08
    assert find_slip(read(table)) is None
