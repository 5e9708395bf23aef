"""The columns of `summary` that it shares with ArviZ."""

import arviz_stats as azs
import numpy as np

import scalebayes as sb
from scalebayes.summaries.summary import with_derived


def test_the_columns_of_arviz_have_its_numbers(fitted):
    fit = fitted("hoffmann2022", "chinchilla")
    ours = sb.summary(fit, ci_prob=0.9)
    expected = azs.summary(with_derived(fit), ci_prob=0.9, ci_kind="eti", round_to="none")
    assert list(ours.index) == list(expected.index)
    np.testing.assert_allclose(ours[expected.columns], expected, rtol=1e-12)
