"""Nodes of a grid of inputs, among which the runs of a long table are shared out.

Each run counts for the nodes around it, with the weights of an interpolation between them. With
two inputs a run has 16 weights, which would be most of the memory of a fit. So they are computed
where they are needed, for some runs at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scalebayes.utils.parallel import parts_of

FINEST = 0.02
"""Step of the finest grid, in natural logs of an input."""
COARSER = 1.15
"""Factor between the steps that are tried."""
LINEAR, CUBIC = 2, 4
"""Nodes along an input that a run is shared out among, by the interpolation between them."""


@dataclass(frozen=True)
class Axis:
    """Nodes along one input, and where the runs lie between them.

    Attributes
    ----------
    nodes
        Distances of the nodes from the table's centre, increasing.
    places
        Where each run lies: the number of the node before it and the fraction of a step from there
        to the next, (runs,).
    nodes_per_run
        Number of nodes in a row that a run is shared out among; 1 where each run lies at a node.
    """

    nodes: np.ndarray
    places: np.ndarray
    nodes_per_run: int

    @property
    def interval(self) -> np.ndarray:
        """Number of the interval of each run, (runs,): nodes and the gaps between them in turn."""
        before = np.floor(self.places)
        return (2 * before + (self.places > before)).astype(np.int64)

    def nodes_of(self, runs: np.ndarray) -> np.ndarray:
        """Return the numbers of the nodes of some runs, (some, nodes of a run).

        A run that lies at a node has a share in that node alone, which is named each time.
        """
        in_a_row = self._first(runs)[:, None] + np.arange(self.nodes_per_run)
        own = np.floor(self.places[runs]).astype(np.int64)
        is_at_node = self.places[runs] == own
        return np.where(is_at_node[:, None], own[:, None], in_a_row)

    def shares(self, part: slice) -> np.ndarray:
        """Return the weights of the nodes of each run of a part, (runs of the part, nodes)."""
        from scipy.interpolate import KroghInterpolator

        # The polynomial through 1 at one node and 0 at the others is the weight of that node.
        weights = KroghInterpolator(np.arange(self.nodes_per_run), np.eye(self.nodes_per_run))
        return np.asarray(weights(self.places[part] - self._first(part)))

    def _first(self, runs: np.ndarray | slice) -> np.ndarray:
        """Return the number of the first node in a row that each of some runs has a share in."""
        # The nodes of a run lie symmetrically about it, except at the ends of the grid.
        before = (self.nodes_per_run - 1) // 2
        last = len(self.nodes) - self.nodes_per_run
        return (self.places[runs].astype(np.int64) - before).clip(0, last)


@dataclass(frozen=True)
class Cells:
    """Nodes of a grid of inputs. Each run is shared out among nodes near it, of its training.

    Attributes
    ----------
    distances
        Of the nodes from the table's centre along each input, in natural logs, (cells,).
    axes
        The grid along each input.
    stencils
        Numbers of the nodes among which some runs are shared out, (stencils, nodes of a run).
    stencil
        Number of the stencil of each run, (runs,).
    """

    distances: Mapping[str, np.ndarray]
    axes: tuple[Axis, ...]
    stencils: np.ndarray
    stencil: np.ndarray

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return int(self.stencils.max()) + 1

    @property
    def parts(self) -> list[slice]:
        """Parts of the runs for which to compute shares at a time."""
        return parts_of(len(self.stencil), self.stencils.shape[1])

    def nodes(self, part: slice) -> np.ndarray:
        """Return the numbers of the nodes of each run of a part, (runs of the part, nodes)."""
        return self.stencils[self.stencil[part]]

    def shares(self, part: slice) -> np.ndarray:
        """Return the weights of these nodes, (runs of the part, nodes).

        Those of a run sum to 1; some are below 0.
        """
        shares = np.ones((len(self.stencil[part]), 1))
        for axis in self.axes:
            along = axis.shares(part)
            shares = (shares[:, :, None] * along[:, None, :]).reshape(len(along), -1)
        return shares

    def gather(self, nodes: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the sum of values at each node, (cells,), given the node of each value."""
        return np.bincount(nodes.ravel(), values.ravel(), minlength=len(self))

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the weighted sum over the runs of each cell, (cells,). values: (runs,)."""
        totals = np.zeros(len(self))
        for part in self.parts:
            totals += self.gather(self.nodes(part), self.shares(part) * values[part, None])
        return totals

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of runs that each cell stands for, (cells,): that of a few may be below 0."""
        return self.sum(np.ones(len(self.stencil)))

    @cached_property
    def sizes(self) -> np.ndarray:
        """The sum of the absolute weights of each cell, (cells,)."""
        totals = np.zeros(len(self))
        for part in self.parts:
            totals += self.gather(self.nodes(part), np.abs(self.shares(part)))
        return totals

    @cached_property
    def nearest(self) -> np.ndarray:
        """Number of the run with the largest weight in each cell, (cells,)."""
        largest = np.full(len(self), -np.inf)
        nearest = np.zeros(len(self), dtype=np.int64)
        for part in self.parts:
            nodes, shares = self.nodes(part), self.shares(part)
            # A part replaces the nearest run of a node only with a larger weight.
            before = largest.copy()
            np.maximum.at(largest, nodes, shares)
            is_largest = (shares == largest[nodes]) & (shares > before[nodes])
            run, place = np.nonzero(is_largest)
            nearest[nodes[run, place]] = part.start + run
        return nearest

    def near(self, values: np.ndarray) -> np.ndarray:
        """Return the value of the nearest run of each cell, (cells,). values: (runs,)."""
        return values[self.nearest]


def make_cells(distances: Mapping[str, np.ndarray], trainings: np.ndarray, most: int) -> Cells:
    """Return the finest grid that needs at most ``most`` nodes, counted over all trainings.

    An input has nodes at its distinct values or a step apart, whichever are fewer. Each run is
    shared out among the nodes around it, by cubic interpolation, or by linear interpolation where
    that takes too many nodes. Of very many trainings there are more nodes, since each training
    needs those at the corners of its runs.

    Parameters
    ----------
    distances
        Of the runs from the table's centre along each input, in natural logs, (runs,).
    trainings
        Number of the training of each run, from 0 on, (runs,).
    """
    axes = _finest_axes(distances, trainings, most, CUBIC)
    if axes is None:
        corners_of_all = LINEAR ** len(distances) * (int(trainings.max()) + 1)
        axes = _finest_axes(distances, trainings, max(most, corners_of_all), LINEAR)
    assert axes is not None  # the coarsest has corners only

    nodes_of_grid, stencil = _stencils(trainings, axes)
    # From here on only the nodes that runs have a share in count.
    nodes, stencils = np.unique(nodes_of_grid, return_inverse=True)
    _, *places = np.unravel_index(nodes, _shape(trainings, axes))
    at = {}
    for x, axis, place in zip(distances, axes, places, strict=True):
        at[x] = axis.nodes[place]
    return Cells(at, axes, stencils.reshape(nodes_of_grid.shape), stencil.astype(np.int32))


def _finest_axes(
    distances: Mapping[str, np.ndarray], trainings: np.ndarray, most: int, nodes_per_run: int
) -> tuple[Axis, ...] | None:
    """Return the finest grid that needs at most ``most`` nodes, or None where all need more.

    nodes_per_run: along an input.
    """
    widest = max(np.ptp(values) for values in distances.values())
    step = FINEST
    while True:
        axes = tuple(_axis(values, trainings, step, nodes_per_run) for values in distances.values())
        if _count_nodes(trainings, axes) <= most:
            return axes
        if step > widest:
            return None
        step *= COARSER


def _axis(distances: np.ndarray, trainings: np.ndarray, step: float, nodes_per_run: int) -> Axis:
    """Return nodes at the distinct distances, or a step apart where trainings need fewer of those.

    distances: along one input, (runs,).
    """
    distinct, place = np.unique(distances, return_inverse=True)
    at_distinct = Axis(distinct, place.astype(float), nodes_per_run=1)

    places = (distances - distinct[0]) / step
    count = max(int(places.max()) + 2, nodes_per_run)
    a_step_apart = Axis(distinct[0] + step * np.arange(count), places, nodes_per_run)

    candidates = (at_distinct, a_step_apart)
    return min(candidates, key=lambda axis: _count_nodes(trainings, (axis,)))


def _stencils(trainings: np.ndarray, axes: tuple[Axis, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes of each stencil, (stencils, nodes), and the stencil of each run, (runs,).

    Nodes are numbered through the grids of all trainings. Runs of a training that are shared out
    among the same nodes have one stencil.
    """
    number = trainings
    for axis in axes:
        number = number * (2 * len(axis.nodes)) + axis.interval
    _, example, stencil = np.unique(number, return_index=True, return_inverse=True)

    nodes = trainings[example][:, None]
    for axis in axes:
        along = axis.nodes_of(example)
        nodes = (nodes[:, :, None] * len(axis.nodes) + along[:, None, :]).reshape(len(along), -1)
    return nodes, stencil


def _shape(trainings: np.ndarray, axes: tuple[Axis, ...]) -> tuple[int, ...]:
    """Return the number of trainings, and that of the nodes along each input."""
    return int(trainings.max()) + 1, *(len(axis.nodes) for axis in axes)


def _count_nodes(trainings: np.ndarray, axes: tuple[Axis, ...]) -> int:
    """Return how many nodes the trainings need together."""
    nodes, _ = _stencils(trainings, axes)
    return len(np.unique(nodes))
