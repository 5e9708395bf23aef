"""Changes of the learning rate before a checkpoint, as few nodes with weights.

Both laws have the sum over all changes of the learning rate before a step, each times a response
that grows with what has been trained since. A sum over every step of a long run, for every
checkpoint, would take most of the time of a fit. The response changes fast just after a change and
slowly later. So the steps of each rise or fall are divided into a few cells, narrow close to the
checkpoint, and each cell counts with its whole change, at its middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalebayes.curves.schedules import Schedule

CELLS = 16
"""Cells of a rise or fall of the rate, as seen from one checkpoint.

With 16 the curve differs from the sum over all steps by 1e-4 of the loss at most
(tests/curves/test_areas.py); the noise of a checkpoint is several times that.
"""
CELLS_OF_WARMUP = 4
"""Cells of the warm-up, which lies far before most checkpoints."""
GRADING = 3.0
"""Power of the share of steps back from the checkpoint that divides the cells."""


@dataclass(frozen=True)
class Changes:
    """Changes of the learning rate before some checkpoints, one entry for each node.

    Attributes
    ----------
    row
        Index of the checkpoint, not decreasing, shape (nodes,).
    drop
        Fall of the learning rate; negative for a rise.
    rate
        The learning rate after it.
    area
        Area of the schedule from the change to the checkpoint.
    elapsed
        Steps from the change to the checkpoint.
    in_warmup
        Whether the change is one of the warm-up.
    rows
        Number of checkpoints.
    """

    row: np.ndarray
    drop: np.ndarray
    rate: np.ndarray
    area: np.ndarray
    elapsed: np.ndarray
    in_warmup: np.ndarray
    rows: int

    def per_row(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of values by checkpoint. values: (..., nodes); returns (..., rows)."""
        starts = np.searchsorted(self.row, np.arange(self.rows + 1))
        zero = np.zeros((*values.shape[:-1], 1))
        total = np.concatenate([zero, np.cumsum(values, axis=-1)], axis=-1)
        return total[..., starts[1:]] - total[..., starts[:-1]]


def changes(schedule: Schedule, steps: np.ndarray, cells: int = CELLS) -> Changes:
    """Return the changes of a schedule before checkpoints at some steps."""
    parts: list[tuple[np.ndarray, ...]] = []
    for start, end in _stretches(schedule):
        is_warmup = end <= schedule.warmup
        count = CELLS_OF_WARMUP if is_warmup else cells
        parts.append(_of_stretch(schedule, start, end, is_warmup, steps, count))
    for step, before, after in _jumps(schedule):
        parts.append(_of_jump(schedule, step, before, after, steps))
    if not parts:
        empty = np.array([])
        parts = [(np.array([], dtype=int), empty, empty, empty, empty, empty.astype(bool))]
    row, drop, rate, area, elapsed, in_warmup = map(np.concatenate, zip(*parts, strict=True))
    kept = np.flatnonzero(drop)
    order = kept[np.argsort(row[kept], kind="stable")]
    return Changes(
        row[order],
        drop[order],
        rate[order],
        area[order],
        elapsed[order],
        in_warmup[order],
        len(steps),
    )


def _stretches(schedule: Schedule) -> list[tuple[float, float]]:
    """Return first and last step of each stretch in which the rate rises or falls throughout.

    The end of the warm-up ends a stretch too.
    """
    widths, changes = np.diff(schedule.steps), np.diff(schedule.rates)
    signs = np.where(widths > 0, np.sign(changes), 0.0)
    found: list[tuple[float, float]] = []
    for place in np.flatnonzero(signs):
        start, end = float(schedule.steps[place]), float(schedule.steps[place + 1])
        continues = (
            found
            and found[-1][1] == start
            and signs[place - 1] == signs[place]
            and start != schedule.warmup
        )
        if continues:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _jumps(schedule: Schedule) -> list[tuple[float, float, float]]:
    """Return step, rate before and rate after of each jump."""
    places = np.flatnonzero(np.diff(schedule.steps) == 0)
    return [
        (schedule.steps[i], schedule.rates[i], schedule.rates[i + 1])
        for i in places
        if schedule.rates[i] != schedule.rates[i + 1]
    ]


def _of_stretch(
    schedule: Schedule,
    start: float,
    end: float,
    is_warmup: bool,
    steps: np.ndarray,
    cells: int,
) -> tuple[np.ndarray, ...]:
    """Return the nodes of a stretch, for the checkpoints after its beginning."""
    rows = np.flatnonzero(steps > start)
    now = steps[rows, None]
    last = np.minimum(now, end)
    # Equal cells in a low power of the steps back from the checkpoint are narrow close to it.
    nearest, furthest = now - last, now - start
    share = np.linspace(1.0, 0.0, cells + 1)
    low, high = nearest ** (1 / GRADING), furthest ** (1 / GRADING)
    back = (low + share * (high - low)) ** GRADING
    edges = np.clip(now - back, start, last)
    edges[:, 0], edges[:, -1] = start, last[:, 0]
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    at_edges = schedule.rate(edges)
    # Where a jump ends the stretch, the rate at its last step is the one before the jump.
    at_edges[:, -1] = schedule.rate(np.nextafter(edges[:, -1], -np.inf))
    rate = schedule.rate(middles)
    drop = at_edges[:, :-1] - at_edges[:, 1:]
    area = schedule.area(now) - schedule.area(middles)
    elapsed = now - middles
    row = np.broadcast_to(rows[:, None], drop.shape)
    flags = np.full(drop.shape, is_warmup)
    return tuple(values.ravel() for values in (row, drop, rate, area, elapsed, flags))


def _of_jump(
    schedule: Schedule, step: float, before: float, after: float, steps: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the node of a jump, for each checkpoint after it."""
    rows = np.flatnonzero(steps > step)
    area = schedule.area(steps[rows]) - schedule.area(np.array([step]))
    ones = np.ones(len(rows))
    is_warmup = np.full(len(rows), step <= schedule.warmup)
    return rows, (before - after) * ones, after * ones, area, steps[rows] - step, is_warmup
