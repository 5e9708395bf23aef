"""Inputs beyond N, D and C: read from tables, asked for by name, invisible to laws without them."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.laws import LAWS
from tests.fixtures import fit_of

TABLE = pd.DataFrame(
    {
        "params": [1e8, 1e8, 1e9, 1e9, 3e8, 3e8, 1e9, 3e9, 3e9],
        "tokens": [1e9, 4e9, 1e10, 4e10, 6e9, 6e9, 2e10, 2e10, 8e10],
        "unique_tokens": [1e9, 1e9, 1e10, 1e10, 6e9, 3e9, 2e10, 5e9, 2e10],
        "steps": [2e3, 8e3, 2e4, 8e4, 1e4, 1.2e4, 4e4, 4e4, 2e5],
        "experts": [1, 8, 64, 1, 8, 64, 512, 1, 8],
        "loss": [4.0, 3.8, 3.0, 2.9, 3.3, 3.4, 2.9, 2.8, 2.6],
    }
)
PUBLISHED = {
    "L_inf": 1.869,
    "N_c": 5.057e7,
    "alpha_N": 0.3527,
    "D_c": 9.913e8,
    "alpha_D": 0.3527,
    "R_N": 5.3,
    "R_D": 15.4,
}
STEPS = {"N_c": 6.5e13, "alpha_N": 0.077, "S_c": 2.1e3, "alpha_S": 0.76}


def planted(model, values):
    """A fit whose every draw is nearly the same, so that answers can be computed by hand."""
    rng = np.random.default_rng(0)
    draws = {
        k: v * np.exp(1e-6 * rng.standard_normal((2, 50)))
        for k, v in (values | {"sigma": 0.01, "nu": 5.0}).items()
    }
    return fit_of(model, sb.read_runs(TABLE, name="nine"), **draws)


def test_other_inputs_are_read_by_their_usual_names():
    runs = sb.read_runs(TABLE, name="nine")
    assert list(runs.table) == ["N", "D", "C", "S", "U", "E", "loss"]
    np.testing.assert_array_equal(runs.U, TABLE["unique_tokens"])
    np.testing.assert_array_equal(runs.S, TABLE["steps"])
    np.testing.assert_array_equal(runs.E, TABLE["experts"])
    assert "U 1B to 20B" in repr(runs)
    renamed = TABLE.rename(columns={"steps": "how long"})
    assert "S" not in sb.read_runs(renamed, name="nine").table
    np.testing.assert_array_equal(
        sb.read_runs(renamed, name="nine", S="how long").S, TABLE["steps"]
    )


def test_runs_that_differ_in_what_they_repeat_are_not_the_same_run():
    twice = TABLE.iloc[[4, 5]].assign(loss=3.3, steps=1e4, experts=8)
    assert len(sb.read_runs(pd.concat([twice, TABLE.iloc[:2]]), name="four")) == 4


@pytest.mark.parametrize("steps", [["a", "b"], [0, 5], [1e12, 1e3], [np.nan, 1e3]])
def test_a_column_that_cannot_serve_is_left_alone_unless_asked_for(steps):
    table = TABLE.iloc[:2].assign(steps=steps)
    assert "S" not in sb.read_runs(table, name="two").table
    with pytest.raises(sb.RunsError, match="steps"):
        sb.read_runs(table, name="two", S="steps")


def test_two_columns_for_another_input_are_no_fault_either():
    table = TABLE.assign(iterations=1e4)
    assert "S" not in sb.read_runs(table, name="nine").table
    assert "S" in sb.read_runs(table, name="nine", S="iterations").table


def test_an_input_nobody_knows_is_refused():
    with pytest.raises(
        sb.RunsError, match=r"no such role of a column: V; allowed are N, D, C, S, U, E, .*loss"
    ):
        sb.read_runs(TABLE, name="nine", V="steps")


def test_a_law_says_which_column_it_misses():
    runs = sb.read_runs(TABLE.drop(columns="unique_tokens"), name="nine")
    with pytest.raises(sb.RunsError, match="nine has no U: its columns are N, D, C, S, E, loss"):
        sb.fit(runs, "data-constrained")


def test_predict_takes_further_inputs_by_name():
    fit = planted("data-constrained", PUBLISHED)
    out = sb.predict(fit, N="1B", C="2.4e20", U=["4B", "20B", "inf"])
    expected = LAWS["data-constrained"](1e9, 4e10, np.array([4e9, 2e10, np.inf]), **PUBLISHED)
    np.testing.assert_allclose(out["loss"].mean(("chain", "draw")), expected, rtol=1e-4)
    np.testing.assert_array_equal(out["U"], [4e9, 2e10, np.inf])
    assert out["decades_beyond"].attrs["of"] == "C"
    table = sb.intervals(out)
    assert table.index.names[:4] == ["N", "D", "C", "U"]
    assert not [m for m in table.attrs["caveats"] if m.code == "OUTSIDE_U"]
    told = sb.intervals(sb.predict(fit, N="1B", D="20B", U="1e7")).attrs["caveats"]
    assert [m.code for m in told if m.code.startswith("OUTSIDE")] == ["OUTSIDE_U"]


def test_reach_without_compute_is_that_of_the_input_furthest_out():
    out = sb.predict(planted("kaplan-steps", STEPS), N=[1e9, 3e11], S=[2e7, 1e4])
    np.testing.assert_allclose(out["decades_beyond"], [2.0, 2.0])
    np.testing.assert_allclose(out["loss"][0, 0, 0], LAWS["steps"](1e9, 2e7, **STEPS), rtol=1e-4)


@pytest.mark.parametrize(
    ("model", "values", "asked", "told"),
    [
        (
            "data-constrained",
            PUBLISHED,
            {"N": 1e9, "D": 1e10},
            r"any two of N, D and C, with U \(unique training tokens\); got N, D",
        ),
        (
            "kaplan-steps",
            STEPS,
            {"N": 1e9},
            r"from N, or from two of N, D and C, with S \(steps of the optimiser\); got N",
        ),
        (
            "kaplan-steps",
            STEPS,
            {"N": 1e9, "S": 1e4, "U": 1e9},
            r"has no input U \(unique training tokens\); its inputs are N, S",
        ),
        (
            "kaplan-steps",
            STEPS,
            {"N": 1e9, "V": 1e4},
            "no input is called V: allowed are N, D, C, S, U, E",
        ),
        (
            "kaplan-steps",
            STEPS,
            {"N": [1e9] * 2, "S": [1e4] * 3},
            "must have one length; got N: 2, S: 3",
        ),
        ("kaplan-steps", STEPS, {"N": 1e9, "S": -1}, "S must be positive"),
    ],
)
def test_what_predict_refuses(model, values, asked, told):
    with pytest.raises(sb.QueryError, match=told):
        sb.predict(planted(model, values), **asked)


def test_one_u_is_told():
    runs = sb.read_runs(TABLE.assign(unique_tokens=1e9), name="nine")
    values = {k: np.full((2, 50), v) for k, v in (PUBLISHED | {"sigma": 0.01, "nu": 5.0}).items()}
    rng = np.random.default_rng(0)
    fit = fit_of(
        "data-constrained",
        runs,
        **{k: v * np.exp(0.01 * rng.standard_normal(v.shape)) for k, v in values.items()},
    )
    (text,) = [m.text for m in sb.diagnose(fit).messages if m.code == "ONE_U"]
    assert text == "all runs have U = 1B: what U does comes from the prior alone"


def test_the_command_takes_further_inputs(tmp_path):
    path = sb.save(planted("data-constrained", PUBLISHED), tmp_path / "fit.nc")
    run = CliRunner().invoke(
        app, ["predict", str(path), "--N", "1B", "--D", "40B", "--input", "U=4B", "--json"]
    )
    assert run.exit_code == 0, run.output
    rows = json.loads(run.stdout)
    rows = rows["rows"] if isinstance(rows, dict) and "rows" in rows else rows
    assert "4000000000" in json.dumps(rows).replace(".0", "")
    bad = CliRunner().invoke(
        app, ["predict", str(path), "--N", "1B", "--D", "40B", "--input", "4B"]
    )
    assert bad.exit_code == 2
    assert "write NAME=VALUE" in bad.output
    missing = CliRunner().invoke(app, ["predict", str(path), "--N", "1B", "--D", "40B"])
    assert missing.exit_code == 1
    assert "with U (unique training tokens)" in missing.output


def test_the_papers_repetition_constants_are_a_minimum_of_its_own_objective(load_shared):
    """R_N* and R_D* by least log-Huber loss, E, A, B, alpha as published; a local minimum."""
    table = load_shared("muennighoff2023")
    table = table[table["published_fit"]]
    assert len(table) == 182
    law, log_loss = LAWS["data-constrained"], np.log(table["loss"].to_numpy())
    paper = {
        "E": np.exp(0.6254804),
        "A": np.exp(6.255414),
        "B": np.exp(7.3049974),
        "alpha": 0.3526596,
    }
    inputs = [table[name].to_numpy() for name in ("params", "tokens", "unique_tokens")]

    def huber(log_R):
        R_N, R_D = np.exp(log_R)
        values = law.from_notation(paper | {"R_N_star": R_N, "R_D_star": R_D})
        size = np.abs(np.log(law.function(*inputs, **values)) - log_loss)
        return 1e3 * np.where(size <= 1e-3, size**2 / 2, 1e-3 * (size - 5e-4)).sum()

    per_token = law.derive(law.from_notation(paper | {"R_N_star": 5.3, "R_D_star": 15.4}))[
        "N_per_U"
    ]
    assert per_token == pytest.approx(0.050987, abs=1e-5)  # U_N / U_D of the authors' constants
    published = np.array([5.309743, 15.387756])
    for away in (0.8, 1.2):
        options = {"xatol": 1e-6, "fatol": 1e-10}
        found = optimize.minimize(
            huber, np.log(away * published), method="Nelder-Mead", options=options
        )
        assert np.exp(found.x) == pytest.approx(published, rel=2e-3)


@pytest.fixture(scope="module")
def clark():
    """Last steps of dense and S-BASE runs of Clark et al. (2022).

    Routing is top-1 in every other layer.
    """
    shared = Path(
        os.environ.get("SCALEBAYES_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")
    )
    path = shared / "upstream" / "curves.csv.gz"
    if not path.is_file():
        pytest.skip(f"no {path}: these points are not committed, fetch them from upstream")
    runs = pd.read_csv(path).sort_values("step").groupby("hyper_id").tail(1)
    runs = runs[
        runs["router_type"].isin(["Dense", "S-Base"])
        & (runs["k"] == 1)
        & (runs["routing_frequency"] == 0.5)
    ]
    assert len(runs) == 61
    names = {"dense_parameter_count": "N", "num_experts": "E", "loss_validation": "loss"}
    return sb.read_runs(runs[list(names)].rename(columns=names), name="clark2022 S-BASE")


S_BASE = {"a": -0.082, "b": -0.108, "c": 0.009, "d": 1.104, "E_start": 1.847, "E_max": 314.478}


def test_the_routed_law_holds_of_the_papers_own_runs(clark):
    values = LAWS["routed"].from_notation(S_BASE)
    off = np.log(clark.loss) - np.log(LAWS["routed"](clark.N, clark.E, **values))
    assert abs(off.mean()) < 0.01  # the constants have three digits
    assert off.std() < 0.01


@pytest.mark.slow
def test_the_posterior_of_the_papers_routed_runs_holds_its_constants(clark):
    fit = sb.fit(clark, "routed", progress=False)
    assert sb.diagnose(fit).ok
    for name, value in LAWS["routed"].from_notation(S_BASE).items():
        low, high = np.quantile(fit.stored["posterior"][name], [0.05, 0.95])
        assert low < value < high, name
