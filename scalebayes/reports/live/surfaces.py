r"""Posterior draws of the curve as compact arrays that a page can contain.

Each draw is a weighted sum of a few surfaces over (log N, log D):

    log L_s(N, D) = mean(N, D) + sum_k a_sk B_k(N, D) + q_s u(N, D)

The first two terms are what draw s expects of the curve (`curve_of`, "expected"). The last is the
part of its discrepancy that no run has shown, with one level q_s a draw. The surfaces B_k are
principal components of the draws on a grid, weighted towards the compute-optimal sizes; between the
nodes they are cubic splines (`scipy.ndimage`). A reader of the arrays therefore needs no formula of
any law, and answers for every law and every cost are found in one way: by a search along each
draw's curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scalebayes.posterior.average import Average, by_weight
from scalebayes.posterior.fit import Fit, noise_parameters
from scalebayes.queries.curves import Curve, curve_of
from scalebayes.utils.parallel import one_thread, split

AMONG = 10.0
"""Nodes a decade among the runs, where the draws bend most, on a grid of density 1."""
BEYOND = 4.0
"""Nodes a decade beyond the runs, on a grid of density 1."""
BEND = 0.15
"""Decades over which the density of the nodes changes from one to the other."""
BORDER = 4
"""Nodes around the rectangle of inputs: the ends of the splines have no effect inside it."""
MOST_DRAWS = 4000
"""Most draws that a page contains."""
NEAR = 0.08
"""Decades from the optimal sizes at which a node has a quarter of the full weight."""
FAINTEST = 0.02
"""Least weight of a node, so that the surfaces stay close to the draws everywhere."""
SAMPLE = 1000
"""Draws from which the components are found."""
NARROW = 0.03
"""Components that move log loss by less than this are stored in one byte a draw, others in two."""
ONE_BYTE, TWO_BYTES = 127.0, 32767.0
"""Largest whole numbers of one and of two bytes, with a sign."""
RELATIVE_SQUARE = 1e-13
"""Least variance of a component over that of the first: a few hundred times the rounding."""
SMALLEST = 1e-300
"""Least size of a component, so that an empty one is not divided by zero."""
ROUNDING = 1e-9
"""Share of a node by which a place on the border may lie outside it."""
FAR_ABOVE = 1e3
"""Log loss of places off the grid, above any loss."""
NODES_AT_ONCE = 200
"""Nodes at which all draws are evaluated at once, to save memory."""
DRAWS_AT_ONCE = 100
"""Draws whose weights are computed at once, to save memory."""


@dataclass(frozen=True)
class Grid:
    """Nodes over (log10 N, log10 D), closer to each other among the runs.

    Attributes
    ----------
    among
        Least and largest log10 of N, then of D, between which the nodes are close.
    first
        Value of `_count` at the first node of either axis.
    sizes
        Number of nodes along either axis.
    density
        Nodes a decade, as a multiple of `AMONG` and `BEYOND`.
    """

    among: tuple[tuple[float, float], tuple[float, float]]
    first: tuple[float, float]
    sizes: tuple[int, int]
    density: float = 1.0

    @classmethod
    def over(
        cls, low: np.ndarray, high: np.ndarray, among: np.ndarray, density: float = 1.0
    ) -> Grid:
        """Return a grid over a rectangle of (log10 N, log10 D), with its border.

        Parameters
        ----------
        low, high
            Corners of the rectangle, (2,) each.
        among
            Least and largest log10 of N and of D among the runs, (2, 2).
        density
            Nodes a decade, as a multiple of `AMONG` and `BEYOND`.
        """
        spans, first, sizes = [], [], []
        for axis in range(2):
            span = (float(among[axis][0]), float(among[axis][1]))
            start = density * _count(low[axis], *span)
            end = density * _count(high[axis], *span)
            spans.append(span)
            first.append(float(start) - BORDER)
            sizes.append(int(np.ceil(end - start)) + 1 + 2 * BORDER)
        return cls((spans[0], spans[1]), (first[0], first[1]), (sizes[0], sizes[1]), density)

    @property
    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """log10 of N and D at every node, (nodes,) each."""
        from scipy.optimize import elementwise

        axes = []
        for span, first, size in zip(self.among, self.first, self.sizes, strict=True):
            counts = (first + np.arange(size)) / self.density
            arguments = (counts, *span)
            root = elementwise.find_root(_count_above, (-100.0, 100.0), args=arguments)
            axes.append(root.x)
        log_N, log_D = np.meshgrid(*axes, indexing="ij")
        return log_N.ravel(), log_D.ravel()

    def places(self, log_N: np.ndarray, log_D: np.ndarray) -> np.ndarray:
        """Return places in units of nodes from the first, (2, places)."""
        counts_N = _count(np.asarray(log_N), *self.among[0])
        counts_D = _count(np.asarray(log_D), *self.among[1])
        counts = self.density * np.stack([counts_N, counts_D])
        return counts - np.array(self.first)[:, None]

    def inside(self, log_N: np.ndarray, log_D: np.ndarray) -> np.ndarray:
        """Return whether places lie within the border, (places,)."""
        last = np.array(self.sizes)[:, None] - 1 - BORDER
        places = self.places(log_N, log_D)
        is_above = places >= BORDER - ROUNDING
        is_below = places <= last + ROUNDING
        return (is_above & is_below).all(axis=0)


def _count(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the number of nodes up to x along an axis of a grid of density 1.

    There are `BEYOND` nodes a decade, and `AMONG` between low and high, with smooth bends.
    """
    inner = np.logaddexp(0.0, (x - low) / BEND) - np.logaddexp(0.0, (x - high) / BEND)
    return BEYOND * x + (AMONG - BEYOND) * BEND * inner


def _count_above(x: np.ndarray, count: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return by how much the number of nodes up to x exceeds a count."""
    return _count(x, low, high) - count


@dataclass(frozen=True)
class Draws:
    """Draws of the curve at the nodes of a grid.

    Attributes
    ----------
    grid
        The nodes.
    log_loss
        Log loss that each draw expects of the curve, (S, nodes).
    unseen
        Variance, in units of eta^2, of the discrepancy that no run has shown, (nodes,); for an
        average its mean over the fits.
    level, noise
        q and the log of the noise of a new run, (S,) each.
    """

    grid: Grid
    log_loss: np.ndarray
    unseen: np.ndarray
    level: np.ndarray
    noise: np.ndarray


def thin(whole: Fit | Average, order: np.ndarray) -> np.ndarray:
    """Return the indices of the draws that the page contains, (kept,).

    Within each fit they are evenly spaced in the order of a quantity, (S,). Every second draw of a
    posterior would move the ends of a 90% interval by several hundredths of a standard deviation.
    Every second draw in the order of the quantity does not, nor do those of related quantities.
    """
    counts = [len(rows) for _, rows in _mixed(whole)]
    fit_of_draw = np.repeat(np.arange(len(counts)), counts)
    ranked = np.lexsort([order, fit_of_draw])
    count = min(len(order), MOST_DRAWS)
    ranks = (np.arange(count) + 0.5) / count * len(order)
    return np.sort(ranked[ranks.astype(int)])


def _mixed(whole: Fit | Average) -> list[tuple[Fit, np.ndarray]]:
    """Return the fits, each with the indices of the draws that queries use, in their order."""
    if isinstance(whole, Fit):
        fits, weights = [whole], [1.0]
    else:
        fits, weights = [*whole.fits.values()], [*whole.weights.values()]
    counts = []
    for fit in fits:
        sizes = fit.stored["posterior"].sizes
        counts.append(sizes["chain"] * sizes["draw"])
    return list(zip(fits, by_weight(counts, weights), strict=True))


def _chosen(whole: Fit | Average, kept: np.ndarray) -> list[tuple[Fit, np.ndarray]]:
    """Return the fits with draws among those kept, each with their indices."""
    chosen = []
    start = 0
    for fit, rows in _mixed(whole):
        end = start + len(rows)
        within = kept[(kept >= start) & (kept < end)] - start
        if len(within):
            chosen.append((fit, rows[within]))
        start = end
    return chosen


def draws_on(
    whole: Fit | Average,
    grid: Grid,
    kept: np.ndarray,
    seed: int = 0,
    precision: type[np.floating[Any]] = np.float64,
) -> Draws:
    """Return the kept draws of the curve at the nodes of a grid.

    The seed is that of `predict` and `frontier`. precision : type of the log losses.
    """
    log_N, log_D = grid.nodes
    N, D = 10.0**log_N, 10.0**log_D
    rng = np.random.default_rng([seed, 2])
    chosen = _chosen(whole, kept)

    # One array for all fits: with thousands of nodes a copy would be the report's peak of memory.
    log_loss = np.empty((sum(len(rows) for _, rows in chosen), len(N)), precision)
    levels, noises = [], []
    unseen = np.zeros(len(N))
    draws_with_discrepancy = 0
    filled = 0
    for fit, rows in chosen:
        curve = curve_of(fit, "expected", seed)
        _fill_log_loss(log_loss[filled : filled + len(rows)], curve, N, D, rows)
        filled += len(rows)
        level = np.zeros(len(rows))
        if curve.known is not None:
            basis = curve.known.basis
            projected = basis.project(basis.scale((N, D)))
            unseen += len(rows) * basis.unexplained(projected)
            draws_with_discrepancy += len(rows)
            level = curve.known.eta[rows] * rng.standard_normal(len(rows))
        levels.append(level)
        noise = {name: values.ravel()[rows] for name, values in noise_parameters(fit).items()}
        noises.append(fit.spec.noise_object.draw(rng, (len(rows),), **noise))
    return Draws(
        grid=grid,
        log_loss=log_loss,
        unseen=unseen / max(draws_with_discrepancy, 1),
        level=np.concatenate(levels),
        noise=np.concatenate(noises),
    )


def _fill_log_loss(
    out: np.ndarray, curve: Curve, N: np.ndarray, D: np.ndarray, rows: np.ndarray
) -> None:
    """Write the log loss of the draws numbered ``rows`` at all nodes to ``out``, (rows, nodes)."""
    for start in range(0, len(N), NODES_AT_ONCE):
        block = slice(start, start + NODES_AT_ONCE)
        out[:, block] = curve.log_loss_shared(N[block], D[block])[rows]


def weights_around(grid: Grid, log_C: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return weights of the nodes by their distance from the optimal sizes, (nodes,).

    Parameters
    ----------
    grid
        The nodes.
    log_C
        log10 of budgets, (budgets,).
    low, high
        Range of the optimal log10 N at each budget, (budgets,) each.
    """
    log_N, log_D = grid.nodes
    at = log_N + log_D + np.log10(6.0)
    below = np.interp(at, log_C, low) - log_N
    above = log_N - np.interp(at, log_C, high)
    distance = np.maximum(0.0, np.maximum(below, above))
    return np.maximum(FAINTEST, 1.0 / (1.0 + (distance / NEAR) ** 2) ** 2)


@dataclass(frozen=True)
class Surfaces:
    """Draws of the curve as the page contains them.

    Attributes
    ----------
    grid
        The nodes.
    mean, unseen
        Spline coefficients of the mean log loss and of the unseen variance, (nodes,) each, in
        single precision.
    components
        Spline coefficients of the components, (components, nodes), in two bytes; wide ones first.
    wide_draws, narrow_draws
        Weights of the components in each draw, (S, components), in two bytes and in one.
    scales
        Log loss of one unit of weight times one unit of spline coefficient, (components,).
    levels
        q and the log of the noise of a new run of each draw, (2, S), in single precision.
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
        """Number of draws."""
        return len(self.wide_draws)

    def log_loss_shared(self, *inputs: np.ndarray) -> np.ndarray:
        """Return the log loss that every draw expects at the same N and D, (S, places).

        It is `FAR_ABOVE` at places off the grid.
        """
        from scipy.ndimage import map_coordinates

        log_N, log_D = map(np.log10, inputs)
        places = self.grid.places(log_N, log_D)
        values = []
        for coefficients in (self.mean, *(self.components * self.scales[:, None])):
            spline = coefficients.reshape(self.grid.sizes).astype(float)
            values.append(map_coordinates(spline, places, prefilter=False, mode="mirror"))
        mean, *surfaces = values
        weights = np.concatenate([self.wide_draws, self.narrow_draws], axis=1).astype(float)
        log_loss = mean + weights @ np.stack(surfaces)
        return np.where(self.grid.inside(log_N, log_D), log_loss, FAR_ABOVE)


@dataclass(frozen=True)
class Components:
    """Principal components of draws.

    Attributes
    ----------
    mean
        Mean over the draws, (nodes,).
    surfaces
        The components, (components, nodes).
    weights
        Their weights in each draw, (S, components).
    """

    mean: np.ndarray
    surfaces: np.ndarray
    weights: np.ndarray


def components(draws: Draws, weights: np.ndarray, most: int) -> Components:
    """Return the first components of the draws, by least squares weighted over the nodes.

    There are fewer than asked for where the others would be rounding errors.
    """
    from scipy.linalg import eigh

    mean = draws.log_loss.mean(axis=0, dtype=float)
    count = len(draws.log_loss)
    size = min(count, SAMPLE)
    chosen = np.linspace(0, count - 1, size).round().astype(int)
    blocks = split(len(mean), 1 + len(mean) // NODES_AT_ONCE)

    def deviations(block: slice) -> np.ndarray:
        return (draws.log_loss[chosen, block] - mean[block]) * weights[block]

    # The squares of the first singular values, in increasing order. A decomposition of the sample
    # itself would give all of them, and take ten times as long. The sample is made twice, in blocks
    # of nodes, because the whole of it would be the report's peak of memory.
    products = np.zeros((size, size))
    with one_thread():  # threads that wait for each other double the time on a busy machine
        for block in blocks:
            part = deviations(block)
            products += part @ part.T
        squares, vectors = eigh(products, subset_by_index=(max(size - most, 0), size - 1))
        is_signal = squares > RELATIVE_SQUARE * squares[-1]
        singular = np.sqrt(squares[is_signal])[::-1]
        rotation = (vectors[:, is_signal][:, ::-1] / singular).T
        axes = np.concatenate([rotation @ deviations(block) for block in blocks], axis=1)
    # The weighted deviations times the axes, for a few draws at once, to save memory.
    weighted_axes = (axes * weights).T
    scores = np.empty((count, len(axes)))
    for rows in split(count, 1 + count // DRAWS_AT_ONCE):
        scores[rows] = (draws.log_loss[rows] - mean) @ weighted_axes
    return Components(mean, axes / weights, scores)


def pack(draws: Draws, found: Components, rank: int) -> Surfaces:
    """Return the first components as whole numbers of one or two bytes."""
    largest_weight = np.abs(found.weights[:, :rank]).max(axis=0).clip(SMALLEST)
    largest_value = np.abs(found.surfaces[:rank]).max(axis=1)
    is_narrow = largest_weight * largest_value < NARROW
    wide_first = np.argsort(is_narrow, kind="stable")
    is_narrow = is_narrow[wide_first]
    surfaces = found.surfaces[wide_first]
    weights = found.weights[:, wide_first]
    largest_weight = largest_weight[wide_first]

    # The largest weight of a component is the largest whole number of its bytes; the surface takes
    # over the unit, and is in turn scaled to two bytes.
    levels = np.where(is_narrow, ONE_BYTE, TWO_BYTES)
    whole_weights = (weights / largest_weight * levels).round()
    splines = np.array([_spline(surface, draws.grid) for surface in surfaces])
    splines = splines * (largest_weight / levels)[:, None]
    scales = np.abs(splines).max(axis=1).clip(SMALLEST) / TWO_BYTES
    return Surfaces(
        grid=draws.grid,
        mean=_spline(found.mean, draws.grid).astype("<f4"),
        unseen=_spline(draws.unseen, draws.grid).astype("<f4"),
        components=(splines / scales[:, None]).round().astype("<i2"),
        wide_draws=whole_weights[:, ~is_narrow].astype("<i2"),
        narrow_draws=whole_weights[:, is_narrow].astype("i1"),
        scales=scales,
        levels=np.stack([draws.level, draws.noise]).astype("<f4"),
    )


def _spline(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the coefficients of the cubic spline through values at the nodes, (nodes,)."""
    from scipy.ndimage import spline_filter

    return spline_filter(values.reshape(grid.sizes), order=3, mode="mirror").ravel()
