"""Splits of a table of runs by compute: what to train on, what to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scalebayes.errors import QueryError, RunsError
from scalebayes.runs import Runs

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
    runs: Runs, shares: Sequence[float] = SHARES, decades: Sequence[float] = (), *, fewest: int = FEWEST
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
        raise QueryError(f"shares lie between 0 and 1, decades left out are positive; got {', '.join(map(str, bad))}")
    compute, ordered = runs.C, np.sort(runs.C)
    edges = {f"lowest {share:.0%}": ordered[max(round(share * len(runs)), 1) - 1] for share in shares}
    edges |= {f"{d:g} decades left out": ordered[-1] / 10**d for d in decades}
    made: dict[int, Split] = {}
    notes, refused = [], []
    for label, edge in edges.items():
        train = compute <= edge
        if train.sum() < fewest or train.all():
            why = "nothing to predict" if train.all() else f"{train.sum()} runs to train on; at least {fewest} needed"
            refused.append(f"{runs.name}, {label}: {why}")
        elif int(train.sum()) not in made:
            split = Split(label, rows_of(runs, train), rows_of(runs, ~train))
            made[int(train.sum())] = split
            if split.span < SHORT:
                notes.append(f"{runs.name}, {label}: the training runs span {split.span:.2f} decades of compute only")
    if not made:
        raise RunsError(f"{runs.name} ({len(runs)} runs) cannot be backtested: " + ("; ".join(refused) or "no splits"))
    return list(made.values()), [*refused, *notes]


def rows_of(runs: Runs, rows: np.ndarray, name: str | None = None) -> Runs:
    """Some rows of a table, perhaps under a name of their own."""
    return replace(runs, table=runs.table[rows], name=name or runs.name)
