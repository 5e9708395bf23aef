r"""Outliers under the noise of a fit, and duplicate rows.

The tail probability of row i is

    tail_i = E[ P(|noise| >= |r_i| | theta) | y ],   r_i = log loss - log law.

With a discrepancy, r_i is the residual given the other rows; where the discrepancy is sampled, the
residual given its draw at the row. The probability is multiplied by the number of rows
(Bonferroni), because the largest of many residuals is large.

Student-t noise learns its tails from all rows, outliers included, and can then explain them.
Therefore the probability is also computed under Normal noise with the same quartiles. A row that is
unlikely under this Normal noise, but not under the fitted tails, gets little weight in the fit. It
is often a fault of the law rather than of the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.posterior.likelihood import make_likelihood
from scalebayes.specs.noise import NOISES
from scalebayes.utils.progress import shows_progress
from scalebayes.utils.shares import check_share

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.data.runs import Runs

LEVEL = 0.05
"""Bonferroni probability below which a row is an outlier: the error rate for the whole table."""
SAME_INPUT = 0.01
"""Relative difference of inputs up to which they count as the same input."""
DIFFERENT_LOSS = 0.02
"""Relative difference of the losses of equal inputs above which they disagree."""
OUTLIER = "outlier"
HEAVY_TAIL = "heavy tail"
IDENTICAL = "identical"
DISAGREE = "losses disagree"


@shows_progress("outliers")
def find_outliers(fit: Fit) -> pd.DataFrame:
    """Runs with the probability of their residuals under the noise of a fit.

    With an integrated discrepancy, a residual is the distance from the curve through the *other*
    rows. A sampled discrepancy is fitted to all rows, so a row that its curve follows is not found.
    A cluster of bad rows bends the curve and widens its noise, and so hides itself: look for
    outliers with a law without discrepancy under Student-t noise, such as ``chinchilla``.

    Returns
    -------
    pandas.DataFrame
        One row for each run, least probable first, with its inputs and ``loss``.

        - ``sds``: posterior median of the residual, in standard deviations of the Normal noise with
          the quartiles of the fitted noise.
        - ``tail``: posterior mean of the probability of a residual at least as large under the
          fitted noise.
        - ``tail_rows``: ``tail`` times the number of rows, at most one.
        - ``normal_tail_rows``: the same under that Normal noise.
        - ``verdict``: "outlier" if ``tail_rows`` is below 0.05, "heavy tail" if only
          ``normal_tail_rows`` is, else "".

    Raises
    ------
    QueryError
        For an average, whose fits have different noises.

    Examples
    --------
    >>> runs = sb.find_outliers(sb.load("chinchilla.nc"))
    >>> runs[["N", "loss", "verdict"]].head(2)
                    N     loss     verdict
    run
    34   1.730540e+09  3.39574  heavy tail
    30   1.793810e+09  3.40593  heavy tail
    """
    if isinstance(fit, Average):
        raise QueryError(
            "outliers depend on the noise of one fit: ask each fit of the average by itself"
        )
    likelihood = make_likelihood(fit)
    sds = likelihood.standardised()
    tail = likelihood.tail().mean(axis=0)
    normal_tail = NOISES["normal"].tail(sds, sigma=1.0).mean(axis=0)
    runs = fit.runs.table
    rows = len(runs)
    tail_rows = np.minimum(1.0, rows * tail)
    normal_tail_rows = np.minimum(1.0, rows * normal_tail)
    is_outlier = tail_rows < LEVEL
    is_heavy_tail = normal_tail_rows < LEVEL
    columns = [name for name in ("N", "D", "C", "loss") if name in runs]
    table = runs[columns].assign(
        sds=np.median(sds, axis=0),
        tail=tail,
        tail_rows=tail_rows,
        normal_tail_rows=normal_tail_rows,
        verdict=np.select([is_outlier, is_heavy_tail], [OUTLIER, HEAVY_TAIL], ""),
    )
    return table.sort_values("tail", kind="stable")


@shows_progress("duplicate runs")
def find_duplicates(
    runs: Runs, same: float = SAME_INPUT, different: float = DIFFERENT_LOSS
) -> pd.DataFrame:
    """Pairs of runs with identical numbers, or with the same inputs and losses that disagree.

    Parameters
    ----------
    runs
        The table.
    same
        Largest relative difference of inputs that count as the same.
    different
        Relative difference above which the losses of such runs disagree. By default it is more than
        seeds of one recipe differ by.

    Returns
    -------
    pandas.DataFrame
        One row for each pair: ``first`` and ``second`` (ids), ``loss_first`` and ``loss_second``
        (in the metric of the runs), ``difference`` (log of second loss over first), and ``kind``:
        "identical" or "losses disagree". Repeated runs that agree are not listed.

    Raises
    ------
    QueryError
        When a share is not positive or above 1.

    Examples
    --------
    >>> table = pd.DataFrame({"N": [1e8, 1e8, 1e9], "D": [2e9, 2e9, 2e10], "loss": [3.4, 3.5, 2.6]})
    >>> runs = sb.read_runs(table, strict=False)
    >>> sb.find_duplicates(runs)[["first", "second", "kind"]]
      first second             kind
    0     1      2  losses disagree
    """
    import pandas as pd
    from scipy.spatial import cKDTree

    if not (same > 0 and different > 0):
        raise QueryError(
            f"same and different must be positive shares; got {same:g} and {different:g}"
        )
    check_share("same", same, "a relative difference")
    check_share("different", different, "a relative difference")
    inputs = [name for name in ("N", "D") if name in runs.table] or ["C"]
    points = np.column_stack(list(runs.log_inputs(inputs).values()))
    # The maximum norm (p = infinity) of log inputs: each input must agree by itself.
    pairs = cKDTree(points).query_pairs(np.log1p(same), p=np.inf, output_type="ndarray")
    # The last key of lexsort is the primary one: by the first run of a pair, then the second.
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    first, second = pairs[order].T

    difference = np.log(runs.loss[second] / runs.loss[first])
    is_identical = (points[first] == points[second]).all(axis=1) & (difference == 0)
    disagrees = np.abs(difference) > np.log1p(different)
    ids = runs.table.index.to_numpy()
    table = pd.DataFrame(
        {
            "first": ids[first],
            "second": ids[second],
            "loss_first": runs.loss[first],
            "loss_second": runs.loss[second],
            "difference": difference,
            "kind": np.select([is_identical, disagrees], [IDENTICAL, DISAGREE], ""),
        }
    )
    return table[table["kind"] != ""].reset_index(drop=True)
