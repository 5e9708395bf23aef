"""Numbers and probabilities as text."""

from __future__ import annotations

import numpy as np

from scalebayes.units import format_quantity

LEAST_DRAWS = 400
"""Effective draws that the convergence checks ask for."""
STEPS = (1, 2, 5)
"""Steps, in percent, of shares of draws."""
LARGE = 1e5
"""Numbers from here on are written with a suffix or an exponent, as 100K or 5.76e23."""


def known(value: float, error: float) -> float:
    """Return a value rounded to a power of ten that is at least its error.

    At least its first digit is kept. Without an error (NaN), it is the value itself.
    """
    if not np.isfinite(value) or value == 0 or np.isnan(error) or error <= 0:
        return value
    first = int(np.floor(np.log10(abs(value))))
    decimals = max(decimals_known(error), -first)
    return round(value, int(decimals))


def decimals_known(error: float) -> float:
    """Return how many decimals of a value with this error are known; infinite without an error."""
    if np.isnan(error) or error <= 0:
        return np.inf
    return -np.ceil(np.log10(error))


def number(value: float, scale: bool = False) -> str:
    """Return a number with four significant digits; as 70B if it is large or a `scale`."""
    if np.isnan(value):
        return "-"
    if not np.isfinite(value):
        return str(value)
    if scale or abs(value) >= LARGE:
        return format_quantity(value)
    return f"{value:.4g}"


def percent(share: float) -> str:
    """Return a share of the draws as a percentage, in steps of its Monte Carlo error or more.

    The error is that of `LEAST_DRAWS` independent draws. A finite number of draws cannot show that
    a probability is 0 or 1, so neither is written.
    """
    if np.isnan(share):
        return "-"
    if share < 0.01:
        return "under 1%"
    if share > 0.99:
        return "over 99%"
    error = 100 * np.sqrt(share * (1 - share) / LEAST_DRAWS)
    step = next(each for each in STEPS if each >= error)
    return f"{step * round(100 * share / step)}%"
