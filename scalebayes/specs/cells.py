"""Nodes of a grid of inputs, among which the runs of a long table are shared out.

Each run counts for the nodes around it, with the weights of an interpolation between them. The
weights are computed where they are needed, for some runs at a time: 16 of them for each run would
be most of the memory of a fit.
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
    width
        Number of nodes in a row that a run is shared out among; 1 where each run lies at a node.
    """

    nodes: np.ndarray
    places: np.ndarray
    width: int

    def first(self, part: slice = slice(None)) -> np.ndarray:
        """Return the number of the first node that each run of a part has a share in."""
        places = self.places[part]
        # As many nodes of a run lie on either side of it, but at the ends of the grid.
        before = (self.width - 1) // 2
        return (places.astype(np.int64) - before).clip(0, len(self.nodes) - self.width)

    def shares(self, part: slice) -> np.ndarray:
        """Return the weights of the nodes of each run of a part, (runs of the part, width)."""
        from scipy.interpolate import KroghInterpolator

        # The polynomial through 1 at one node and 0 at the others is the weight of that node.
        weights = KroghInterpolator(np.arange(self.width), np.eye(self.width))
        return np.asarray(weights(self.places[part] - self.first(part)))


@dataclass(frozen=True)
class Cells:
    """Nodes of a grid of inputs, each with its share of the runs about it, of one training.

    Attributes
    ----------
    distances
        Of the nodes from the table's centre along each input, in natural logs, (cells,).
    axes
        The grid along each input.
    boxes
        Numbers of the nodes among which the runs of a box of the grid are shared out, (boxes, nodes
        of a box).
    box
        Number of the box of each run, (runs,).
    """

    distances: Mapping[str, np.ndarray]
    axes: tuple[Axis, ...]
    boxes: np.ndarray
    box: np.ndarray

    def __len__(self) -> int:
        return int(self.boxes.max()) + 1

    @property
    def parts(self) -> list[slice]:
        """Parts of the runs for which to compute shares at a time."""
        return parts_of(len(self.box), self.boxes.shape[1])

    def nodes(self, part: slice) -> np.ndarray:
        """Return the numbers of the nodes of each run of a part, (runs of the part, nodes)."""
        return self.boxes[self.box[part]]

    def shares(self, part: slice) -> np.ndarray:
        """Return the weights of these nodes, (runs of the part, nodes).

        Those of a run sum to 1; some are below 0.
        """
        shares = np.ones((len(self.box[part]), 1))
        for axis in self.axes:
            along = axis.shares(part)
            shares = (shares[:, :, None] * along[:, None, :]).reshape(len(along), -1)
        return shares

    def gather(self, part: slice, values: np.ndarray) -> np.ndarray:
        """Return the sum of values at each node, (cells,).

        values: for each run of a part and each of its nodes, as `nodes` and `shares`.
        """
        return np.bincount(self.nodes(part).ravel(), values.ravel(), minlength=len(self))

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the weighted sum over the runs of each cell, (cells,). values: (runs,)."""
        totals = np.zeros(len(self))
        for part in self.parts:
            totals += self.gather(part, self.shares(part) * values[part, None])
        return totals

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of runs that each cell stands for, (cells,): that of a few may be below 0."""
        return self.sum(np.ones(len(self.box)))

    @cached_property
    def sizes(self) -> np.ndarray:
        """The sum of the absolute weights of each cell, (cells,)."""
        totals = np.zeros(len(self))
        for part in self.parts:
            totals += self.gather(part, np.abs(self.shares(part)))
        return totals

    @cached_property
    def nearest(self) -> np.ndarray:
        """Number of the run with the largest weight in each cell, (cells,)."""
        largest = np.full(len(self), -np.inf)
        nearest = np.zeros(len(self), dtype=np.int64)
        for part in self.parts:
            nodes, shares = self.nodes(part), self.shares(part)
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

    corners, box = _boxes(trainings, axes)
    nodes, boxes = np.unique(corners, return_inverse=True)
    sizes = (int(trainings.max()) + 1, *(len(axis.nodes) for axis in axes))
    _, *places = np.unravel_index(nodes, sizes)
    at = {}
    for x, axis, place in zip(distances, axes, places, strict=True):
        at[x] = axis.nodes[place]
    return Cells(at, axes, boxes.reshape(corners.shape), box.astype(np.int32))


def _finest_axes(
    distances: Mapping[str, np.ndarray], trainings: np.ndarray, most: int, width: int
) -> tuple[Axis, ...] | None:
    """Return the finest grid that needs at most ``most`` nodes, or None where all need more.

    width: nodes of a run along an input.
    """
    widest = max(np.ptp(values) for values in distances.values())
    step = FINEST
    while True:
        axes = tuple(_axis(values, trainings, step, width) for values in distances.values())
        if _count_nodes(trainings, axes) <= most:
            return axes
        if step > widest:
            return None
        step *= COARSER


def _axis(distances: np.ndarray, trainings: np.ndarray, step: float, width: int) -> Axis:
    """Return nodes at the distinct distances, or a step apart where trainings need fewer of those.

    distances: along one input, (runs,).
    """
    distinct, place = np.unique(distances, return_inverse=True)
    at_distinct = Axis(distinct, place, width=1)

    places = (distances - distinct[0]) / step
    count = max(int(places.max()) + 2, width)
    a_step_apart = Axis(distinct[0] + step * np.arange(count), places, width)

    candidates = (at_distinct, a_step_apart)
    return min(candidates, key=lambda axis: _count_nodes(trainings, (axis,)))


def _boxes(trainings: np.ndarray, axes: tuple[Axis, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes of each box, (boxes, nodes of a box), and the box of each run, (runs,).

    Nodes are numbered through the grids of all trainings. A box holds the runs of a training that
    are shared out among the same nodes.
    """
    first, offsets = trainings, np.zeros(1, dtype=np.int64)
    for axis in axes:
        first = first * len(axis.nodes) + axis.first()
        offsets = (offsets[:, None] * len(axis.nodes) + np.arange(axis.width)).ravel()
    boxes, box = np.unique(first, return_inverse=True)
    return boxes[:, None] + offsets, box


def _count_nodes(trainings: np.ndarray, axes: tuple[Axis, ...]) -> int:
    """Return how many nodes the trainings need together."""
    corners, _ = _boxes(trainings, axes)
    return len(np.unique(corners))
