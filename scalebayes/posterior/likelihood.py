r"""What a table says under each draw: its log density, and what is left of it when some runs are left out.

Without a discrepancy runs are independent given the parameters, and log densities add. With one they are not: with
Q = (sigma^2 I + eta^2 K)^-1 and the residual r = log loss - log law, rows G given all others are

    r_G | r_-G ~ Normal(r_G - Q_GG^-1 (Q r)_G, Q_GG^-1),

of which single rows are the pointwise log likelihoods in `Fit.tree` (Buerkner et al. 2021). These do *not* add up to
the log density of the table, nor those of a group's rows to the group's. Without rows G the discrepancy at x, of mean m
and variance v given all rows, becomes

    m - b Q_GG^-1 (Q r)_G,    v + b Q_GG^-1 b',    b = eta^2 k(x, X) Q restricted to G.

References
----------
Buerkner, Gabry and Vehtari (2021), Efficient leave-one-out cross-validation for non-factorized models,
doi:10.1007/s00180-020-01045-4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scalebayes.posterior.fit import Fit, noise_parameters, refuse_view, residuals
from scalebayes.specs.discrepancy import Basis, Conditional

VALUES = 4_000_000
"""Of matrices inverted at once: draws are taken in blocks of so many values (32 MB)."""


@dataclass(frozen=True, eq=False)
class Likelihood:
    """A table under S draws: residuals (S, rows), and with a discrepancy its basis and amplitude.

    Attributes
    ----------
    residual
        Log loss less log law, (S, rows), less the discrepancy where it was sampled.
    pointwise
        Log density of each run's residual, (S, rows), where runs are independent given the draw; else None.
    known
        What the draws know of the discrepancy, if there is one.
    """

    residual: np.ndarray
    pointwise: np.ndarray | None = None
    known: Conditional | None = None

    def joint(self) -> np.ndarray:
        """Log density of all runs together, (S,); the discrepancy is integrated out, unless it was sampled."""
        if self.pointwise is not None:
            return self.pointwise.sum(axis=1)
        basis, eta, sigma, rotated = self._process()
        variance = sigma[:, None] ** 2 + eta[:, None] ** 2 * basis.values
        outside = (self.residual**2).sum(axis=1) - (rotated**2).sum(axis=1)
        rows, rank = basis.vectors.shape
        inside = (rotated**2 / variance + np.log(variance)).sum(axis=1)
        return -0.5 * (
            inside
            + outside / sigma**2
            + 2 * (rows - rank) * np.log(sigma)
            + rows * np.log(2 * np.pi)
        )

    def left_out(
        self, rows: np.ndarray, points: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log density of some rows given all others, and the discrepancy at points from the others alone.

        Parameters
        ----------
        rows
            Indices.
        points
            In units of the length (`Basis.scale`), (targets, inputs).

        Returns
        -------
        tuple
            Log density (S,); mean and variance of the discrepancy, (S, targets), zero where there is none.
        """
        if self.pointwise is not None:
            return self.pointwise[:, rows].sum(axis=1), *self.off(
                np.empty((0, 1)) if points is None else points
            )
        parts = [self._left_out(block, rows, points) for block in self._blocks(len(rows))]
        density, mean, variance = (np.concatenate(part) for part in zip(*parts, strict=True))
        return density, mean, variance

    def off(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the discrepancy at points given all runs, (S, targets); zero where there is none."""
        if self.known is None or not len(points):
            nothing = np.zeros((len(self.residual), len(points)))
            return nothing, nothing
        return self._given_all(slice(None), points)

    def standardised(self) -> np.ndarray:
        """Residual of each row given all others over its standard deviation, with a discrepancy, (S, rows)."""
        basis, eta, sigma, rotated = self._process()
        shrink = basis.values / (basis.values + (sigma / eta)[:, None] ** 2)
        precision = 1.0 - shrink @ (basis.vectors**2).T
        surprise = self.residual - (rotated * shrink) @ basis.vectors.T
        return surprise / (sigma[:, None] * np.sqrt(precision))

    def _process(self) -> tuple[Basis, np.ndarray, np.ndarray, np.ndarray]:
        if self.known is None:
            raise TypeError("this table has no discrepancy")
        return self.known.basis, self.known.eta, self.known.sigma, self.known.rotated

    def _blocks(self, rows: int) -> Iterator[slice]:
        size = max(1, VALUES // max(1, rows**2))
        return (slice(start, start + size) for start in range(0, len(self.residual), size))

    def _left_out(
        self, block: slice, rows: np.ndarray, points: np.ndarray | None
    ) -> tuple[np.ndarray, ...]:
        basis, eta, sigma, rotated = self._process()
        residual, eta, sigma = self.residual[block], eta[block], sigma[block]
        ours, weights = basis.vectors[rows], 1.0 / (basis.values + (sigma / eta)[:, None] ** 2)
        shrink = basis.values * weights
        noise = sigma[:, None, None] ** 2
        surprise = (residual[:, rows] - (rotated[block] * shrink) @ ours.T) / sigma[
            :, None
        ] ** 2  # (Q r)_G
        precision = (
            np.eye(len(rows)) - np.einsum("gr,sr,hr->sgh", ours, shrink, ours, optimize=True)
        ) / noise
        root = np.linalg.cholesky(precision)
        z = np.linalg.solve(root, surprise[..., None])  # z'z = (Q r)_G' Q_GG^-1 (Q r)_G
        log_root = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        density = (
            log_root - 0.5 * (z[..., 0] ** 2).sum(axis=1) - 0.5 * len(rows) * np.log(2 * np.pi)
        )
        if points is None:
            return density, np.zeros((len(density), 0)), np.zeros((len(density), 0))
        mean, variance = self._given_all(block, points)
        y = np.linalg.solve(
            root, np.einsum("gr,sr,tr->sgt", ours, weights, basis.project(points), optimize=True)
        )
        return density, mean - (y * z).sum(axis=1), variance + (y**2).sum(axis=1)

    def _given_all(self, block: slice, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        basis, eta, sigma, rotated = self._process()
        weights = 1.0 / (basis.values + (sigma / eta)[block, None] ** 2)
        c = basis.project(points)
        mean = (weights * rotated[block]) @ c.T
        return mean, (eta[block, None] ** 2 * (1.0 - weights @ (c**2).T)).clip(0.0)


def make_likelihood(fit: Fit) -> Likelihood:
    """The runs of a fit under its draws."""
    refuse_view(fit, "a new group has no runs that could be weighed: ask a group", of_a_group=False)
    residual, observation = residuals(fit), fit.spec.observation
    if not observation.runs_are_independent:
        return Likelihood(residual, None, fit.discrepancy)
    delta = np.asarray(observation.delta_at_runs(fit.tree))
    if delta.ndim:
        residual = residual - delta.reshape(residual.shape)
    scatter = {name: values.reshape(-1, 1) for name, values in noise_parameters(fit).items()}
    return Likelihood(residual, observation.pointwise(residual, scatter, fit.runs), fit.discrepancy)
