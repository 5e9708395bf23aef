"""Recognise the schedule that a run has followed so far."""

from __future__ import annotations

import numpy as np

from scalebayes.curves.curves import Curve
from scalebayes.curves.schedules import NAMED, Schedule

SAME_RATE = 0.01
"""Largest distance of the rates from a schedule by name, over the peak, that counts as equal."""
FINALS = (0.0, 0.01, 0.05, 0.1, 0.2)
"""Usual last rates over the peak."""
FALLEN = 0.05
"""Fall of the rate so far, over the peak, that tells a decay from a constant rate."""


def guess_schedule(curve: Curve, end: float) -> tuple[str, Schedule] | None:
    """Return the name of the schedule up to a step that the rate has followed, and the schedule.

    Only cosine and linear decays over the whole run are recognised, to a usual share of the peak.
    None where the rate has hardly fallen yet, or follows neither.
    """
    own = curve.schedule
    steps = np.linspace(own.warmup, own.end, 200)
    rates = own.rate(steps)
    if rates[-1] > (1 - FALLEN) * own.peak:
        return None
    best: tuple[float, str, Schedule] | None = None
    for name in ("cosine", "linear"):
        for final in FINALS:
            made = NAMED[name](end, peak=own.peak, warmup=own.warmup, final=final)
            distance = float(np.abs(made.rate(steps) - rates).max() / own.peak)
            if best is None or distance < best[0]:
                best = (distance, f"{name} to {final:g} of its peak", made)
    if best is None or best[0] > SAME_RATE:
        return None
    return best[1], best[2]
