"""Curves: the checkpoints of some runs with the learning-rate schedules that they were under."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd

from scalebayes.curves.schedules import Schedule
from scalebayes.errors import QueryError
from scalebayes.specs.faults import nearest

ROOM = "scalebayes.curves"


@dataclass(frozen=True, eq=False)
class Curve:
    """The checkpoints of one run after its warm-up.

    Attributes
    ----------
    run
        Id of the run.
    steps, losses
        Step and loss of each checkpoint, steps increasing, shape (rows,).
    schedule
        The learning rate from step 0 to the last checkpoint, warm-up included.
    group
        Name of the group that the run belongs to, such as its model size; empty for none.
    """

    run: str
    steps: np.ndarray
    losses: np.ndarray
    schedule: Schedule
    group: str = ""

    @functools.cached_property
    def areas(self) -> np.ndarray:
        """Area S_1 of the schedule up to each checkpoint, warm-up included, shape (rows,)."""
        return self.schedule.area(self.steps)

    @property
    def warmup_area(self) -> float:
        """Area S_W of the warm-up."""
        return float(self.schedule.area(np.array([self.schedule.warmup]))[0])

    @property
    def rates(self) -> np.ndarray:
        """Learning rate at each checkpoint, shape (rows,)."""
        return self.schedule.rate(self.steps)


@dataclass(frozen=True, eq=False)
class Curves:
    """Checkpoints of runs, as `scalebayes.read_curves` reads them.

    Attributes
    ----------
    runs
        The curves by id of their run.
    name, source
        Name of the table and path of its file.
    notes
        What was done to read the table.
    """

    runs: Mapping[str, Curve]
    name: str
    source: str | None = None
    notes: tuple[str, ...] = field(default=())
    OWN_FUNCTIONS: ClassVar[Mapping[str, str]] = {"fit": f"{ROOM}.fit:fit_curves"}

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """One row a checkpoint: run, group, step, learning rate, loss, S1 and S_W."""
        parts = []
        for curve in self.runs.values():
            part = pd.DataFrame(
                {
                    "run": curve.run,
                    "group": curve.group,
                    "step": curve.steps,
                    "lr": curve.rates,
                    "loss": curve.losses,
                    "S1": curve.areas,
                    "S_W": curve.warmup_area,
                }
            )
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of runs, schedules and losses."""
        total = hashlib.sha256()
        for curve in self.runs.values():
            total.update(f"{curve.run}\0{curve.group}\0{curve.schedule.warmup!r}\0".encode())
            for values in (
                curve.steps,
                curve.losses,
                curve.schedule.steps,
                curve.schedule.rates,
            ):
                total.update(np.ascontiguousarray(values, "<f8").tobytes())
        return total.hexdigest()

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in the order of the runs."""
        return tuple(dict.fromkeys(curve.group for curve in self.runs.values()))

    def __len__(self) -> int:
        """Return the number of checkpoints."""
        return sum(len(curve.steps) for curve in self.runs.values())

    def __getitem__(self, run: str) -> Curve:
        """Return the curve of a run.

        Raises
        ------
        QueryError
            When there is no such run.
        """
        if run not in self.runs:
            known = list(self.runs)
            raise QueryError(
                f"no run {run!r}{nearest(str(run), known)}; the runs are {', '.join(known[:12])}"
            )
        return self.runs[run]

    def select(self, runs: list[str]) -> Curves:
        """Return the curves of some runs."""
        return Curves({run: self[run] for run in runs}, self.name, self.source, self.notes)

    def before(self, step: float) -> Curves:
        """Return the checkpoints up to a step; the schedules stay whole."""
        cut = {}
        for run, curve in self.runs.items():
            kept = curve.steps <= step
            if kept.any():
                cut[run] = Curve(
                    run, curve.steps[kept], curve.losses[kept], curve.schedule, curve.group
                )
        return Curves(cut, self.name, self.source, self.notes)

    def __repr__(self) -> str:
        steps = [curve.steps for curve in self.runs.values()]
        losses = np.concatenate([curve.losses for curve in self.runs.values()])
        first, last = min(s[0] for s in steps), max(s[-1] for s in steps)
        of_groups = f" in {len(self.groups)} groups" if len(self.groups) > 1 else ""
        return (
            f"Curves {self.name!r}: {len(self)} checkpoints of {len(self.runs)} runs{of_groups}, "
            f"steps {first:g} to {last:g}, loss {losses.min():.3g} to {losses.max():.3g}"
        )


def shared_rows(one: Curve, other: Curve) -> int:
    """Return how many first checkpoints two runs share: both are branches of one training then."""
    if one.group != other.group:
        return 0
    length = min(len(one.steps), len(other.steps))
    same = (one.steps[:length] == other.steps[:length]) & (
        one.losses[:length] == other.losses[:length]
    )
    return length if same.all() else int(np.argmin(same))
