"""Newton's method for the size of least loss along budgets, for many draws and budgets at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from scalebayes.costs.cost import SIX_ND, Cost
from scalebayes.laws import Law
from scalebayes.utils.parallel import parts_of, side_by_side

DIFFERENCE = 3e-4
"""Half width in log N of the central differences, in log D where data are about to run out.

Rounding of the loss, 1e-16, enters the second difference as 1e-9 of it.
"""
LONGEST_STEP = 0.5
"""Bound on one step, in the same units, so that a wrong curvature does not lead far away."""
MOST_STEPS = 6
"""Steps after which a draw counts as not converged: starts are near, and errors are squared."""
SHARPEST = 30.0
"""Second derivative of the loss in those units, over the loss, above which there is a kink.

Of a smooth law it is at most about the square of the largest exponent, which hardly exceeds one.
"""
DATA_SLOPE_STEP = DIFFERENCE**2
"""Relative step in N of the one-sided difference that gives d log D / d log N."""

type Parameters = Mapping[str, np.ndarray]


class Minima(NamedTuple):
    """Sizes of least loss.

    Attributes
    ----------
    log_N
        Log sizes.
    converged
        Whether Newton's method found each of them.
    """

    log_N: np.ndarray
    converged: np.ndarray


def columns(parameters: Parameters) -> dict[str, np.ndarray]:
    """Return parameters (S,) as columns, (S, 1), to be broadcast against sizes or budgets."""
    return {name: values[:, None] for name, values in parameters.items()}


@dataclass(frozen=True)
class LossAlongBudgets:
    """The loss of a law as a function of the size, where data use up what a budget leaves.

    Attributes
    ----------
    law, cost
        The law, and the cost of a run.
    budgets
        Budgets, (B,).
    others
        Further inputs of the law, such as unique tokens, each (B,) or (1,).
    """

    law: Law
    budgets: np.ndarray
    cost: Cost
    others: tuple[np.ndarray, ...]

    def tokens(self, N: np.ndarray) -> np.ndarray:
        """Return the tokens that each budget leaves for sizes, (S, B) or (B,)."""
        return self.cost.affordable_tokens(N, self.budgets)

    def loss(self, N: np.ndarray, D: np.ndarray, parameters: Parameters) -> np.ndarray:
        """Return the loss at sizes and tokens, (S, B) with parameters (S, 1), or (B,) with (B,)."""
        return self.law(N, D, *self.others, **parameters)

    def minimise(self, parameters: Parameters, start: np.ndarray, tolerance: np.ndarray) -> Minima:
        """Return the minima that Newton's method in log N finds near `start`, (S, B).

        A minimum found need not be the least of several; on a plateau rounding decides.

        Parameters
        ----------
        parameters
            Parameters of the law, (S,).
        start
            Log sizes, (S, B).
        tolerance
            Length of a step in log N below which it is the last one of a draw, (S,).
        """

        def minimise_part(part: slice) -> Minima:
            own = {name: values[part] for name, values in parameters.items()}
            return self._minimise(own, start[part], tolerance[part])

        with np.errstate(all="ignore"):
            found = side_by_side(minimise_part, parts_of(*start.shape))
        log_N = np.concatenate([one.log_N for one in found])
        converged = np.concatenate([one.converged for one in found])
        return Minima(log_N, converged)

    def _minimise(self, parameters: Parameters, start: np.ndarray, tolerance: np.ndarray) -> Minima:
        log_N = start.copy()
        converged = np.zeros_like(log_N, bool)
        rows, budgets = map(np.arange, log_N.shape)  # draws and budgets that go on
        for i in range(MOST_STEPS):
            own = {name: values[rows, None] for name, values in parameters.items()}
            here = np.ix_(rows, budgets)
            # Differences over two widths in turn: at a kink each width puts the minimum elsewhere,
            # so steps stay long and a slight kink is not mistaken for a smooth minimum.
            width = DIFFERENCE / (1 + i % 2)
            step, is_last, is_kink = self.at(budgets)._step(
                log_N[here], own, width, tolerance[rows, None]
            )
            log_N[here] += step
            converged[here] = is_last
            goes_on = ~(is_last | is_kink)
            rows = rows[goes_on.any(axis=1)]
            budgets = budgets[goes_on.any(axis=0)]
            if not rows.size:
                break
        return Minima(log_N, converged)

    def at(self, budgets: np.ndarray) -> LossAlongBudgets:
        """Return the loss along some of the budgets, given by their numbers."""
        others = tuple(x[budgets] if len(x) > 1 else x for x in self.others)
        return replace(self, budgets=self.budgets[budgets], others=others)

    def _step(
        self, log_N: np.ndarray, parameters: Parameters, width: float, tolerance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a step of Newton's method, whether it is the last one, and whether at a kink."""
        N = np.exp(log_N)
        D = self.tokens(N)
        # Where log D changes faster than log N, differences are taken over `width` in log D.
        unit = width / np.maximum(1.0, self._data_slope(N, D))
        N_left, N_right = N * np.exp(-unit), N * np.exp(unit)
        left = self.loss(N_left, self.tokens(N_left), parameters)
        middle = self.loss(N, D, parameters)
        right = self.loss(N_right, self.tokens(N_right), parameters)
        # The slope is (right - left) / 2 and the curvature `bend`, both per unit.
        bend = left - 2 * middle + right
        is_kink = bend > SHARPEST * width**2 * np.abs(middle)
        step = 0.5 * (left - right) / bend
        is_last = (np.abs(step) < tolerance / width) & (bend > 0) & ~is_kink
        longest = LONGEST_STEP / width
        return unit * np.nan_to_num(step.clip(-longest, longest)), is_last, is_kink

    def _data_slope(self, N: np.ndarray, D: np.ndarray) -> np.ndarray | float:
        """Return -d log D / d log N: 1 for a cost of 6 N D, more where data nearly run out."""
        if self.cost is SIX_ND:
            return 1.0
        return (1.0 - self.tokens(N * (1 + DATA_SLOPE_STEP)) / D) / DATA_SLOPE_STEP
