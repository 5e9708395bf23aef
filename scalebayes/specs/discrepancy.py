r"""The law's own errors: a Gaussian process over the logs of the inputs.

    log L(x) = log law(x) + delta(x) + noise,   delta ~ GP(0, eta^2 k),
    k(x, x') = (1 + r + r^2/3) exp(-r),   r = sqrt(5) |x - x'| / length

with x = (log10 N, log10 D), so the length is in decades (Kennedy and O'Hagan 2001).

With k(X, X) = U diag(lambda) U' on the table and Normal noise, delta integrates out:
U'(log L - log law) has independent Normal entries of variance sigma^2 + eta^2 lambda, and outside
the span of U there is noise alone. Only eigenvalues that matter are kept, some hundreds for
thousands of rows, so the likelihood costs one product with U.

Under other noise delta at the runs is sampled, as weights w of the leading eigenvectors,
delta = eta U sqrt(lambda) w. The sampler moves in v, which is w minus its expectation under Normal
noise of equal information (`scalebayes.specs.noise`), over its standard deviation there:

    w = eta sqrt(lambda) U'(log L - log law) / t^2 + (s / t) v,    t^2 = s^2 + eta^2 lambda,

so that v is nearly standard Normal whatever the other parameters are: neither a funnel nor a ridge
is left. `scalebayes.specs.observation` has the graphs of both ways.

The kernel is Matern's of smoothness 5/2. The squared exponential is so smooth that it can follow a
small bend only with a large amplitude: on one public table its eta is 0.23, against a prior of
0.002 to 0.05 and a noise scale of half a percent. Then the law is hardly tied to the runs at all,
and beyond them its prior decides. Matern's kernel needs a quarter of that (docs/calibration.md).
The squared exponential remains for comparison.

References
----------
Kennedy and O'Hagan (2001), Bayesian calibration of computer models, doi:10.1111/1467-9868.00294.
Stein (1999), Interpolation of spatial data: some theory for kriging,
doi:10.1007/978-1-4612-1494-6.
Buerkner, Gabry and Vehtari (2021), Efficient leave-one-out cross-validation for non-factorized
models, doi:10.1007/s00180-020-01045-4.
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
    "reason": (
        "laws miss smooth loss surfaces by about a percent where they have been checked; "
        "90% in 0.2% to 5%"
    ),
}
PRIORS = {"eta": ETA}
"""Default prior of the amplitude, the standard deviation of delta on log loss."""

EXACT_ROWS = 500
"""Rows up to which the basis comes from one eigendecomposition; beyond, from a low-rank factor."""
ROUNDING = 1e-8
"""Least eigenvalue that is kept: repeated rows have smaller ones.

At eta = 100 sigma it is 1e-4 of the noise's variance.
"""
NEGLIGIBLE = 1e-5
"""Variance, in eta^2, that a low-rank factor may miss in a row.

At eta = 10 sigma it is a thousandth of the noise's variance.
"""
NEGLIGIBLE_SAMPLED = 1e-4
"""The same where delta is sampled: at eta = 10 sigma a hundredth of the noise's variance."""
LEAST_RANK = 16
"""Least number of weights that a sampler is compiled for."""
BLOCK = 1_000_000
"""Entries of the kernel held at once, points times runs: bounds the memory of a long table."""
TOGETHER = 256
"""Targets drawn jointly; longer lists are drawn in blocks of this size."""
LN_10 = float(np.log(10.0))
LARGEST_INPUT = 1e300
"""Stands for an infinite input, so that its log is finite."""


def _matern52(squares: np.ndarray) -> np.ndarray:
    r = np.sqrt(5.0 * squares)
    return (1.0 + r + r**2 / 3.0) * np.exp(-r)


def _squared_exponential(squares: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * squares)


KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "matern52": _matern52,
    "squared_exponential": _squared_exponential,
}
"""Name in a spec -> correlation at a squared distance in lengths."""


def correlation(kernel: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the correlation of delta between points in units of the length.

    a: (m, inputs), b: (n, inputs) -> (m, n).
    """
    squares = sum((a[:, None, i] - b[None, :, i]) ** 2 for i in range(a.shape[1]))
    return KERNELS[kernel](np.asarray(squares))


@dataclass(frozen=True)
class Basis:
    """Eigenbasis of the kernel on a table.

    Attributes
    ----------
    kernel, length
        Of the Gaussian process; the length in decades.
    centre
        Log of each input where its distances begin, in decades.
    points
        Distances of the runs from there in units of the length, (rows, inputs).
    vectors, values
        Eigenvectors, (rows, rank), and their eigenvalues, (rank,).
    """

    kernel: str
    length: float
    centre: np.ndarray
    points: np.ndarray
    vectors: np.ndarray
    values: np.ndarray

    def scale(self, inputs: Iterable[np.ndarray]) -> np.ndarray:
        """Return distances of inputs from the centre in units of the length, (targets, inputs)."""
        columns = np.column_stack(list(inputs))
        return (np.log10(np.minimum(columns, LARGEST_INPUT)) - self.centre) / self.length

    def near(self, points: np.ndarray) -> np.ndarray:
        """Return k(points, X), shape (points, rows)."""
        return correlation(self.kernel, points, self.points)

    def unexplained(self, projected: np.ndarray) -> np.ndarray:
        """Return the variance of delta, in eta^2, that the runs leave at points, (points,).

        projected: the points' projection, from `project`.
        """
        explained = (projected**2 / self.values).sum(axis=1)
        return (1.0 - explained).clip(0.0)

    def leading(self) -> Basis:
        """Return the leading eigenvectors that miss at most `NEGLIGIBLE_SAMPLED` in every row."""
        order = np.argsort(-self.values)
        values, vectors = self.values[order], self.vectors[:, order]
        explained = np.cumsum(values * vectors**2, axis=1)
        missed = 1.0 - explained.min(axis=0)  # in the worst row, with 1, 2, ... vectors
        rank = min(len(values), int((missed > NEGLIGIBLE_SAMPLED).sum()) + 1)
        return replace(self, values=values[:rank], vectors=vectors[:, :rank])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return k(points, X) U, shape (points, rank)."""
        pieces = np.array_split(points, 1 + len(points) * len(self.points) // BLOCK)
        return np.concatenate([self.near(piece) @ self.vectors for piece in pieces])


def make_basis(
    log_distances: Mapping[str, np.ndarray],
    log_centres: Mapping[str, float],
    length: float,
    kernel: str,
) -> Basis:
    """Return the eigenbasis of a kernel on a table.

    Repeated and neighbouring rows only lower its rank.

    Parameters
    ----------
    log_distances
        Natural log of each input over its centre, (rows,).
    log_centres
        Natural log of the centre of each input.
    length, kernel
        Of the Gaussian process; the length in decades.
    """
    points = np.column_stack(list(log_distances.values())) / (LN_10 * length)
    centre = np.array(list(log_centres.values())) / LN_10
    # With more threads the vectors, and with them the draws, depend on the number of cores.
    with one_thread():
        if len(points) <= EXACT_ROWS:
            values, vectors = np.linalg.eigh(correlation(kernel, points, points))
        else:
            factor = pivoted_cholesky(points, kernel)
            vectors, singular, _ = np.linalg.svd(factor, full_matrices=False)
            values = singular**2
    keep = values > ROUNDING
    return Basis(kernel, length, centre, points, vectors[:, keep], values[keep])


def padded(rank: int) -> int:
    """Return a power of two, or three quarters of one, at least as large as a rank.

    So samplers are compiled for few sizes.
    """
    power = max(LEAST_RANK, 1 << (rank - 1).bit_length())
    three_quarters = 3 * power // 4
    if power == LEAST_RANK or rank > three_quarters:
        return power
    return three_quarters


def pivoted_cholesky(points: np.ndarray, kernel: str) -> np.ndarray:
    """Return G of low rank with G G' = k(X, X) up to `NEGLIGIBLE` in each row's variance.

    The matrix itself is never formed. Each step takes the row of largest variance left.
    """
    left = np.ones(len(points))
    factor = np.empty((len(points), 0))
    while left.max() > NEGLIGIBLE and factor.shape[1] < len(points):
        pivot = int(left.argmax())
        of_pivot = correlation(kernel, points, points[pivot : pivot + 1])[:, 0]
        column = (of_pivot - factor @ factor[pivot]) / np.sqrt(left[pivot])
        factor = np.column_stack([factor, column])
        left = np.maximum(left - column**2, 0.0)
    return factor


@dataclass(frozen=True)
class Conditional:
    """The distribution of delta under S posterior draws.

    Attributes
    ----------
    basis
        On the table.
    eta
        Amplitude, (S,).
    sigma
        Standard deviation of the noise through which delta is seen, (S,): zero where the draws
        contain delta at the runs.
    rotated
        U' times the residuals, log L - log law, or times delta itself where it is drawn, (S, rank).
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
        """Return one draw of delta on the table for each posterior draw, as coefficients (S, rank).

        Given that draw, the expectation of delta at other points is ``basis.project(points)`` times
        the coefficients: among the runs it follows them, far from them it goes to zero, and it has
        no bend that no run has shown.
        """
        expected = self.weights * self.rotated
        # Variance of delta on the table given the noisy losses, in eta^2 and as coefficients.
        variance = (1.0 / self.basis.values - self.weights).clip(0.0)
        z = rng.standard_normal(self.rotated.shape)
        return expected + self.eta[:, None] * np.sqrt(variance) * z

    def draw(
        self, points: np.ndarray, rng: np.random.Generator, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return one joint draw of delta at the same targets for each posterior draw, (S, targets).

        Parameters
        ----------
        points
            In units of the length, (targets, inputs).
        out
            Array to fill, if given.
        """
        at_runs = self.at_runs(rng)
        drawn = np.empty((len(self.eta), len(points))) if out is None else out

        def fill(block: slice, rng: np.random.Generator) -> None:
            projected = self.basis.project(points[block])
            near = correlation(self.basis.kernel, points[block], points[block])
            # Covariance that the runs leave unknown: the same for every draw, in eta^2.
            unseen = near - (projected / self.basis.values) @ projected.T
            variances, axes = np.linalg.eigh(unseen)
            keep = variances > ROUNDING
            root = axes[:, keep] * np.sqrt(variances[keep])
            z = rng.standard_normal((len(self.eta), root.shape[1]))
            coefficients = np.hstack([at_runs, self.eta[:, None] * z])
            np.matmul(coefficients, np.hstack([projected, root]).T, out=drawn[:, block])

        count = -(-len(points) // TOGETHER)  # rounded up
        blocks = split(len(points), max(1, count))
        side_by_side(fill, blocks, rng.spawn(len(blocks)))
        return drawn

    def draw_each(
        self, points: np.ndarray, at_runs: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Return one draw of delta for each posterior draw at a target of its own, (S,).

        Parameters
        ----------
        points
            In units of the length, (S, inputs).
        at_runs
            From `at_runs`, (S, rank).
        """
        projected = self.basis.project(points)
        expected = (projected * at_runs).sum(axis=1)
        unseen = self.basis.unexplained(projected)
        z = rng.standard_normal(len(points))
        return expected + self.eta * np.sqrt(unseen) * z


def given_others(
    basis: Basis, residual: np.ndarray, sigma: np.ndarray, eta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each row given all others and a draw's parameters.

    With Q the inverse of sigma^2 I + eta^2 K, row i is Normal around
    residual_i - (Q residual)_i / Q_ii with variance 1 / Q_ii (Buerkner et al. 2021).

    Parameters
    ----------
    residual
        Log loss minus log law, (S, rows).
    sigma, eta
        Noise scale and amplitude of the discrepancy, (S,).

    Returns
    -------
    tuple
        Mean and standard deviation, (S, rows) each.
    """
    variance = sigma[:, None] ** 2
    shrinkage = basis.values / (basis.values + (sigma / eta)[:, None] ** 2)
    smooth = ((residual @ basis.vectors) * shrinkage) @ basis.vectors.T
    precision = (1.0 - shrinkage @ (basis.vectors**2).T) / variance  # Q_ii
    surprise = (residual - smooth) / variance  # (Q residual)_i
    return residual - surprise / precision, 1.0 / np.sqrt(precision)
