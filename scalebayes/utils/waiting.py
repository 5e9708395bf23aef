"""Lines on stderr about long waits, one a minute, where stderr is not a terminal.

Logs of batch systems and of continuous integration so show what a process is doing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

INTERVAL = 60.0
"""Seconds between two lines, and before the first."""
LONGEST_IN_SECONDS = 90.0
"""Durations up to this many seconds are written in seconds, longer ones in minutes and hours."""


@dataclass
class Step:
    """Work that is waited for.

    Attributes
    ----------
    label
        What is going on.
    total, done
        How much there is to do and how much is done, in any unit; ``total`` is None if unknown.
    of
        The unit, such as "of the draws".
    started, done_at_start
        When the step began, as a value of the clock, and how much was done then.
    """

    label: str
    total: float | None = None
    done: float = 0.0
    of: str = "done"
    started: float = field(default_factory=time.monotonic)
    done_at_start: float = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether all is done."""
        return self.total is not None and self.done >= self.total

    def describe(self, now: float) -> str:
        """Return the label, the share that is done and an estimate of the time left, if any."""
        if not self.total:
            return f"{self.label}; the time left is unknown"
        text = f"{self.label}, {self.done / self.total:.0%} {self.of}"
        done_here = self.done - self.done_at_start
        if done_here > 0:
            left = (now - self.started) * (self.total - self.done) / done_here
            text += f", about {duration(left)} left"
        return text


STEPS: list[Step] = []
"""The steps that this process is at, the innermost last."""

_REPORTING = threading.Lock()
"""Held while a block of `reported_waits` writes lines."""


def duration(seconds: float) -> str:
    """Return a duration in words: 45 s, 12 min or 2 h 5 min."""
    if seconds <= LONGEST_IN_SECONDS:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def line(elapsed: float, now: float) -> str:
    """Return the line about the innermost step that is not finished; empty where there is none.

    Parameters
    ----------
    elapsed
        Seconds since the wait began.
    now
        The present value of the clock.
    """
    unfinished = [step for step in STEPS if not step.is_finished]
    if not unfinished:
        return ""
    return f"{duration(elapsed)} so far: {unfinished[-1].describe(now)}"


@contextmanager
def step(label: str) -> Iterator[Step]:
    """Add a step of unknown length to `STEPS` until the block ends."""
    added = Step(label)
    STEPS.append(added)
    try:
        yield added
    finally:
        remove(added)


def remove(finished: Step) -> None:
    """Remove a step from `STEPS`."""
    # Two steps may be equal, so `list.remove` could take another one.
    STEPS[:] = [one for one in STEPS if one is not finished]


@contextmanager
def reported_waits(
    interval: float | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Write a line about the innermost step at every interval until the block ends.

    Without effect inside another such block, which writes the lines already.

    Parameters
    ----------
    interval
        Seconds between two lines; by default `INTERVAL`.
    clock
        What returns the present time in seconds.
    """
    is_outermost = _REPORTING.acquire(blocking=False)
    if not is_outermost:
        yield
        return
    started = clock()
    is_over = threading.Event()
    every = INTERVAL if interval is None else interval

    def report() -> None:
        while not is_over.wait(every):
            now = clock()
            text = line(now - started, now)
            if text:
                with contextlib.suppress(OSError, ValueError):  # stderr is closed
                    print(text, file=sys.stderr, flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        _REPORTING.release()
