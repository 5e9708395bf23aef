"""Subsets of a table of runs: splits by compute, sizes, and runs of equal compute (isoFLOP)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.errors import QueryError, RunsError
from scalebayes.utils.shares import percent_hint

SHARES = (0.4, 0.5, 0.6, 0.7, 0.8)
"""Shares of the runs, those of least compute, that a backtest trains on."""
MIN_TRAINING_RUNS = 10
"""Training runs below which no split is made."""
SHORT_SPAN = 1.0
"""Decades of training compute below which a split is noted."""
SAME_SIZE = 0.01
"""Difference of log N up to which runs have one size: N read off a figure is not exact."""

MAX_C_RATIO = 1.15
"""Largest ratio of C within an isoFLOP set."""
MIN_N_RATIO = 3.0
"""Smallest ratio of the largest to the smallest N of an isoFLOP set."""
MIN_C_SEPARATION = 1.5
"""Smallest ratio of C between the median of one isoFLOP set and the runs of later sets."""
MAX_SETS = 9
"""Most isoFLOP sets that are returned: as many as one figure can show."""
MIN_SET_SIZE = 4
"""Fewest runs of an isoFLOP set: a parabola through three runs leaves no residual to judge it."""


@dataclass(frozen=True)
class Split:
    """Training runs up to a compute, and held-out runs above it."""

    label: str
    train: Runs
    held_out: Runs

    @property
    def span(self) -> float:
        """Decades of compute that the training runs span."""
        return float(np.log10(self.train.C.max() / self.train.C.min()))


def make_splits(
    runs: Runs,
    shares: Sequence[float] = SHARES,
    decades: Sequence[float] = (),
    *,
    fewest: int = MIN_TRAINING_RUNS,
) -> tuple[list[Split], list[str]]:
    """Return splits by compute, and notes of splits that were not made or that are short.

    Parameters
    ----------
    runs
        The table to split.
    shares
        Shares of the runs to train on; the runs of least compute are taken.
    decades
        Decades of compute, counted down from the largest run, whose runs are held out.
    fewest
        Training runs below which a split is not made.

    Raises
    ------
    RunsError
        When no split can be made.
    QueryError
        When a share does not lie between 0 and 1, or a distance is not positive.
    """
    bad = [share for share in shares if not 0 < share < 1]
    hint = percent_hint(bad[0]) if bad else ""
    bad += [distance for distance in decades if not distance > 0]
    if bad:
        raise QueryError(
            "shares lie between 0 and 1, decades left out are positive; "
            f"got {', '.join(map(str, bad))}{hint}"
        )
    splits: dict[int, Split] = {}
    refused = []
    notes = []
    for label, largest in _edges(runs, shares, decades).items():
        in_train = largest >= runs.C
        number = int(in_train.sum())
        if number == len(runs):
            refused.append(f"{runs.name}, {label}: no runs left to predict")
            continue
        if number < fewest:
            refused.append(
                f"{runs.name}, {label}: {number} runs to train on; at least {fewest} needed"
            )
            continue
        # Two labels with as many training runs are one split, since runs are ordered by compute.
        if number in splits:
            continue
        split = Split(label, rows_of(runs, in_train), rows_of(runs, ~in_train))
        splits[number] = split
        if split.span < SHORT_SPAN:
            notes.append(
                f"{runs.name}, {label}: the training runs span only {split.span:.2f} decades "
                "of compute"
            )
    if not splits:
        reasons = "; ".join(refused) or "no splits were asked for"
        raise RunsError(f"{runs.name} ({len(runs)} runs) cannot be backtested: {reasons}")
    return list(splits.values()), [*refused, *notes]


def _edges(runs: Runs, shares: Sequence[float], decades: Sequence[float]) -> dict[str, float]:
    """Return the largest compute to train on, by the label of its split."""
    ordered = np.sort(runs.C)
    edges = {}
    for share in shares:
        number = max(round(share * len(runs)), 1)
        edges[f"lowest {share:.0%}"] = float(ordered[number - 1])
    for distance in decades:
        edges[f"{distance:g} decades left out"] = float(ordered[-1] / 10**distance)
    return edges


def rows_of(runs: Runs, rows: np.ndarray, name: str | None = None) -> Runs:
    """Return some rows of a table, under the same name unless another is given."""
    return replace(runs, table=runs.table[rows], name=name or runs.name)


def size_labels(N: np.ndarray) -> np.ndarray:
    """Return the rank of each run's size, shape (runs,), from 0 for the smallest size.

    N: shape (runs,). Neighbours in order of N whose logs differ by at most `SAME_SIZE` have one
    size.
    """
    order = np.argsort(N, kind="stable")
    log_N = np.log(N[order])
    is_larger = np.diff(log_N, prepend=log_N[0]) > SAME_SIZE
    labels = np.empty(len(N), int)
    labels[order] = np.cumsum(is_larger)
    return labels


def isoflop_sets(C: np.ndarray, N: np.ndarray) -> list[np.ndarray]:
    """Return the indices of runs of equal compute, one array for each set, in order of compute.

    C, N: shape (runs,).

    A set has at least four runs, whose C agree within 15% and whose N span at least a factor of
    three. At most nine sets are returned. They are chosen greedily, the largest first: runs whose C
    is within a factor of 1.5 of the median C of a chosen set belong to no further set.
    """
    free = np.arange(len(C))
    sets: list[np.ndarray] = []
    while len(sets) < MAX_SETS:
        found = _largest_set(C, N, free)
        if found is None:
            break
        sets.append(found)
        distance = np.abs(np.log(C[free] / np.median(C[found])))
        free = free[distance > math.log(MIN_C_SEPARATION)]
    return sorted(sets, key=lambda rows: float(np.median(C[rows])))


def _largest_set(C: np.ndarray, N: np.ndarray, free: np.ndarray) -> np.ndarray | None:
    """Return the largest isoFLOP set among the free runs; of equal ones the first in the table."""
    order = free[np.argsort(C[free], kind="stable")]
    # A window begins at the C of one run and contains all runs of up to 15% more.
    first = np.searchsorted(C[order], C[free], "left")
    last = np.searchsorted(C[order], MAX_C_RATIO * C[free], "right")
    sizes = last - first
    largest_first = np.argsort(-sizes, kind="stable")
    for i in largest_first:
        window = order[first[i] : last[i]]
        if len(window) < MIN_SET_SIZE:
            break
        if N[window].max() >= MIN_N_RATIO * N[window].min():
            return np.sort(window)
    return None
