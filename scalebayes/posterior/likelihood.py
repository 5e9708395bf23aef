r"""The log density of a table under each draw, and of some runs given the others.

Without a discrepancy, or with one that is sampled, runs are independent given a draw, and log
densities add. With a discrepancy that is integrated out they are not. With
Q = (sigma^2 I + eta^2 K)^-1 and the residual r = log loss - log law, rows G given all others are

    r_G | r_-G ~ Normal(r_G - Q_GG^-1 (Q r)_G, Q_GG^-1).

Of single rows these are the pointwise log likelihoods in `Fit.tree` (Buerkner et al. 2021). They do
*not* add up to the log density of the table, nor those of a group's rows to the group's. Without
rows G the discrepancy at x, of mean m and variance v given all rows, becomes

    m - b Q_GG^-1 (Q r)_G,    v + b Q_GG^-1 b',    b = eta^2 k(x, X) Q restricted to G.

References
----------
Buerkner, Gabry and Vehtari (2021), Efficient leave-one-out cross-validation for non-factorized
models, doi:10.1007/s00180-020-01045-4.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from scalebayes.posterior.fit import Fit, draws, refuse_view
from scalebayes.posterior.fit import residuals as residuals
from scalebayes.specs.discrepancy import Basis, Conditional, given_others
from scalebayes.specs.noise import NOISES, Noise

VALUES = 4_000_000
"""Values of matrices inverted at once (32 MB): draws are taken in blocks of so many."""


@dataclass(frozen=True, eq=False)
class Likelihood(ABC):
    """A table under S draws.

    Attributes
    ----------
    residual
        Log loss minus log law, (S, rows), minus the discrepancy where it is sampled.
    known
        What the draws tell of the discrepancy, or None if there is none.
    """

    residual: np.ndarray
    known: Conditional | None

    @abstractmethod
    def joint(self) -> np.ndarray:
        """Return the log density of all runs together, (S,)."""

    @abstractmethod
    def left_out(
        self, rows: np.ndarray, points: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the log density of some rows given the others, and the discrepancy without them.

        Parameters
        ----------
        rows
            Indices.
        points
            In units of the length (`points`), (targets, inputs).

        Returns
        -------
        tuple
            Log density (S,); mean and variance of the discrepancy, (S, targets), zero where there
            is none.
        """

    @abstractmethod
    def standardised(self) -> np.ndarray:
        """Return residuals over the standard deviation of Normal noise that matches, (S, rows).

        Where runs are not independent, the residual and its standard deviation are those given all
        other runs.
        """

    @abstractmethod
    def tail(self) -> np.ndarray:
        """Return the probability of a residual at least as large in absolute value, (S, rows)."""

    def points(self, inputs: Iterable[np.ndarray]) -> np.ndarray:
        """Return inputs in units of the length, (targets, inputs), for `left_out` and `off`."""
        values = np.column_stack(list(inputs))
        if self.known is None:
            return values  # there is no length, and nothing depends on them
        return self.known.basis.scale(values.T)

    def off(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the discrepancy at points given all runs, (S, targets).

        Zero where there is none.
        """
        if self.known is None or not len(points):
            nothing = np.zeros((len(self.residual), len(points)))
            return nothing, nothing
        return _given_all(self.known, slice(None), points)


@dataclass(frozen=True, eq=False)
class IndependentRuns(Likelihood):
    """Runs that are independent given a draw.

    Attributes
    ----------
    noise, parameters
        Distribution of the residuals, and the draws of its parameters, (S, 1) or (S, rows).
    pointwise
        Log density of each run's residual, (S, rows).
    """

    noise: Noise
    parameters: Mapping[str, np.ndarray]
    pointwise: np.ndarray

    def joint(self) -> np.ndarray:
        """Return the log density of all runs together, (S,), given a sampled discrepancy."""
        return self.pointwise.sum(axis=1)

    def left_out(
        self, rows: np.ndarray, points: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the log density of some rows, and the discrepancy, which does not change."""
        if points is None:
            points = np.empty((0, 1))
        mean, variance = self.off(points)
        return self.pointwise[:, rows].sum(axis=1), mean, variance

    def standardised(self) -> np.ndarray:
        """Return residuals over the standard deviation of the Normal with the same quartiles."""
        return self.residual / self.noise.middle(**self.parameters)

    def tail(self) -> np.ndarray:
        """Return the probability of a residual at least as large in absolute value, (S, rows)."""
        return self.noise.tail(self.residual, **self.parameters)


@dataclass(frozen=True, eq=False)
class DependentRuns(Likelihood):
    """Runs under Normal noise and a discrepancy that is integrated out."""

    known: Conditional

    def joint(self) -> np.ndarray:
        """Return the marginal log density of all runs together, (S,)."""
        basis, eta, sigma, rotated = self._process
        variance = sigma[:, None] ** 2 + eta[:, None] ** 2 * basis.values
        outside = (self.residual**2).sum(axis=1) - (rotated**2).sum(axis=1)
        inside = (rotated**2 / variance + np.log(variance)).sum(axis=1)
        rows, rank = basis.vectors.shape
        twice = (
            inside
            + outside / sigma**2
            + 2 * (rows - rank) * np.log(sigma)
            + rows * np.log(2 * np.pi)
        )
        return -0.5 * twice

    def left_out(
        self, rows: np.ndarray, points: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the log density of some rows given the others, and the discrepancy then."""
        if points is None:
            points = np.empty((0, len(self.known.basis.points.T)))
        blocks = [self._left_out(block, rows, points) for block in self._blocks(len(rows))]
        densities, means, variances = zip(*blocks, strict=True)
        return np.concatenate(densities), np.concatenate(means), np.concatenate(variances)

    def standardised(self) -> np.ndarray:
        """Return the residual of each row given all others over its standard deviation."""
        basis, eta, sigma, _ = self._process
        mean, deviation = given_others(basis, self.residual, sigma, eta)
        return (self.residual - mean) / deviation

    def tail(self) -> np.ndarray:
        """Return the probability of a residual at least as large, given all other rows."""
        return NOISES["normal"].tail(self.standardised(), sigma=1.0)

    @property
    def _process(self) -> tuple[Basis, np.ndarray, np.ndarray, np.ndarray]:
        known = self.known
        return known.basis, known.eta, known.sigma, known.rotated

    def _blocks(self, rows: int) -> Iterator[slice]:
        """Yield blocks of draws whose matrices (rows, rows) are held at once."""
        size = max(1, VALUES // max(1, rows**2))
        for start in range(0, len(self.residual), size):
            yield slice(start, start + size)

    def _left_out(
        self, block: slice, rows: np.ndarray, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return `left_out` for a block of draws."""
        basis, eta, sigma, rotated = self._process
        eta, sigma = eta[block], sigma[block]
        vectors = basis.vectors[rows]
        weights = 1.0 / (basis.values + (sigma / eta)[:, None] ** 2)
        shrinkage = basis.values * weights

        # (Q r)_G and Q_GG, by the inverse in the eigenbasis.
        smooth = (rotated[block] * shrinkage) @ vectors.T
        surprise = (self.residual[block][:, rows] - smooth) / sigma[:, None] ** 2
        explained = np.einsum("gr,sr,hr->sgh", vectors, shrinkage, vectors, optimize=True)
        precision = (np.eye(len(rows)) - explained) / sigma[:, None, None] ** 2

        # With Q_GG = root root', z = root^-1 (Q r)_G has z'z = (Q r)_G' Q_GG^-1 (Q r)_G.
        root = np.linalg.cholesky(precision)
        z = np.linalg.solve(root, surprise[..., None])
        log_root = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        constant = 0.5 * len(rows) * np.log(2 * np.pi)
        density = log_root - 0.5 * (z[..., 0] ** 2).sum(axis=1) - constant
        if not len(points):
            nothing = np.zeros((len(density), 0))
            return density, nothing, nothing

        # y = root^-1 b', so that b Q_GG^-1 (Q r)_G = y'z and b Q_GG^-1 b' = y'y.
        mean, variance = _given_all(self.known, block, points)
        projected = basis.project(points)
        b = np.einsum("gr,sr,tr->sgt", vectors, weights, projected, optimize=True)
        y = np.linalg.solve(root, b)
        return density, mean - (y * z).sum(axis=1), variance + (y**2).sum(axis=1)


def _given_all(
    known: Conditional, block: slice, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of the discrepancy given all runs, for a block of draws."""
    eta = known.eta[block, None]
    weights = 1.0 / (known.basis.values + (known.sigma[block, None] / eta) ** 2)
    projected = known.basis.project(points)
    mean = (weights * known.rotated[block]) @ projected.T
    unexplained = 1.0 - weights @ (projected**2).T
    return mean, (eta**2 * unexplained).clip(0.0)


def make_likelihood(fit: Fit) -> Likelihood:
    """Return the runs of a fit under its draws.

    Raises
    ------
    QueryError
        Of a view of a new group, which has no runs.
    """
    refuse_view(fit, "a new group has no runs that could be weighed: ask a group", of_a_group=False)
    observation = fit.spec.observation
    # One row a draw; a discrepancy that is not sampled is zero for all.
    shape = (*fit.stored["posterior"]["sigma"].shape, len(fit.runs))
    delta = np.broadcast_to(observation.delta_at_runs(fit.stored, fit.runs), shape)
    residual, known = residuals(fit), fit.discrepancy
    residual = residual - delta.reshape(residual.shape)
    if not observation.traits.runs_are_independent:
        assert known is not None  # the discrepancy is why they are not
        return DependentRuns(residual, known)
    drawn = draws(fit)
    parameters = {name: drawn[name].values.reshape(-1, 1) for name in observation.noise.priors}
    pointwise = observation.pointwise(residual, parameters, fit.runs)
    parameters = observation.noise_at(parameters, fit.runs)
    return IndependentRuns(residual, known, observation.noise, parameters, pointwise)
