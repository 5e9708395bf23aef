"""Splits of a table of runs by compute: what to train on, what to predict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs


from collections.abc import Sequence
from dataclasses import dataclass, replace

from scalebayes.data.runs import Runs
from scalebayes.errors import QueryError, RunsError

SHARES = (0.4, 0.5, 0.6, 0.7, 0.8)
FEWEST = 10
"""Training runs below which no split is made."""
SHORT = 1.0
"""Decades of training compute below which a split is noted."""


@dataclass(frozen=True)
class Split:
    """Runs up to a compute, and those above it."""

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
    fewest: int = FEWEST,
) -> tuple[list[Split], list[str]]:
    """Split by compute; also give in words what was left undone, and what to read with care.

    Raises
    ------
    RunsError
        When no split can be made.
    QueryError
        When a share does not lie between 0 and 1, or a distance is not positive.
    """
    if bad := [s for s in shares if not 0 < s < 1] + [d for d in decades if not d > 0]:
        raise QueryError(
            f"shares lie between 0 and 1, decades left out are positive; got {', '.join(map(str, bad))}"
        )
    compute, ordered = runs.C, np.sort(runs.C)
    edges = {
        f"lowest {share:.0%}": ordered[max(round(share * len(runs)), 1) - 1] for share in shares
    }
    edges |= {f"{d:g} decades left out": ordered[-1] / 10**d for d in decades}
    made: dict[int, Split] = {}
    notes, refused = [], []
    for label, edge in edges.items():
        train = compute <= edge
        if train.sum() < fewest or train.all():
            why = (
                "nothing to predict"
                if train.all()
                else f"{train.sum()} runs to train on; at least {fewest} needed"
            )
            refused.append(f"{runs.name}, {label}: {why}")
        elif int(train.sum()) not in made:
            split = Split(label, rows_of(runs, train), rows_of(runs, ~train))
            made[int(train.sum())] = split
            if split.span < SHORT:
                notes.append(
                    f"{runs.name}, {label}: the training runs span {split.span:.2f} decades of compute only"
                )
    if not made:
        raise RunsError(
            f"{runs.name} ({len(runs)} runs) cannot be backtested: "
            + ("; ".join(refused) or "no splits")
        )
    return list(made.values()), [*refused, *notes]


def rows_of(runs: Runs, rows: np.ndarray, name: str | None = None) -> Runs:
    """Some rows of a table, perhaps under a name of their own."""
    return replace(runs, table=runs.table[rows], name=name or runs.name)


SAME_SIZE = 0.01
"""Logs of N closer than this are one size; read off figures, N of one model differ in the last digits."""


def size_labels(N: np.ndarray) -> np.ndarray:
    """Number the sizes from the smallest on: N within 1% of the next are one size."""
    order = np.argsort(N, kind="stable")
    labels = np.empty(len(N), int)
    labels[order] = np.cumsum(np.diff(np.log(N[order]), prepend=np.log(N[order[0]])) > SAME_SIZE)
    return labels


AGREE, SPAN, APART = 1.15, 3.0, 1.5
"""Runs of one budget agree in C to this factor, spread over this factor of N, and budgets lie so far apart."""


SETS = 9


ENOUGH = 4
"""Runs below which a parabola is not fitted: three give it no error."""


def isoflop_sets(C: np.ndarray, N: np.ndarray) -> list[np.ndarray]:
    """Find runs at equal compute: the indices of each set, in order of compute, of the nine largest sets at most.

    A set is four runs or more whose C agree within 15% and whose N span a factor of three; sets lie 1.5 times apart.
    """
    free, sets = np.arange(len(C)), list[np.ndarray]()
    while len(sets) < SETS and (found := _largest(C, N, free)) is not None:
        sets.append(found)
        free = free[np.abs(np.log(C[free] / np.median(C[found]))) > math.log(APART)]
    return sorted(sets, key=lambda s: float(np.median(C[s])))


def _largest(C: np.ndarray, N: np.ndarray, free: np.ndarray) -> np.ndarray | None:
    """The most runs from one compute up to 15% above it that are a set; of equals the first in the table."""
    order = free[np.argsort(C[free], kind="stable")]
    first = np.searchsorted(C[order], C[free], "left")
    last = np.searchsorted(C[order], AGREE * C[free], "right")
    for i in np.argsort(first - last, kind="stable"):
        window = order[first[i] : last[i]]
        if len(window) < ENOUGH:
            break
        if N[window].max() >= SPAN * N[window].min():
            return np.sort(window)
    return None
