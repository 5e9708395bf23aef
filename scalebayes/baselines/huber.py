r"""The field's own point fit of the additive law, as a baseline: least Huber loss on log loss, and its bootstrap.

    minimise  sum_i H(log L_i - log(E + A/N_i^alpha + B/D_i^beta)),   H(r) = r^2/2 if |r| <= delta, else
    delta (|r| - delta/2),   delta = 1e-3

(Hoffmann et al. 2022, section 3.3), by L-BFGS-B from the best of many starts. Errors come from a case bootstrap, each
resample started from the optimum (Besiroglu et al. 2024). The answers carry our names of the law's parameters, so the
same laws and queries apply to them; ``LAWS["additive"].derive`` gives A and B.

The search moves in the logs of E and of the terms' sizes at the centre of the table, not in those at N = D = 1, where
amplitudes and exponents correlate .999. Starts are profiled: with the exponents given, E, A and B are a linear least
squares problem, so a grid over two dimensions does the work of one over five.

References
----------
Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556.
Besiroglu, Erdil, Barnett and You (2024), Chinchilla scaling: a replication attempt, arXiv:2404.10102.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from scalebayes.baselines.from_optima import answer, budgets
from scalebayes.errors import RunsError
from scalebayes.laws import LAWS
from scalebayes.utils.parallel import one_thread

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs

DELTA = 1e-3
"""Where Huber's loss turns from squares to absolute values, in log loss: at so little it is all but least absolute."""
LAW = LAWS["additive"]
EXPONENTS = np.geomspace(0.05, 2.0, 16)
"""Exponents of the starts, for alpha and beta alike; Hoffmann et al. try 0 to 2 in steps of 0.5."""
STARTS = 20
"""How many of the starts are polished: the best ones."""
BOUNDS = [(-10.0, 4.0)] * 3 + [(0.02, 4.0)] * 2
"""Of the logs of E and of the terms' sizes at the centre, and of alpha and beta: all that keeps N_c a number."""


class _Table(NamedTuple):
    """Logs of a table's columns: N and D around their means, which are `centre`, and the loss; weights of the rows."""

    n: np.ndarray
    d: np.ndarray
    loss: np.ndarray
    weights: np.ndarray
    centre: tuple[float, float]


def log_huber(residual: np.ndarray, delta: float = DELTA) -> np.ndarray:
    """Huber's loss of residuals of log loss: r^2/2 up to delta, then delta (|r| - delta/2)."""
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))


def huber(runs: Runs) -> dict[str, float]:
    """Fit the additive law by least log-Huber loss.

    Returns
    -------
    dict
        L_inf, N_c, alpha_N, D_c, alpha_D.

    Raises
    ------
    RunsError
        When a column is missing, or the rows are too few for five parameters.
    """
    table = _table(runs)
    return {name: float(value) for name, value in _parameters(_minimum(table), table).items()}


def bootstrap(runs: Runs, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Refit resampled rows, each time from the optimum of all rows.

    Returns
    -------
    xarray.Dataset
        The law's parameters with dims (chain, draw), one chain: the shape of a posterior.

    Raises
    ------
    RunsError
        As `huber`.
    """
    table = _table(runs)
    values = _parameters(_resampled(_minimum(table), table, draws, seed), table)
    return xr.Dataset({name: (("chain", "draw"), value[None]) for name, value in values.items()})


def forecast(
    train: Runs, N: np.ndarray, D: np.ndarray, seed: int = 0, draws: int = 500
) -> np.ndarray:
    """Draws of the loss of new runs: a bootstrap's curve times a resampled residual of the fit, (draws, targets)."""
    table = _table(train)
    best = _minimum(table)
    resampled = _parameters(_resampled(best, table, draws, seed)[..., None], table)
    residual = LAW.log_residual(train, _parameters(best, table))
    scatter = np.random.default_rng([seed, 1]).choice(residual, (draws, len(N)))
    return LAW(N, D, **resampled) * np.exp(scatter)


def frontier(runs: Runs, *, C: Any, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Find the compute-optimal N, D and loss by Approach 3: the log-Huber fit of the additive law, and its bootstrap.

    Parameters
    ----------
    runs
        A table with N, D and the loss.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    draws
        Resamples; with 0 the fit of all runs alone.
    seed
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        ``N``, ``D``, ``loss`` and ``tokens_per_param`` (chain, draw, budget) and the exponent ``a`` (chain, draw):
        the shape of `scalebayes.frontier`, one chain.

    Raises
    ------
    RunsError
        As `huber`.
    """
    C, table = budgets(C), _table(runs)
    best = _minimum(table)
    at = _resampled(best, table, draws, seed) if draws else best[:, None]
    values = _parameters(at[..., None], table)
    N = LAW.optimise(C / 6.0, values)
    loss = LAW(N, C / (6.0 * N), **values)
    a = LAW.derive(values)["a_opt"][:, 0]
    return answer(runs, C, N, loss, a, method="log-huber", budgets="", lost="0", notes="")


def _table(runs: Runs) -> _Table:
    n, d = np.log(runs.N), np.log(runs.D)
    if len(runs) <= len(LAW.parameters):
        raise RunsError(
            f"{runs.name} has {len(runs)} runs: a point fit of {len(LAW.parameters)} parameters needs more"
        )
    centre = float(n.mean()), float(d.mean())
    return _Table(n - centre[0], d - centre[1], np.log(runs.loss), np.ones(len(runs)), centre)


def _minimum(table: _Table) -> np.ndarray:
    """Coordinates of the least loss: the best of the polished starts, polished again."""
    starts = [_profile(table, *exponents) for exponents in itertools.product(EXPONENTS, EXPONENTS)]
    starts.sort(key=lambda start: _objective(start, table)[0])
    with (
        one_thread()
    ):  # L-BFGS-B calls LAPACK on matrices of five rows: threads make it ten times slower
        rough = min(
            (_polish(start, table, 1e-6) for start in starts[:STARTS]), key=lambda found: found[1]
        )[0]
        return _polish(rough, table)[0]


def _resampled(best: np.ndarray, table: _Table, draws: int, seed: int) -> np.ndarray:
    """Coordinates of the least loss on resampled rows, (5, draws)."""
    rows = len(table.loss)
    counts = (
        np.random.default_rng(seed)
        .multinomial(rows, np.full(rows, 1 / rows), size=draws)
        .astype(float)
    )
    with one_thread():
        return np.stack(
            [_polish(best, table._replace(weights=weights))[0] for weights in counts], axis=1
        )


def _profile(table: _Table, alpha: float, beta: float) -> np.ndarray:
    """Coordinates with E, A and B from non-negative least squares on relative errors, the exponents given."""
    from scipy.optimize import nnls

    terms = np.column_stack(
        [np.ones_like(table.n), np.exp(-alpha * table.n), np.exp(-beta * table.d)]
    )
    sizes, _ = nnls(terms / np.exp(table.loss)[:, None], np.ones_like(table.loss))
    return np.array([*np.log(np.maximum(sizes, 1e-3)), alpha, beta])


def _polish(start: np.ndarray, table: _Table, ftol: float = 1e-12) -> tuple[np.ndarray, float]:
    from scipy.optimize import minimize

    options = {"maxiter": 1000, "ftol": ftol, "gtol": 1e-9}
    found = minimize(
        _objective, start, (table,), "L-BFGS-B", jac=True, bounds=BOUNDS, options=options
    )
    return found.x, float(found.fun)


def _objective(x: np.ndarray, table: _Table) -> tuple[float, np.ndarray]:
    """Sum of Huber losses in units of delta, and its gradient; x is log E, log sizes at the centre, alpha, beta."""
    terms = np.exp([np.full_like(table.n, x[0]), x[1] - x[3] * table.n, x[2] - x[4] * table.d])
    total = terms.sum(axis=0)
    residual = np.log(total) - table.loss
    pull = terms * (table.weights * np.clip(residual / DELTA, -1.0, 1.0) / total)
    gradient = np.array([*pull.sum(axis=1), -(pull[1] @ table.n), -(pull[2] @ table.d)])
    return float(table.weights @ log_huber(residual)) / DELTA, gradient


def _parameters(x: np.ndarray, table: _Table) -> dict[str, np.ndarray]:
    """Parameters of the law from coordinates, (5, ...)."""
    log_E, log_n, log_d, alpha, beta = x
    N_c, D_c = np.exp(table.centre[0] + log_n / alpha), np.exp(table.centre[1] + log_d / beta)
    return {"L_inf": np.exp(log_E), "N_c": N_c, "alpha_N": alpha, "D_c": D_c, "alpha_D": beta}
