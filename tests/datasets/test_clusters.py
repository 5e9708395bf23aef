"""Intervals of means over few clusters."""

import numpy as np
import pytest
from scipy import stats

from scalebayes.datasets.clusters import mean_interval, share_interval


def test_the_mean_interval_is_that_of_the_t_distribution():
    values = np.array([0.88, 0.95, 0.91, 1.0, 0.83])
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    assert mean_interval(values) == pytest.approx((expected.low, expected.high))


def test_the_mean_interval_covers_with_five_clusters():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        low, high = mean_interval(rng.normal(0.9, 0.1, 5))
        inside += low <= 0.9 <= high
    assert inside / 2000 == pytest.approx(0.9, abs=0.02)


def test_one_cluster_has_no_interval():
    assert np.isnan(mean_interval([0.9])).all()
    assert np.isnan(share_interval([0.9], 100)).all()


def test_equal_shares_do_not_make_a_share_certain():
    assert mean_interval([1.0] * 5) == (1.0, 1.0)
    low, high = share_interval([1.0] * 5, 20)
    assert (low, high) == (pytest.approx(0.05 ** (1 / 20)), 1.0)  # Clopper and Pearson's


def test_a_share_interval_is_the_wider_of_the_two_and_stays_within_0_and_1():
    shares = [0.5, 0.8, 0.99, 1.0, 1.0]
    low, high = share_interval(shares, 1000)
    assert low == pytest.approx(mean_interval(shares)[0])
    assert high == 1.0


@pytest.mark.parametrize("clusters", [2, 3, 4, 5, 8, 31])
def test_the_quantile_of_student_is_scipys(clusters):
    values = np.r_[np.ones(clusters - 1), 0.0]
    low, high = mean_interval(values)
    half = stats.t.ppf(0.95, clusters - 1) * stats.sem(values)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-12)


@pytest.mark.parametrize("trials", [1, 7, 163, 5000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99, 1.0])
def test_the_binomial_interval_is_scipys(trials, share):
    exact = stats.binomtest(round(share * trials), trials).proportion_ci(0.9, method="exact")
    # Clusters of equal shares leave the binomial interval alone.
    assert share_interval([share, share], trials) == pytest.approx(
        (min(share, exact.low), max(share, exact.high)), rel=1e-9, abs=1e-12
    )
