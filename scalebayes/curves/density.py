"""Log posterior density of a model of curves, with its gradient, in NumPy.

The position holds logs: for each group the sampled parameters of the law, of which L_0, A and B
over the lowest loss of the group; then `NOISE`. Densities of ten parameters and a hundred nodes
take a tenth of a millisecond in NumPy, and no compiler has to be waited for. Tests compare the
gradient with differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalebayes.curves.condensed import Condensed
from scalebayes.curves.laws import CurveLaw, Scale, evaluate
from scalebayes.curves.models import NOISE, CurveModel

IN_UNITS_OF_LOSS = ("L_0", "A", "B")
"""Sampled parameters whose priors are relative to the lowest loss of the group."""


@dataclass(frozen=True)
class Prior:
    """Normal prior of the position.

    Parameters of several groups are correlated: each is that of all groups, and its own deviation.

    Attributes
    ----------
    mean
        Shape (size,).
    precision
        Shape (size, size).
    log_determinant
        Log of the determinant of the precision.
    """

    mean: np.ndarray
    precision: np.ndarray
    log_determinant: float

    def log_density(self, position: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log density and gradient."""
        distance = position - self.mean
        slope = -self.precision @ distance
        constant = self.log_determinant - len(position) * np.log(2 * np.pi)
        return 0.5 * float(distance @ slope + constant), slope

    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Return independent draws, (draws, size)."""
        factor = np.linalg.cholesky(self.precision)
        normal = rng.normal(size=(len(self.mean), draws))
        return self.mean + np.linalg.solve(factor.T, normal).T


def prior_of(model: CurveModel, groups: int) -> Prior:
    """Return the prior of the position for a number of groups."""
    means, widths = model.normal("priors")
    spreads = model.spreads()
    size = len(means)
    covariance = np.zeros((groups * size + len(NOISE),) * 2)
    for i, (width, spread) in enumerate(zip(widths, spreads, strict=True)):
        places = i + size * np.arange(groups)
        block = np.full((groups, groups), width**2)
        if groups > 1:
            block += spread**2 * np.eye(groups)
        covariance[np.ix_(places, places)] = block
    noise_means, noise_widths = model.normal("noise")
    places = groups * size + np.arange(len(NOISE))
    covariance[places, places] = noise_widths**2
    precision = np.linalg.inv(covariance)
    mean = np.concatenate([np.tile(means, groups), noise_means])
    return Prior(mean, precision, -float(np.linalg.slogdet(covariance)[1]))


@dataclass(frozen=True)
class Layout:
    """What the entries of a position are.

    Attributes
    ----------
    law
        The law.
    groups
        Names of the groups, in the order of the position.
    lowest
        Lowest loss of each group, the unit of its L_0, A and B.
    scale
        Units of areas and rates.
    """

    law: CurveLaw
    groups: tuple[str, ...]
    lowest: tuple[float, ...]
    scale: Scale

    def parameters(self, position: np.ndarray) -> dict[str, np.ndarray]:
        """Return the sampled parameters of the law by group, (..., parameters)."""
        size = len(self.law.sampled)
        found = {}
        for place, (group, lowest) in enumerate(zip(self.groups, self.lowest, strict=True)):
            logs = position[..., place * size : (place + 1) * size]
            units = [lowest if name in IN_UNITS_OF_LOSS else 1.0 for name in self.law.sampled]
            found[group] = np.exp(logs) * np.array(units)
        return found

    def noise(self, position: np.ndarray) -> np.ndarray:
        """Return sigma, s, tau and kappa, (..., 4)."""
        return np.exp(position[..., len(self.groups) * len(self.law.sampled) :])


@dataclass(frozen=True)
class Density:
    """Log posterior density of a position."""

    layout: Layout
    prior: Prior
    data: Condensed

    def __call__(self, position: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log density and gradient; minus infinity where the law has a loss below zero."""
        value, gradient = self.prior.log_density(position)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            likelihood = self._log_likelihood(position)
        if likelihood is None or not np.isfinite(likelihood[0]):
            return -np.inf, np.zeros_like(position)
        return value + likelihood[0], gradient + likelihood[1]

    def _log_likelihood(self, position: np.ndarray) -> tuple[float, np.ndarray] | None:
        """Return the log likelihood and its gradient, or None where a loss is not positive."""
        layout, data = self.layout, self.data
        distance = np.zeros(data.estimate.size)
        slopes = {}
        for group, parameters in layout.parameters(position).items():
            loss, by_log, _ = evaluate(layout.law, parameters, data.points[group])
            if not (loss > 0).all():
                return None
            distance[data.places[group]] = np.log(loss) - data.reference[group]
            slopes[group] = by_log / loss
        residual = data.estimate - distance.reshape(data.estimate.shape)
        noise = layout.noise(position)
        value, by_residual, by_noise = gaussian(data, residual, noise)
        flat = -by_residual.ravel()
        parts = [slopes[group] @ flat[data.places[group]] for group in layout.groups]
        return value, np.concatenate([*parts, by_noise])


def gaussian(
    data: Condensed, residual: np.ndarray, noise: Sequence[float] | np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the Gaussian log density of residuals, and its derivatives.

    In the basis the covariance is the diagonal D = s^2 variance + sigma^2 plus few columns V V^T:
    the offset times tau, and each run's drop times kappa. The inverse is Woodbury's.

    Parameters
    ----------
    residual
        Estimates at the nodes minus the curve, (families, nodes).
    noise
        sigma, s, tau and kappa.

    Returns
    -------
    tuple
        Log density; its derivatives by the residuals, and by the logs of the noise, (4,).
    """
    sigma, s, tau, kappa = noise
    z = np.matmul(data.basis, residual[..., None])[..., 0]
    diagonal = np.where(data.is_node, s**2 * data.variance + sigma**2, 1.0)
    factors = np.full(data.loads.shape[-1], kappa)
    factors[0] = tau
    loads = data.loads * factors
    weighted = loads / diagonal[..., None]
    inner = np.eye(len(factors)) + np.matmul(loads.transpose(0, 2, 1), weighted)
    inverse = np.linalg.inv(inner)
    shifts = np.matmul(inverse, np.matmul(weighted.transpose(0, 2, 1), z[..., None]))[..., 0]
    solved = z / diagonal - np.matmul(weighted, shifts[..., None])[..., 0]

    _, log_determinants = np.linalg.slogdet(inner)
    log_determinant = np.log(diagonal).sum() + log_determinants.sum()
    about = data.rest / sigma**2
    nodes = int(data.is_node.sum()) + data.free
    value = -0.5 * (
        (z * solved).sum()
        + log_determinant
        + about
        + 2 * data.free * np.log(sigma)
        + nodes * np.log(2 * np.pi)
    )
    # The derivative by an entry of the covariance is half of solved^2 minus that of the inverse.
    of_inverse = 1 / diagonal - (weighted * np.matmul(weighted, inverse)).sum(-1)
    by_diagonal = np.where(data.is_node, solved**2 - of_inverse, 0.0)
    by_sigma = sigma**2 * by_diagonal.sum() + about - data.free
    by_s = s**2 * (data.variance * by_diagonal).sum()
    by_columns = (shifts**2 - 1 + np.diagonal(inverse, axis1=1, axis2=2)).sum(0)
    by_noise = np.array([by_sigma, by_s, by_columns[0], by_columns[1:].sum()])
    by_residual = -np.matmul(data.basis.transpose(0, 2, 1), solved[..., None])[..., 0]
    return float(value), by_residual, by_noise
