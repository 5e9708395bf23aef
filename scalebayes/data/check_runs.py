"""The function `check_runs`: what a table says of a fit before any model is fitted."""

from __future__ import annotations

from scalebayes.data.monotone import monotone_messages
from scalebayes.data.runs import Runs
from scalebayes.data.trainings import replicate_messages, shared_training_messages
from scalebayes.messages import Message


def check_runs(runs: Runs) -> tuple[Message, ...]:
    """Return warnings and notes of a table of runs that hold whatever model is fitted to it.

    Returns
    -------
    tuple of Message
        NOT_MONOTONE: the loss rises with N or D (or C, S) by more than the noise, other inputs
        held, which no law of this package does. SHARED_TRAINING: rows look like checkpoints of the
        same trainings, and no column says so. REPLICATES: the standard deviation of the loss
        between runs of equal inputs.
    """
    return (
        *monotone_messages(runs),
        *shared_training_messages(runs),
        *replicate_messages(runs),
    )
