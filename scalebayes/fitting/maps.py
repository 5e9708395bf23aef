r"""Coordinates in which a posterior is nearly standard Normal, learnt from short runs.

The sampler's vector y is a function of what NUTS moves in, x:

    v = x + beta sqrt(1 + x^2)          for the curved coordinates, and v = x for all others,
    s = W v                             a few directions in the curved coordinates,
    y = c + A v + B f,                  f = sqrt(1 + s^2) and s / sqrt(1 + s^2).

Curved are the coordinates along which the posterior bends; the others follow them along the
directions: those of single curved coordinates, and of the sums of any two. beta gives each of them
tails of different widths, -1 < beta < 1. All functions grow in proportion far out, so the map is
nearly linear in the tails, whatever was learnt. The curved entries of y do not depend on f, and A
is lower triangular in the order of x, so the log of the Jacobian is the sum of those of v, and a
constant. A poor map costs speed and never changes the posterior.

The first map is a Normal approximation at the mode. Each further map is a regression of the draws
of a short run on their curved coordinates. This is a transport map of low order, as in Parno and
Marzouk (2018), learnt before sampling and fixed during it.

References
----------
Parno and Marzouk (2018), Transport map accelerated Markov chain Monte Carlo,
doi:10.1137/17M1134640.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scalebayes.fitting.kernel.kernel import Bound, address, evaluate

MOST = 2000
"""Steps of the search for the mode."""
ROUNDS = 5
"""Most searches that start where another ended."""
ENOUGH = 0.01
"""Rise of the log density of a search after which there is no other."""
MEMORY = 30
"""Gradients that the search remembers: it moves in some fifty dimensions."""
SHIFT = 1e-4
"""Step of the differences of the gradient, in units of the sampler."""
MOST_SKEW = 1.5
"""Bound on the inverse hyperbolic tangent of beta: one tail is at most twenty times the other."""
BEND_REACH = 3.0
"""Standard deviations of a direction up to which f bends like a parabola and a cubic."""
LEAST_CURVATURE = 0.05
"""Least curvature at the mode, in units of the sampler, whose priors are about a unit wide."""


@dataclass(frozen=True)
class Map:
    """A map from x to y, both of length n.

    Attributes
    ----------
    centre
        c, (n,).
    matrix
        A, (n, n).
    skews
        beta, (curved,): the curved coordinates are the first of x.
    directions
        W, (bends, curved).
    bends
        B, (n, 2 bends).
    """

    centre: np.ndarray
    matrix: np.ndarray
    skews: np.ndarray
    directions: np.ndarray
    bends: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return y at x, (draws, n)."""
        curved = len(self.skews)
        v = x.copy()
        v[:, :curved] += self.skews * np.sqrt(1 + x[:, :curved] ** 2)
        bent = _bent(v[:, :curved] @ self.directions.T)
        return self.centre + v @ self.matrix.T + bent @ self.bends.T

    def of(self, bound: Bound) -> Bound:
        """Return a kernel whose vector is x."""
        numbers = {
            "centre": self.centre,
            "matrix": self.matrix,
            "skews": self.skews,
            "directions": self.directions,
            "bends": self.bends,
        }
        arrays = {name: np.array(values, order="C") for name, values in numbers.items()}
        places = [array.ctypes.data for array in arrays.values()]
        bent, curved = self.directions.shape
        pointers = np.array([bound.pointers.ctypes.data, *places, curved, bent], dtype=np.int64)
        return replace(
            bound,
            log_density=address(bound.library.mapped_log_density),
            expand=address(bound.library.mapped_expand),
            initial=np.zeros_like(bound.initial),
            pointers=pointers,
            # The addresses above are in use as long as the arrays of the table are.
            arrays={**bound.arrays, **arrays, "data of the map": bound.pointers},
        )


def normal_at_mode(bound: Bound, curved: Sequence[int]) -> Map:
    """Return the linear map of the Normal approximation at the mode.

    Parameters
    ----------
    bound
        The kernel with a table.
    curved
        Places of the curved coordinates in y, which are the first in x.

    Raises
    ------
    numpy.linalg.LinAlgError
        When the density has no curvature there.
    """
    return _normal_at(bound, search_mode(bound, bound.initial), curved)


def _normal_at(bound: Bound, mode: np.ndarray, curved: Sequence[int]) -> Map:
    """Return the map of the Normal distribution with the curvature at a point.

    Raises
    ------
    numpy.linalg.LinAlgError
        When the density has no curvature there.
    """
    hessian = curvature(bound, mode)
    if not np.isfinite(hessian).all():
        raise np.linalg.LinAlgError("the log density has no curvature at its mode")
    values, vectors = np.linalg.eigh(hessian)
    covariance = (vectors / np.maximum(values, LEAST_CURVATURE)) @ vectors.T
    order = _order(len(mode), curved)
    matrix = np.empty_like(covariance)
    matrix[order] = np.linalg.cholesky(covariance[np.ix_(order, order)])
    return Map(
        centre=mode,
        matrix=matrix,
        skews=np.zeros(len(curved)),
        directions=np.zeros((0, len(curved))),
        bends=np.zeros((len(mode), 0)),
    )


def learned(draws: np.ndarray, curved: Sequence[int], rough: Map) -> Map:
    """Return the map under which draws are nearly standard Normal.

    Parameters
    ----------
    draws
        Draws of y, (draws, n).
    curved
        As for `normal_at_mode`.
    rough
        A linear map. Correlations of the residuals are shrunk towards those that it implies.
    """
    count, size = draws.shape
    order = _order(size, curved)
    number = len(curved)
    own, others = draws[:, order[:number]], draws[:, order[number:]]

    # The curved coordinates are linear in v, each of whose entries is skewed.
    mean = own.mean(axis=0)
    own_factor = np.linalg.cholesky(np.atleast_2d(np.cov(own.T)))
    white = np.linalg.solve(own_factor, (own - mean).T).T
    fits = np.array([_skewed_normal(column) for column in white.T])
    location, scale, skews = fits.T
    mean = mean + own_factor @ location
    own_factor = own_factor * scale
    v = (white - location) / scale
    directions = _directions(number)

    # All others are regressed on them.
    predictors = np.hstack([np.ones((count, 1)), v, _bent(v @ directions.T)])
    coefficients, *_ = np.linalg.lstsq(predictors, others)
    residual = others - predictors @ coefficients
    intercept, slopes, bends = np.split(coefficients, [1, 1 + number])

    # In the coordinates of the rough map the residuals are nearly independent.
    rough_factor = rough.matrix[order][number:, number:]
    scaled = np.linalg.solve(rough_factor, residual.T)
    covariance = scaled @ scaled.T / (count - predictors.shape[1])
    shrinkage = size / (size + count)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.diag(np.diag(covariance))
    factor = rough_factor @ np.linalg.cholesky(shrunk)

    centre = np.empty(size)
    matrix = np.zeros((size, size))
    bent = np.zeros((size, bends.shape[0]))
    centre[order] = np.concatenate([mean, intercept[0]])
    lower = np.zeros((size, size))
    lower[:number, :number] = own_factor
    lower[number:, :number] = slopes.T
    lower[number:, number:] = factor
    matrix[order] = lower
    bent[order[number:]] = bends.T
    return Map(centre, matrix, skews, directions, bent)


def _skewed_normal(values: np.ndarray) -> tuple[float, float, float]:
    """Return location m, scale s and skew beta of values, by maximum likelihood.

    values = m + s (x + beta sqrt(1 + x^2)) with x standard Normal.
    """
    from scipy.optimize import minimize

    def negative_log_likelihood(numbers: np.ndarray) -> float:
        location, log_scale, raw_skew = numbers
        beta = np.tanh(raw_skew)
        v = (values - location) / np.exp(log_scale)
        x = (v - beta * np.sqrt(v**2 + 1 - beta**2)) / (1 - beta**2)
        log_slope = np.log1p(beta * x / np.sqrt(1 + x**2))
        return float((0.5 * x**2 + log_slope).mean() + log_scale)

    start = np.array([values.mean(), np.log(values.std()), 0.0])
    bounds = [(None, None), (None, None), (-MOST_SKEW, MOST_SKEW)]
    found = minimize(negative_log_likelihood, start, method="L-BFGS-B", bounds=bounds).x
    return float(found[0]), float(np.exp(found[1])), float(np.tanh(found[2]))


def search_mode(bound: Bound, point: np.ndarray) -> np.ndarray:
    """Return the point of highest log density that a search from a point finds.

    The posterior of a long table is a thousand times as narrow in some directions as in others, and
    a search stops short of the mode. So it goes on in the coordinates of the Normal approximation
    at the point that was found, until the density rises no further.
    """
    point = _climb(bound, point, np.eye(len(point)))
    for _ in range(ROUNDS):
        try:
            rough = _normal_at(bound, point, curved=())
        except np.linalg.LinAlgError:
            break
        end = _climb(bound, point, rough.matrix)
        rise = evaluate(bound, end)[0][0] - evaluate(bound, point)[0][0]
        if not rise > 0:
            break
        point = end
        if rise < ENOUGH:
            break
    return point


def _climb(bound: Bound, start: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return where a quasi-Newton search for the mode ends, in coordinates start + matrix x."""
    from scipy.optimize import minimize

    def negative_log_density(x: np.ndarray) -> tuple[float, np.ndarray]:
        density, *slopes = evaluate(bound, start + matrix @ x)[0]
        if not np.isfinite(density):
            return np.inf, np.zeros(len(x))
        return -density, -(matrix.T @ np.array(slopes))

    options = {"maxiter": MOST, "maxcor": MEMORY}
    x = np.zeros_like(start)
    with np.errstate(all="ignore"):
        search = minimize(negative_log_density, x, jac=True, method="L-BFGS-B", options=options)
    return start + matrix @ search.x


def curvature(bound: Bound, point: np.ndarray) -> np.ndarray:
    """Return the Hessian of the negative log density, from central differences of the gradient."""
    rows = []
    for side in SHIFT * np.eye(len(point)):
        above = evaluate(bound, point + side)[0][1:]
        below = evaluate(bound, point - side)[0][1:]
        rows.append(below - above)
    hessian = np.array(rows) / (2 * SHIFT)
    return (hessian + hessian.T) / 2


def _order(size: int, curved: Sequence[int]) -> list[int]:
    """Return the places in y of the entries of x, whose first are the curved coordinates."""
    others = [place for place in range(size) if place not in curved]
    return [*curved, *others]


def _directions(curved: int) -> np.ndarray:
    """Return directions along each coordinate and along the sum of any two, (bends, curved).

    Their length is the reciprocal of `BEND_REACH`.
    """
    axes = np.eye(curved)
    first, second = np.triu_indices(curved, k=1)
    sums = (axes[first] + axes[second]) / np.sqrt(2)
    return np.vstack([axes, sums]) / BEND_REACH


def _bent(s: np.ndarray) -> np.ndarray:
    """Return f(s), (draws, 2 bends). s: (draws, bends)."""
    root = np.sqrt(1 + s**2)
    return np.hstack([root, s / root])
