"""Conversion of losses in bits, bits per byte or perplexities to nats per token."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from scalebayes.errors import RunsError


class Unit(NamedTuple):
    """A unit of loss: its conversion to nats, whether it is per byte, and the formula in words."""

    nats: Callable[[Any], Any]
    per_byte: bool
    formula: str


def _same(value: Any) -> Any:
    return value


def _from_bits(value: Any) -> Any:
    return value * math.log(2.0)


def _from_perplexity(value: Any) -> Any:
    import numpy as np  # here, so that tables in nats are checked without it

    return np.log(value)


UNITS = {
    "nats": Unit(_same, False, "as given"),
    "bits": Unit(_from_bits, False, "bits times ln 2"),
    "perplexity": Unit(_from_perplexity, False, "ln of the perplexity per token"),
    "nats_per_byte": Unit(_same, True, "nats per byte over tokens per byte"),
    "bits_per_byte": Unit(_from_bits, True, "bits per byte times ln 2, over tokens per byte"),
    "perplexity_per_byte": Unit(
        _from_perplexity, True, "ln of the perplexity per byte, over tokens per byte"
    ),
}
"""Units that a loss may be given in."""


def to_nats(value: Any, unit: str, *, tokens_per_byte: float | None = None) -> Any:
    r"""Return a loss in nats per token, :math:`L = \ln 2 \cdot bpb / r` from bits per byte.

    r is tokens per byte of the tokenizer on the same text (tokens over bytes in UTF-8, .2 to .3 on
    English text); a loss per byte cannot be converted without it. Losses per byte can be compared
    between models with different tokenizers, losses per token cannot.

    Parameters
    ----------
    value
        A number or an array.
    unit
        ``"nats"``, ``"bits"`` or ``"perplexity"`` (each per token), or ``"nats_per_byte"``,
        ``"bits_per_byte"`` or ``"perplexity_per_byte"``.
    tokens_per_byte
        r, for the three units per byte only.

    Raises
    ------
    RunsError
        When the unit is none of these, or r is missing, not between 0 and 1, or given for a unit
        that is per token.

    References
    ----------
    Gao et al. (2020), The Pile, arXiv:2101.00027, section 3.1.

    Examples
    --------
    >>> round(float(to_nats(0.8, "bits_per_byte", tokens_per_byte=0.25)), 4)
    2.2181
    """
    if unit not in UNITS:
        raise RunsError(f"a loss is given in one of {', '.join(UNITS)}; got {unit!r}")
    about = UNITS[unit]
    if not about.per_byte:
        if tokens_per_byte is not None:
            raise RunsError(
                f"tokens_per_byte is for losses per byte; {unit} are per token: leave it out"
            )
        return about.nats(value)
    if tokens_per_byte is None:
        raise RunsError(
            f"{unit} become nats per token by tokens_per_byte: the tokens of a text over its bytes"
        )
    if not 0 < tokens_per_byte <= 1:
        message = (
            "tokens_per_byte lies between 0 and 1 (.2 to .3 on English text); "
            f"got {tokens_per_byte:g}"
        )
        if tokens_per_byte > 1:
            message += ": bytes per token? give its inverse"
        raise RunsError(message)
    return about.nats(value) / tokens_per_byte
