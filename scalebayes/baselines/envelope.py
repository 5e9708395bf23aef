r"""Approach 1 of Hoffmann et al. (2022): a power law through the lower envelope of loss.

    N*(C) = argmin over runs at compute C of the loss,    N* ~ C^a

Hoffmann et al. take the minimum over whole training curves, at 1500 values of C, so each model is a
candidate at every compute that it passed. A table of runs has final losses only, so each run is a
candidate at one compute. The consequences:

- few sizes end at one compute, so N* is known to the spacing of the sizes tried only;
- all runs in one bin of compute are compared as if their compute were equal;
- no candidate is in the middle of a longer learning-rate schedule, where its loss would be higher
  than that of a run that ends there.

References
----------
Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556,
section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.baselines.from_optima import FEWEST, Optima, extend, resample
from scalebayes.data.subsets import size_labels
from scalebayes.errors import RunsError
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    import xarray as xr

    from scalebayes.data.runs import Runs

BINS_PER_DECADE = 4
"""Bins of compute in a factor of ten: narrow enough to compare runs, wide enough for several."""


def frontier(runs: Runs, *, C: Any, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Return the compute-optimal N, D and loss by Approach 1, with a bootstrap of the runs.

    Compute is divided into bins of a quarter of a decade. A bin counts if its run of least loss is
    neither of the smallest nor of the largest size in the bin (the runs bracket the minimum) and no
    run of less compute has a lower loss (the run is on the envelope). The compute of a bin is that
    of this run.

    Parameters
    ----------
    runs
        A table with N, C and the loss.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    draws
        Number of resamples; 0 for a fit of all runs only. Resamples with fewer than three bins are
        left out and counted in ``attrs["lost"]``.
    seed
        Seed of the bootstrap.

    Returns
    -------
    xarray.Dataset
        As `scalebayes.baselines.isoflop.frontier`.

    Raises
    ------
    RunsError
        When fewer than three bins of compute count; the message names the others.
    """
    log_C = np.log(runs.C)
    log_N = np.log(runs.N)
    bins = np.floor(log_C / np.log(10) * BINS_PER_DECADE).astype(int)
    sizes = size_labels(runs.N)
    chosen = _envelope(log_C, runs.loss, bins, sizes, np.ones(len(runs), bool))
    left_out = _open_bins(runs, bins, chosen)
    if chosen.sum() < FEWEST:
        raise RunsError(
            f"{runs.name}: the runs bracket the least loss in {chosen.sum()} bins of compute; "
            f"Approach 1 needs {FEWEST}. Too few sizes, or the best is the smallest or largest, "
            f"at about {left_out} FLOP"
        )
    counts = resample(np.random.default_rng(seed), len(runs), draws)
    use = np.stack([_envelope(log_C, runs.loss, bins, sizes, row > 0) for row in counts])
    is_kept = use.sum(axis=1) >= FEWEST
    use = use[is_kept]
    optima = Optima(
        np.broadcast_to(log_C, use.shape),
        np.broadcast_to(log_N, use.shape),
        np.broadcast_to(runs.loss, use.shape),
        use,
    )
    notes = ""
    if left_out:
        notes = (
            f"left out, too few sizes or the best is the smallest or largest: about {left_out} FLOP"
        )
    return extend(
        optima,
        runs,
        C,
        method="approach 1",
        budgets=str(int(chosen.sum())),
        lost=str(int((~is_kept).sum())),
        notes=notes,
    )


def _envelope(
    log_C: np.ndarray, loss: np.ndarray, bins: np.ndarray, sizes: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Return which runs are on the envelope and bracketed minima of their bins, shape (runs,).

    Only the runs in `seen` count. All arrays: shape (runs,).
    """
    is_chosen = np.zeros(len(loss), bool)
    lowest_before = np.inf
    for bin_number in np.unique(bins[seen]):
        rows = np.flatnonzero(seen & (bins == bin_number))
        best = rows[loss[rows].argmin()]
        is_bracketed = sizes[rows].min() < sizes[best] < sizes[rows].max()
        # Runs of less compute are those of earlier bins, and some of this bin.
        is_earlier = log_C[rows] < log_C[best]
        lowest_earlier = loss[rows[is_earlier]].min(initial=lowest_before)
        is_chosen[best] = is_bracketed and loss[best] < lowest_earlier
        lowest_before = min(lowest_before, loss[rows].min())
    return is_chosen


def _open_bins(runs: Runs, bins: np.ndarray, chosen: np.ndarray) -> str:
    """Return the median compute of each bin that does not count, as text."""
    texts = []
    for bin_number in np.setdiff1d(bins, bins[chosen]):
        compute = float(np.median(runs.C[bins == bin_number]))
        texts.append(format_quantity(compute, 2))
    return ", ".join(texts)
