"""Conflicts of prior, law and runs: planted and real cases, in fits, answers and tables."""

import json

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.posterior.conflicts import one_sided
from scalebayes.posterior.provenance import Provenance, combine
from tests.conftest import shared_table
from tests.fixtures import BESIROGLU_PARAMETERS, besiroglu_loss, fit_of, grid_runs

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
