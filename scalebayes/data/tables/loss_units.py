"""Conversion of losses: bits, bits per byte and perplexities to nats, percentages to shares."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from scalebayes.errors import RunsError


class Unit(NamedTuple):
    """A unit of loss: its conversion, whether it is per byte, the formula, and what results."""

    convert: Callable[[Any], Any]
    per_byte: bool
    formula: str
    result: str = "nats per token"


def _unchanged(value: Any) -> Any:
    return value


def _from_bits(value: Any) -> Any:
    return value * math.log(2.0)


def _from_percent(value: Any) -> Any:
    return value / 100.0


def _from_perplexity(value: Any) -> Any:
    import numpy as np  # imported here, because other units do not need it

    return np.log(value)


UNITS = {
    "nats": Unit(_unchanged, False, "as given"),
    "bits": Unit(_from_bits, False, "bits times ln 2"),
    "perplexity": Unit(_from_perplexity, False, "ln of the perplexity per token"),
    "nats_per_byte": Unit(_unchanged, True, "nats per byte over tokens per byte"),
    "bits_per_byte": Unit(_from_bits, True, "bits per byte times ln 2, over tokens per byte"),
    "perplexity_per_byte": Unit(
        _from_perplexity, True, "ln of the perplexity per byte, over tokens per byte"
    ),
    "percent": Unit(_from_percent, False, "percent over 100", "share"),
}
"""Units of losses that can be converted, by name: all to nats per token, percentages to shares."""


def to_nats(value: Any, unit: str, *, tokens_per_byte: float | None = None) -> Any:
    r"""Return a loss in nats per token, :math:`L = \ln 2 \cdot bpb / r` from bits per byte.

    Bits are multiplied by ln 2, and of a perplexity the natural log is taken. A loss per byte is
    then divided by r, the tokenizer's tokens per byte of the same text in UTF-8 (0.2 to 0.3 for
    English). Losses per byte can be compared between models with different tokenizers; losses per
    token cannot.

    Parameters
    ----------
    value
        The loss in `unit`, a number or an array.
    unit
        ``"nats"``, ``"bits"`` or ``"perplexity"`` (each per token), or ``"nats_per_byte"``,
        ``"bits_per_byte"`` or ``"perplexity_per_byte"``.
    tokens_per_byte
        r, required for the three units per byte and not allowed for the others.

    Raises
    ------
    RunsError
        If the unit is unknown; if r is missing for a unit per byte, given for a unit per token, or
        not in (0, 1].

    References
    ----------
    Gao et al. (2020), The Pile, arXiv:2101.00027, section 3.1.

    Examples
    --------
    >>> round(float(sb.to_nats(0.8, "bits_per_byte", tokens_per_byte=0.25)), 4)
    2.2181
    """
    if unit == "percent":
        raise RunsError("a percentage does not become nats per token: read_runs makes it a share")
    return convert_loss(value, unit, tokens_per_byte)


def convert_loss(value: Any, unit: str, tokens_per_byte: float | None) -> Any:
    """Return a loss in nats per token, or as a share if it was in percent.

    Parameters and errors as of `to_nats`; the unit may also be ``"percent"``.
    """
    if unit not in UNITS:
        raise RunsError(f"a loss is given in one of {', '.join(UNITS)}; got {unit!r}")
    conversion = UNITS[unit]
    if not conversion.per_byte:
        if tokens_per_byte is not None:
            raise RunsError(
                f"tokens_per_byte applies to losses per byte; {unit} are not per byte: leave it out"
            )
        return conversion.convert(value)
    if tokens_per_byte is None:
        raise RunsError(
            f"{unit} need tokens_per_byte, the number of tokens of a text divided by its bytes, to "
            "become nats per token"
        )
    if not 0 < tokens_per_byte <= 1:
        message = (
            "tokens_per_byte lies between 0 and 1 (0.2 to 0.3 for English text); "
            f"got {tokens_per_byte:g}"
        )
        if tokens_per_byte > 1:
            message += ": bytes per token? give its inverse"
        raise RunsError(message)
    return conversion.convert(value) / tokens_per_byte
