"""The recommendation that opens a report, against the queries that it words."""

import re
from collections import Counter

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.decisions.decide import LEAST
from scalebayes.display.numbers import percent
from scalebayes.reports.content import content_of
from scalebayes.reports.contract import MOST_CAVEATS
from scalebayes.reports.recommendation import recommendation
from scalebayes.reports.rendering import to_html, to_markdown
from scalebayes.units import format_quantity, parse_quantity
from scalebayes.validation.sensitivity import AS_FITTED, Sensitivity, table_of_moves
from tests.fixtures import report_fit

PRICE = sb.Price(2.0, 4e14, utilisation=0.5)


@pytest.fixture(scope="module")
def fit():
    return report_fit()


@pytest.fixture(scope="module")
def advised(fit):
    return recommendation(fit, 6e22, 0.9, PRICE)


def numbers(text):
    return [parse_quantity(word) for word in re.findall(r"\d[\d.]*(?:e\d+|[KMBT])?", text)]


def test_what_to_train_is_the_choice_of_least_expected_loss(fit, advised):
    choices = sb.decide(fit, C=6e22)
    choice = choices.isel(option=choices["choice"].values == LEAST)
    assert advised.budget == 6e22
    N, D = numbers(advised.train)
    assert pytest.approx(choice["N"].item(), rel=0.05) == N
    assert pytest.approx(choice["D"].item(), rel=0.05) == D
    loss, prob, low, high, times = numbers(advised.reaches)
    row = sb.intervals(choice[["loss"]]).iloc[0]
    assert prob == 90
    found, expected = [loss, low, high], row[["median", "eti90_lb", "eti90_ub"]].to_numpy(float)
    np.testing.assert_allclose(found, expected, atol=0.006)
    assert times == pytest.approx(6e22 / fit.runs.max_compute, rel=0.05)
    waste = percent(choice["expected_waste"].item())
    assert f"the same loss for {waste} less compute" in advised.how_sure


def test_a_price_turns_the_budget_into_money(fit, advised):
    money = 2.0 * 6e22 / (3600 * 4e14 * 0.5)
    assert f"or ${format_quantity(money, 2)} at $2 an hour" in advised.costs
    assert "$" not in recommendation(fit, 6e22, 0.9).costs


def test_sizes_that_do_as_well_are_those_of_near_optimum(fit, advised):
    near = sb.near_optimum(fit, C=6e22)
    low, high = (format_quantity(near[name].item(), 2) for name in ("N_from", "N_to"))
    assert f"sizes from {low} to {high} need at most 10% more compute" in advised.how_sure


def test_where_no_size_is_safe_the_safest_is_named_with_its_probability():
    uncertain = report_fit("coupled-drift")
    near = sb.near_optimum(uncertain, C=6e22)
    assert np.isnan(near["N_from"].item())
    text = recommendation(uncertain, 6e22, 0.9).how_sure
    safest = format_quantity(near["N_safest"].item(), 2)
    chance = percent(near["probability"].item())
    assert (
        f"the safest size is {safest}: with probability {chance} it needs at most 10% more" in text
    )


def test_runs_that_would_tell_cost_a_tenth_of_the_budget(fit, advised):
    chosen = sb.next_runs(fit, target={"C": 6e22}, budget=6e21, batch=3)
    for run in chosen.table.to_dict("records"):
        N, D = format_quantity(run["N"], 2), format_quantity(run["D"], 2)
        assert f"{N} on {D} tokens" in advised.would_change
    assert "Runs for 10% of the budget" in advised.would_change


def test_the_assumption_that_moves_the_answer_most_is_named(fit):
    tables = {AS_FITTED: sb.intervals(sb.frontier(fit, C=6e22)[["N", "loss"]])}
    for label, factor in (("priors twice as wide", 1.02), ("without drift", 0.5)):
        tables[label] = tables[AS_FITTED].copy()
        tables[label].loc[(6e22, "N")] *= factor
    refits = Sensitivity(dict.fromkeys(tables, fit), table_of_moves(tables, 0.9), ())
    N = tables[AS_FITTED].loc[(6e22, "N"), "median"]
    before, after = format_quantity(N, 2), format_quantity(N / 2, 2)
    text = recommendation(fit, 6e22, 0.9, sensitivity=refits).would_change
    assert text.startswith(
        "Of the assumptions tried, 'without drift' changes the answer most: the best size is then "
        f"{after} in place of {before}."
    )


@pytest.mark.parametrize(
    ("asked", "budget"),
    [
        ({}, 6e22),
        ({"C": ["1e22", "1e24"]}, 1e22),
        ({"N": "1B", "D": ["20B", "40B"]}, 1.2e20),
        ({"N": "1B", "C": "1e21"}, 1e21),
    ],
)
def test_the_budget_is_the_first_one_asked_for_or_ten_times_the_largest_run(fit, asked, budget):
    assert content_of(fit, **asked).recommendation.budget == pytest.approx(budget, rel=0.02)


def test_a_law_without_an_optimum_recommends_nothing():
    for model in ("kaplan-compute", "product"):
        content = content_of(report_fit(model))
        assert content.recommendation is None
        assert "Recommendation" not in to_markdown(content)


def test_a_page_opens_with_it_and_says_each_caveat_once():
    content = content_of(report_fit(gate_failures=("R_HAT",)), N="70B", D="1.4T", C="1e25")
    assert len(content.caveats) == MOST_CAVEATS
    assert content.caveats[0].level == "failed"
    assert content.further_caveats
    codes = [message.code for message in (*content.caveats, *content.further_caveats)]
    for render in (to_html, to_markdown):
        page = render(content).replace("\\_", "_")
        places = [page.index(word) for word in ("Recommendation", "Keep in mind", "Answers")]
        assert places == sorted(places)
        assert {code: page.count(code) for code in codes} == Counter(codes)
