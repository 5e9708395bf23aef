"""Roots of many functions of one variable at once, by Chandrupatla's method.

`scipy.optimize.elementwise` has the same method and is the oracle in the tests. Importing
`scipy.optimize` takes longer than the answers that need a root.

References
----------
Chandrupatla (1997), A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear
function without using derivatives, doi:10.1016/s0965-9978(96)00051-8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MOST_STEPS = 200
"""Steps after which a root counts as not found: bisection alone takes 60 to the last bit."""
RELATIVE_TOLERANCE = 4 * np.finfo(float).eps
"""Relative tolerance of a root, that of SciPy."""


def find_roots(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """Return the roots of n functions between places at which their signs differ, (n,).

    Parameters
    ----------
    function
        The values, (m,), of the functions with some numbers, (m,), each at its own x, (m,):
        ``function(x, numbers)``.
    low, high
        Places on both sides of each root, (n,).
    tolerance
        Absolute tolerance of the roots.

    Returns
    -------
    numpy.ndarray
        NaN where the signs at low and high do not differ, or a value is not finite.
    """
    roots = np.full(len(low), np.nan)
    numbers = np.arange(len(low))
    # The root lies between a and b, the places that were tried last; c is one more, beyond b or
    # the place that b has replaced.
    a, b = np.array(high, float), np.array(low, float)
    at_a, at_b = function(a, numbers), function(b, numbers)
    c, at_c = a.copy(), at_a.copy()
    for _ in range(MOST_STEPS):
        is_best_a = np.abs(at_a) < np.abs(at_b)
        best, at_best = np.where(is_best_a, a, b), np.where(is_best_a, at_a, at_b)
        width = np.abs(b - a)
        least_step = 0.5 * RELATIVE_TOLERANCE * np.abs(best) + tolerance
        is_bracket = np.isfinite(at_a) & np.isfinite(at_b) & (np.sign(at_a) * np.sign(at_b) <= 0)
        is_root = is_bracket & ((at_best == 0) | (width < 2 * least_step))
        roots[numbers[is_root]] = best[is_root]
        goes_on = is_bracket & ~is_root
        if not goes_on.any():
            break
        if not goes_on.all():
            numbers, least_step, width = numbers[goes_on], least_step[goes_on], width[goes_on]
            a, b, c = a[goes_on], b[goes_on], c[goes_on]
            at_a, at_b, at_c = at_a[goes_on], at_b[goes_on], at_c[goes_on]
        share = _share_of_bracket(a, b, c, at_a, at_b, at_c)
        least_share = least_step / width
        x = a + np.clip(share, least_share, 1 - least_share) * (b - a)
        at_x = function(x, numbers)
        is_beside_a = np.sign(at_x) == np.sign(at_a)
        # The new place takes the part of a. Where it lies on the other side of the root, the old a
        # takes the part of b.
        c, at_c = np.where(is_beside_a, a, b), np.where(is_beside_a, at_a, at_b)
        b, at_b = np.where(is_beside_a, b, a), np.where(is_beside_a, at_b, at_a)
        a, at_a = x, at_x
    return roots


def _share_of_bracket(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    at_a: np.ndarray,
    at_b: np.ndarray,
    at_c: np.ndarray,
) -> np.ndarray:
    """Return the share of the way from a to b at which the root is expected.

    It is that of inverse quadratic interpolation where this is known to be safe, and otherwise half
    the way.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        xi = (a - b) / (c - b)
        phi = (at_a - at_b) / (at_c - at_b)
        is_safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        through_b = at_a / (at_b - at_a) * at_c / (at_b - at_c)
        through_c = (c - a) / (b - a) * at_a / (at_c - at_a) * at_b / (at_c - at_b)
    return np.where(is_safe, through_b + through_c, 0.5)
