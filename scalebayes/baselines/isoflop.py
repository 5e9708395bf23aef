r"""Approach 2 of Hoffmann et al. (2022): a parabola through the runs of each budget, and a power law of their minima.

    loss ~ c_0 + c_1 log N + c_2 (log N)^2  at each budget,    log N*(C) = -c_1 / (2 c_2),    N* ~ C^a

It asks for no law of N and D, and pays for that: along an isoFLOP curve the additive law is no parabola unless both
exponents agree. With w = log N - log N*,

    loss - loss* = s(C) (beta e^(-alpha w) + alpha e^(beta w) - alpha - beta),

so a parabola through runs spread wide or off centre has its minimum away from w = 0 even without noise. Where every
budget spreads its runs alike around its own optimum, the shift is one factor on N* and the exponent stays right; where
the spread drifts with the budget, the exponent is off too (docs/point-methods.md has figures).

References
----------
Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556, section 3.2.
Czech, Xu, Elmatad, Wang and Held (2026), Problems with Chinchilla Approach 2: systematic biases in isoFLOP parabola
fits, arXiv:2603.22339.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scalebayes.baselines.from_optima import FEWEST, Optima, extend, resample
from scalebayes.data.subsets import AGREE, ENOUGH, SPAN, isoflop_sets
from scalebayes.errors import RunsError
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from scalebayes.data.runs import Runs


def minima(runs: Runs) -> pd.DataFrame:
    """Fit a parabola in log N to the runs of each budget.

    Returns
    -------
    pandas.DataFrame
        One row a budget: ``C`` in FLOP (the median), ``runs``, ``smallest`` and ``largest`` N among them, ``N`` and
        ``loss`` of the parabola's minimum, and ``bracketed``, whether it opens upwards and has its minimum between
        the smallest and the largest N. Where it is not bracketed, N and loss are NaN.

    Raises
    ------
    RunsError
        When no budget is shared by four runs whose N span a factor of three.
    """
    import pandas as pd

    sets = _sets(runs, fewest=1)
    rows = []
    for s in sets:
        log_N, loss = (
            float(v[0]) for v in _vertices(np.log(runs.N[s]), runs.loss[s], np.ones((1, len(s))))
        )
        ends = {"smallest": runs.N[s].min(), "largest": runs.N[s].max()}
        best = {"N": np.exp(log_N), "loss": loss, "bracketed": bool(np.isfinite(log_N))}
        rows.append({"C": np.median(runs.C[s]), "runs": len(s), **ends, **best})
    return pd.DataFrame(rows)


def frontier(runs: Runs, *, C: Any, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Find the compute-optimal N, D and loss by Approach 2, with a bootstrap of the runs of each budget.

    Parameters
    ----------
    runs
        A table with N, C and the loss. Budgets are those of `isoflop_sets`.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    draws
        Resamples; with 0 the fit of all runs alone. A resample in which fewer than three budgets bracket their minimum
        is lost, and ``attrs["lost"]`` counts them.
    seed
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        ``N``, ``D``, ``loss`` and ``tokens_per_param`` (chain, draw, budget) and the exponent ``a`` (chain, draw):
        the shape of `scalebayes.frontier`, one chain. ``attrs["notes"]`` names budgets left out.

    Raises
    ------
    RunsError
        When fewer than three budgets are shared by enough runs, or bracket their minimum, naming those that do not.
    """
    sets = _sets(runs, fewest=FEWEST)
    table = minima(runs)
    good = table["bracketed"].to_numpy()
    left_out = ", ".join(format_quantity(value) for value in table["C"][~good])
    if good.sum() < FEWEST:
        raise RunsError(
            f"{runs.name}: the runs bracket the minimum of the loss at {good.sum()} of {len(good)} budgets; "
            f"Approach 2 needs {FEWEST}. It lies outside the sizes tried, or is none, at {left_out} FLOP"
        )
    sets = [s for s, kept in zip(sets, good, strict=True) if kept]
    rng = np.random.default_rng(seed)
    found = [_vertices(np.log(runs.N[s]), runs.loss[s], resample(rng, len(s), draws)) for s in sets]
    log_N, loss = (np.stack(part, axis=1) for part in zip(*found, strict=True))
    use = np.isfinite(log_N)
    kept = use.sum(axis=1) >= FEWEST
    log_C = np.broadcast_to(np.log([np.median(runs.C[s]) for s in sets]), log_N.shape)
    optima = Optima(
        log_C[kept], np.where(use, log_N, 0.0)[kept], np.where(use, loss, 0.0)[kept], use[kept]
    )
    notes = f"left out, the runs do not bracket the minimum: {left_out} FLOP" if left_out else ""
    about = {
        "method": "approach 2",
        "budgets": str(len(sets)),
        "lost": str(int((~kept).sum())),
        "notes": notes,
    }
    return extend(optima, runs, C, **about)


def _sets(runs: Runs, fewest: int) -> list[np.ndarray]:
    sets = isoflop_sets(runs.C, runs.N)
    if len(sets) < fewest:
        raise RunsError(
            f"{runs.name} has {len(sets)} budget{'s' * (len(sets) != 1)} that {ENOUGH} runs or more share (C within "
            f"{AGREE - 1:.0%}, N over a factor of {SPAN:g}); Approach 2 needs {FEWEST}"
        )
    return sets


def _vertices(
    log_N: np.ndarray, loss: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log N and loss of the minima of weighted parabolas, weights (draws, runs) -> (draws,); NaN if not bracketed."""
    centre, half = (log_N.max() + log_N.min()) / 2, np.ptp(log_N) / 2
    z = (log_N - centre) / half
    design = np.stack([np.ones_like(z), z, z**2], axis=-1)
    root = np.sqrt(weights)[..., None]
    c = (np.linalg.pinv(root * design) @ (root * loss[:, None]))[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = -c[:, 1] / (2 * c[:, 2])
    seen = weights > 0
    low, high = np.where(seen, z, np.inf).min(axis=1), np.where(seen, z, -np.inf).max(axis=1)
    distinct = (
        np.array([len(np.unique(z[row])) for row in seen]) > 2
    )  # or else the parabola is not determined
    bracketed = distinct & (c[:, 2] > 0) & (vertex > low) & (vertex < high)
    loss_there = c[:, 0] + c[:, 1] * vertex / 2
    return np.where(bracketed, centre + half * vertex, np.nan), np.where(
        bracketed, loss_there, np.nan
    )
