"""Numbers and probabilities as text."""

from __future__ import annotations

import numpy as np

from scalebayes.units import format_quantity

LARGE = 1e5
"""Numbers from here on are written with a suffix or an exponent, as 100K or 5.76e23."""


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
    """Return a share of the draws as a percentage.

    A finite number of draws cannot show that a probability is 0 or 1, so neither is written.
    """
    if np.isnan(share):
        return "-"
    if share < 0.001:
        return "under 0.1%"
    if share > 0.999:
        return "over 99.9%"
    return f"{100 * share:.1f}%"
