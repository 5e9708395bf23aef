"""The term that most laws are made of, a power of one input, for numbers, arrays and PyTensor."""

from __future__ import annotations

import numpy as np

from scalebayes.laws.law import Numeric


def power(x: Numeric, x_c: Numeric, alpha: Numeric) -> Numeric:
    """Return (x_c/x)^alpha, computed on the log scale."""
    return np.exp(log_power(x, x_c, alpha))


def log_power(x: Numeric, x_c: Numeric, alpha: Numeric) -> Numeric:
    """Return log((x_c/x)^alpha)."""
    return alpha * (np.log(x_c) - np.log(x))
