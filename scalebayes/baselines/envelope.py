r"""Approach 1 of Hoffmann et al. (2022): the lower envelope of loss against compute, and a power law of its sizes.

    N*(C) = argmin over runs at compute C of the loss,    N* ~ C^a

Hoffmann et al. take the minimum over whole training curves, at 1500 values of C, so that each model is a candidate at
every compute it passed. A table of runs has final losses only: each run is a candidate at one compute. What is lost:

- the candidates at a compute are the few sizes that stop there, so N* is known to the spacing of the sizes tried;
- a bin of compute is compared as if it were one compute;
- in return no candidate is in the middle of a longer learning-rate schedule, where it is worse than a run that ends
  there.

References
----------
Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556, section 3.1.
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
SIZES = 3
"""Sizes a bin must hold: the best of them must have a smaller and a larger one beside it."""


def frontier(runs: Runs, *, C: Any, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Find the compute-optimal N, D and loss by Approach 1, from final losses, with a bootstrap of the runs.

    Compute is cut into quarters of a decade. A bin counts where its run of least loss is neither of the smallest nor of
    the largest size in it (the runs bracket the minimum) and no run of less compute has a lower loss (it is on the
    envelope); its compute is that run's own.

    Parameters
    ----------
    runs
        A table with N, C and the loss.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    draws
        Resamples; with 0 the fit of all runs alone. A resample with fewer than three bins is lost, and
        ``attrs["lost"]`` counts them.
    seed
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        As `scalebayes.baselines.isoflop.frontier`.

    Raises
    ------
    RunsError
        When fewer than three bins of compute count, naming those whose minimum the runs do not bracket.
    """
    log_C, log_N, loss = np.log(runs.C), np.log(runs.N), runs.loss
    bins = np.floor(log_C / np.log(10) * BINS_PER_DECADE).astype(int)
    sizes = size_labels(runs.N)
    chosen = _envelope(log_C, loss, bins, sizes, np.ones(len(runs), bool))
    left_out = _open_bins(runs, bins, chosen)
    if chosen.sum() < FEWEST:
        raise RunsError(
            f"{runs.name}: the runs bracket the least loss in {chosen.sum()} bins of compute; Approach 1 needs "
            f"{FEWEST}. Too few sizes, or the best is at the end of them, at about {left_out} FLOP"
        )
    counts = resample(np.random.default_rng(seed), len(runs), draws)
    use = np.stack([_envelope(log_C, loss, bins, sizes, row > 0) for row in counts])
    kept = use.sum(axis=1) >= FEWEST
    use = use[kept]
    log_C, log_N, loss = (np.broadcast_to(values, use.shape) for values in (log_C, log_N, loss))
    notes = (
        f"left out, too few sizes or the best at their end: about {left_out} FLOP"
        if left_out
        else ""
    )
    about = {
        "method": "approach 1",
        "budgets": str(int(chosen.sum())),
        "lost": str(int((~kept).sum())),
        "notes": notes,
    }
    return extend(Optima(log_C, log_N, loss, use), runs, C, **about)


def _envelope(
    log_C: np.ndarray, loss: np.ndarray, bins: np.ndarray, sizes: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Which rows are the bracketed minima of their bins and on the envelope, among the rows that are seen."""
    out = np.zeros(len(loss), bool)
    lowest = np.inf
    for b in np.unique(bins[seen]):
        rows = np.flatnonzero(seen & (bins == b))
        best = rows[loss[rows].argmin()]
        inside = sizes[rows].min() < sizes[best] < sizes[rows].max()
        earlier = rows[log_C[rows] < log_C[best]]
        out[best] = inside and loss[best] < min(lowest, *loss[earlier], np.inf)
        lowest = min(lowest, loss[rows].min())
    return out


def _open_bins(runs: Runs, bins: np.ndarray, chosen: np.ndarray) -> str:
    """Median compute of the bins that do not count, in words."""
    left_out = sorted(set(bins) - set(bins[chosen]))
    return ", ".join(format_quantity(float(np.median(runs.C[bins == b])), 2) for b in left_out)
