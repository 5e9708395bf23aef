"""Probabilities and shares: what is refused, and the hint where a number looks like percent."""

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.utils.shares import check_probability, check_share, percent_hint, tail_probability
from tests.fixtures import report_fit


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (90, " (did you mean 0.9?)"),
        (97.5, " (did you mean 0.975?)"),
        (2, " (did you mean 0.02?)"),
        (1, ""),
        (100, ""),
        (0.5, ""),
        (-5, ""),
        (np.nan, ""),
        (np.inf, ""),
    ],
)
def test_numbers_that_look_like_percent_get_a_hint(value, hint):
    assert percent_hint(value) == hint


def test_probabilities_and_shares_at_their_ends():
    for value in (1e-9, 0.5, 1 - 1e-9):
        check_probability("p", value)
        check_share("s", value, "a share")
    check_share("s", 1.0, "a share")
    for value in (0.0, 1.0, np.nan):
        with pytest.raises(sb.FitError, match="p must lie between 0 and 1; got"):
            check_probability("p", value, sb.FitError)
    for value in (0.0, -1.0, np.nan):
        with pytest.raises(sb.QueryError, match="s, a share, must be positive; got"):
            check_share("s", value, "a share")
    assert tail_probability(0.9) == pytest.approx(0.05)


@pytest.fixture(scope="module")
def fit():
    return report_fit(chains=2, draws=25)


ASKED = {
    "intervals": lambda fit: sb.summary(fit, ci_prob=90),
    "figure": lambda fit: sb.plots.residuals(fit, ci_prob=90),
    "next runs": lambda fit: sb.next_runs(fit, target={"C": "1e22"}, budget="1e21", ci_prob=90),
    "runs needed": lambda fit: sb.runs_needed(
        fit, target={"C": "1e22"}, width=1.5, run_budget="1e21", ci_prob=90
    ),
    "near-optimal": lambda fit: sb.near_optimum(fit, C=1e21, prob=90),
    "acceptance": lambda fit: sb.fit(fit.runs, "chinchilla", target_accept=90),
    "utilisation": lambda fit: sb.Price(2, 4e14, utilisation=90),
    "active": lambda fit: sb.sparse_cost(90),
    "duplicates": lambda fit: sb.find_duplicates(fit.runs, different=90),
    "tolerance": lambda fit: sb.near_optimum(fit, C=1e21, within=90),
    "shares": lambda fit: sb.backtest(fit.runs, "chinchilla", shares=[90]),
}


@pytest.mark.parametrize("asked", ASKED)
def test_every_function_that_takes_a_share_has_the_hint(asked, fit):
    with pytest.raises(sb.ScaleBayesError, match=r"got .*90 \(did you mean 0\.9\?\)"):
        ASKED[asked](fit)
