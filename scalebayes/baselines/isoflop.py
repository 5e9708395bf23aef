r"""Approach 2 of Hoffmann et al. (2022): a power law through minima of parabolas, one a budget.

    loss ~ c_0 + c_1 log N + c_2 (log N)^2  at each budget,
    log N*(C) = -c_1 / (2 c_2),    N* ~ C^a

It needs no law of N and D, but it is biased: along an isoFLOP curve the additive law is not a
parabola unless both exponents agree. With w = log N - log N*,

    loss - loss* = s(C) (beta e^(-alpha w) + alpha e^(beta w) - alpha - beta),

so a parabola through runs spread wide or off centre has its minimum away from w = 0 even without
noise. If the runs of every budget are spread alike around its own optimum, N* is off by one factor
and the exponent is right; if the spread changes with the budget, the exponent is wrong too
(docs/point-methods.md has figures).

References
----------
Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556,
section 3.2.
Czech, Xu, Elmatad, Wang and Held (2026), Problems with Chinchilla Approach 2: systematic biases in
isoFLOP parabola fits, arXiv:2603.22339.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.baselines.from_optima import FEWEST, Optima, extend, resample
from scalebayes.data.subsets import MAX_C_RATIO, MIN_N_RATIO, MIN_SET_SIZE, isoflop_sets
from scalebayes.data.tables.checks import count
from scalebayes.errors import RunsError
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from scalebayes.data.runs import Runs


def minima(runs: Runs) -> pd.DataFrame:
    """Return the minimum of a parabola in log N through the runs of each budget.

    Returns
    -------
    pandas.DataFrame
        One row for each budget: ``C`` in FLOP (the median), ``runs`` (their number), ``smallest``
        and ``largest`` N among them, ``N`` and ``loss`` at the parabola's minimum, and
        ``bracketed``, whether it opens upwards and has its minimum between the smallest and the
        largest N. If it is not bracketed, N and loss are NaN.

    Raises
    ------
    RunsError
        When no budget is shared by four runs whose N span a factor of three.
    """
    import pandas as pd

    rows = []
    for indices in _sets(runs, fewest=1):
        N = runs.N[indices]
        every_run_once = np.ones((1, len(indices)))
        log_N_best, loss_best = _vertices(np.log(N), runs.loss[indices], every_run_once)
        row = {
            "C": np.median(runs.C[indices]),
            "runs": len(indices),
            "smallest": N.min(),
            "largest": N.max(),
            "N": np.exp(float(log_N_best[0])),
            "loss": float(loss_best[0]),
            "bracketed": bool(np.isfinite(log_N_best[0])),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def frontier(runs: Runs, *, C: Any, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Return the compute-optimal N, D and loss by Approach 2, with a bootstrap within each budget.

    Parameters
    ----------
    runs
        A table with N, C and the loss. Budgets are those of `isoflop_sets`.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    draws
        Number of resamples; 0 for a fit of all runs only. Resamples with fewer than three bracketed
        minima are left out and counted in ``attrs["lost"]``.
    seed
        Seed of the bootstrap.

    Returns
    -------
    xarray.Dataset
        ``N``, ``D``, ``loss`` and ``tokens_per_param`` (chain, draw, budget) and the exponent ``a``
        (chain, draw), in the shape of `scalebayes.frontier`, with one chain. ``attrs["notes"]``
        names budgets left out.

    Raises
    ------
    RunsError
        When fewer than three budgets have enough runs and a bracketed minimum; the message names
        those without.
    """
    sets = _sets(runs, fewest=FEWEST)
    table = minima(runs)
    is_bracketed = table["bracketed"].to_numpy()
    left_out = ", ".join(format_quantity(value) for value in table["C"][~is_bracketed])
    if is_bracketed.sum() < FEWEST:
        raise RunsError(
            f"{runs.name}: the runs bracket the minimum of the loss at {is_bracketed.sum()} of "
            f"{len(table)} budgets; Approach 2 needs {FEWEST}. There is no minimum between the "
            f"sizes tried at {left_out} FLOP"
        )
    log_C = np.log(table["C"][is_bracketed].to_numpy())
    log_N, loss = _resampled_minima(runs, list(itertools.compress(sets, is_bracketed)), draws, seed)
    use = np.isfinite(log_N)
    is_kept = use.sum(axis=1) >= FEWEST
    optima = Optima(
        np.broadcast_to(log_C, log_N.shape)[is_kept],
        # Points that do not count have weight zero, but NaN times zero is NaN.
        np.where(use, log_N, 0.0)[is_kept],
        np.where(use, loss, 0.0)[is_kept],
        use[is_kept],
    )
    notes = ""
    if left_out:
        notes = f"left out, the runs do not bracket the minimum: {left_out} FLOP"
    return extend(
        optima,
        runs,
        C,
        method="approach 2",
        budgets=str(len(log_C)),
        lost=str(int((~is_kept).sum())),
        notes=notes,
    )


def _resampled_minima(
    runs: Runs, sets: list[np.ndarray], draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return log N and loss at the minimum of each budget, shape (draws, budgets); NaN for none."""
    rng = np.random.default_rng(seed)
    log_N = []
    loss = []
    for indices in sets:
        weights = resample(rng, len(indices), draws)
        at_minimum = _vertices(np.log(runs.N[indices]), runs.loss[indices], weights)
        log_N.append(at_minimum[0])
        loss.append(at_minimum[1])
    return np.stack(log_N, axis=1), np.stack(loss, axis=1)


def _sets(runs: Runs, fewest: int) -> list[np.ndarray]:
    """Return the indices of the runs of each budget, or refuse a table with too few budgets."""
    sets = isoflop_sets(runs.C, runs.N)
    if len(sets) < fewest:
        raise RunsError(
            f"{runs.name} has {count(sets, 'budget')} that {MIN_SET_SIZE} runs or more share "
            f"(C within {MAX_C_RATIO - 1:.0%}, N over a factor of {MIN_N_RATIO:g}); "
            f"Approach 2 needs {FEWEST}"
        )
    return sets


def _vertices(
    log_N: np.ndarray, loss: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log N and loss at the minima of weighted least-squares parabolas, shape (draws,).

    log_N, loss: shape (runs,); weights: shape (draws, runs). NaN if the runs do not bracket it.
    """
    # On z, from -1 to 1, the normal equations are well conditioned.
    centre = (log_N.max() + log_N.min()) / 2
    half = np.ptp(log_N) / 2
    z = (log_N - centre) / half
    design = np.stack([np.ones_like(z), z, z**2], axis=-1)
    root = np.sqrt(weights)[..., None]
    coefficients = (np.linalg.pinv(root * design) @ (root * loss[:, None]))[..., 0]
    level, slope, curvature = coefficients.T
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = -slope / (2 * curvature)
    is_seen = weights > 0
    low = np.where(is_seen, z, np.inf).min(axis=1)
    high = np.where(is_seen, z, -np.inf).max(axis=1)
    # Three different sizes determine a parabola.
    is_determined = np.array([len(np.unique(z[row])) > 2 for row in is_seen])
    is_bracketed = is_determined & (curvature > 0) & (vertex > low) & (vertex < high)
    log_N_best = np.where(is_bracketed, centre + half * vertex, np.nan)
    loss_best = np.where(is_bracketed, level + slope * vertex / 2, np.nan)
    return log_N_best, loss_best
