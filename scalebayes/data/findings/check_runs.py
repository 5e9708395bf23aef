"""The function `check_runs`: what a table says of a fit before any model is fitted."""

from __future__ import annotations

from scalebayes.data.findings.design import design_messages
from scalebayes.data.findings.monotone import monotone_messages
from scalebayes.data.findings.slips import slip_messages
from scalebayes.data.findings.small_losses import small_loss_messages
from scalebayes.data.findings.trainings import replicate_messages, shared_training_messages
from scalebayes.data.runs import Runs
from scalebayes.messages import Message
from scalebayes.utils.progress import shows_progress


@shows_progress("checking the table")
def check_runs(runs: Runs) -> tuple[Message, ...]:
    """Return warnings and notes of a table of runs that hold whatever model is fitted to it.

    Returns
    -------
    tuple of Message
        NOT_MONOTONE: the loss rises with N or D (or C, S) by more than the noise, other inputs
        held, or over all runs together, which no law of this package does. COMMON_FACTOR: a group
        of runs lies on the curve of the others if N, D or loss is multiplied by a power of ten.
        LOSS_UNIT: losses of language models that look a thousand times too small. ONE_RAY: N and D
        vary together, so that their effects cannot be told apart. SHARED_TRAINING: rows look like
        checkpoints of the same trainings, and no column says so. REPLICATES: the standard deviation
        of the loss between runs of equal inputs, a warning above 5%.

    Examples
    --------
    >>> [message.code for message in sb.check_runs(sb.load_runs("hoffmann2022"))]
    []
    >>> [message.code for message in sb.check_runs(sb.load_runs("pile2023"))]
    []
    """
    return (
        *monotone_messages(runs),
        *slip_messages(runs),
        *small_loss_messages(runs),
        *design_messages(runs),
        *shared_training_messages(runs),
        *replicate_messages(runs),
    )
