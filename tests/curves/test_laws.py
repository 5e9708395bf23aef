"""Laws of curves: the published formulas summed over every step, published values, gradients."""

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.curves.laws import (
    CURVE_LAWS,
    Scale,
    annealing,
    evaluate,
    join,
    multi_power,
    points_of,
)
from scalebayes.curves.models import read_curve_model
from scalebayes.curves.schedules import named_schedule
from tests.conftest import shared_table

LUO = {
    "L_0": 2.6514477,
    "A": 0.60115152,
    "alpha": 0.45295811,
    "B": 437.9464276,
    "C": 2.13245612,
    "beta": 0.59785199,
    "gamma": 0.65523644,
}
TISSUE = {"L_0": 2.6, "A": 0.6, "alpha": 0.45, "C": 0.5, "lambda_": 0.999}
SCHEDULES = [
    ("cosine", {}),
    ("constant", {}),
    ("linear", {"final": 0.05}),
    ("wsd", {"decay": 1000}),
    ("steps", {"at": [2000], "factors": [0.1]}),
]
STEPS = np.arange(700, 6000, 97.0)
HELD_OUT = (
    *("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000"),
    *("wsdcon_3", "wsdcon_18"),
)


def rates_of(name, arguments):
    schedule = named_schedule(name, 6000, peak=3e-4, warmup=500, **arguments)
    rates = schedule.rate(np.arange(6001.0))
    rates[0] = rates[1] / 2  # a power of zero is infinite
    return schedule, rates


@pytest.mark.parametrize(("name", "arguments"), SCHEDULES)
def test_the_multi_power_law_is_the_sum_over_all_steps(name, arguments):
    schedule, rates = rates_of(name, arguments)
    total, change = np.cumsum(rates), np.diff(rates)
    expected = []
    for step in STEPS.astype(int):
        x = rates[1 : step + 1] ** -LUO["gamma"] * (total[step] - total[:step])
        share = 1 - (LUO["C"] * x + 1) ** -LUO["beta"]
        power = LUO["A"] * total[step] ** -LUO["alpha"]
        expected.append(LUO["L_0"] + power + LUO["B"] * (change[:step] * share).sum())
    found = multi_power(schedule, STEPS, **LUO)
    # The area is an integral, half a step less than the sum: 2e-4 of the loss just after a warm-up
    # of 500 steps, and a fifth of that for most of the run.
    np.testing.assert_allclose(found, expected, rtol=3e-4)
    assert np.mean(np.abs(found / expected - 1)) < 7e-5


@pytest.mark.parametrize(("name", "arguments"), SCHEDULES)
def test_the_annealing_law_is_the_double_sum(name, arguments):
    schedule, rates = rates_of(name, arguments)
    total = np.cumsum(rates)
    falls = np.append(0.0, -np.diff(rates))
    falls[:501] = 0.0  # the warm-up
    momentum, area = 0.0, []
    for fall in falls:  # S2 by its recursion: m_i = lambda m_(i-1) + eta_(i-1) - eta_i
        momentum = TISSUE["lambda_"] * momentum + fall
        area.append(momentum)
    annealed = np.cumsum(area)[STEPS.astype(int)]
    power = TISSUE["A"] * total[STEPS.astype(int)] ** -TISSUE["alpha"]
    expected = TISSUE["L_0"] + power - TISSUE["C"] * annealed
    found = annealing(schedule, STEPS, **TISSUE)
    np.testing.assert_allclose(found, expected, rtol=2e-4)


@pytest.mark.parametrize("name", CURVE_LAWS)
def test_the_sampled_form_is_the_published_one_and_its_gradient_is_right(name):
    law, scale = CURVE_LAWS[name], Scale(area=1.3, rate=3e-4)
    schedule = named_schedule("cosine", 6000, peak=3e-4, warmup=500)
    points = points_of(schedule, STEPS, scale)
    usual = {"C": 300.0, "beta": 0.4, "gamma": 0.7, "memory": 400.0}
    values = np.array([2.9, 0.3, 0.5, 0.12, *(usual[name] for name in law.sampled[4:])])
    loss, gradient, _ = evaluate(law, values, points)

    published = law.to_published(dict(zip(law.sampled, values, strict=True)), scale)
    function = {"multi-power": multi_power, "annealing": annealing}[name]
    np.testing.assert_allclose(loss, function(schedule, STEPS, **published), rtol=1e-12)
    for place, slope in enumerate(gradient):
        side = np.ones(len(values))
        side[place] = np.exp(1e-5)
        higher, lower = (evaluate(law, v, points)[0] for v in (values * side, values / side))
        np.testing.assert_allclose(slope, (higher - lower) / 2e-5, rtol=1e-6, atol=1e-9)


def test_points_of_several_schedules_are_evaluated_as_one():
    law, scale = CURVE_LAWS["multi-power"], Scale(area=1.3, rate=3e-4)
    parts = [
        points_of(named_schedule(name, 6000, peak=3e-4, **arguments), STEPS, scale)
        for name, arguments in SCHEDULES
    ]
    values = np.array([2.9, 0.3, 0.5, 0.12, 300.0, 0.4, 0.7])
    alone = np.concatenate([evaluate(law, values, part)[0] for part in parts])
    np.testing.assert_allclose(evaluate(law, values, join(parts))[0], alone, rtol=1e-12)


@pytest.mark.parametrize("size", ["25M", "100M"])
def test_published_constants_have_the_errors_that_their_authors_print(size):
    curves = sb.read_curves(shared_table("schedules2025"), name="schedules2025")
    published = read_curve_model("multi-power").published
    entry = next(each for each in published if each.label.endswith(f", {size}"))
    found = []
    for schedule in HELD_OUT:
        curve = curves[f"{size}-{schedule}"]
        loss = multi_power(curve.schedule, curve.steps, **entry.values)
        error = np.abs(loss / curve.losses - 1)
        found.append((error.mean(), error.max()))
    for check, value in zip(entry.checks, np.mean(found, axis=0), strict=True):
        assert value == pytest.approx(float(check.printed), abs=check.within)
