"""Backtests: what is trained on and what is scored, the scores themselves, and one for real."""

import json
from dataclasses import replace
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
from scalebayes.validation import backtest as backtesting
from scalebayes.validation import scoring_rules
from scalebayes.validation.backtest import EDGES, Backtest, backtest, combine, pool
from tests.fixtures import BESIROGLU_PARAMETERS, draws_around, fit_of

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


def test_each_target_is_scored_by_its_own_draws():
    """Two forecasts of different medians and widths, against the definitions of the scores."""
    rng = np.random.default_rng(3)
    draws = np.column_stack([rng.normal(2.0, 0.1, 401), rng.normal(5.0, 1.0, 401)])
    observed = np.array([2.15, 4.0])
    scores = scoring_rules.score(draws, observed)
    for target in range(2):
        own, y = np.sort(draws[:, target]), observed[target]
        assert scores["median"][target] == own[200]
        assert scores["bias"][target] == own[200] - y
        assert scores["abs_error"][target] == abs(own[200] - y)
        for level, (low, high) in {50: (100, 300), 80: (40, 360), 90: (20, 380)}.items():
            assert scores[f"inside{level}"][target] == (own[low] <= y <= own[high])
        assert scores["z"][target] == pytest.approx((y - own.mean()) / own.std(ddof=1))
        pairs = np.abs(own[:, None] - own[None]).sum() / (2 * 401 * 400)
        assert scores["crps"][target] == pytest.approx(np.abs(own - y).mean() - pairs)
        # Both observations lie inside their 90% intervals, whose widths are then the scores.
        assert scores["interval_score"][target] == pytest.approx(own[380] - own[20])
    assert scores["inside50"].tolist() == [False, False]
    assert scores["inside90"].tolist() == [True, True]


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


def made(rows, metric="nats per token"):
    """A backtest of rows (table, split, run, method, scores by name); other scores are zero."""
    columns = {"inside50": True, "inside80": True, "inside90": True, "interval_score": 0.0}
    columns |= {"bias": 0.0, "abs_error": 0.0, "z": 0.0, "crps": 1.0, "decades_beyond": 0.1}
    columns |= {"gate_failed": False}
    listed = []
    for table, split, run, method, scores in rows:
        keys = {"table": table, "split": split, "run": run, "training": run, "method": method}
        listed.append(keys | columns | scores)
    return Backtest(pd.DataFrame(listed), (), metric)


def test_means_give_every_cluster_the_same_weight_and_medians_every_forecast():
    """One table with three forecasts and another with one."""
    result = made(
        [
            ("a", "s", "1", "m", {"crps": 1.0, "abs_error": 1.0, "bias": -1.0, "inside90": False}),
            ("a", "s", "2", "m", {"crps": 2.0, "abs_error": 2.0, "bias": -1.0}),
            ("a", "s", "3", "m", {"crps": 6.0, "abs_error": 30.0, "bias": -1.0}),
            ("b", "s", "1", "m", {"crps": 9.0, "abs_error": 4.0, "bias": 2.0}),
        ]
    )
    row = result.table().loc["m"]
    assert row["clusters"] == 2
    assert row["crps"] == pytest.approx((3.0 + 9.0) / 2)
    assert row["crps_se"] == pytest.approx(np.std([3.0, 9.0], ddof=1) / np.sqrt(2))
    assert row["bias"] == pytest.approx((-1.0 + 2.0) / 2)
    assert row["cover90"] == pytest.approx((2 / 3 + 1) / 2)
    assert row["cover90_worst"] == pytest.approx(2 / 3)
    assert row["median_abs_error"] == 3.0  # of 1, 2, 4 and 30, whose mean is 9.25
    assert (row["forecasts"], row["runs"], row["trainings"]) == (4, 4, 4)
    low, high = share_interval(np.array([2 / 3, 1.0]), 4)
    assert (row["cover90_low"], row["cover90_high"]) == pytest.approx((low, high))
    assert row["cover80_low"] < row["cover80"] == row["cover80_high"] == 1.0


def test_splits_are_the_clusters_of_one_table_and_have_no_standard_error():
    result = made(
        [
            ("a", "low", "1", "m", {"crps": 1.0}),
            ("a", "low", "2", "m", {"crps": 2.0}),
            ("a", "high", "2", "m", {"crps": 4.0}),
        ]
    )
    table = result.table(baseline="m")
    row = table.loc["m"]
    assert (row["clusters"], row["forecasts"], row["runs"]) == (2, 3, 2)
    assert row["crps"] == pytest.approx((1.5 + 4.0) / 2)
    assert np.isnan(row["crps_se"])
    assert np.isnan(row["crps_ratio_se"])
    assert not [name for name in table if name.endswith(("_low", "_high"))]


def test_ratios_to_a_baseline_are_geometric_means_within_clusters():
    """The method has half the baseline's CRPS on one table, and eight times on the other."""
    result = made(
        [
            ("a", "s", "1", "m", {"crps": 1.0}),
            ("b", "s", "1", "m", {"crps": 16.0}),
            ("a", "s", "1", "base", {"crps": 2.0}),
            ("b", "s", "1", "base", {"crps": 2.0}),
        ]
    )
    table = result.table(baseline="base")
    assert table.loc["m", "crps_ratio"] == pytest.approx(2.0)
    assert table.loc["m", "crps_ratio_worst"] == pytest.approx(8.0)
    log_ratios = np.log([0.5, 8.0])
    error = 2.0 * log_ratios.std(ddof=1) / np.sqrt(2)
    assert table.loc["m", "crps_ratio_se"] == pytest.approx(error)
    ratios = table.loc["base", ["crps_ratio", "crps_ratio_se", "crps_ratio_worst"]]
    assert ratios.tolist() == [1.0, 0.0, 1.0]
    assert not [name for name in result.table() if name.startswith("crps_ratio")]


def test_failed_checks_are_counted_by_fit_and_not_by_forecast():
    """One fit of three failed, and it made two of the four forecasts."""
    result = made(
        [
            ("a", "s", "1", "m", {"gate_failed": True}),
            ("a", "s", "2", "m", {"gate_failed": True}),
            ("a", "t", "2", "m", {}),
            ("b", "s", "1", "m", {}),
            ("a", "s", "1", "calm", {}),
        ]
    )
    table = result.table()
    assert table.loc["m", "gate_failed"] == pytest.approx(1 / 3)
    assert table.loc["calm", "gate_failed"] == 0.0


@pytest.mark.parametrize(
    ("z", "codes"),
    [
        ([1.9, -1.9, 1.9, -1.9], []),
        ([2.1, -2.1, 2.1, -2.1], ["ROLLING_Z"]),  # the mean square is above 4, the mean is 0
        ([1.9, 1.9, 1.9, 1.9], []),
        ([1.99, 1.99, 1.99, 1.99], ["ONE_SIDED"]),
        ([-1.99, -1.99, -1.99, -1.99], ["ONE_SIDED"]),
        ([-3.0, -3.0, -3.0, -3.0], ["ROLLING_Z", "ONE_SIDED"]),
    ],
)
def test_bounds_of_z(z, codes):
    rows = [("a", "s", str(run), "m", {"z": value}) for run, value in enumerate(z)]
    messages = made(rows).messages
    assert [message.code for message in messages] == codes
    for message in messages:
        if message.code == "ONE_SIDED":
            assert ("were too low" in message.text) == (z[0] > 0)
            assert "4 distinct runs" in message.text


def test_a_run_of_several_splits_counts_once_in_the_mean_z():
    """A run that three splits forecast has one voice among the runs, and each split has one."""
    rows = [("a", split, "1", "m", {"z": 4.0}) for split in "stu"]
    rows += [("a", "s", "2", "m", {"z": -1.0}), ("a", "t", "3", "m", {"z": 0.0})]
    (message,) = made(rows).messages
    # The mean z by run is (4 - 1 + 0) / 3 = 1, by forecast 2.2. The mean squares of the splits are
    # 8.5, 8 and 16.
    assert message.code == "ROLLING_Z"
    assert "the mean squared z of m is 11," in message.text


def test_backtests_are_combined_with_their_notes_and_a_metric_that_all_share():
    row = ("a", "s", "1", "m", {})
    first = replace(made([row], "word error rate"), notes=("of the first",))
    second = replace(made([("b", *row[1:])], "word error rate"), notes=("of the second",))
    both = combine([first, second], ["of both"])
    assert both.notes == ("of both", "of the first", "of the second")
    assert both.metric == "word error rate"
    assert both.scores["table"].tolist() == ["a", "b"]
    assert both.scores.index.tolist() == [0, 1]
    assert combine([first, made([row])]).metric == "loss"


def by_hand(monkeypatch, failures=()):
    """Fits by hand in place of sampled ones; return the list of the calls' settings."""
    asked = []

    def make(runs, spec, **settings):
        asked.append((runs.name, len(runs), spec.name, settings))
        values = draws_around(spec, (2, 200), width=0.02)
        return fit_of(spec, runs, failures, **values)

    monkeypatch.setattr("scalebayes.validation.backtest.fit", make)
    return asked


def test_the_seed_decides_fits_and_forecasts(monkeypatch):
    asked = by_hand(monkeypatch)
    runs = planted(40)
    calls = {seed: backtest(runs, ["chinchilla"], shares=[0.8], seed=seed) for seed in (3, 4)}
    again = backtest(runs, ["chinchilla"], shares=[0.8], seed=3)
    pd.testing.assert_frame_equal(again.scores, calls[3].scores)
    assert not np.allclose(calls[3].scores["crps"], calls[4].scores["crps"], rtol=1e-6)
    assert [settings["seed"] for *_, settings in asked] == [3, 4, 3]
    assert asked[0][:3] == ("planted", 32, "chinchilla")
    assert asked[0][3] == {"draws": 1000, "chains": 2, "progress": False, "seed": 3}


def test_settings_of_the_sampler_reach_every_fit(monkeypatch):
    asked = by_hand(monkeypatch)
    backtest(planted(40), ["chinchilla"], shares=[0.6, 0.8], draws=70, chains=3, tune=5)
    expected = {"draws": 70, "chains": 3, "tune": 5, "progress": False, "seed": 0}
    assert [settings for *_, settings in asked] == [expected, expected]


@pytest.mark.parametrize("asked", [{"workers": 2}, {"folder": "kept"}])
def test_workers_and_a_folder_fit_all_splits_beforehand(monkeypatch, asked):
    by_hand(monkeypatch)
    calls = []

    def make_all(jobs, **options):
        calls.append((jobs, options))
        return {key: backtesting.fit(runs, spec) for key, (runs, spec) in jobs.items()}

    monkeypatch.setattr(backtesting, "fit_all", make_all)
    runs, methods = planted(40), {"law": "chinchilla", "knows": oracle()}
    result = backtest(runs, methods, shares=[0.6, 0.8], seed=2, progress=False, draws=70, **asked)
    (jobs, options) = calls[0]
    assert len(calls) == 1
    assert list(jobs) == [("lowest 60%", "law"), ("lowest 80%", "law")]
    assert [len(train) for train, _ in jobs.values()] == [24, 32]
    settings = {"draws": 70, "chains": 2, "seed": 2, "progress": False}
    assert options == {"workers": 1, "folder": None} | asked | settings
    alone = backtest(runs, methods, shares=[0.6, 0.8], seed=2, draws=70)
    pd.testing.assert_frame_equal(result.scores, alone.scores)
    assert len(calls) == 1


def test_a_table_by_distance_has_the_bins_that_occur():
    result = made(
        [
            ("a", "s", "1", "m", {"decades_beyond": 0.1, "crps": 1.0}),
            ("a", "s", "2", "m", {"decades_beyond": 1.5, "crps": 2.0}),
            ("b", "s", "1", "m", {"decades_beyond": 0.1, "crps": 3.0}),
            ("b", "s", "2", "n", {"decades_beyond": 0.7}),
        ]
    )
    table = result.table(["decades"], baseline="m")
    assert [*table.index] == [("m", "0-0.25"), ("m", "1-2"), ("n", "0.5-1")]
    assert table["clusters"].tolist() == [2, 1, 1]
    assert table["crps"].tolist() == [2.0, 2.0, 1.0]
    assert table["forecasts"].tolist() == [2, 1, 1]
    assert table["gate_failed"].tolist() == [0.0, 0.0, 0.0]
    by_table = result.table(["table"])
    assert [*by_table.index] == [("m", "a"), ("m", "b"), ("n", "b")]
    assert by_table["clusters"].tolist() == [1, 1, 1]  # splits, as the tables are kept apart


def test_forecasts_of_a_model_are_those_of_predict_and_carry_its_checks(monkeypatch):
    by_hand(monkeypatch, failures=["R_HAT"])
    runs = sb.Runs(planted(40).table, "planted", metric="word error rate")
    methods = {"law": "chinchilla", "knows": oracle(), "both": ("law", "knows"), "k": ("knows",)}
    result = backtest(runs, methods, shares=[0.8], seed=5)
    scores = result.scores.set_index("method")
    (split,), _ = make_splits(runs, [0.8])
    spec = sb.read_model("chinchilla")
    fit = fit_of(spec, split.train, **draws_around(spec, (2, 200), width=0.02))
    answer = sb.predict(fit, N=split.held_out.N, D=split.held_out.D, seed=5)
    median = answer["new_run"].median(("chain", "draw")).values
    np.testing.assert_allclose(scores.loc["law", "median"], median)
    sigma = float(fit.stored["posterior"]["sigma"].median())
    np.testing.assert_allclose(scores.loc["law", "scatter"], sigma)
    assert scores.loc["knows", "scatter"].isna().all()
    failed = scores.groupby("method")["gate_failed"].agg(["min", "max"])
    assert failed.loc[["law", "both"]].all(axis=None)  # a pool fails with one of its parts
    assert not failed.loc[["knows", "k"]].any(axis=None)
    assert result.metric == "word error rate"


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
