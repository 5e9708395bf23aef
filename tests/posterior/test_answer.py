"""Answers show themselves as tables of intervals with caveats, and are datasets otherwise."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.posterior.answer import MOST_ROWS, Answer
from scalebayes.summaries.text import cell
from tests.fixtures import draws_around, fit_of, grid_runs


@pytest.fixture(scope="module")
def fit():
    return fit_of("chinchilla", grid_runs(), **draws_around("chinchilla", (4, 250)))


@pytest.fixture(scope="module")
def far(fit):
    """Predictions within and far beyond the runs."""
    return sb.predict(fit, N=["1B", "70B"], D=["20B", "15T"])


def lines_of(answer):
    return repr(answer).splitlines()


def other_recipe():
    return fit_of(
        "chinchilla", grid_runs(noise=0.02, name="other"), **draws_around("chinchilla", (4, 250))
    )


QUESTIONS = {
    "predict": lambda fit: sb.predict(fit, N="1B", D="20B"),
    "frontier": lambda fit: sb.frontier(fit, C=[1e21, 1e23]),
    "reach": lambda fit: sb.reach(fit, loss=2.2),
    "decide": lambda fit: sb.decide(fit, C=1e22),
    "near_optimum": lambda fit: sb.near_optimum(fit, C=1e22),
    "regret": lambda fit: sb.regret(fit, N="1B", D="20B"),
    "overtrain": lambda fit: sb.overtrain(fit, N="1B", D="200B"),
    "probability": lambda fit: sb.probability(fit, loss=2.2, C=1e22),
    "prefer": lambda fit: sb.prefer(fit, a={"N": 1e9, "D": 2e10}, b={"N": 2e9, "D": 1e10}),
    "returns": lambda fit: sb.returns(fit, N="1B", D="20B"),
    "isoloss": lambda fit: sb.isoloss(fit, N=["1B", "2B"], loss=2.4),
    "above_converged": lambda fit: sb.above_converged(fit, C=1e22),
    "average": lambda fit: sb.predict(sb.average({"a": fit, "b": fit}), N="1B", D="20B"),
    "contrast": lambda fit: sb.contrast({"a": fit, "b": other_recipe()}, N="1B", D="20B"),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_answer_shows_a_table_with_intervals(fit, name):
    answer = QUESTIONS[name](fit)
    assert isinstance(answer, Answer)
    assert lines_of(answer)[0] == "Posterior median with 90% equal-tailed interval"
    assert "beyond" in repr(answer)
    html = answer._repr_html_()
    assert "<table" in html.split("<details>")[0]
    assert "xarray.Dataset" in html  # behind the fold
    # No internal name is a heading: what is not in the table of headings is a word of the field.
    headings = re.findall(r"<th>(.*?)</th>", html.split("<details>")[0])
    allowed = {"compute_ratio", "data_ratio", "N_like", "D_like"}
    assert not [one for one in headings if "_" in one and one not in allowed]


def test_the_table_has_the_numbers_of_intervals(fit, far):
    table = sb.intervals(far).xs("loss", level="quantity")
    shown = [line for line in lines_of(far) if re.match(r"  (1B|70B) ", line)]
    assert len(shown) == len(table) == 2
    for line, median in zip(shown, table["median"], strict=True):
        cells = re.findall(r"([\d.]+) \[", line)
        assert min(abs(float(cell) - median) for cell in cells) < 0.01


def test_caveats_stand_below_in_brief_and_open_in_full(far):
    text, html = repr(far), far._repr_html_()
    for message in sb.caveats(far):
        assert f"[{message.code}]" in text
        assert f"[{message.code}]" in html
    (calibration,) = [m for m in sb.caveats(far) if m.code == "CALIBRATION"]
    assert len(calibration.brief) < len(calibration.text)
    flat = re.sub(r"\s+", " ", text)
    assert calibration.brief in flat
    assert calibration.text not in flat
    assert calibration.text in html
    assert str(calibration) == f"note [CALIBRATION] {calibration.text}"


def test_the_middle_of_a_long_answer_is_left_out(fit):
    budgets = np.geomspace(1e19, 1e22, 40)
    answer = sb.frontier(fit, C=budgets)
    assert answer.sizes["budget"] == 40
    rows = [
        line for line in lines_of(answer) if re.match(r"  \d[\d.e+]* +(none|[\d.]+ decades)", line)
    ]
    assert len(rows) == MOST_ROWS
    assert any(line.startswith("  ...") for line in lines_of(answer))
    assert sb.intervals(answer).xs("loss", level="quantity").shape[0] == 40


def test_a_part_of_an_answer_or_a_summary_shows_itself_as_xarray_does(far):
    for part in (far.mean(("chain", "draw")), far.isel(target=0), far.drop_vars("decades_beyond")):
        assert "Dimensions:" in repr(part)
        assert "xarray" in part._repr_html_()


def test_an_answer_is_a_dataset(far, tmp_path):
    assert isinstance(far, xr.Dataset)
    plain = xr.Dataset(far.data_vars, far.coords, far.attrs)
    assert far.equals(plain)
    assert far["loss"].mean() == plain["loss"].mean()
    assert isinstance(pickle.loads(pickle.dumps(far)), Answer)
    far.to_netcdf(tmp_path / "answer.nc")
    with xr.open_dataset(tmp_path / "answer.nc") as stored:
        assert stored["loss"].equals(far["loss"])
    assert sb.caveats(xr.concat([far, far], "target")) == sb.caveats(far)


def test_a_fit_says_what_to_ask(fit):
    html = fit._repr_html_()
    for question in ("sb.predict(fit, N=..., D=...)", "sb.frontier(fit, C=...)", "sb.report(fit"):
        assert question in html
    of_compute = fit_of("kaplan-compute", grid_runs(), **draws_around("kaplan-compute", (2, 50)))
    assert "sb.predict(fit, C=...)" in of_compute._repr_html_()
    assert "frontier" not in of_compute._repr_html_()


def shows_table(answer):
    assert "<table" in answer._repr_html_() or "xarray" in answer._repr_html_()
    return lines_of(answer)[0] == "Posterior median with 90% equal-tailed interval"


@pytest.mark.parametrize(
    "change",
    [
        lambda far: far * 2,
        lambda far: -far,
        lambda far: far > 2,
        lambda far: far - far,
        lambda far: far.map(np.exp),
        lambda far: far.diff("target"),
        lambda far: far.cumsum("target"),
    ],
)
def test_other_values_are_not_shown_under_the_headings_of_the_answer(far, change):
    assert not shows_table(change(far))


@pytest.mark.parametrize(
    "part",
    [
        lambda far: far.isel(draw=[]),
        lambda far: far.isel(chain=[]),
        lambda far: far.isel(target=[]),
        lambda far: far.drop_vars(list(far.data_vars)),
        lambda far: far.assign(note="text"),
        lambda far: far.assign_coords(decades_beyond=far["decades_beyond"] + 0.0 * far["draw"]),
    ],
)
def test_what_has_no_intervals_shows_itself_as_xarray_does(far, part):
    assert not shows_table(part(far))


def test_coordinates_of_all_kinds_stand_in_the_table(far):
    days = np.array(["2026-01-01", "2026-02-01"], "M8[ns]")
    labelled = far.assign_coords(recipe="mine", day=("target", days))
    assert shows_table(labelled)
    assert "mine" in repr(labelled)
    assert "2026-02-01" in repr(labelled)
    assert (sb.intervals(labelled).reset_index()["recipe"] == "mine").all()
    stacked = far.set_index(target=["N", "D"])
    assert repr(stacked).splitlines()[2:5] == repr(far).splitlines()[2:5]
    assert shows_table(far.drop_vars(["N", "D", "C"]))


def test_one_of_several_answers_is_selected_by_name(far):
    both = xr.concat([far, far.assign(loss=far["loss"] + 1)], pd.Index(["a", "b"], name="recipe"))
    b = both.sel(recipe="b")
    assert shows_table(b)
    median = sb.intervals(b).xs("loss", level="quantity")["median"]
    expected = sb.intervals(far).xs("loss", level="quantity")["median"] + 1
    np.testing.assert_allclose(median, expected)


def test_targets_with_the_same_coordinates_have_a_row_each(far):
    both = xr.concat([far, far.assign(loss=far["loss"] + 1)], "recipe")
    first, second = (line for line in lines_of(both) if line.startswith("  1B "))
    assert first != second


def test_the_dots_of_an_answer_along_two_dimensions_stand_for_its_middle(fit):
    answer = sb.frontier(fit, C=np.geomspace(1e19, 1e22, 20))
    both = xr.concat([answer, answer], pd.Index(["a", "b"], name="recipe"))
    rows, _ = both._rows()
    assert [row["recipe"] for row in rows] == [*"aaaaaa", "...", *"bbbbbb"]
    assert both._repr_html_().count("<tr") < 60


def test_no_zero_has_a_sign():
    row = {"median": -1e-7, "eti90_lb": -3e-7, "eti90_ub": 2e-7}
    assert cell(row, 0.9) == "0.0000 [0.0000, 0.0000]"
