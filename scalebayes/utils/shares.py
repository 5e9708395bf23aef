"""Checks of probabilities and shares, with a hint where a number looks like a percentage."""

from __future__ import annotations

from scalebayes.errors import QueryError, ScaleBayesError


def check_probability(name: str, value: float, error: type[ScaleBayesError] = QueryError) -> None:
    """Check that a probability lies between 0 and 1, both excluded.

    Raises
    ------
    ScaleBayesError
        Of the type ``error``, when it does not, or is NaN.
    """
    if not 0 < value < 1:
        raise error(f"{name} must lie between 0 and 1; got {value}{percent_hint(value)}")


def check_share(name: str, value: float, meaning: str, remark: str = "") -> None:
    """Check that a share is above 0 and at most 1.

    Parameters
    ----------
    name, value
        The argument and its value.
    meaning
        What it is, such as "a share of the FLOP/s".
    remark
        What 1 means, where that is not obvious.

    Raises
    ------
    QueryError
        When the value is out of range, or NaN.
    """
    if not value > 0:
        raise QueryError(f"{name}, {meaning}, must be positive; got {value:g}")
    if value > 1:
        limit = f"at most 1{remark}"
        raise QueryError(f"{name} is {meaning}, {limit}; got {value:g}{percent_hint(value)}")


def tail_probability(ci_prob: float) -> float:
    """Return the probability on each side of an equal-tailed interval; ci_prob is checked."""
    check_probability("ci_prob", ci_prob)
    return (1 - ci_prob) / 2


def percent_hint(value: float) -> str:
    """Return the hint that a number is a percentage, which should be a share; empty if it is not.

    It follows "got 90" in a message.
    """
    if not 1 < value < 100:
        return ""
    return f" (did you mean {value / 100:g}?)"
