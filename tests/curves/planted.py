"""Curves of known parameters under four schedules."""

import numpy as np
import pandas as pd

import scalebayes as sb
from scalebayes.curves.laws import multi_power
from scalebayes.curves.schedules import named_schedule

TRUTH = {
    "L_0": 3.0,
    "A": 0.54,
    "alpha": 0.5,
    "B": 450.0,
    "C": 2.0,
    "beta": 0.4,
    "gamma": 0.6,
}
LENGTH, WARMUP, JUMP, PEAK = 20_000, 500, 8000, 3e-4
PLANS = {
    "cosine": ("cosine", {}),
    "constant": ("constant", {}),
    "steps": ("steps", {"at": [JUMP], "factors": [0.3]}),
    "wsd": ("wsd", {"decay": 4000}),
}
SIGMA, TAU = 3e-4, 5e-4


def planted_schedule(name):
    form, arguments = PLANS[name]
    return named_schedule(form, LENGTH, peak=PEAK, warmup=WARMUP, **arguments)


def planted_curves(
    rows=120, groups=1, branches=False, names=("cosine", "constant", "steps"), seed=0
):
    """Checkpoints of the multi-power law with noise, and offsets of runs.

    branches: whether the run under steps is a branch of the constant one.
    """
    rng = np.random.default_rng(seed)
    # One checkpoint is at the jump, so that the table says where it is.
    steps = np.linspace(WARMUP + 10, LENGTH, rows).round()
    steps[np.argmin(np.abs(steps - JUMP))] = JUMP
    parts = []
    for group in range(groups):
        values = TRUTH | {"L_0": TRUTH["L_0"] - 0.4 * group, "A": TRUTH["A"] * 1.1**group}
        trunk = None
        for name in names:
            schedule = planted_schedule(name)
            noise = SIGMA * rng.normal(size=len(steps)) + TAU * rng.normal()
            loss = multi_power(schedule, steps, **values) * np.exp(noise)
            if name == "constant":
                trunk = loss
            if name == "steps" and branches:
                loss = np.where(steps <= JUMP, trunk, loss)
            part = {"run": name, "step": steps, "lr": schedule.rate(steps), "loss": loss}
            if groups > 1:
                part |= {"run": f"{name}-{group}", "size": f"g{group}"}
            parts.append(pd.DataFrame(part))
    return sb.read_curves(pd.concat(parts), warmup=WARMUP, name="planted")
