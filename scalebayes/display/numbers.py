"""Numbers and shares in words."""

from __future__ import annotations

import numpy as np

from scalebayes.units import format_quantity


def number(value: float, scale: bool = False) -> str:
    """Write a number for people: scales and large numbers as 70B, the rest to four significant digits."""
    if not np.isfinite(value):
        return "-" if np.isnan(value) else str(value)
    return format_quantity(value) if scale or abs(value) >= 1e5 else f"{value:.4g}"


def percent(share: float) -> str:
    """A share of the draws, which a finite number of them never knows to be 0 or 1."""
    if np.isnan(share) or 0.001 <= share <= 0.999:
        return "-" if np.isnan(share) else f"{100 * share:.1f}%"
    return "under 0.1%" if share < 0.5 else "over 99.9%"
