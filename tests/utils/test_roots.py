"""Roots of many functions at once, against SciPy's routine of the same method."""

import numpy as np
import pytest
from scipy.optimize import elementwise

from scalebayes.utils.roots import find_roots

SHIFTS = np.geomspace(1e-3, 50.0, 200)


def cubic(x, shift):
    return x**3 + x - shift


def steep(x, shift):
    return np.tanh(40 * (x - shift / 50)) + 0.1 * (x - shift / 50)


def kinked(x, shift):
    return np.where(x > shift / 10, 50 * (x - shift / 10), 0.01 * (x - shift / 10))


@pytest.mark.parametrize("function", [cubic, steep, kinked])
@pytest.mark.parametrize("tolerance", [0.0, 1e-9])
def test_roots_are_those_of_scipy_at_as_many_steps(function, tolerance):
    low, high = np.full_like(SHIFTS, -3.0), np.full_like(SHIFTS, 7.0)
    evaluations = np.zeros(len(SHIFTS))

    def counted(x, numbers):
        evaluations[numbers] += 1
        return function(x, SHIFTS[numbers])

    found = find_roots(counted, low, high, tolerance)
    tolerances = {"xatol": tolerance} if tolerance else None
    expected = elementwise.find_root(function, (low, high), args=(SHIFTS,), tolerances=tolerances)
    assert expected.success.all()
    np.testing.assert_allclose(found, expected.x, rtol=1e-14, atol=2 * tolerance + 1e-15)
    assert evaluations.mean() <= expected.nfev.mean() + 1


def test_ends_may_be_roots_and_there_may_be_none():
    low, high = np.zeros(5), np.ones(5)
    targets = np.array([0.0, 1.0, 2.0, np.nan, 0.25])
    found = find_roots(lambda x, numbers: x - targets[numbers], low, high, 1e-12)
    np.testing.assert_allclose(found, [0.0, 1.0, np.nan, np.nan, 0.25], atol=1e-12)


def test_a_value_that_is_not_finite_has_no_root():
    def infinite_above(x, numbers):
        return np.where(x < 0.5, x - 0.25, np.inf)

    assert np.isnan(find_roots(infinite_above, np.zeros(1), np.ones(1), 1e-12)).all()
