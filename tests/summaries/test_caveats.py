"""What users are told of how far an answer reaches: planted cases of every code."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.datasets import coverage, measured
from tests.fixtures import BESIROGLU_PARAMETERS, fit_of

LAW = sb.LAWS["additive"]
TRUTH = BESIROGLU_PARAMETERS
DRAWS = (2, 200)


def runs_up_to(largest, decades, rows=30):
    """Runs along 20 tokens a parameter that span so many decades of compute."""
    C = np.geomspace(largest / 10**decades, largest, rows)
    N = np.sqrt(C / 120)
    rng = np.random.default_rng(0)
    loss = LAW(N, 20 * N, **TRUTH) * np.exp(0.01 * rng.standard_normal(rows))
    return sb.read_runs(pd.DataFrame({"N": N, "D": 20 * N, "loss": loss}), name="planted")


@pytest.fixture
def planted():
    def make(model="chinchilla", runs=None, sigma=0.02, shift=1.0):
        rng = np.random.default_rng(1)
        extra = {"sigma": sigma, "nu": 5.0, "tau": 0.01, "tau_loss": 0.01, "kappa": 1.0}
        names = sb.read_model(model).priors
        values = {name: TRUTH.get(name, extra.get(name)) for name in names}
        drawn = {
            name: value * np.exp(0.001 * rng.standard_normal(DRAWS))
            for name, value in values.items()
        }
        drawn["L_inf"] = drawn["L_inf"] * shift
        return fit_of(model, runs_up_to(1e21, 3) if runs is None else runs, **drawn)

    return make


def codes(answer):
    return [message.code for message in sb.caveats(answer)]


def at(fit, C):
    N = np.sqrt(C / 120)
    return sb.predict(fit, N=N, D=20 * N)


def test_among_the_runs_there_is_nothing_to_say(planted):
    assert codes(at(planted(), 1e20)) == []
    assert codes(sb.frontier(planted(), C=1e20)) == []


@pytest.mark.parametrize(
    ("span", "decades", "expected"),
    [
        (3.0, 0.9, {"CALIBRATION"}),
        (1.0, 0.9, {"CALIBRATION"}),
        (1.0, 1.1, {"CALIBRATION", "FAR_BEYOND"}),
        (3.0, 2.3, {"CALIBRATION"}),
        (3.0, 2.5, {"CALIBRATION", "NOT_VALIDATED"}),
        (2.0, 2.6, {"CALIBRATION", "NOT_VALIDATED", "FAR_BEYOND"}),
    ],
)
def test_distance_is_told_by_decades_and_by_the_span_of_the_runs(planted, span, decades, expected):
    fit = planted(runs=runs_up_to(1e21, span))
    assert set(codes(at(fit, 1e21 * 10**decades))) == expected
    assert set(codes(sb.frontier(fit, C=1e21 * 10**decades))) == expected


@pytest.mark.parametrize("rounding", [0.0, 0.01])
def test_runs_of_one_compute_are_told_to_show_one_sweep(planted, rounding):
    rng = np.random.default_rng(0)
    N = np.geomspace(1e8, 1e10, 12)
    D = 1e20 / N * np.exp(rounding * rng.standard_normal(12))
    loss = LAW(N, D, **TRUTH) * np.exp(0.02 * rng.standard_normal(12))
    runs = sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name="one sweep")
    for answer in (at(planted(runs=runs), 1e22), sb.frontier(planted(runs=runs), C=1e22)):
        (message,) = [each for each in sb.caveats(answer) if each.code == "FAR_BEYOND"]
        assert "which all have about one compute" in message.text


def test_a_limit_is_told(planted):
    (message,) = sb.caveats(sb.predict(planted(), N=1e9, D=np.inf))
    assert message.code == "NOT_VALIDATED"
    assert "an infinite input" in message.text


def test_inputs_outside_the_runs_at_their_compute_are_told(planted):
    fit = planted()
    low, high = fit.runs.N.min(), fit.runs.N.max()
    (message,) = sb.caveats(sb.predict(fit, N=100 * high, C=1e20))[:1]
    assert message.code == "OUTSIDE_N"
    assert "2.0 decades outside the range of the runs" in message.text
    assert set(codes(sb.predict(fit, N=low / 10, C=1e20))) == {"OUTSIDE_N", "OUTSIDE_D"}
    assert codes(sb.predict(fit, N=high * 1.5, C=1e20)) == []


def test_small_residuals_are_no_reassurance(planted):
    assert codes(at(planted(sigma=0.004), 5e21)) == ["CALIBRATION", "SMALL_RESIDUALS"]
    assert "0.4%" in sb.caveats(at(planted(sigma=0.004), 5e21))[-1].text
    assert codes(at(planted(sigma=0.004), 1e20)) == []


def test_laws_that_disagree_are_told_with_their_intervals(planted):
    runs = runs_up_to(1e21, 3)
    near = sb.average({"low": planted(runs=runs), "high": planted(runs=runs, shift=1.001)})
    far = sb.average({"low": planted(runs=runs), "high": planted(runs=runs, shift=1.05)})
    assert "LAWS_DISAGREE" not in codes(at(near, 1e22))
    message = next(m for m in sb.caveats(at(far, 1e22)) if m.code == "LAWS_DISAGREE")
    assert message.level == "warning"
    low, high = (sb.intervals(at(one, 1e22)).iloc[0] for one in far.fits.values())
    for label, row in (("low", low), ("high", high)):
        assert (
            f"{label} predicts {row['median']:.3f} [{row['eti90_lb']:.3f}, {row['eti90_ub']:.3f}]"
            in message.text
        )


@pytest.mark.parametrize("model", ["chinchilla", "coupled-drift"])
@pytest.mark.parametrize("decades", [0.1, 0.3, 0.7, 1.5, 2.2])
def test_the_sentence_is_the_measured_coverage_at_that_distance(planted, model, decades):
    message = next(
        m for m in sb.caveats(at(planted(model), 1e21 * 10**decades)) if m.code == "CALIBRATION"
    )
    table = coverage()
    row = table[
        (table["method"] == model) & (table["low"] < decades) & (decades <= table["high"])
    ].iloc[0]
    assert message.level == "note"
    assert f"intervals of {model} covered {row['cover90']:.0%} as a mean over" in message.text
    assert f"(worst {row['cover90_worst']:.0%}; 90% interval of the mean " in message.text
    assert f"{row['forecasts']} forecasts of {row['runs']} distinct runs" in message.text
    assert message.text.endswith(
        "; these tables were used when the default model was chosen; see docs/calibration.md"
    )


def test_a_users_own_table_is_left_out_of_the_measured_coverage(planted):
    own = sb.load_runs("hoffmann2022")
    named = sb.Runs(runs_up_to(1e21, 3).table, "pile2023")
    renamed = sb.Runs(own.table, "mine")
    for runs, table in [(named, "pile2023"), (renamed, "hoffmann2022"), (own, "hoffmann2022")]:
        answer = at(planted("chinchilla", runs), 10**0.7 * runs.max_compute)
        text = next(m.text for m in sb.caveats(answer) if m.code == "CALIBRATION")
        assert f"your own table, {table}, is not among them" in text
        others = coverage([table])
        row = others[(others["method"] == "chinchilla") & (others["low"] == 0.5)].iloc[0]
        assert f"covered {row['cover90']:.0%} as a mean over {row['tables']} public" in text


def test_the_measured_coverage_counts_every_table_once():
    table = coverage()
    file = pd.read_csv(Path(measured.__file__).with_name(measured.FILE))
    assert len(table) == len(file.drop_duplicates(["method", "low"]))
    assert not file.duplicated(["method", "low", "table"]).any()
    far = file[(file["method"] == "chinchilla") & (file["low"] == 1.0)]
    row = table[(table["method"] == "chinchilla") & (table["low"] == 1.0)].iloc[0]
    assert row["cover90"] == pytest.approx(far["cover90"].mean())
    assert row["cover90_worst"] == far["cover90"].min()
    assert row["worst_table"] == far.loc[far["cover90"].idxmin(), "table"]
    assert (row["tables"], row["runs"]) == (len(far), far["runs"].sum())
    assert row["cover90_low"] < row["cover90"] < row["cover90_high"]
    assert (file["runs"] <= file["forecasts"]).all()
    assert (file["trainings"] <= file["runs"]).all()


def test_without_any_table_nothing_was_measured():
    everything = pd.read_csv(Path(measured.__file__).with_name(measured.FILE))["table"].unique()
    assert coverage(everything).empty


def test_models_that_were_not_measured_say_so(planted):
    text = next(
        m for m in sb.caveats(at(planted("kaplan-floor"), 5e21)) if m.code == "CALIBRATION"
    ).text
    assert "the coverage of intervals of kaplan-floor beyond the runs was not measured" in text
    assert "chinchilla covered" in text


def test_the_coverage_table_is_that_of_the_specs_as_they_are():
    """Whoever changes a measured spec measures it again: python benchmarks/calibration.py."""
    table = coverage().drop_duplicates("method").set_index("method")["spec"]
    hashes = {
        name: sb.read_model(name).hash[:12]
        for name in table.index
        if name in sb.list_models().index
    }
    assert {"chinchilla", "coupled", "coupled-drift"} <= set(hashes)
    assert {name: table[name] for name in hashes} == hashes
    assert table["equal pool"] == "+".join(sorted(hashes.values()))


def test_the_equal_pool_is_recognised_and_other_weights_are_not(planted):
    runs = runs_up_to(1e21, 3)
    names = ["chinchilla", "coupled", "coupled-drift"]
    fits = [planted(name, runs) for name in names]

    def calibration(pool):
        messages = sb.caveats(at(pool, 5e21))
        return next(m.text for m in messages if m.code == "CALIBRATION")

    weights = {"chinchilla": 0.7, "coupled": 0.3}
    assert "intervals of equal pool covered" in calibration(sb.average(fits))
    assert "was not measured" in calibration(sb.average(fits, weights))


def test_caveats_print_below_the_table(planted):
    answer = at(planted(), 1e24)
    text = str(sb.intervals(answer))
    begun = [line for line in text.splitlines() if "[" in line[:12]]
    assert begun[-2].startswith("  warning [NOT_VALIDATED] ")
    assert begun[-1].startswith("  note [CALIBRATION] ")
    # In brief, in lines that fit a screen.
    brief = " ".join(message.in_brief() for message in sb.caveats(answer))
    assert brief in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 120
    assert sb.caveats(sb.intervals(at(planted(), 1e20)).to_xarray()) == ()
