import numpy as np
import pytest

import scalebayes as sb
from scalebayes.curves.schedules import named_schedule, schedule_of_array

ARGUMENTS = {
    "constant": {},
    "cosine": {"final": 0.1},
    "linear": {"final": 0.0},
    "wsd": {"decay": 0.2},
    "steps": {"at": [400], "factors": [0.3]},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_area_is_the_sum_of_the_rates(name):
    schedule = named_schedule(name, 1000, peak=3e-4, warmup=100, **ARGUMENTS[name])
    fine = np.linspace(0, 1000, 200_001)
    rates = schedule.rate(fine)
    total = np.concatenate([[0], np.cumsum((rates[1:] + rates[:-1]) / 2 * np.diff(fine))])
    at = np.array([0.0, 50, 100, 400, 401, 999.5, 1000])
    np.testing.assert_allclose(schedule.area(at), np.interp(at, fine, total), rtol=2e-5, atol=1e-9)
    assert schedule.peak == 3e-4
    assert schedule.warmup == 100


def test_the_forms_are_those_of_their_names():
    steps = np.array([100.0, 550, 1000])
    cosine = named_schedule("cosine", 1000, peak=1.0, warmup=100, final=0.1)
    np.testing.assert_allclose(cosine.rate(steps), [1, 0.55, 0.1], atol=1e-4)
    linear = named_schedule("linear", 1000, peak=1.0, warmup=100)
    np.testing.assert_allclose(linear.rate(steps), [1, 0.5, 0])
    wsd = named_schedule("wsd", 1000, peak=1.0, warmup=100, decay=450, final=0.01)
    np.testing.assert_allclose(wsd.rate(np.array([550.0, 775, 1000])), [1, 0.1, 0.01], rtol=1e-3)
    stairs = named_schedule("steps", 1000, peak=1.0, at=[500], factors=[0.3])
    np.testing.assert_allclose(stairs.rate(np.array([499.0, 500, 1000])), [1, 0.3, 0.3])


def test_a_cut_schedule_goes_on_with_another():
    whole = named_schedule("cosine", 1000, peak=1.0, warmup=100)
    again = whole.until(600).then(
        sb.Schedule(whole.steps[whole.steps > 600], whole.rates[whole.steps > 600])
    )
    at = np.array([300.0, 600, 800, 1000])
    np.testing.assert_allclose(again.area(at), whole.area(at), rtol=1e-5)
    jump = named_schedule("steps", 1000, peak=1.0, at=[500], factors=[0.5]).until(500)
    assert jump.rates[-1] == 1.0


def test_an_array_has_the_rate_of_each_step_or_of_points():
    rates = np.concatenate([np.linspace(0, 1, 11), np.full(90, 1.0)])
    schedule = schedule_of_array(rates)
    assert schedule.warmup == 10
    assert schedule.area(np.array([100.0]))[0] == pytest.approx(95)
    points = schedule_of_array([(0, 0), (10, 1), (100, 1)])
    assert points.area(np.array([100.0]))[0] == pytest.approx(95)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: named_schedule("cosin", 10, peak=1), "did you mean 'cosine'"),
        (lambda: named_schedule("cosine", 10, peak=1, warmup=20), "warm-up is shorter"),
        (lambda: named_schedule("cosine", 10, peak=1, decay=3), "does not take these arguments"),
        (lambda: named_schedule("wsd", 10, peak=1, warmup=9, decay=5), "starts after the warm-up"),
        (lambda: named_schedule("steps", 10, peak=1), "as many steps"),
        (lambda: schedule_of_array([1.0]), "at least two steps"),
        (lambda: schedule_of_array(np.ones((3, 3))), "(3, 3)"),
        (
            lambda: sb.Schedule(np.array([2.0, 1]), np.array([1.0, 1])),
            "steps of a schedule increase",
        ),
        (lambda: sb.Schedule(np.array([1.0, 2]), np.array([-1.0, 1])), "zero or more"),
    ],
)
def test_what_is_no_schedule_is_refused_in_words(ask, says):
    with pytest.raises(sb.QueryError) as error:
        ask()
    assert says in str(error.value)
