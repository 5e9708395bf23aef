"""Losses of language models that look a thousand times too small, or like shares of a percent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scalebayes.data.metrics import LANGUAGE_SIZES, LOSS
from scalebayes.data.runs import Runs
from scalebayes.messages import Message

SMALL = 0.05
"""Loss below which no language model is in nats per token: code is predicted to about 0.5."""


def small_loss_messages(runs: Runs) -> Iterator[Message]:
    """Yield the warning LOSS_UNIT of tables of language models with losses near zero.

    A table whose metric was named, or whose sizes are not those of language models, has none.
    """
    if runs.metric != LOSS or not {"N", "D"} <= set(runs.table.columns):
        return
    for x, (smallest, largest) in LANGUAGE_SIZES.items():
        if not smallest <= float(np.median(runs.table[x])) <= largest:
            return
    highest = float(runs.loss.max())
    if highest >= SMALL:
        return
    text = (
        f"the losses are {runs.loss.min():.2g} to {highest:.2g}. N and D are of the size of "
        "language models, whose losses are 0.5 to 12 nats per token. Are they in thousands? "
        "scale={'loss': 1000} (--scale loss=1000). Or of another metric? Name it: metric= "
        "(--metric)"
    )
    yield Message("LOSS_UNIT", "warning", text)
