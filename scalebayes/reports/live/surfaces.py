r"""Draws of the curve as numbers that travel: every draw a sum of few surfaces over (log N, log D).

    log L_s(N, D) = mean(N, D) + sum_k a_sk B_k(N, D)        what draw s expects of the curve (`curves`, "expected")
    + q_s u(N, D)                                            what no run has shown of its discrepancy, one level a draw

The surfaces B are principal components of the draws on a grid, weighted towards the compute-optimal sizes, and cubic
splines between its nodes (`scipy.ndimage`). So whoever reads them needs no formula of any law, and answers for every
law and every cost are found in one way: by looking along the curve of each draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalebayes.posterior.average import Average, by_weight
from scalebayes.posterior.fit import Fit, noise_parameters
from scalebayes.queries.curves import curve_of

AMONG, BEYOND, BEND = 10.0, 4.0, 0.15
"""Nodes a decade among the runs, where draws bend most, and beyond; decades in which one becomes the other."""
BORDER = 4
"""Nodes around what is asked, so that the splines' ends do no harm there."""
MOST_DRAWS = 4000
NEAR, FAINTEST = 0.08, 0.02
"""Weights of nodes: full at the sizes that draws call optimal, half at so many decades from them, never below."""
SAMPLE = 2000
"""Draws from which the components are found."""
NARROW = 0.03
"""Components that move log loss by less travel in one byte a draw, the others in two."""


FAR_ABOVE = 1e3
"""Log loss of what lies off the grid."""


@dataclass(frozen=True)
class Grid:
    """Nodes over (log10 N, log10 D), closer to each other among the runs: where ``places`` are whole numbers.

    Attributes
    ----------
    among
        Least and largest log10 of N, then of D, among which nodes are close.
    first
        What `_count` makes of the first node on either axis.
    sizes
        How many nodes there are.
    """

    among: tuple[tuple[float, float], tuple[float, float]]
    first: tuple[float, float]
    sizes: tuple[int, int]

    @classmethod
    def over(cls, low: np.ndarray, high: np.ndarray, among: np.ndarray) -> Grid:
        """A grid over a rectangle of (log10 N, log10 D), low and high (2,), with its border; among (2, 2)."""
        close = tuple((float(left), float(right)) for left, right in among)
        ends = [
            (_count(a, *span), _count(b, *span))
            for a, b, span in zip(low, high, close, strict=True)
        ]
        sizes = tuple(int(np.ceil(right - left)) + 1 + 2 * BORDER for left, right in ends)
        first = tuple(float(left) - BORDER for left, _ in ends)
        return cls((close[0], close[1]), (first[0], first[1]), (sizes[0], sizes[1]))

    @property
    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """log10 of N and D at every node, (nodes,) each."""
        from scipy.optimize import elementwise

        axes = []
        for span, first, size in zip(self.among, self.first, self.sizes, strict=True):
            counted = first + np.arange(size)
            root = elementwise.find_root(
                lambda x, at, span=span: _count(x, *span) - at, (-100.0, 100.0), args=(counted,)
            )
            axes.append(root.x)
        log_N, log_D = np.meshgrid(*axes, indexing="ij")
        return log_N.ravel(), log_D.ravel()

    def places(self, log_N: np.ndarray, log_D: np.ndarray) -> np.ndarray:
        """Places in nodes from the first, (2, places)."""
        logs = (np.asarray(log_N), np.asarray(log_D))
        counted = (
            _count(x, *span) - first
            for x, span, first in zip(logs, self.among, self.first, strict=True)
        )
        return np.stack(list(counted))

    def inside(self, log_N: np.ndarray, log_D: np.ndarray) -> np.ndarray:
        """Whether places lie within the border."""
        last = np.array(self.sizes)[:, None] - 1 - BORDER
        at = self.places(log_N, log_D)
        return ((at >= BORDER - 1e-9) & (at <= last + 1e-9)).all(axis=0)


def _count(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Nodes up to x along an axis: `BEYOND` a decade, and `AMONG` between low and high, with smooth bends."""
    inner = np.logaddexp(0.0, (x - low) / BEND) - np.logaddexp(0.0, (x - high) / BEND)
    return BEYOND * x + (AMONG - BEYOND) * BEND * inner


@dataclass(frozen=True)
class Draws:
    """Draws of the curve at the nodes of a grid.

    Attributes
    ----------
    grid
        The nodes.
    log_loss
        What each draw expects of the curve, (S, nodes).
    unseen
        Variance of the discrepancy that no run has shown, in eta^2, (nodes,); of an average the mean over its fits.
    level, noise
        q and the log of a new run's scatter, (S,).
    """

    grid: Grid
    log_loss: np.ndarray
    unseen: np.ndarray
    level: np.ndarray
    noise: np.ndarray


def thin(whole: Fit | Average, order: np.ndarray) -> np.ndarray:
    """Numbers of the draws that travel, (kept,): within each fit evenly in the order of a quantity (S,).

    Every second draw of a posterior would move the ends of a 90% interval by several hundredths of a standard
    deviation; every second draw in the order of what is asked for, and of what follows it closely, does not.
    """
    fit_of = np.repeat(np.arange(len(_mixed(whole))), [len(rows) for _, rows in _mixed(whole)])
    ranked = np.lexsort([order, fit_of])
    count = min(len(order), MOST_DRAWS)
    return np.sort(ranked[((np.arange(count) + 0.5) / count * len(order)).astype(int)])


def _mixed(whole: Fit | Average) -> list[tuple[Fit, np.ndarray]]:
    """Fits, each with the numbers of its draws that queries answer from, in their order."""
    fits = [whole] if isinstance(whole, Fit) else [*whole.fits.values()]
    weights = [1.0] if isinstance(whole, Fit) else [*whole.weights.values()]
    sizes = [
        fit.tree["posterior"].sizes["chain"] * fit.tree["posterior"].sizes["draw"] for fit in fits
    ]
    return list(zip(fits, by_weight(sizes, weights), strict=True))


def _chosen(whole: Fit | Average, kept: np.ndarray) -> list[tuple[Fit, np.ndarray]]:
    """Fits with draws among those kept, each with their numbers."""
    past, out = 0, []
    for fit, mixed in _mixed(whole):
        within = kept[(kept >= past) & (kept < past + len(mixed))] - past
        out += [(fit, mixed[within])] if len(within) else []
        past += len(mixed)
    return out


def draws_on(whole: Fit | Average, grid: Grid, kept: np.ndarray, seed: int = 0) -> Draws:
    """The kept draws of the curve at the nodes of a grid, with the seed that `predict` and `frontier` take."""
    log_N, log_D = grid.nodes
    N, D = 10.0**log_N, 10.0**log_D
    rng = np.random.default_rng([seed, 2])
    parts, unseen, levels, noises = [], np.zeros(len(N)), [], []
    chosen = _chosen(whole, kept)
    carrying = sum(len(rows) for fit, rows in chosen if fit.spec.discrepancy is not None)
    for fit, rows in chosen:
        curve = curve_of(fit, "expected", seed)
        parts.append(curve.log_loss_shared(N, D)[rows])
        level = np.zeros(len(rows))
        if curve.known is not None:
            basis = curve.known.basis
            left = 1.0 - (basis.project(basis.scale((N, D))) ** 2 / basis.values).sum(axis=1)
            unseen += len(rows) / carrying * left.clip(0.0)
            level = curve.known.eta[rows] * rng.standard_normal(len(rows))
        levels.append(level)
        scatter = {name: values.ravel()[rows] for name, values in noise_parameters(fit).items()}
        noises.append(fit.spec.noise_object.draw(rng, (len(rows),), **scatter))
    return Draws(
        grid, np.concatenate(parts), unseen, np.concatenate(levels), np.concatenate(noises)
    )


def weights_around(grid: Grid, log_C: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Weights of nodes by their distance from the sizes between low and high (log10 N) at their compute, (nodes,)."""
    log_N, log_D = grid.nodes
    at = log_N + log_D + np.log10(6.0)
    off = np.maximum(
        0.0, np.maximum(np.interp(at, log_C, low) - log_N, log_N - np.interp(at, log_C, high))
    )
    return np.maximum(FAINTEST, 1.0 / (1.0 + (off / NEAR) ** 2) ** 2)


@dataclass(frozen=True)
class Surfaces:
    """Draws in the form in which they travel, and what follows from it.

    Attributes
    ----------
    grid
        The nodes.
    mean, unseen
        Spline coefficients of the mean of log loss and of the unseen variance, (nodes,), in single precision.
    components
        Spline coefficients of the components, (components, nodes), in two bytes, the wide ones first.
    wide_draws, narrow_draws
        Weights of the components in each draw, (S, components), in two bytes and in one.
    scales
        What a unit of weight times a unit of spline coefficient is, (components,).
    levels
        q and the log of a new run's scatter of each draw, (2, S), in single precision.
    """

    grid: Grid
    mean: np.ndarray
    unseen: np.ndarray
    components: np.ndarray
    wide_draws: np.ndarray
    narrow_draws: np.ndarray
    scales: np.ndarray
    levels: np.ndarray

    @property
    def draws(self) -> int:
        """How many draws travel."""
        return len(self.wide_draws)

    def log_loss_shared(self, *inputs: np.ndarray) -> np.ndarray:
        """Log loss that every draw expects at the same N and D, (S, K), from what travels; `FAR_ABOVE` off the grid."""
        from scipy.ndimage import map_coordinates

        log_N, log_D = map(np.log10, inputs)
        places = self.grid.places(log_N, log_D)
        values = np.stack(
            [
                map_coordinates(
                    spline.reshape(self.grid.sizes).astype(float),
                    places,
                    prefilter=False,
                    mode="mirror",
                )
                for spline in (self.mean, *(self.components * self.scales[:, None]))
            ]
        )
        weights = np.concatenate([self.wide_draws, self.narrow_draws], axis=1).astype(float)
        return np.where(self.grid.inside(log_N, log_D), values[0] + weights @ values[1:], FAR_ABOVE)


@dataclass(frozen=True)
class Components:
    """Principal components of draws: means (nodes,), surfaces (components, nodes) and weights (S, components)."""

    mean: np.ndarray
    surfaces: np.ndarray
    weights: np.ndarray


def components(draws: Draws, weights: np.ndarray, most: int) -> Components:
    """The first components of the draws, by weighted least squares over the nodes."""
    mean = draws.log_loss.mean(axis=0)
    off = (draws.log_loss - mean) * weights
    sample = off[np.linspace(0, len(off) - 1, min(len(off), SAMPLE)).round().astype(int)]
    axes = np.linalg.svd(sample, full_matrices=False)[2][:most]
    return Components(mean, axes / weights, off @ axes.T)


def pack(draws: Draws, found: Components, rank: int) -> Surfaces:
    """The first components in few bytes."""
    from scipy.ndimage import spline_filter

    def spline(values: np.ndarray) -> np.ndarray:
        return spline_filter(values.reshape(draws.grid.sizes), order=3, mode="mirror").ravel()

    largest = np.abs(found.weights[:, :rank]).max(axis=0).clip(1e-300)
    order = np.argsort(
        largest * np.abs(found.surfaces[:rank]).max(axis=1) < NARROW, kind="stable"
    )  # wide ones first
    surfaces, weights, largest = found.surfaces[order], found.weights[:, order], largest[order]
    narrow = largest * np.abs(surfaces).max(axis=1) < NARROW
    levels = np.where(narrow, 127.0, 32767.0)
    whole = (weights / largest * levels).round()
    splines = np.array([spline(surface) for surface in surfaces]) * (largest / levels)[:, None]
    scales = np.abs(splines).max(axis=1).clip(1e-300) / 32767.0
    return Surfaces(
        draws.grid,
        spline(found.mean).astype("<f4"),
        spline(draws.unseen).astype("<f4"),
        (splines / scales[:, None]).round().astype("<i2"),
        whole[:, ~narrow].astype("<i2"),
        whole[:, narrow].astype("i1"),
        scales,
        np.stack([draws.level, draws.noise]).astype("<f4"),
    )
