r"""Approach 3 of Hoffmann et al. (2022): the additive law fitted by least Huber loss of log loss.

    minimise  sum_i H(log L_i - log(E + A/N_i^alpha + B/D_i^beta)),
    H(r) = r^2/2 if |r| <= delta, else delta (|r| - delta/2),   delta = 1e-3

(Hoffmann et al. 2022, section 3.3), by L-BFGS-B from the best of many starts. Errors come from a
case bootstrap, in which each resample is started from the optimum (Besiroglu et al. 2024). Answers
have this package's names of the parameters, so the same laws and queries apply to them;
``LAWS["additive"].derive`` gives A and B.

The coordinates of the search are the logs of E and of both terms at the centre of the table, and
the exponents. Amplitudes at N = D = 1 would have a correlation of .999 with the exponents. With the
exponents given, E, A and B are the solution of a linear least squares problem, so starts need a
grid over two dimensions only, not five.

References
----------
Hoffmann et al. (2022), Training compute-optimal large language models, arXiv:2203.15556.
Besiroglu, Erdil, Barnett and You (2024), Chinchilla scaling: a replication attempt,
arXiv:2404.10102.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from scalebayes.baselines.from_optima import answer, budgets, resample
from scalebayes.errors import RunsError
from scalebayes.laws import LAWS
from scalebayes.utils.parallel import one_thread

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs

DELTA = 1e-3
"""Residual of log loss above which Huber's loss is linear: few residuals are below it."""
LAW = LAWS["additive"]
EXPONENTS = np.geomspace(0.05, 2.0, 16)
"""Exponents alpha and beta of the starts; Hoffmann et al. try 0 to 2 in steps of 0.5."""
STARTS = 20
"""Number of starts, the best ones, from which the search begins."""
ROUGH, FINE = 1e-6, 1e-12
"""Relative decreases at which L-BFGS-B stops, while a start is chosen and at the end."""
LEAST_SIZE = 1e-3
"""Least E and least size of a term at a start, in the unit of the loss; the search takes logs."""
BOUNDS = [(-10.0, 4.0)] * 3 + [(0.02, 4.0)] * 2
"""Bounds of the coordinates (see `_objective`), within which N_c and D_c are finite."""


class _Table(NamedTuple):
    """A table in logs, each column of shape (runs,).

    n and d are log N and log D less their means, which are `centre`; `log_loss` is the log of the
    loss, and `weights` counts how often each row occurs.
    """

    n: np.ndarray
    d: np.ndarray
    log_loss: np.ndarray
    weights: np.ndarray
    centre: tuple[float, float]


def log_huber(residual: np.ndarray, delta: float = DELTA) -> np.ndarray:
    """Return Huber's loss of residuals r: r^2/2 up to |r| = delta, then delta (|r| - delta/2)."""
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))


def huber(runs: Runs) -> dict[str, float]:
    """Return the parameters of the additive law at the least log-Huber loss.

    Returns
    -------
    dict
        L_inf, N_c, alpha_N, D_c, alpha_D.

    Raises
    ------
    RunsError
        When a column is missing, or there are too few rows for five parameters.
    """
    table = _table(runs)
    parameters = _parameters(_minimum(table), table)
    return {name: float(value) for name, value in parameters.items()}


def bootstrap(runs: Runs, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Return the parameters refitted to resampled rows, each time from the optimum of all rows.

    Returns
    -------
    xarray.Dataset
        The law's parameters with dims (chain, draw), like a posterior with one chain.

    Raises
    ------
    RunsError
        As `huber`.
    """
    table = _table(runs)
    x = _resampled(_minimum(table), table, draws, seed)
    values = _parameters(x, table)
    return xr.Dataset({name: (("chain", "draw"), value[None]) for name, value in values.items()})


def forecast(
    train: Runs, N: np.ndarray, D: np.ndarray, seed: int = 0, draws: int = 500
) -> np.ndarray:
    """Return draws of the loss of new runs, shape (draws, targets).

    A draw is the curve of a bootstrap resample times e to the power of a resampled residual.

    N, D: shape (targets,).
    """
    table = _table(train)
    best = _minimum(table)
    resampled = _resampled(best, table, draws, seed)
    curves = LAW(N, D, **_parameters(resampled[..., None], table))
    residual = LAW.log_residual(train, _parameters(best, table))
    noise = np.random.default_rng([seed, 1]).choice(residual, (draws, len(N)))
    return curves * np.exp(noise)


def frontier(runs: Runs, *, C: Any, draws: int = 1000, seed: int = 0) -> xr.Dataset:
    """Return the compute-optimal N, D and loss by Approach 3, with a bootstrap of the runs.

    Parameters
    ----------
    runs
        A table with N, D and the loss.
    C
        Budgets in FLOP: a number, text such as "1e24", or a sequence.
    draws
        Number of resamples; 0 for a fit of all runs only.
    seed
        Seed of the bootstrap.

    Returns
    -------
    xarray.Dataset
        ``N``, ``D``, ``loss`` and ``tokens_per_param`` (chain, draw, budget) and the exponent ``a``
        (chain, draw), in the shape of `scalebayes.frontier`, with one chain.

    Raises
    ------
    RunsError
        As `huber`.
    """
    C = budgets(C)
    table = _table(runs)
    best = _minimum(table)
    x = best[:, None]
    if draws > 0:
        x = _resampled(best, table, draws, seed)
    values = _parameters(x[..., None], table)
    N = LAW.optimise(C / 6.0, values)
    loss = LAW(N, C / (6.0 * N), **values)
    a = LAW.derive(values)["a_opt"][:, 0]
    return answer(runs, C, N, loss, a, method="log-huber", budgets="", lost="0", notes="")


def _table(runs: Runs) -> _Table:
    log_N = np.log(runs.N)
    log_D = np.log(runs.D)
    needed = len(LAW.parameters)
    if len(runs) <= needed:
        raise RunsError(
            f"{runs.name} has {len(runs)} runs: a point fit of {needed} parameters needs more"
        )
    centre = float(log_N.mean()), float(log_D.mean())
    every_run_once = np.ones(len(runs))
    return _Table(log_N - centre[0], log_D - centre[1], np.log(runs.loss), every_run_once, centre)


def _minimum(table: _Table) -> np.ndarray:
    """Return the coordinates of the least objective, shape (5,)."""
    starts = [_profile(table, alpha, beta) for alpha in EXPONENTS for beta in EXPONENTS]
    starts.sort(key=lambda start: _objective(start, table)[0])
    # L-BFGS-B calls LAPACK on matrices of five rows, which threads make ten times slower.
    with one_thread():
        found = [_search(start, table, ROUGH) for start in starts[:STARTS]]
        best, _ = min(found, key=lambda end: end[1])
        return _search(best, table, FINE)[0]


def _resampled(best: np.ndarray, table: _Table, draws: int, seed: int) -> np.ndarray:
    """Return the coordinates of the least objective on resampled rows, shape (5, draws)."""
    counts = resample(np.random.default_rng(seed), len(table.log_loss), draws)
    with one_thread():
        found = [_search(best, table._replace(weights=row), FINE)[0] for row in counts]
    return np.stack(found, axis=1)


def _profile(table: _Table, alpha: float, beta: float) -> np.ndarray:
    """Return coordinates with E, A and B by non-negative least squares at given exponents.

    The residuals are relative errors of the loss.
    """
    from scipy.optimize import nnls

    ones = np.ones_like(table.n)
    terms = np.column_stack([ones, np.exp(-alpha * table.n), np.exp(-beta * table.d)])
    loss = np.exp(table.log_loss)
    sizes, _ = nnls(terms / loss[:, None], ones)
    return np.array([*np.log(np.maximum(sizes, LEAST_SIZE)), alpha, beta])


def _search(start: np.ndarray, table: _Table, ftol: float) -> tuple[np.ndarray, float]:
    """Return the coordinates and the value of a local minimum of the objective."""
    from scipy.optimize import minimize

    options = {"maxiter": 1000, "ftol": ftol, "gtol": 1e-9}
    found = minimize(
        _objective, start, (table,), "L-BFGS-B", jac=True, bounds=BOUNDS, options=options
    )
    return found.x, float(found.fun)


def _objective(x: np.ndarray, table: _Table) -> tuple[float, np.ndarray]:
    """Return the sum of Huber losses over delta, and its gradient.

    x: log E, the logs of both terms at the centre of the table, alpha, beta.
    """
    log_E, log_size_N, log_size_D, alpha, beta = x
    log_terms = [
        np.full_like(table.n, log_E),
        log_size_N - alpha * table.n,
        log_size_D - beta * table.d,
    ]
    terms = np.exp(log_terms)
    total = terms.sum(axis=0)
    residual = np.log(total) - table.log_loss
    # Derivative of each row's Huber loss by the log of each term, shape (3, runs).
    slope = table.weights * np.clip(residual / DELTA, -1.0, 1.0)
    by_term = terms * (slope / total)
    by_alpha = -(by_term[1] @ table.n)
    by_beta = -(by_term[2] @ table.d)
    gradient = np.array([*by_term.sum(axis=1), by_alpha, by_beta])
    value = float(table.weights @ log_huber(residual)) / DELTA
    return value, gradient


def _parameters(x: np.ndarray, table: _Table) -> dict[str, np.ndarray]:
    """Return the parameters of the law at coordinates x, shape (5, ...)."""
    log_E, log_size_N, log_size_D, alpha, beta = x
    return {
        "L_inf": np.exp(log_E),
        "N_c": np.exp(table.centre[0] + log_size_N / alpha),
        "alpha_N": alpha,
        "D_c": np.exp(table.centre[1] + log_size_D / beta),
        "alpha_D": beta,
    }
