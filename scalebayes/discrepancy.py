r"""How far the law itself may be off: a Gaussian process over the logs of the inputs.

    log L(x) = log law(x) + delta(x) + noise,   delta ~ GP(0, eta^2 k),   k(x, x') = exp(-|x - x'|^2 / (2 length^2))

with x = (log10 N, log10 D), so the length is in decades (Kennedy and O'Hagan 2001). With k(X, X) = U diag(lambda) U' on
the table and Normal noise, delta integrates out: U'(log L - log law) has independent Normal entries of variance
sigma^2 + eta^2 lambda, and what lies outside U is noise alone. Only eigenvalues that matter are kept, some tens for any
number of rows, so the likelihood costs one product with U.

References
----------
Kennedy and O'Hagan (2001), Bayesian calibration of computer models, doi:10.1111/1467-9868.00294.
Buerkner, Gabry and Vehtari (2021), Efficient leave-one-out cross-validation for non-factorized models,
doi:10.1007/s00180-020-01045-4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

ETA: dict[str, float | str] = {
    "dist": "LogNormal",
    "median": 0.01,
    "sigma": 1.0,
    "reason": "laws miss smooth loss surfaces by about a percent where they have been checked; 90% in 0.2% to 5%",
}
PRIORS = {"eta": ETA}
"""Default prior of the amplitude, the standard deviation of delta on log loss."""

EXACT_ROWS = 1000
"""Up to here the basis comes from one eigendecomposition; beyond, from a pivoted Cholesky factor of low rank."""
NEGLIGIBLE = 1e-8
"""Eigenvalues below it are dropped: at eta = 100 sigma they change a variance by 1e-4 of itself."""
TOGETHER = 256
"""Targets drawn jointly; longer lists are drawn in blocks of this size."""


@dataclass(frozen=True)
class Basis:
    """Eigenvectors of the kernel on a table, (rows, rank), their eigenvalues, (rank,), and the points in lengths."""

    length: float
    points: np.ndarray
    vectors: np.ndarray
    values: np.ndarray

    def scale(self, inputs: Iterable[np.ndarray]) -> np.ndarray:
        """Inputs in units of the length, (targets, inputs)."""
        return np.log10(np.minimum(np.column_stack(list(inputs)), 1e300)) / self.length

    def project(self, points: np.ndarray) -> np.ndarray:
        """k(points, X) U, shape (points, rank)."""
        return kernel(points, self.points) @ self.vectors


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """exp(-|a - b|^2 / 2) for points in units of the length, (m, inputs) and (n, inputs) -> (m, n)."""
    squares = sum((a[:, None, i] - b[None, :, i]) ** 2 for i in range(a.shape[1]))
    return np.exp(-0.5 * squares)


def make_basis(log_inputs: Mapping[str, np.ndarray], length: float) -> Basis:
    """Eigenbasis of the kernel on a table; repeated and neighbouring rows only lower its rank."""
    points = np.column_stack(list(log_inputs.values())) / (np.log(10.0) * length)
    if len(points) <= EXACT_ROWS:
        values, vectors = np.linalg.eigh(kernel(points, points))
    else:
        vectors, singular, _ = np.linalg.svd(pivoted_cholesky(points), full_matrices=False)
        values = singular**2
    keep = values > NEGLIGIBLE
    return Basis(length, points, vectors[:, keep], values[keep])


def pivoted_cholesky(points: np.ndarray) -> np.ndarray:
    """G of low rank with G G' = k(X, X) to `NEGLIGIBLE` of its trace, without ever forming the matrix."""
    left = np.ones(len(points))
    columns: list[np.ndarray] = []
    while left.sum() > NEGLIGIBLE and len(columns) < len(points):
        pivot = int(left.argmax())
        column = kernel(points, points[pivot : pivot + 1])[:, 0]
        for earlier in columns:
            column = column - earlier * earlier[pivot]
        column /= np.sqrt(left[pivot])
        columns.append(column)
        left = np.maximum(left - column**2, 0.0)
    return np.column_stack(columns)


@dataclass(frozen=True)
class Conditional:
    """What S posterior draws know of delta: amplitude and noise, (S,), and U'(log L - log law), (S, rank)."""

    basis: Basis
    eta: np.ndarray
    sigma: np.ndarray
    rotated: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """1 / (lambda + sigma^2/eta^2), shape (S, rank)."""
        return 1.0 / (self.basis.values + (self.sigma / self.eta)[:, None] ** 2)

    def draw(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One joint draw of delta at the same targets for each posterior draw, (S, targets)."""
        blocks = np.array_split(points, max(1, -(-len(points) // TOGETHER)))
        return np.concatenate([self._draw_block(block, rng) for block in blocks], axis=1)

    def _draw_block(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        c, values, weights = self.basis.project(points), self.basis.values, self.weights
        mean = (weights * self.rotated) @ c.T
        unseen = kernel(points, points) - (c / values) @ c.T  # given delta on the table: the same for every draw
        spread, axes = np.linalg.eigh(unseen)
        root = axes * np.sqrt(np.maximum(spread, 0.0))
        seen = np.sqrt((1.0 / values - weights).clip(0.0))  # delta on the table, given the noisy losses
        shape = (len(self.eta), len(points))
        around = rng.standard_normal(shape) @ root.T + (rng.standard_normal(self.rotated.shape) * seen) @ c.T
        return mean + self.eta[:, None] * around

    def draw_each(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One draw of delta for each posterior draw at a target of its own, points (S, inputs) -> (S,)."""
        c, weights = self.basis.project(points), self.weights
        mean = (c * weights * self.rotated).sum(axis=1)
        variance = (1.0 - (c**2 * weights).sum(axis=1)).clip(0.0)
        return mean + self.eta * np.sqrt(variance) * rng.standard_normal(len(points))


def loo_logpdf(basis: Basis, residual: np.ndarray, sigma: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Log density of each row given all others and a draw's parameters, residual (S, rows) -> (S, rows).

    What pointwise log likelihoods are where rows are not independent (Buerkner et al. 2021): with Q the inverse of
    sigma^2 I + eta^2 K, row i is Normal around residual_i - (Q residual)_i / Q_ii with variance 1 / Q_ii.
    """
    shrink = basis.values / (basis.values + (sigma / eta)[:, None] ** 2)
    rotated = (residual @ basis.vectors) * shrink
    precision = (1.0 - shrink @ (basis.vectors**2).T) / sigma[:, None] ** 2
    surprise = (residual - rotated @ basis.vectors.T) / sigma[:, None] ** 2
    return 0.5 * (np.log(precision) - np.log(2 * np.pi) - surprise**2 / precision)
