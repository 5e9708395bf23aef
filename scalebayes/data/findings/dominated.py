"""Pairs of runs whose inputs are ordered: one run has at least as much of each input.

Under every law of this package the run with more of the inputs has the lower loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAME_INPUT = 0.01
"""Largest difference of the log of an input within which it counts as equal."""
MOST_RUNS = 400
"""Runs of a long table that are compared, evenly spaced by row."""
FEWEST_PAIRS = 10
"""Fewest pairs from which something is said."""
MOST_RISING = 0.6
"""Share of pairs whose loss rises that is reported, if noise does not explain it."""
PERMUTATIONS = 199
"""Tables with losses in random order that are compared."""
LEVEL = 0.01
"""Probability of a report on a table whose loss does not depend on its inputs."""


@dataclass(frozen=True)
class Pairs:
    """Number of ordered pairs of runs, and the share of them whose loss rises."""

    number: int
    rising: float


def rising_pairs(inputs: np.ndarray, loss: np.ndarray) -> Pairs | None:
    """Return the pairs of runs if the loss of most of them rises, by more than chance, else None.

    Parameters
    ----------
    inputs
        Logs of the inputs, (inputs, runs).
    loss
        Losses, (runs,).
    """
    if len(loss) > MOST_RUNS:
        chosen = np.linspace(0, len(loss) - 1, MOST_RUNS).astype(int)
        inputs, loss = inputs[:, chosen], loss[chosen]
    difference = inputs[:, None, :] - inputs[:, :, None]  # (inputs, smaller run, larger run)
    is_no_less = np.all(difference >= -SAME_INPUT, axis=0)
    is_more = np.any(difference > SAME_INPUT, axis=0)
    smaller, larger = np.nonzero(is_no_less & is_more)
    if len(smaller) < FEWEST_PAIRS:
        return None
    share = float(np.mean(loss[larger] > loss[smaller]))
    if share < MOST_RISING:
        return None
    rng = np.random.default_rng(0)
    at_least = 0
    for _ in range(PERMUTATIONS):
        shuffled = rng.permutation(loss)
        if np.mean(shuffled[larger] > shuffled[smaller]) >= share:
            at_least += 1
    p_value = (1 + at_least) / (1 + PERMUTATIONS)
    return Pairs(len(smaller), share) if p_value <= LEVEL else None
