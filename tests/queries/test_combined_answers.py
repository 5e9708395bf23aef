"""Answers of several fits have the caveats of the worst fit, in Python, terminal and JSON alike."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.comparison.compare import Comparison
from scalebayes.queries.inputs import is_budget
from scalebayes.summaries.table import Table
from tests.fixtures import draws_around, fit_of

SHAPE = (2, 200)


def runs_up_to(largest, decades, seed=0):
    """Twenty tokens a parameter, along so many decades of compute."""
    C = np.geomspace(largest / 10**decades, largest, 30)
    N = np.sqrt(C / 120)
    loss = (1.8 + 480 / N**0.35 + 2000 / (20 * N) ** 0.36) * np.exp(
        0.01 * np.random.default_rng(seed).normal(size=30)
    )
    return sb.read_runs(
        pd.DataFrame({"N": N, "D": 20 * N, "C": C, "loss": loss}),
        name=f"up to {largest:g}",
        strict=False,
    )


@pytest.fixture(scope="module")
def make():
    def handmade(runs, model="chinchilla", gate_failures=(), sigma=0.02):
        values = draws_around(model, SHAPE, seed=2, alpha_C=0.15, sigma=sigma)
        return fit_of(model, runs, gate_failures, **values)

    return handmade


@pytest.fixture(scope="module")
def arms(make):
    """One recipe with runs over four decades up to 1e22 FLOP, one over one decade up to 1e20."""
    return {"wide": make(runs_up_to(1e22, 4)), "narrow": make(runs_up_to(1e20, 1, seed=1))}


def codes(answer):
    return [message.code for message in sb.caveats(answer)]


def compared(fits):
    return Comparison(fits, Table(), {})


def test_a_contrast_carries_the_distance_of_the_arm_with_the_smallest_runs(arms):
    answer = sb.contrast(
        arms, N="1B", D="200B"
    )  # 1.2e21: within the runs of one, 1.1 decades beyond the other's
    first = sb.caveats(answer)[0]
    assert (first.code, first.level) == ("FAR_BEYOND", "warning")
    assert (
        "1.1 decades beyond the largest run, further than the 1.0 decades that the runs span"
        in first.text
    )
    assert codes(sb.contrast(arms, N="200M", D="4B")) == []


@pytest.mark.parametrize("question", [{"C": 1e24}, {"N": "100B", "D": "1.6T"}])
def test_a_contrast_far_out_says_so(arms, question):
    assert codes(sb.contrast(arms, **question))[:2] == ["FAR_BEYOND", "NOT_VALIDATED"]


def test_a_multiplier_carries_its_distance(arms):
    answer = sb.multiplier(arms, C=1e23)
    assert answer["decades_beyond"].item() == pytest.approx(3.0, abs=0.01)
    assert codes(answer)[:2] == ["FAR_BEYOND", "NOT_VALIDATED"]


def test_the_least_noise_scale_counts(make):
    pair = {"a": make(runs_up_to(1e22, 4)), "b": make(runs_up_to(1e21, 4, seed=1), sigma=0.003)}
    assert "SMALL_RESIDUALS" in codes(sb.contrast(pair, N="10B", D="200B"))
    assert "SMALL_RESIDUALS" not in codes(
        sb.contrast(pair | {"b": pair["a"], "a": make(runs_up_to(1e21, 3))}, C=1e23)
    )


def test_a_difference_of_models_carries_what_its_distance_says(make):
    runs = runs_up_to(1e22, 2)
    both = compared({"chinchilla": make(runs), "kaplan": make(runs, "kaplan")})
    answer = both.difference(C=1e25)
    assert codes(answer)[:2] == ["FAR_BEYOND", "NOT_VALIDATED"]
    by_code = {message.code: message.text for message in sb.caveats(answer)}
    assert "3.0 decades" in by_code["FAR_BEYOND"]
    assert "intervals of chinchilla and kaplan" in by_code["CALIBRATION"]
    # Kaplan's draws are made by hand and contradict its prior; there is nothing else to say.
    assert set(codes(both.difference(C=1e21))) == {"PRIOR_CONFLICT"}


def test_laws_of_compute_say_the_loss_at_a_budget_and_that_they_have_no_size(make):
    runs = runs_up_to(1e22, 4)
    fits = {
        "chinchilla": make(runs),
        "compute": make(runs, "compute-floor"),
        "kaplan": make(runs, "kaplan"),
    }
    answer = compared(fits).difference(C=[1e22, 1e23])
    assert (
        answer.attrs["notes"]
        == "compute is a law of C alone: it gives a loss, and has no N* to compare"
    )
    table = (
        sb.intervals(answer)
        .reset_index()
        .set_index(["model", "against", "C", "quantity"])
        .sort_index()
    )
    ratio = table.xs("N_ratio", level="quantity")
    assert {pair[:2] for pair in ratio.index[ratio["median"].notna()]} == {("chinchilla", "kaplan")}
    assert ratio.loc[("chinchilla", "compute"), "p_below"].isna().all()
    p = {
        name: fits["compute"].stored["posterior"][name].values
        for name in ("L_inf", "C_c", "alpha_C")
    }
    alone = np.median(p["L_inf"] + (p["C_c"] / 1e23) ** p["alpha_C"])
    best = np.median(sb.frontier(fits["chinchilla"], C=1e23)["loss"])
    assert table.loc[("chinchilla", "compute", 1e23, "loss_difference"), "median"] == pytest.approx(
        best - alone, abs=0.02
    )


def test_two_laws_of_compute_compare_in_loss_alone(make):
    runs = runs_up_to(1e22, 4)
    pair = {"power": make(runs, "kaplan-compute"), "floor": make(runs, "compute-floor")}
    difference = compared(pair).difference(C=1e23)
    assert list(difference) == ["loss_difference"]
    assert difference["loss_difference"].dims == ("chain", "draw", "budget", "pair")


def test_c_alone_is_a_budget():
    assert is_budget(N=None, D=None, C="1e23")
    assert not is_budget(N="7B", C="1e23")
    assert not is_budget(C="1e23", U="10B")
    assert not is_budget()


def test_a_law_of_size_alone_says_nothing_of_a_budget(make):
    runs = runs_up_to(1e22, 4)
    with pytest.raises(
        sb.QueryError, match="'kaplan-size' predicts from N, or from two of N, D and C; got C"
    ):
        compared({"chinchilla": make(runs), "size": make(runs, "kaplan-size")}).difference(C=1e23)


def test_a_limit_that_was_asked_for_is_one_and_not_out_of_reach(arms):
    fit = arms["wide"]
    assert "an infinite input lies beyond all runs" in str(
        sb.caveats(sb.predict(fit, N="70B", D="inf"))[-1]
    )
    assert "a loss that half of the draws never reach" in "".join(
        map(str, sb.caveats(sb.reach(fit, loss=1.7)))
    )


# the command line


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def files(tmp_path_factory, arms, make):
    folder, runs = tmp_path_factory.mktemp("fits"), runs_up_to(1e22, 4)
    fits = arms | {"coupled": make(runs, "coupled"), "compute": make(runs, "compute-floor")}
    fits["failed"] = make(runs_up_to(1e22, 4), gate_failures=["R_HAT"])
    return {name: sb.save(fit, folder / f"{name}.nc") for name, fit in fits.items()}


@pytest.mark.parametrize(
    ("command", "names", "options"),
    [
        ("predict", ["wide"], ["--N", "1T", "--D", "20T"]),
        ("frontier", ["wide"], ["--C", "1e26"]),
        ("decide", ["wide"], ["--C", "1e26"]),
        ("regret", ["wide"], ["--N", "1T", "--D", "20T"]),
        ("contrast", ["wide", "narrow"], ["--C", "1e26"]),
        ("compare", ["wide", "coupled"], ["--C", "1e26", "--no-reloo"]),
    ],
)
def test_json_of_every_command_carries_the_caveats_and_the_gate(
    files, command, names, options, monkeypatch
):
    monkeypatch.setattr("scalebayes.comparison.compare.high_k", lambda loo: 0)
    monkeypatch.setattr("scalebayes.comparison.compare._leave_one_out", lambda fit: None)
    monkeypatch.setattr("scalebayes.comparison.compare._table", lambda *_: Table({"elpd": []}))
    monkeypatch.setattr(Comparison, "sentence", lambda _: "no scores here")
    said = json.loads(run(command, *(files[name] for name in names), *options, "--json").stdout)
    assert said["gate_ok"] is True
    assert said["gate_failures"] == []
    assert {"NOT_VALIDATED"} <= {message["code"] for message in said["caveats"]}
    assert len(said["caveats"]) == len({message["text"] for message in said["caveats"]})


@pytest.mark.parametrize(
    "command", [["predict", "--N", "1B", "--D", "2B"], ["frontier", "--C", "1e21"]]
)
def test_a_failed_gate_is_told_alike(files, command):
    name, *options = command
    result = run(name, files["failed"], *options, code=3)
    assert (
        "warning: this fit failed the convergence checks (R_HAT); do not rely on it"
        in result.stderr
    )


def test_questions_take_several_fits_by_weight(files, arms, make):
    asked = ["--N", "70B", "--D", "1.4T", "--json"]
    said = json.loads(
        run(
            "predict", files["wide"], files["coupled"], "--weights", "wide=3,coupled=1", *asked
        ).stdout
    )
    fits = {"wide": sb.load(files["wide"]), "coupled": sb.load(files["coupled"])}
    expected = sb.intervals(
        sb.predict(sb.average(fits, {"wide": 3, "coupled": 1}), N="70B", D="1.4T")
    )
    assert [row["median"] for row in said["rows"]] == pytest.approx(
        expected["median"].tolist(), rel=1e-9
    )
    equal = json.loads(
        run("frontier", files["wide"], files["coupled"], "--C", "1e24", "--json").stdout
    )
    both = sb.intervals(sb.frontier(sb.average(fits), C=1e24))
    assert [row["median"] for row in equal["rows"]] == pytest.approx(
        both["median"].tolist(), rel=1e-9
    )


@pytest.mark.parametrize("weights", ["some", "wide=", "wide=x,coupled=1", "=1"])
def test_weights_that_are_none_are_told(files, weights):
    result = run(
        "predict",
        files["wide"],
        files["coupled"],
        "--N",
        1e9,
        "--D",
        2e9,
        "--weights",
        weights,
        code=2,
    )
    assert "A=2,B=1" in result.stderr


def test_weights_of_one_fit_or_of_another_are_told(files):
    assert (
        "weights need several fits; got one"
        in run("frontier", files["wide"], "--C", 1e21, "--weights", "equal", code=2).stderr
    )
    result = run(
        "frontier", files["wide"], files["coupled"], "--C", 1e21, "--weights", "other=1", code=1
    )
    assert "weights for other" in result.stderr


def test_a_model_beside_a_fit_to_borrow_from_must_be_its_own(files):
    result = run(
        "fit", "hoffmann2022", "-m", "kaplan", "--prior-from", files["wide"], "--quick", code=2
    )
    assert "'kaplan' differs from 'chinchilla', the model of" in " ".join(
        result.stderr.replace("│", "").split()
    )
    assert "--prior-from" in run("fit", "hoffmann2022", "--inflate", 3, code=2).stderr


def test_the_same_model_may_be_named_beside_it(files, monkeypatch):
    class Asked(Exception):
        pass

    def fit(_, spec, **options):
        raise Asked(spec.name)

    monkeypatch.setattr("scalebayes.fit", fit)
    result = CliRunner().invoke(
        app, ["fit", "hoffmann2022", "-m", "chinchilla", "--prior-from", str(files["wide"])]
    )
    assert isinstance(result.exception, Asked)
    assert result.exception.args[0].startswith("chinchilla-from-")


def test_what_is_asked_to_infinity_is_a_limit_in_the_terminal(files):
    text = run("predict", files["wide"], "--N", "70B", "--D", "inf").stdout
    assert "a limit" in text
    assert "never" not in text


@pytest.mark.parametrize("question", ["decide", "summary", "regret", "contrast", "reach"])
def test_no_table_in_python_or_the_terminal_is_wider_than_a_screen(arms, files, question):
    ask = {
        "decide": lambda: sb.intervals(sb.decide(arms["wide"], C=[1e21, 1e24])),
        "summary": lambda: sb.summary(sb.load(files["wide"])),
        "regret": lambda: sb.intervals(sb.regret(arms["wide"], N="280B", D="300B")),
        "contrast": lambda: sb.intervals(sb.contrast(arms, C=1e24)),
        "reach": lambda: sb.intervals(sb.reach(arms["wide"], loss=[1.95, 1.7])),
    }
    text = repr(ask[question]())
    assert max(map(len, text.splitlines())) <= 120
    options = {
        "decide": ["--C", "1e24"],
        "regret": ["--N", "280B", "--D", "300B"],
        "reach": ["--loss", "1.7"],
    }
    if question != "contrast":
        text = run(question, files["wide"], *options.get(question, [])).stdout
    else:
        text = run("contrast", files["wide"], files["narrow"], "--C", "1e24").stdout
    assert max(map(len, text.splitlines())) <= 120
