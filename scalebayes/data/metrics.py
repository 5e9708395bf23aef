"""The metric of the losses of a table: its name, the guess where none is given, and its wording."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import median

from scalebayes.errors import QueryError, RunsError

NATS_PER_TOKEN = "nats per token"
LOSS = "loss"
"""The metric of losses whose unit is not known."""

LANGUAGE_LOSSES = (0.3, 12.0)
"""Losses of language models in nats per token: code is predicted to about 0.5, and an untrained
model is at the log of its vocabulary, 10 to 12."""
ERROR_RATE_LIMIT = 1.0
"""Error rates, as shares, are not above one; the weakest run of a language table is."""
LANGUAGE_SIZES = {"N": (1e4, 1e14), "D": (1e6, 1e17)}
"""Median parameters and tokens of tables of language models. Other tables often count examples,
such as images or sentences, of which there are fewer than a million, or write sizes in billions."""
OTHER_METRICS = {
    *("ppl", "perplexity", "bits", "bpb", "bpc", "byte", "bytes"),
    *("error", "err", "errors", "rate", "wer", "cer", "ter", "accuracy", "acc"),
    *("percent", "pct", "%", "mse", "rmse", "mae"),
}
"""Words in the name of a column that show that it holds no nats per token."""


def read_metric(metric: str | None, loss_unit: str) -> str | None:
    """Return the name of a metric without blanks around it, or None where nothing names one.

    `loss_unit` is as `scalebayes.read_runs` takes it: converted losses are in nats per token,
    except percentages, which become shares.

    Raises
    ------
    RunsError
        When the name is empty, or `loss_unit` converts losses to nats per token and the metric is
        another.
    """
    is_converted = loss_unit not in ("nats", "percent")
    if metric is None:
        return NATS_PER_TOKEN if is_converted else None
    name = " ".join(metric.split())
    if not name:
        raise RunsError("metric is empty: name the unit of the losses, such as 'word error rate'")
    if is_converted and name != NATS_PER_TOKEN:
        raise RunsError(
            f"loss_unit={loss_unit!r} converts the losses to {NATS_PER_TOKEN}, but metric is "
            f"{name!r}: leave one of the two out"
        )
    return name


def guess_metric(columns: Mapping[str, Sequence[float]], name: str | None = None) -> str:
    """Return "nats per token" if losses look like those of language models, else "loss".

    They do if all of the following hold; otherwise a vague unit is better than a wrong one.

    - The name of their column, if given, has no word of `OTHER_METRICS`.
    - All losses lie in `LANGUAGE_LOSSES`, and the highest is above `ERROR_RATE_LIMIT`.
    - The medians of N and D, where the table has them, lie in `LANGUAGE_SIZES`.

    Parameters
    ----------
    columns
        Values by role, such as "loss", "N" and "D".
    name
        Name of the column of losses.
    """
    words = set(re.findall(r"[a-z]+|%", (name or "").lower()))
    if words & OTHER_METRICS:
        return LOSS
    losses = columns.get("loss")
    if losses is None or not len(losses):
        return LOSS
    low, high = LANGUAGE_LOSSES
    highest = max(losses)
    if min(losses) < low or not ERROR_RATE_LIMIT < highest <= high:
        return LOSS
    for role, (smallest, largest) in LANGUAGE_SIZES.items():
        sizes = columns.get(role)
        if sizes is not None and not smallest <= median(sizes) <= largest:
            return LOSS
    return NATS_PER_TOKEN


def one_metric(metrics: Mapping[str, str]) -> str:
    """Return the metric that fits share. metrics: by the label of the fit.

    Raises
    ------
    QueryError
        When the metrics of two fits differ.
    """
    (first_label, first), *others = metrics.items()
    for label, metric in others:
        if metric != first:
            raise QueryError(
                f"'{first_label}' predicts {loss_in_words(first)} and '{label}' predicts "
                f"{loss_in_words(metric)}: losses can be compared or combined in one metric only "
                "(metric= of read_runs names it)"
            )
    return first


def loss_in_words(metric: str, of: str = "") -> str:
    """Return the loss with its unit in words: "loss in nats per token", or the metric itself.

    of: whose loss, such as "of the curve": "loss of the curve in nats per token".
    """
    if metric == NATS_PER_TOKEN:
        return f"loss {of} in {metric}" if of else f"loss in {metric}"
    return f"{metric} {of}".rstrip()


def with_unit(text: str, metric: str) -> str:
    """Return words about a loss with its unit: "irreducible loss, nats per token"."""
    if metric == LOSS:
        return text
    return f"{text}, {metric}"


def loss_label(metric: str) -> str:
    """Return the label of an axis of losses: "Loss (nats per token)", or the metric itself."""
    if metric == NATS_PER_TOKEN:
        return f"Loss ({metric})"
    return capitalised(metric)


def short_amount(amount: str, metric: str) -> str:
    """Return an amount of loss with its short unit: "0.02 nats"; in other metrics the number."""
    if metric == NATS_PER_TOKEN:
        return f"{amount} nats"
    return amount


def capitalised(text: str) -> str:
    """Return the text with a capital first letter; the others are kept, as in "BLEU"."""
    return text[:1].upper() + text[1:]
