"""Backtests: what is trained on and what is scored, the scores themselves, and one for real."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.baselines import huber
from scalebayes.cli import app
from scalebayes.data.subsets import make_splits
from scalebayes.datasets.clusters import share_interval
from scalebayes.laws import LAWS
from scalebayes.plots.backtest import calibration
from scalebayes.validation import scoring_rules
from scalebayes.validation.backtest import EDGES, Backtest, backtest, combine, pool
from tests.fixtures import BESIROGLU_PARAMETERS

LAW = LAWS["additive"]
TRUTH = BESIROGLU_PARAMETERS
SCATTER = 0.02


def planted(rows, seed=0, name="planted"):
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(7, 10, rows), 10 ** rng.uniform(9, 12, rows)
    loss = LAW.function(N, D, **TRUTH) * np.exp(rng.normal(0, SCATTER, rows))
    return sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name=name)


def oracle(scatter=SCATTER):
    """A forecast that knows the law, and believes in this scatter."""

    def forecast(train, N, D, seed):
        noise = np.random.default_rng(seed).normal(0, scatter, (1000, len(N)))
        return LAW.function(N, D, **TRUTH) * np.exp(noise)

    return forecast


def test_crps_of_normal_draws_is_the_closed_form():
    rng = np.random.default_rng(0)
    observed = np.array([-2.0, 0.0, 0.7, 3.0])
    draws = rng.standard_normal((200_000, 1)) * np.ones(4)
    exact = observed * (2 * norm.cdf(observed) - 1) + 2 * norm.pdf(observed) - 1 / np.sqrt(np.pi)
    assert scoring_rules.crps(draws, observed) == pytest.approx(exact, abs=0.01)


def test_crps_is_fair_and_agrees_with_its_definition():
    rng = np.random.default_rng(1)
    draws, y = rng.standard_normal((6, 3)), np.array([0.1, -1.0, 2.0])
    pairs = np.abs(draws[:, None] - draws[None]).sum(axis=(0, 1)) / (2 * 6 * 5)
    assert scoring_rules.crps(draws, y) == pytest.approx(np.abs(draws - y).mean(axis=0) - pairs)
    few = scoring_rules.crps(
        rng.standard_normal((3, 40_000)), np.zeros(40_000)
    ).mean()  # unbiased at three draws
    assert few == pytest.approx(2 * norm.pdf(0) - 1 / np.sqrt(np.pi), abs=0.015)


def test_interval_score_is_width_and_what_a_miss_costs():
    lower, upper = np.array([1.0, 1.0, 1.0]), np.array([3.0, 3.0, 3.0])
    assert scoring_rules.interval_score(
        lower, upper, np.array([2.0, 0.5, 4.0]), 0.9
    ) == pytest.approx([2.0, 12.0, 22.0])


def test_interval_score_of_a_normal_is_the_closed_form():
    rng = np.random.default_rng(2)
    z = norm.ppf(0.95)
    drawn = scoring_rules.interval_score(
        np.full(200_000, -z), np.full(200_000, z), rng.standard_normal(200_000), 0.9
    )
    assert drawn.mean() == pytest.approx(2 * norm.pdf(z) / 0.05, rel=0.01)


def test_a_forecast_that_knows_the_truth_is_calibrated():
    result = backtest(
        planted(2000), {"knows": oracle(), "too sure": oracle(SCATTER / 3)}, shares=[0.5]
    )
    table = result.table(baseline="knows")
    for level in scoring_rules.LEVELS:
        share = level / 100
        assert abs(table.loc["knows", f"cover{level}"] - share) < 4 * np.sqrt(
            share * (1 - share) / 1000
        )
    assert table.loc["too sure", "cover90"] == pytest.approx(
        2 * norm.cdf(norm.ppf(0.95) / 3) - 1, abs=0.06
    )
    assert table.loc["too sure", "crps_ratio"] > 1.05
    assert table.loc["too sure", "interval_score"] > table.loc["knows", "interval_score"]


def test_splits_are_by_compute_and_leak_nothing():
    runs, seen = planted(60), []

    def spy(train, N, D, seed):
        seen.append((train, N, D, seed))
        return oracle()(train, N, D, seed)

    result = backtest(runs, {"spy": spy}, shares=[0.4, 0.8], decades=[1.0], seed=7)
    assert len(seen) == 3
    for train, N, D, seed in seen:
        assert seed == 7
        assert train.C.max() < (6 * N * D).min()
        assert len(train) + len(N) == len(runs)
        assert not set(train.loss) & set(
            result.scores.query("train_runs == @train.__len__()")["loss"]
        )
    assert len(seen[0][0]) == 24
    assert seen[2][0].C.max() <= runs.max_compute / 10
    first = result.scores[result.scores["split"] == "lowest 40%"]
    assert first["decades_beyond"].to_numpy() == pytest.approx(
        np.log10(first["C"] / seen[0][0].C.max())
    )
    span = np.log10(seen[0][0].C.max() / seen[0][0].C.min())
    assert first["distance_ratio"].to_numpy() == pytest.approx(first["decades_beyond"] / span)


def test_runs_of_equal_compute_stay_together_and_equal_splits_are_made_once():
    table = pd.DataFrame(
        {"N": [1e8] * 30, "D": np.repeat([1e9, 1e10, 1e11], 10), "loss": np.linspace(4, 2, 30)}
    )
    cuts, _ = make_splits(sb.read_runs(table, name="ties", strict=False), [0.4, 0.5, 0.6], [1.0])
    assert [(len(s.train), len(s.held_out)) for s in cuts] == [(20, 10)]


def test_a_table_too_small_is_refused_with_the_reason_of_each_split():
    with pytest.raises(
        sb.RunsError,
        match=r"planted \(12 runs\) cannot be backtested: .*lowest 40%: 5 runs to train on",
    ):
        backtest(planted(12), {"knows": oracle()}, shares=[0.4, 0.6])
    with pytest.raises(sb.RunsError, match="at least 10 needed"):
        backtest(planted(40), ["chinchilla"], shares=[0.1])


def test_short_training_spans_and_splits_not_made_are_noted():
    runs = planted(40)
    _, notes = make_splits(runs, [0.1, 0.8])
    assert notes == ["planted, lowest 10%: 4 runs to train on; at least 10 needed"]
    table = pd.DataFrame(
        {"N": [1e8] * 20, "D": np.geomspace(1e9, 2e9, 20), "loss": np.linspace(4, 3, 20)}
    )
    _, notes = make_splits(sb.read_runs(table, name="short"), [0.8])
    assert notes[0].startswith("short, lowest 80%: the training runs span only 0.2")


@pytest.mark.parametrize(
    ("methods", "arguments", "message"),
    [
        (
            {"flat": lambda train, N, D, seed: np.ones(len(N))},
            {},
            r"'flat' must return finite draws of shape \(draws, 20",
        ),
        ({"nan": lambda train, N, D, seed: np.full((9, len(N)), np.nan)}, {}, "180 NaN"),
        ({"pool": ("a", "b")}, {}, "'pool' pools a, b; allowed are methods before it"),
        ([], {}, "at least one method"),
        ({"knows": oracle()}, {"shares": [1.2]}, "shares lie between 0 and 1.*got 1.2"),
        ({"knows": oracle()}, {"decades": [-1]}, "got -1"),
    ],
)
def test_bad_questions_are_refused_in_words(methods, arguments, message):
    with pytest.raises(sb.QueryError, match=message):
        backtest(planted(100), methods, **({"shares": [0.8]} | arguments))


def test_unknown_models_and_groupings_are_refused_in_words():
    with pytest.raises(sb.SpecError, match="no model 'chinchila'"):
        backtest(planted(40), ["chinchila"])
    result = backtest(planted(40), {"knows": oracle()})
    with pytest.raises(sb.QueryError, match="by takes 'decades' and 'table'; got size"):
        result.table(["size"])
    with pytest.raises(sb.QueryError, match="no method 'x'; there are knows"):
        result.table(baseline="x")


def test_pool_mixes_the_same_number_of_draws_of_each():
    pooled = pool([np.zeros((10, 2)), np.ones((1000, 2))])
    assert pooled.shape == (20, 2)
    assert pooled.mean() == 0.5
    result = backtest(
        planted(60),
        {"low": oracle(0.01), "wide": oracle(0.1), "both": ("low", "wide")},
        shares=[0.5],
    )
    inside = result.table()["cover50"]
    assert inside["low"] < inside["both"] < inside["wide"]


def test_errors_are_those_between_clusters():
    tables = [
        backtest(planted(60, seed, f"table{seed}"), {"knows": oracle()}, shares=[0.5])
        for seed in range(3)
    ]
    both = combine(tables)
    each = both.scores.groupby("table")["inside90"].mean()
    row = both.table().loc["knows"]
    assert row["clusters"] == 3
    assert row["cover90"] == pytest.approx(each.mean())
    assert row["cover90_se"] == pytest.approx(each.std() / np.sqrt(3))
    assert row["cover90_worst"] == each.min()
    assert row["forecasts"] == row["runs"] == row["trainings"] == 90
    expected = share_interval(each, 90)
    assert (row["cover90_low"], row["cover90_high"]) == pytest.approx(expected)
    assert (
        f"as a mean over tables (worst table {each.min():.0%}; 90% interval of the mean "
        f"{expected[0]:.0%} to {expected[1]:.0%}), in 3 splits by compute with 90 distinct "
        "held-out runs, up to"
    ) in both.sentence()
    assert list(both.table(["table"]).loc["knows"].index) == ["table0", "table1", "table2"]


def test_distances_fall_into_bins():
    scores = backtest(planted(60), {"knows": oracle()}, shares=[0.4]).scores
    by = Backtest(scores).table(["decades"])
    assert by["forecasts"].sum() == len(scores)
    far = (scores["decades_beyond"] > EDGES[-1]).sum()
    assert by["forecasts"].get(("knows", "over 2"), 0) == far


def test_forecasts_that_are_far_too_sure_are_warned_of():
    """A forecast with a quarter of the true noise scale has a mean squared z of 16 instead of 1."""
    result = backtest(
        planted(60), {"knows": oracle(), "too sure": oracle(SCATTER / 4)}, shares=[0.4, 0.6, 0.8]
    )
    scores = result.scores.set_index("method")
    exact = (
        scores.loc["knows", "loss"]
        - LAW.function(scores.loc["knows", "N"], scores.loc["knows", "D"], **TRUTH)
    ) / (SCATTER * scores.loc["knows", "loss"])
    assert np.abs(scores.loc["knows", "z"] - exact).max() < 0.35
    (message,) = result.messages
    assert (message.code, message.level) == ("ROLLING_Z", "warning")
    assert message.text.startswith("the mean squared z of too sure is 1")


def test_forecasts_that_miss_to_one_side_are_warned_of():
    """A forecast that is too low by three noise scales has a mean z of 3."""
    result = backtest(planted(60), {"knows": oracle(), "low": too_low}, shares=[0.5])
    (message,) = [message for message in result.messages if message.code == "ONE_SIDED"]
    assert message.text.startswith("forecasts of low on ")
    assert "were too low: the mean z of 30 distinct runs is +" in message.text


def too_low(train, N, D, seed):
    return oracle()(train, N, D, seed) * (1 - 3 * SCATTER)


def test_sentence_and_figure_say_what_was_measured():
    result = backtest(
        planted(60), {"knows": oracle(), "too sure": oracle(0.005)}, shares=[0.5, 0.7]
    )
    sentence = result.sentence()
    assert sentence.startswith("knows on planted: 90% intervals covered ")
    assert "as a mean over 2 overlapping splits by compute (worst split " in sentence
    assert "30 distinct held-out runs, up to" in sentence
    assert sentence.endswith("of too sure's")
    axes = calibration(result).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["knows", "too sure"]
    assert "all" in [tick.get_text() for tick in axes.get_xticklabels()]
    with pytest.raises(sb.QueryError, match="styles for 6 methods; the backtest has 7"):
        calibration(backtest(planted(60), {str(i): oracle() for i in range(7)}, shares=[0.5]))


def test_a_run_forecast_from_several_splits_is_counted_once():
    runs = planted(60)
    shared = sb.Runs(runs.table.assign(training=np.repeat(range(12), 5)), runs.name)
    result = backtest(shared, {"knows": oracle()}, shares=[0.5, 0.7])
    row = result.table().loc["knows"]
    assert (row["forecasts"], row["runs"]) == (48, 30)
    held_out = shared.table.nlargest(30, "C")
    assert row["trainings"] == held_out["training"].nunique()
    assert f"30 distinct held-out runs of {row['trainings']:.0f} trainings" in result.sentence()
    assert np.isnan(row["cover90_se"])  # the splits overlap
    assert "cover90_low" not in result.table()


def scored(coverage, crps):
    """A backtest of methods with these coverages and scores, on 20 runs of one split."""
    scores = backtest(planted(40), {name: oracle() for name in coverage}, shares=[0.5]).scores
    rank = scores.groupby("method").cumcount()
    inside = rank < scores["method"].map(coverage) * 20
    return Backtest(scores.assign(inside90=inside, crps=scores["method"].map(crps)))


@pytest.mark.parametrize(
    ("coverage", "crps", "sentence"),
    [
        (
            {"default": 0.9, "other": 0.8},
            {"default": 0.02, "other": 0.03},
            "Use default on this table: its CRPS is the least of 2 methods, and its 90% intervals "
            "covered 90%",
        ),
        (
            {"default": 0.9, "other": 0.8},
            {"default": 0.0204, "other": 0.02},
            "Use default on this table: its CRPS is within 5% of the least (other's), and its 90% "
            "intervals covered 90%",
        ),
        (
            {"default": 0.9, "other": 0.8},
            {"default": 0.03, "other": 0.02},
            "Use other on this table: its CRPS is the least of 2 methods, and its 90% intervals "
            "covered 80%",
        ),
        (
            {"default": 0.9, "sharp": 0.5},
            {"default": 0.03, "sharp": 0.01},
            "Use default on this table: its 90% intervals covered 90%; those of sharp covered less "
            "than 75%",
        ),
        (
            {"default": 0.9},
            {"default": 0.03},
            "Use default on this table: its 90% intervals covered 90%; no other method was scored",
        ),
        (
            {"default": 0.6, "sharp": 0.5},
            {"default": 0.03, "sharp": 0.01},
            "Trust no method's intervals on this table: the 90% intervals of default covered most, "
            "and those only 60%",
        ),
    ],
)
def test_the_recommendation_names_a_method_and_why(coverage, crps, sentence):
    result = scored(coverage, crps)
    assert result.recommendation() == sentence
    assert repr(result).endswith(f"{sentence}.")


@pytest.mark.slow
def test_a_law_alone_is_too_sure_of_the_chinchilla_points():
    runs = sb.load_runs("hoffmann2022")
    result = backtest(
        runs, {"chinchilla": "chinchilla", "knows": oracle(0.03)}, shares=[0.5, 0.7], draws=500
    )
    table = result.table(["decades"], baseline="knows")
    assert result.scores["gate_failed"].dtype == bool
    assert 0.35 < result.table().loc["chinchilla", "cover90"] < 0.8
    assert (
        table.loc[("chinchilla", "0-0.25"), "cover90"]
        > table.loc[("chinchilla", "1-2"), "cover90"] + 0.2
    )


def test_the_command_prints_one_sentence_and_the_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(huber, "forecast", partial(huber.forecast, draws=10))
    file = tmp_path / "sweep.csv"
    planted(30).table.to_csv(file)
    arguments = ["backtest", str(file), "--models", "log-huber"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["sentence"].startswith("log-huber on sweep: 90% intervals covered ")
    assert {"method", "cover90", "crps_ratio"} <= set(answer["rows"][0])
    assert [
        message
        for message in answer["messages"]
        if message["code"] not in ("ROLLING_Z", "ONE_SIDED")
    ] == []
    figure = tmp_path / "backtest.png"
    drawn = CliRunner().invoke(app, [*arguments, "--figure", str(figure)])
    assert "in 90%" in drawn.stdout
    last = drawn.stdout.rstrip().splitlines()[-1]
    assert last == f"{answer['recommendation']}."
    assert figure.stat().st_size > 10_000
    again = CliRunner().invoke(app, [*arguments, "--figure", str(figure)])
    assert again.exit_code == 1
    assert "exists; --force replaces it" in again.stderr
