r"""Rows that look wrong: outliers under the noise of a fit, and runs given twice.

    tail_i = E[ P(|noise| >= |r_i| | theta) | y ],   r_i = log loss - log law (with a discrepancy: given the other rows,
                                                                 or where it is sampled, given its draw at the row)

and times the number of rows (Bonferroni), since the largest of many residuals is large. A Student-t noise learns its
tails from the very rows in question and then finds them ordinary, so the same is asked of Normal noise that agrees with
it in the middle half. A row beyond that, though not beyond the fitted tails, is one that the fit has to live with: it
has little weight, but it is no noise of the common kind, and often the law's fault rather than the row's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scalebayes.errors import QueryError
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.posterior.likelihood import make_likelihood
from scalebayes.specs.noise import NOISES

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.data.runs import Runs

LEVEL = 0.05
"""Bonferroni probability below which a row is called out."""
SAME, DIFFERENT = 0.01, 0.02
"""Inputs that agree to this share are the same; losses of the same inputs that differ by more than this disagree."""
OUTLIER, TAIL = "outlier", "heavy tail"


def find_outliers(fit: Fit) -> pd.DataFrame:
    """Find rows that the noise of a fit does not explain.

    With a discrepancy the residual is that from the curve through the *other* rows (where it is sampled, through all:
    a row that it follows is not seen). A cluster of bad rows bends that
    curve and inflates its noise, and so hides itself: look for outliers with a law alone under Student-t noise
    (``chinchilla``, say).

    Returns
    -------
    pandas.DataFrame
        One row a run, least probable first: its inputs and ``loss``; ``sds``, the posterior median of the residual in
        standard deviations of the noise's middle; ``tail``, the posterior mean of the probability of a residual as
        large, under the fitted noise; ``tail_rows``, that times the number of rows, at most one; ``normal_tail_rows``,
        the same under Normal noise with the fitted noise's quartiles; and ``verdict``: "outlier" where ``tail_rows`` is
        under 0.05, "heavy tail" where only ``normal_tail_rows`` is, else "".

    Raises
    ------
    QueryError
        For an average, which has no one noise.
    """
    if isinstance(fit, Average):
        raise QueryError(
            "outliers are those of one fit's noise: ask each fit of the average by itself"
        )
    table, rows = make_likelihood(fit), len(fit.runs)
    sds = table.standardised()
    tail = table.tail().mean(axis=0)
    plain = NOISES["normal"].tail(sds, sigma=1.0).mean(axis=0)
    runs = fit.runs.table
    out = runs[[x for x in ("N", "D", "C", "loss") if x in runs]].assign(
        sds=np.median(sds, axis=0),
        tail=tail,
        tail_rows=np.minimum(1.0, rows * tail),
        normal_tail_rows=np.minimum(1.0, rows * plain),
    )
    beyond, odd = out["tail_rows"] < LEVEL, out["normal_tail_rows"] < LEVEL
    return out.assign(verdict=np.select([beyond, odd], [OUTLIER, TAIL], "")).sort_values(
        "tail", kind="stable"
    )


def find_duplicates(runs: Runs, same: float = SAME, different: float = DIFFERENT) -> pd.DataFrame:
    """Find pairs of runs with the very same numbers, or with the same inputs and losses that disagree.

    Parameters
    ----------
    runs
        The table.
    same
        Inputs that agree to this share, each of them, are the same.
    different
        Losses of such runs that differ by more than this share disagree: more than seeds do, in runs of one recipe.

    Returns
    -------
    pandas.DataFrame
        One row a pair: ``first`` and ``second`` (ids), their losses, ``difference`` of the logs, and ``kind``:
        "identical" or "losses disagree". Repeated runs that agree are not listed.

    Raises
    ------
    QueryError
        When a share is not positive.
    """
    import pandas as pd
    from scipy.spatial import cKDTree

    if not (same > 0 and different > 0):
        raise QueryError(
            f"same and different must be positive shares; got {same:g} and {different:g}"
        )
    inputs = [x for x in ("N", "D") if x in runs.table] or ["C"]
    points = np.column_stack([*runs.log_inputs(inputs).values()])
    pairs = cKDTree(points).query_pairs(np.log1p(same), p=np.inf, output_type="ndarray")
    i, j = pairs[np.lexsort(pairs.T[::-1])].T
    difference = np.log(runs.loss[j] / runs.loss[i])
    identical = (points[i] == points[j]).all(axis=1) & (difference == 0)
    kind = np.select(
        [identical, np.abs(difference) > np.log1p(different)], ["identical", "losses disagree"], ""
    )
    ids = runs.table.index.to_numpy()
    found = {
        "first": ids[i],
        "second": ids[j],
        "loss_first": runs.loss[i],
        "loss_second": runs.loss[j],
    }
    table = pd.DataFrame(found | {"difference": difference, "kind": kind})
    return table[table["kind"] != ""].reset_index(drop=True)
