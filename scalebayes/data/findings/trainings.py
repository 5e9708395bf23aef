"""Runs that share a training, and runs that repeat the inputs of another.

Checkpoints of one training share its seed, its order of the data and its shape of the network, so
their losses lie above or below the curve together. Runs of equal inputs in different trainings show
the noise itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import numpy as np
import pandas as pd

from scalebayes.data.runs import Runs
from scalebayes.messages import Message

FEWEST_CHECKPOINTS = 4
"""Fewest rows of one size at even steps of D that look like checkpoints of one training."""
UNEVEN = 0.02
"""Largest relative difference between steps of D that count as even."""
MOST_GAP = 3
"""Most steps from one checkpoint of a table to the next."""
SHARED = 0.5
"""Share of the rows of a table that must look like checkpoints."""
LARGE_SCALE = 0.05
"""Standard deviation of log loss between equal runs above which they are hardly equal: that between
seeds is a percent or less."""
FEWEST_REPEATS = 3
"""Fewest rows beyond the first at their inputs, from which a standard deviation is stated."""


def has_shared_trainings(runs: Runs) -> bool:
    """Return whether several runs of a table are known to share a training."""
    if "training" not in runs.table:
        return False
    names = runs.table["training"]
    return bool(1 < names.nunique() < len(names))


def shared_training_messages(runs: Runs) -> Iterator[Message]:
    """Yield the note SHARED_TRAINING of a table that looks like checkpoints of few trainings."""
    if "training" in runs.table or not {"N", "D"} <= set(runs.table.columns):
        return
    by = [name for name in ("N", "U", "E", "learning_rate", "batch", "group") if name in runs.table]
    trajectories = [rows for _, rows in runs.table.groupby(by) if _are_checkpoints(rows["D"])]
    rows = sum(len(one) for one in trajectories)
    if rows < SHARED * len(runs):
        return
    text = (
        f"{rows} of {len(runs)} rows look like checkpoints of {len(trajectories)} trainings: equal "
        "N, and D at even steps. Checkpoints of one training share its error, so intervals are too "
        "narrow unless the model is told: name the training of each row in a column training "
        "(training=COLUMN, or --map training=COLUMN)"
    )
    yield Message("SHARED_TRAINING", "note", text)


def _are_checkpoints(tokens: pd.Series) -> bool:
    """Return whether amounts of data are multiples of one step, few of them left out."""
    D = np.unique(tokens.to_numpy(float))
    if len(D) < FEWEST_CHECKPOINTS:
        return False
    steps = np.diff(D)
    multiples = steps / steps.min()
    are_even = np.abs(multiples - np.round(multiples)) <= UNEVEN * np.round(multiples)
    return bool(are_even.all() and multiples.max() < MOST_GAP + 0.5)


def replicate_scale(runs: Runs) -> tuple[float, int] | None:
    """Return the standard deviation of log loss between runs of equal inputs, and its freedom.

    Rows of one training at equal inputs are one run. None where fewer than three runs repeat the
    inputs of another.
    """
    names = ("N", "D", "S", "U", "E", "learning_rate", "batch", "group")
    inputs: list[Hashable] = [name for name in names if name in runs.table]
    if not inputs:
        return None
    log_loss = pd.Series(np.log(runs.loss), index=runs.table.index)
    keys = [runs.table[name] for name in inputs]
    trainings = runs.table.index.to_series()
    if "training" in runs.table:
        trainings = runs.table["training"]
    by_training = log_loss.groupby([*keys, trainings]).mean()
    cells = by_training.groupby(level=list(range(len(keys))))
    counts = cells.size()
    freedom = int((counts - 1).sum())
    if freedom < FEWEST_REPEATS:
        return None
    squares = (counts - 1) * cells.var().fillna(0.0)
    return float(np.sqrt(squares.sum() / freedom)), freedom


def replicate_messages(runs: Runs, sigma: float | None = None) -> Iterator[Message]:
    """Yield the note REPLICATES: the noise that runs of equal inputs show, beside that of a fit."""
    found = replicate_scale(runs)
    if found is None:
        return
    scale, freedom = found
    text = (
        f"runs of equal inputs differ by a standard deviation of {scale:.2%} in loss "
        f"({freedom} degrees of freedom)"
    )
    if sigma is not None:
        text += f"; the noise scale sigma of the fit is {sigma:.2%}"
    if scale > LARGE_SCALE:
        text += ". Do they differ in another input, such as the data or the recipe? group= names it"
        yield Message("REPLICATES", "warning", text)
        return
    yield Message("REPLICATES", "note", text)
