"""Conflicts of prior, law and runs: planted and real cases, in fits, answers and tables."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scalebayes as sb
from scalebayes.cli.options import Output
from scalebayes.cli.printing import print_summary
from scalebayes.laws.least_squares import least_squares
from scalebayes.posterior import conflicts
from scalebayes.posterior.conflicts import one_sided
from scalebayes.posterior.provenance import Provenance, combine
from tests.conftest import shared_table
from tests.fixtures import (
    BESIROGLU_PARAMETERS,
    besiroglu_loss,
    fit_of,
    grid_of_sizes,
    grid_runs,
    report_fit,
)

LAW = sb.LAWS["additive"]
SHAPE = (2, 300)


def fit_around(values, runs=None, **priors):
    """A fit of chinchilla whose draws lie around Besiroglu's values, some of them changed."""
    stated = sb.read_model("chinchilla").model_dump()
    stated["priors"] |= priors
    spec = sb.Spec.model_validate(stated)
    rng = np.random.default_rng(3)
    drawn = {
        name: value * np.exp(0.01 * rng.standard_normal(SHAPE))
        for name, value in (BESIROGLU_PARAMETERS | {"sigma": 0.01, "nu": 10.0} | values).items()
    }
    return fit_of(spec, grid_runs() if runs is None else runs, **drawn)


def of(fit, code):
    return [message.text for message in fit.conflicts if message.code == code]


def test_a_fit_that_agrees_has_no_conflict():
    assert fit_around({}).conflicts == ()


def test_a_posterior_in_the_tail_of_its_prior_is_found_everywhere():
    narrow = {"dist": "LogNormal", "median": 0.9, "sigma": 0.1, "reason": "planted"}
    fit = fit_around({}, alpha_N=narrow)
    (text,) = of(fit, "PRIOR_CONFLICT")
    assert text.startswith("alpha_N: the posterior median lies below the central 98%")
    assert "PRIOR_CONFLICT" in [message.code for message in sb.diagnose(fit).messages]
    answer = sb.predict(fit, N=1e9, D=2e10)
    assert [message.code for message in sb.caveats(answer)] == ["PRIOR_CONFLICT"]


def test_a_prior_at_a_reference_is_judged_by_the_size_of_its_term():
    at = {"dist": "LogNormal", "median": 5.0, "sigma": 0.2, "at": 1e9, "reason": "planted"}
    (text,) = of(fit_around({}, N_c=at), "PRIOR_CONFLICT")
    assert text.startswith("N_c: the posterior median lies below")


def test_a_noise_scale_far_above_least_squares_is_found():
    (text,) = of(fit_around({"sigma": 0.06}), "PRIOR_CONFLICT")
    assert text.startswith("sigma: the noise scale of the posterior, 6.")
    assert "fitted by least squares, 1." in text or "fitted by least squares, 0." in text


@pytest.mark.parametrize("side", ["below", "above"])
@pytest.mark.parametrize(("quantile", "is_found"), [(0.985, False), (0.9975, True)])
def test_a_median_conflicts_beyond_the_central_98_percent(side, quantile, is_found):
    z = stats.norm.ppf(quantile) * (1 if side == "below" else -1)
    median = BESIROGLU_PARAMETERS["alpha_N"] * np.exp(0.1 * z)
    prior = {"dist": "LogNormal", "median": median, "sigma": 0.1, "reason": "planted"}
    fit = fit_around({}, alpha_N=prior)
    texts = of(fit, "PRIOR_CONFLICT")
    assert bool(texts) == is_found
    if is_found:
        (text,) = texts
        assert text.startswith(f"alpha_N: the posterior median lies {side} the central 98%")
        drawn, middle = fit.stored["prior"]["alpha_N"], fit.stored["posterior"]["alpha_N"].median()
        beyond = drawn < middle if side == "below" else drawn >= middle
        assert f"(prior probability beyond it {float(beyond.mean()):.1%})" in text


def test_a_fit_without_draws_of_its_prior_has_no_conflict_with_it():
    prior = {"dist": "LogNormal", "median": 5.0, "sigma": 0.1, "reason": "planted"}
    fit = fit_around({}, alpha_N=prior)
    assert of(fit, "PRIOR_CONFLICT")
    del fit.stored["prior"]
    bare = sb.Fit(fit.spec, fit.runs, fit.stored)
    assert of(bare, "PRIOR_CONFLICT") == []


@pytest.mark.parametrize(("times", "is_found"), [(2.7, False), (3.3, True)])
def test_a_noise_scale_conflicts_above_three_times_that_of_least_squares(times, is_found):
    runs = grid_runs()
    law = sb.LAWS["additive"]
    point = least_squares(law, runs.log_inputs(law.inputs), law.log_response(runs))
    # The median of |t| over that of a Normal is what sigma is multiplied by to be compared.
    middle = float(sb.read_model("chinchilla").noise_object.middle(sigma=1.0, nu=10.0))
    fit = fit_around({"sigma": times * point.noise_scale / middle})
    texts = [text for text in of(fit, "PRIOR_CONFLICT") if text.startswith("sigma: the noise")]
    assert bool(texts) == is_found
    if is_found:
        assert f", is {times:.1f} times that of the same law" in texts[0]


def test_a_noise_scale_of_losses_without_noise_has_no_ratio():
    N, D = grid_of_sizes()
    runs = sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": besiroglu_loss(N, D)}), name="exact")
    texts = [t for t in of(fit_around({}, runs), "PRIOR_CONFLICT") if t.startswith("sigma")]
    assert len(texts) == 1
    assert "is more than 1000 times that of the same law" in texts[0]


def checkpoints(trainings=12, rows=5, sigma=0.003, omega=0.02, seed=0):
    """Runs of trainings whose losses are off together, ordered by compute."""
    rng = np.random.default_rng(seed)
    N = np.repeat(np.geomspace(1e8, 1e10, trainings), rows)
    D = N * np.tile(np.geomspace(5, 80, rows), trainings)
    offset = np.repeat(omega * rng.standard_normal(trainings), rows)
    error = offset + sigma * rng.standard_normal(len(N))
    names = np.repeat([f"t{i}" for i in range(trainings)], rows)
    table = {"N": N, "D": D, "loss": besiroglu_loss(N, D) * np.exp(error), "training": names}
    return sb.read_runs(pd.DataFrame(table), name="checkpoints")


def test_errors_of_trainings_and_of_rows_are_those_of_an_analysis_of_variance():
    runs = checkpoints()
    is_fitted = runs.N < 5e9
    known = {x: logs[is_fitted] for x, logs in runs.log_inputs(LAW.inputs).items()}
    point = least_squares(LAW, known, LAW.log_response(runs)[is_fitted])
    errors = conflicts._errors(runs, point, is_fitted)
    residual = pd.Series(point.residual)
    groups = residual.groupby(runs.table["training"].to_numpy()[is_fitted])
    number, parameters = groups.ngroups, len(LAW.parameters)
    within = ((residual - groups.transform("mean")) ** 2).sum() / (len(residual) - number)
    between = (groups.mean() ** 2).sum() / (number - parameters)
    assert errors.sigma == pytest.approx(np.sqrt(within))
    assert errors.omega == pytest.approx(np.sqrt(between - within / 5))
    assert errors.freedom == number - parameters
    assert errors.omega > 3 * errors.sigma
    assert len(errors.training) == len(runs)
    alone = conflicts._errors(sb.Runs(runs.table.drop(columns="training"), "a"), point, is_fitted)
    assert (alone.sigma, alone.omega) == (point.noise_scale, 0.0)
    assert alone.freedom == is_fitted.sum() - parameters


def test_errors_of_a_training_add_up_and_those_of_rows_cancel():
    training = np.array([0, 0, 1, 2, 2, 2])
    errors = conflicts.Errors(0.3, 0.5, 4, training)
    covariance = 0.25 * (training[:, None] == training) + 0.09 * np.eye(6)
    weights = np.array([0.2, -0.4, 1.0, 0.1, 0.1, -0.3])
    assert errors.variance(weights) == pytest.approx(weights @ covariance @ weights)
    rng = np.random.default_rng(0)
    drawn = np.array([errors.draw(rng) for _ in range(4000)])
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.03)
    assert np.abs(drawn.mean(axis=0)).max() < 0.05


@pytest.mark.parametrize("along", ["C", "N", "D"])
def test_forecasts_of_the_last_quarter_are_those_of_least_squares_to_the_others(along):
    runs = bent(-0.06)
    miss = conflicts._miss(runs, LAW, along)
    values = getattr(runs, along)
    rank = np.argsort(np.argsort(values))
    is_fitted = rank < round(0.75 * len(runs))
    # Values within one percent of the last fitted one are fitted too.
    is_fitted |= values <= 1.01 * values[is_fitted].max()
    known = {x: logs[is_fitted] for x, logs in runs.log_inputs(LAW.inputs).items()}
    later = {x: logs[~is_fitted] for x, logs in runs.log_inputs(LAW.inputs).items()}
    point = least_squares(LAW, known, LAW.log_response(runs)[is_fitted])
    missed = LAW.log_response(runs)[~is_fitted] - point.log_law(later)
    assert (miss.along, miss.fitted, miss.predicted) == (along, is_fitted.sum(), len(missed))
    assert miss.largest == values[is_fitted].max()
    assert miss.mean == pytest.approx(missed.mean())
    assert miss.noise == pytest.approx(point.noise_scale)
    assert miss.share == pytest.approx((np.sign(missed) == np.sign(missed.mean())).mean())
    assert 0 <= miss.p_value <= 1


def test_the_order_with_the_least_probable_miss_is_reported():
    runs = bent(-0.06)
    misses = [conflicts._miss(runs, LAW, along) for along in ("C", "N", "D")]
    found = [miss for miss in misses if miss is not None and miss.p_value < conflicts.LEVEL]
    worst = min(found, key=lambda miss: miss.p_value)
    (message,) = one_sided(runs, LAW)
    assert f"to the {worst.fitted} runs up to {worst.along} = " in message.text
    assert f"{worst.share:.0%} of the losses lie below the forecast" in message.text
    assert f"by {abs(worst.mean):.1%} on average, where the noise scale is {worst.noise:.1%}" in (
        message.text
    )
    assert one_sided(runs, LAW) is one_sided(runs, LAW)  # kept for the table


def bent(slowing, seed=0, rows=90):
    """Runs whose loss falls faster (slowing < 0) or slower than the law beyond their centre."""
    rng = np.random.default_rng(seed)
    N = 10 ** rng.uniform(7.5, 10, rows)
    D = 10 ** rng.uniform(9, 11.5, rows)
    later = np.maximum(np.log10(N * D) - 19.5, 0.0)
    loss = besiroglu_loss(N, D) * np.exp(slowing * later + 0.004 * rng.standard_normal(rows))
    return sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name="bent")


@pytest.mark.parametrize(("slowing", "word"), [(-0.06, "too high"), (0.06, "too low")])
def test_forecasts_that_miss_to_one_side_are_found(slowing, word):
    (message,) = one_sided(bent(slowing), LAW)
    assert (message.code, message.level) == ("ONE_SIDED", "warning")
    assert word in message.text


def test_forecasts_of_a_right_law_are_seldom_reported():
    """At most 5% of tables from the law itself are reported; docs and benchmarks have designs."""
    reported = sum(bool(one_sided(bent(0.0, seed), LAW)) for seed in range(40))
    assert reported <= 5  # P(more than 5 of 40) is 1% at 5%


def test_of_a_long_table_some_runs_are_judged():
    """They are drawn at random, whatever the order of the table, and the text says so."""
    (message,) = one_sided(bent(-0.06, rows=5000), LAW)
    assert "of the runs up to" in message.text
    assert "too high" in message.text
    assert one_sided(bent(0.0, rows=5000), LAW) == ()


def test_few_runs_are_not_judged():
    assert one_sided(bent(-0.06, rows=11), LAW) == ()


@pytest.mark.parametrize("larger", [0, 1])
@pytest.mark.parametrize("law", ["additive", "coupled"])
def test_sweeps_of_two_corpora_are_predicted_too_high(law, larger):
    """With the larger run in the table or not: the sweep itself shows the bend."""
    table = shared_table("corpora2025")
    table = table[table["larger"] <= larger]
    for corpus, rows in table.groupby("corpus"):
        runs = sb.read_runs(rows.drop(columns="corpus"), name=corpus)
        (message,) = one_sided(runs, sb.LAWS[law])
        assert "too high: 100% of the losses lie below" in message.text


def test_the_largest_size_of_a_ladder_is_predicted_too_low():
    runs = sb.read_runs(shared_table("olmo_ladder2024"), name="ladder", strict=False)
    (message,) = one_sided(runs, sb.LAWS["coupled"])
    assert "predicts the 6 runs beyond too low: 100% of the losses" in message.text
    assert one_sided(runs, LAW) == ()  # the additive law has more noise and the other sign


def test_answers_of_several_fits_name_the_fit_of_a_conflict():
    good, bad = fit_around({}), fit_around({"sigma": 0.06})
    record = combine({"a": answer_of(good), "b": answer_of(bad)})
    (message,) = record.conflicts
    assert message.text.startswith("b: sigma")
    both = combine({"a": answer_of(bad), "b": answer_of(bad)})
    assert both.conflicts == bad.conflicts


def answer_of(fit):
    return sb.predict(fit, N=1e9, D=2e10)


def test_old_answers_without_conflicts_can_be_read():
    stored = json.loads(Provenance().to_json())
    del stored["conflicts"]
    assert Provenance.from_json(json.dumps(stored)) == Provenance()


def test_equal_losses_among_replicates_are_no_repeated_runs():
    N = np.repeat([1e8, 1e9, 1e10], 3)
    losses = [3.41, 3.41, 3.42, 2.61, 2.6, 2.6, 2.2, 2.2, 2.2]
    runs = sb.read_runs(pd.DataFrame({"N": N, "D": 20 * N, "loss": losses, "seed": [0, 1, 2] * 3}))
    fit = fit_around({}, runs)
    (message,) = [m for m in sb.diagnose(fit).messages if m.code == "REPEATED_RUNS"]
    assert message.text.endswith("run 8, run 9")


def test_a_summary_prints_a_warning_of_the_checks_once(capsys):
    fit = report_fit(runs=bent(-0.06))
    print_summary(fit, Output(ci_prob=0.9, as_json=False))
    printed = capsys.readouterr().out
    assert printed.count("[ONE_SIDED]") == 1
    again = printed.partition("as above: ")[2].replace(",", " ").split()
    assert "ONE_SIDED" in again
