"""The three approaches side by side, in Python and on the command line."""

import json

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.baselines import envelope, huber, isoflop
from scalebayes.baselines.point_fits import METHODS
from scalebayes.cli import app

NAMES = ["log-huber (approach 3)", "envelope (approach 1)", "isoflop (approach 2)"]


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def chinchilla_points():
    return sb.load_runs("hoffmann2022")


@pytest.fixture(scope="module")
def found(chinchilla_points):
    return sb.point_fits(chinchilla_points, C=["1e21", "5.76e23"], draws=60)


def test_each_method_answers_in_the_shape_of_a_posterior(found):
    assert list(found.answers) == list(found.estimates) == list(METHODS) == NAMES
    assert found.refusals == {}
    for answer in found.answers.values():
        assert dict(answer.sizes) == {"chain": 1, "draw": 60, "budget": 2}
        assert set(answer) == {"N", "D", "loss", "tokens_per_param", "a"}
        assert answer["a"].dims == ("chain", "draw")
        assert set(answer.coords) == {"chain", "draw", "C", "decades_beyond"}
        assert answer["decades_beyond"].attrs == {"of": "C"}
        assert answer["loss"].attrs["units"] == "nats per token"
        assert np.isfinite(answer.to_dataarray()).all()


def test_the_table_is_their_intervals_and_estimates(found, chinchilla_points):
    table = found.table(0.8)
    assert table.attrs == {"ci_prob": 0.8, "ci_kind": "eti"}
    assert "80% equal-tailed" in repr(table)
    for name, method in zip(NAMES, (huber, envelope, isoflop), strict=True):
        answer = method.frontier(chinchilla_points, C=["1e21", "5.76e23"], draws=60)
        xr.testing.assert_identical(answer, found.answers[name])
        row = table.loc[(5.76e23, name, "N")]
        low, high = np.quantile(answer["N"].isel(budget=1), [0.1, 0.9])
        assert (row["eti80_lb"], row["eti80_ub"]) == pytest.approx((low, high))
        alone = method.frontier(chinchilla_points, C=5.76e23, draws=0)
        assert row["estimate"] == pytest.approx(alone["N"].item(), rel=1e-9)


def test_the_log_huber_frontier_is_that_of_the_fit(chinchilla_points, found):
    best = huber.huber(chinchilla_points)
    N = huber.LAW.optimise(5.76e23 / 6, best)
    row = found.table().loc[(5.76e23, NAMES[0], "N")]
    assert row["estimate"] == pytest.approx(N, rel=1e-6)
    loss = found.table().loc[(5.76e23, NAMES[0], "loss")]
    assert loss["estimate"] == pytest.approx(huber.LAW(N, 5.76e23 / 6 / N, **best), rel=1e-9)
    assert found.table().loc[(1e21, NAMES[0], "a"), "estimate"] == pytest.approx(0.5138, abs=2e-4)


def test_methods_that_a_table_does_not_allow_are_refused_and_the_others_answer():
    found = sb.point_fits(sb.load_runs("pile2023"), C=1e21, draws=5)
    assert list(found.answers) == NAMES[:1]
    assert list(found.refusals) == NAMES[1:]


def test_the_command_prints_them_side_by_side():
    text = run("point-fits", "hoffmann2022", "--C", "5.76e23", "--draws", "40").stdout
    assert (
        "Median of 40 resamples (of a fit: of its posterior) with 90% equal-tailed interval" in text
    )
    assert all(name in text for name in NAMES)
    assert "1.65 decades" in text
    answer = json.loads(
        run("point-fits", "hoffmann2022", "--C", "5.76e23", "--draws", "40", "--json").stdout
    )
    assert len(answer["rows"]) == 15
    assert {"C", "method", "quantity", "estimate", "median", "eti90_lb", "eti90_ub"} <= set(
        answer["rows"][0]
    )


def test_the_command_says_what_it_left_out_and_why():
    result = run("point-fits", "pile2023", "--C", "1e21", "--draws", "5")
    assert "note: no isoflop (approach 2): pile2023 has 0 budgets" in result.stderr
    notes = run("point-fits", "hoffmann2022", "--C", "1e21", "--draws", "5").stderr
    assert (
        "note: envelope (approach 1): left out, too few sizes or the best is the smallest or "
        "largest: about 1.6e18" in notes
    )
    assert "is not a quantity" in run("point-fits", "hoffmann2022", "--C", "lots", code=1).stderr
    assert "--C" in run("point-fits", "hoffmann2022", code=2).stderr


def test_a_table_that_allows_none_is_an_error(tmp_path):
    file = tmp_path / "few.csv"
    file.write_text("N,D,loss\n70M,1.4B,3.3\n160M,3.2B,2.9\n1B,20B,2.5\n")
    result = run("point-fits", file, "--C", "1e21", code=1)
    assert "error: none of the point estimates can be computed for few" in result.stderr
    assert "few has 3 runs: a point fit of 5 parameters needs more" in result.stderr


def test_fits_of_one_name_are_refused_not_dropped():
    fits = ["--fit", "one/same.nc", "--fit", "two/same.nc"]
    result = run("point-fits", "hoffmann2022", "--C", "1e22", *fits, code=1)
    assert "two files are called same" in result.stderr
