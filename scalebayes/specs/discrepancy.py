r"""How far the law itself may be off: a Gaussian process over the logs of the inputs.

    log L(x) = log law(x) + delta(x) + noise,   delta ~ GP(0, eta^2 k),   k(x, x') = (1 + r + r^2/3) exp(-r),
    r = sqrt(5) |x - x'| / length

with x = (log10 N, log10 D), so the length is in decades (Kennedy and O'Hagan 2001). With k(X, X) = U diag(lambda) U' on
the table and Normal noise, delta integrates out: U'(log L - log law) has independent Normal entries of variance
sigma^2 + eta^2 lambda, and what lies outside U is noise alone. Only eigenvalues that matter are kept, some hundreds for
thousands of rows, so the likelihood costs one product with U.

Under other noise delta at the runs is sampled, as weights w of the leading eigenvectors, delta = eta U sqrt(lambda) w.
What moves is v, w less what Normal noise of equal information (`scalebayes.specs.noise`) would make of it, over its sd:

    w = eta sqrt(lambda) U'(log L - log law) / t^2 + (s / t) v,    t^2 = s^2 + eta^2 lambda,

so that v is nearly standard Normal whatever the other parameters are: neither a funnel nor a ridge is left.

The kernel is Matern's of smoothness 5/2. The squared exponential is so smooth that it can follow a small bend only with
a large amplitude: on one public table it asks for eta = 0.23, against a prior of 0.002 to 0.05 and a scatter of half a
percent. Then the law is hardly tied to the runs at all, and beyond them its prior decides. Matern's kernel needs a
quarter of that (docs/calibration.md). The squared exponential remains for comparison.

References
----------
Kennedy and O'Hagan (2001), Bayesian calibration of computer models, doi:10.1111/1467-9868.00294.
Stein (1999), Interpolation of spatial data: some theory for kriging, doi:10.1007/978-1-4612-1494-6.
Buerkner, Gabry and Vehtari (2021), Efficient leave-one-out cross-validation for non-factorized models,
doi:10.1007/s00180-020-01045-4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from scalebayes.utils.parallel import one_thread, side_by_side, split

ETA: dict[str, float | str] = {
    "dist": "LogNormal",
    "median": 0.01,
    "sigma": 1.0,
    "reason": "laws miss smooth loss surfaces by about a percent where they have been checked; 90% in 0.2% to 5%",
}
PRIORS = {"eta": ETA}
"""Default prior of the amplitude, the standard deviation of delta on log loss."""

EXACT_ROWS = 500
"""Up to here the basis comes from one eigendecomposition; beyond, from a pivoted Cholesky factor of low rank."""
ROUNDING = 1e-8
"""Eigenvalues below it are dropped: repeated rows have such. At eta = 100 sigma they are 1e-4 of a variance."""
NEGLIGIBLE = 1e-5
"""Variance, in eta^2, that a factor of low rank may miss in a row: at eta = 10 sigma a thousandth of the noise's."""
NEGLIGIBLE_SAMPLED = 1e-4
"""The same where delta is sampled: at eta = 10 sigma a hundredth of the noise's variance."""
LEAST_RANK = 16
BLOCK = 1_000_000
"""Entries of the kernel held at once, places times runs: bounds the memory that a long table takes."""
TOGETHER = 256
"""Targets drawn jointly; longer lists are drawn in blocks of this size."""


def _matern52(squares: np.ndarray) -> np.ndarray:
    r = np.sqrt(5.0 * squares)
    return (1.0 + r + r**2 / 3.0) * np.exp(-r)


KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "matern52": _matern52,
    "squared_exponential": lambda squares: np.exp(-0.5 * squares),
}
"""Name in a spec -> correlation at a squared distance in lengths."""


def correlation(kernel: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of delta between points in units of the length, (m, inputs) and (n, inputs) -> (m, n)."""
    return KERNELS[kernel](sum((a[:, None, i] - b[None, :, i]) ** 2 for i in range(a.shape[1])))


@dataclass(frozen=True)
class Basis:
    """Eigenvectors of the kernel on a table, (rows, rank), their eigenvalues, (rank,), and the points in lengths."""

    kernel: str
    length: float
    points: np.ndarray
    vectors: np.ndarray
    values: np.ndarray

    def scale(self, inputs: Iterable[np.ndarray]) -> np.ndarray:
        """Inputs in units of the length, (targets, inputs)."""
        return np.log10(np.minimum(np.column_stack(list(inputs)), 1e300)) / self.length

    def near(self, points: np.ndarray) -> np.ndarray:
        """k(points, X), shape (points, rows)."""
        return correlation(self.kernel, points, self.points)

    def leading(self) -> Basis:
        """The leading eigenvectors that leave no row a variance above `NEGLIGIBLE_SAMPLED`."""
        order = np.argsort(-self.values)
        values, vectors = self.values[order], self.vectors[:, order]
        left = 1.0 - np.cumsum(values * vectors**2, axis=1).min(axis=0)
        rank = min(len(values), int((left > NEGLIGIBLE_SAMPLED).sum()) + 1)
        return replace(self, values=values[:rank], vectors=vectors[:, :rank])

    def project(self, points: np.ndarray) -> np.ndarray:
        """k(points, X) U, shape (points, rank)."""
        pieces = np.array_split(points, 1 + len(points) * len(self.points) // BLOCK)
        return np.concatenate([self.near(piece) @ self.vectors for piece in pieces])


def make_basis(log_inputs: Mapping[str, np.ndarray], length: float, kernel: str) -> Basis:
    """Eigenbasis of the kernel on a table; repeated and neighbouring rows only lower its rank."""
    points = np.column_stack(list(log_inputs.values())) / (np.log(10.0) * length)
    with one_thread():  # else the vectors, and with them the draws, depend on the number of cores
        if len(points) <= EXACT_ROWS:
            values, vectors = np.linalg.eigh(correlation(kernel, points, points))
        else:
            vectors, singular, _ = np.linalg.svd(
                pivoted_cholesky(points, kernel), full_matrices=False
            )
            values = singular**2
    keep = values > ROUNDING
    return Basis(kernel, length, points, vectors[:, keep], values[keep])


def padded(rank: int) -> int:
    """A power of two, or three quarters of one, at least as large as a rank: samplers are compiled for few sizes."""
    power = max(LEAST_RANK, 1 << (rank - 1).bit_length())
    return power if rank > 3 * power // 4 or power == LEAST_RANK else 3 * power // 4


def pivoted_cholesky(points: np.ndarray, kernel: str) -> np.ndarray:
    """G of low rank with G G' = k(X, X), no row's variance off by more than `NEGLIGIBLE`; never forms the matrix."""
    left = np.ones(len(points))
    factor = np.empty((len(points), 0))
    while left.max() > NEGLIGIBLE and factor.shape[1] < len(points):
        pivot = int(left.argmax())
        column = (
            correlation(kernel, points, points[pivot : pivot + 1])[:, 0] - factor @ factor[pivot]
        )
        column /= np.sqrt(left[pivot])
        factor = np.column_stack([factor, column])
        left = np.maximum(left - column**2, 0.0)
    return factor


@dataclass(frozen=True)
class Conditional:
    """What S posterior draws know of delta: amplitude and noise, (S,), and U'(log L - log law), (S, rank).

    Draws that hold delta at the runs themselves know it without noise: ``sigma`` is zero, ``rotated`` U' delta.
    """

    basis: Basis
    eta: np.ndarray
    sigma: np.ndarray
    rotated: np.ndarray

    @cached_property
    def weights(self) -> np.ndarray:
        """1 / (lambda + sigma^2/eta^2), shape (S, rank)."""
        return 1.0 / (self.basis.values + (self.sigma / self.eta)[:, None] ** 2)

    def at_runs(self, rng: np.random.Generator) -> np.ndarray:
        """One draw of delta on the table for each posterior draw, as coefficients (S, rank) of what it makes expected.

        Given delta on the table, its expectation at other points is ``basis.project(points)`` times these: it follows
        the runs among them, goes to zero far from them, and has no bend that no run has shown.
        """
        seen = np.sqrt(
            (1.0 / self.basis.values - self.weights).clip(0.0)
        )  # delta on the table, given the noisy losses
        return self.weights * self.rotated + self.eta[:, None] * seen * rng.standard_normal(
            self.rotated.shape
        )

    def draw(
        self, points: np.ndarray, rng: np.random.Generator, out: np.ndarray | None = None
    ) -> np.ndarray:
        """One joint draw of delta at the same targets for each posterior draw, (S, targets), into `out` if given."""
        at_runs = self.at_runs(rng)
        drawn = np.empty((len(self.eta), len(points))) if out is None else out

        def fill(block: slice, rng: np.random.Generator) -> None:
            c, near = (
                self.basis.project(points[block]),
                correlation(self.basis.kernel, points[block], points[block]),
            )
            spread, axes = np.linalg.eigh(
                near - (c / self.basis.values) @ c.T
            )  # unseen, the same for every draw
            root = axes[:, spread > ROUNDING] * np.sqrt(spread[spread > ROUNDING])
            beyond = self.eta[:, None] * rng.standard_normal((len(self.eta), root.shape[1]))
            np.matmul(np.hstack([at_runs, beyond]), np.hstack([c, root]).T, out=drawn[:, block])

        blocks = split(len(points), max(1, -(-len(points) // TOGETHER)))
        side_by_side(fill, blocks, rng.spawn(len(blocks)))
        return drawn

    def draw_each(
        self, points: np.ndarray, at_runs: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """One draw of delta for each posterior draw at a target of its own, points (S, inputs) -> (S,)."""
        c = self.basis.project(points)
        unseen = (1.0 - (c**2 / self.basis.values).sum(axis=1)).clip(0.0)
        return (c * at_runs).sum(axis=1) + self.eta * np.sqrt(unseen) * rng.standard_normal(
            len(points)
        )


def loo_logpdf(
    basis: Basis, residual: np.ndarray, sigma: np.ndarray, eta: np.ndarray
) -> np.ndarray:
    """Log density of each row given all others and a draw's parameters, residual (S, rows) -> (S, rows).

    What pointwise log likelihoods are where rows are not independent (Buerkner et al. 2021): with Q the inverse of
    sigma^2 I + eta^2 K, row i is Normal around residual_i - (Q residual)_i / Q_ii with variance 1 / Q_ii.
    """
    shrink = basis.values / (basis.values + (sigma / eta)[:, None] ** 2)
    rotated = (residual @ basis.vectors) * shrink
    precision = (1.0 - shrink @ (basis.vectors**2).T) / sigma[:, None] ** 2
    surprise = (residual - rotated @ basis.vectors.T) / sigma[:, None] ** 2
    return 0.5 * (np.log(precision) - np.log(2 * np.pi) - surprise**2 / precision)
