"""What a run costs: training compute C as a function of N and D, and the tokens a budget leaves for a size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

type Numeric = Any


@dataclass(frozen=True)
class Cost:
    """A cost C = flop(N, D), rising in both.

    Attributes
    ----------
    name
        As printed beside results.
    flop
        FLOP of N parameters on D tokens.
    tokens
        The inverse, D = tokens(N, C); solved numerically where none is given. NaN or negative: N alone exceeds C.
    """

    name: str
    flop: Callable[[Numeric, Numeric], Numeric]
    tokens: Callable[[Numeric, Numeric], Numeric] | None = None

    def affordable_tokens(self, N: np.ndarray, C: float) -> np.ndarray:
        """Tokens that N parameters can see within C FLOP; NaN where there is none."""
        if self.tokens is not None:
            D = np.asarray(self.tokens(N, C), float)
            return np.where(D > 0, D, np.nan)
        return _invert(self.flop, N, C)


def _invert(flop: Callable[[Numeric, Numeric], Numeric], N: np.ndarray, C: float) -> np.ndarray:
    from scipy.optimize import elementwise

    def excess(log_D: np.ndarray, N: np.ndarray) -> np.ndarray:
        return np.log(flop(N, np.exp(log_D))) - np.log(C)

    root = elementwise.find_root(excess, (np.full_like(N, 0.0), np.full_like(N, np.log(C))), args=(N,))
    return np.where(root.success, np.exp(root.x), np.nan)


SIX_ND = Cost("6 N D", lambda N, D: 6.0 * N * D, lambda N, C: C / (6.0 * N))
"""Training compute C = 6 N D (Kaplan et al. 2020, section 2.1): forward 2 N D, backward twice that."""
