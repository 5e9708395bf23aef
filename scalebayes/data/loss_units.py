"""Losses in other units: bits, bits per byte and perplexities, to nats per token."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from scalebayes.errors import RunsError


class Unit(NamedTuple):
    """How a loss in this unit becomes one in nats: per token, or per byte where `per_byte`."""

    nats: Callable[[Any], Any]
    per_byte: bool
    formula: str


def _log(value: Any) -> Any:
    import numpy as np  # here, so that tables in nats are checked without it

    return np.log(value)


UNITS = {
    "nats": Unit(lambda x: x, False, "as given"),
    "bits": Unit(lambda x: x * math.log(2.0), False, "bits times ln 2"),
    "perplexity": Unit(_log, False, "ln of the perplexity per token"),
    "nats_per_byte": Unit(lambda x: x, True, "nats per byte over tokens per byte"),
    "bits_per_byte": Unit(
        lambda x: x * math.log(2.0), True, "bits per byte times ln 2, over tokens per byte"
    ),
    "perplexity_per_byte": Unit(_log, True, "ln of the perplexity per byte, over tokens per byte"),
}
"""What a loss may be given in."""


def to_nats(value: Any, unit: str, *, tokens_per_byte: float | None = None) -> Any:
    r"""Nats per token of a loss in another unit: :math:`L = \ln 2 \cdot bpb / r` of bits per byte, r tokens a byte.

    A loss per byte says nothing of tokens, so it needs the r of the tokenizer on the same text: its tokens over its
    bytes in UTF-8, .2 to .3 on English text. Losses per byte compare models with different tokenizers; losses per
    token do not.

    Parameters
    ----------
    value
        A number or an array.
    unit
        ``"nats"``, ``"bits"`` or ``"perplexity"`` (each per token), or ``"nats_per_byte"``, ``"bits_per_byte"`` or
        ``"perplexity_per_byte"``.
    tokens_per_byte
        r, for the three that are per byte.

    Raises
    ------
    RunsError
        When the unit is none of these, or r is missing, given in vain, or not between 0 and 1.

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
            raise RunsError(f"{unit} are per token: tokens_per_byte says nothing of them")
        return about.nats(value)
    if tokens_per_byte is None:
        raise RunsError(
            f"{unit} become nats per token by tokens_per_byte: the tokens of a text over its bytes"
        )
    if not 0 < tokens_per_byte <= 1:
        raise RunsError(
            f"tokens_per_byte lies between 0 and 1 (.2 to .3 on English text); got {tokens_per_byte:g}"
            + ": bytes per token? give its inverse" * (tokens_per_byte > 1)
        )
    return about.nats(value) / tokens_per_byte
