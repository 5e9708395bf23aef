"""Rows that are off by a common factor: a size in millions where the others are in units.

A group of rows (those of one N, of one D, or of one label) is compared with the additive law

    log L = log(E + A/N^alpha + B/D^beta)

fitted to all other rows by a robust loss. The group is reported if nearly all its rows lie on one
side of that curve, far outside its residuals, and lie on it once N, D or the loss of the group is
multiplied by a factor that comes of a slip: a power of ten, or ln 2 between nats and bits. Rows of
one N may be off in N or in the loss, rows of one D in D or in the loss, rows of one label in all;
and rows of one N in D, or of one D in N, by a factor of a thousand or more.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.messages import Message
from scalebayes.units import format_quantity

POWERS = (10.0, 100.0, 1e3, 1e6, 1e9)
"""Factors of N and D that come of a slip, and their inverses."""
LEAST_ELSEWHERE = 1e3
"""Least factor of D in runs of one N, or of N in runs of one D."""
LOSS_FACTORS = (10.0, 100.0, 1e3, float(np.log(2.0)))
"""Factors of the loss, and their inverses."""
FEWEST_ROWS = 12
"""Fewest rows of a table in which a slip is sought: the law has five parameters."""
MOST_ROWS = 2000
"""Most rows of a table in which a slip is sought: each group needs a fit to the others."""
MOST_GROUPS = 60
"""Most groups of one kind; a table with more has few rows in each."""
FEWEST_OF_GROUP = 3
"""Fewest rows of a group. A single row off the curve is an outlier, whatever explains it."""
MOST_OF_GROUP = 1 / 3
"""Largest share of the rows in a group: the others must determine the curve."""
NOISY = 0.05
"""Robust residual scale of log loss above which the law does not describe the table at all."""
FAR = 4.0
"""Median distance of a group from the curve, in robust residual scales, that is reported."""
NEAR = 2.0
"""Root mean square distance after the correction, in residual scales, at most."""
LARGEST_REST = 0.4
"""Share of the root mean square distance that is left after the correction, at most."""
ONE_SIDE = 0.8
"""Share of the group's rows on the same side of the curve, at least."""
LEAST_DISTANCE = 0.005
"""Median distance of log loss below which nothing is reported, whatever the residuals."""
NORMAL_MEDIAN = 0.6745
"""Median of the absolute value of a standard Normal variable."""
STARTS = ((0.3, 0.3), (0.1, 0.5), (0.5, 0.1))
"""Exponents from which the fit to the whole table begins."""
MOST_STEPS = 100
"""Evaluations of a fit, at most."""


@dataclass(frozen=True)
class Slip:
    """A group of rows, and the factor of one of their columns that puts them on the curve."""

    x: str
    factor: float
    where: str
    runs: tuple[str, ...]


def slip_messages(runs: Runs) -> Iterator[Message]:
    """Yield the warning COMMON_FACTOR of the group of rows that a factor explains best."""
    slip = find_slip(runs)
    if slip is None:
        return
    change = f"multiplied by {slip.factor:.3g}"
    if slip.factor < 1:
        change = f"divided by {1 / slip.factor:.3g}"
    text = (
        f"the {len(slip.runs)} runs with {slip.where} lie on the curve of the other runs if their "
        f"{slip.x} is {change}: check the {slip.x} of runs {', '.join(slip.runs)}"
    )
    yield Message("COMMON_FACTOR", "warning", text)


_KEPT: weakref.WeakKeyDictionary[Runs, Slip | None] = weakref.WeakKeyDictionary()


def find_slip(runs: Runs) -> Slip | None:
    """Return the slip that improves the fit to the other rows most, or None."""
    if runs not in _KEPT:
        _KEPT[runs] = _search(runs)
    return _KEPT[runs]


def _search(runs: Runs) -> Slip | None:
    has_both = {"N", "D"} <= set(runs.table.columns)
    if not has_both or not FEWEST_ROWS <= len(runs) <= MOST_ROWS:
        return None
    table = np.log([runs.N, runs.D, runs.loss])
    start = min((_fit(table, _first_guess(table, pair)) for pair in STARTS), key=lambda f: f.cost)
    if start.scale > NOISY:
        return None
    best: tuple[float, Slip] | None = None
    for by, where, rows in _groups(runs):
        others = _fit(table[:, ~rows], start.parameters)
        found = _explain(others, table[:, rows], by)
        if found is None:
            continue
        gain, x, factor = found
        if best is None or gain > best[0]:
            ids = tuple(str(run) for run in runs.table.index[rows])
            best = gain, Slip(x, factor, where, ids)
    return None if best is None else best[1]


def _groups(runs: Runs) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield the groups of rows by N, by D and by label: the column, the words and the mask."""
    for x in ("N", "D", "group"):
        if x not in runs.table:
            continue
        values = runs.table[x].to_numpy()
        distinct = list(dict.fromkeys(values.tolist()))
        if len(distinct) > MOST_GROUPS:
            continue
        for value in distinct:
            rows = values == value
            if FEWEST_OF_GROUP <= rows.sum() <= MOST_OF_GROUP * len(runs):
                text = value if x == "group" else format_quantity(value)
                yield x, f"{x} = {text}", rows


@dataclass(frozen=True)
class _Curve:
    """The additive law with the parameters that a fit found.

    Attributes
    ----------
    parameters
        log E, the logs of both terms at the centre, and the logs of both exponents.
    centre
        Means of log N and log D.
    scale
        Robust scale of the residuals of log loss.
    cost
        Value of the robust loss.
    """

    parameters: np.ndarray
    centre: np.ndarray
    scale: float
    cost: float

    def log_loss(self, log_N: np.ndarray, log_D: np.ndarray) -> np.ndarray:
        """Return the log loss of the curve, shape of the inputs."""
        return _log_law(self.parameters, log_N - self.centre[0], log_D - self.centre[1])


def _log_law(parameters: np.ndarray, n: np.ndarray, d: np.ndarray) -> np.ndarray:
    log_E, log_A, log_B, log_alpha, log_beta = parameters
    size_term = log_A - np.exp(log_alpha) * n
    data_term = log_B - np.exp(log_beta) * d
    return np.logaddexp(log_E, np.logaddexp(size_term, data_term))


def _first_guess(table: np.ndarray, exponents: tuple[float, float]) -> np.ndarray:
    """Return parameters with half the least loss as floor, and a quarter in each term."""
    lowest = table[2].min()
    sizes = [lowest + np.log(share) for share in (0.5, 0.25, 0.25)]
    return np.array([*sizes, *np.log(exponents)])


def _fit(table: np.ndarray, start: np.ndarray) -> _Curve:
    """Return the curve of least robust loss. table: logs of N, D and loss, (3, rows)."""
    from scipy.optimize import least_squares

    centre = table[:2].mean(axis=1)
    n, d = table[:2] - centre[:, None]

    def residuals(parameters: np.ndarray) -> np.ndarray:
        return _log_law(parameters, n, d) - table[2]

    # Exponents far from zero would overflow; a floor of e^-20 is none.
    bounds = ([-20, -20, -20, np.log(0.01), np.log(0.01)], [10, 10, 10, np.log(5), np.log(5)])
    inside = np.clip(start, np.array(bounds[0]) + 1e-6, np.array(bounds[1]) - 1e-6)
    found = least_squares(
        residuals, inside, bounds=bounds, loss="soft_l1", f_scale=0.003, max_nfev=MOST_STEPS
    )
    scale = float(np.median(np.abs(residuals(found.x)))) / NORMAL_MEDIAN
    return _Curve(found.x, centre, scale, float(found.cost))


def _explain(curve: _Curve, rows: np.ndarray, by: str) -> tuple[float, str, float] | None:
    """Return gain, column and factor of the slip that explains a group, or None.

    rows: logs of N, D and loss of the group, (3, rows); by: the column that its rows have in
    common. The gain is the decrease of the root mean square distance, in residual scales.
    """
    log_N, log_D, log_loss = rows
    scale = max(curve.scale, LEAST_DISTANCE / FAR)
    distance = (log_loss - curve.log_loss(log_N, log_D)) / scale
    middle = np.median(distance)
    is_one_sided = np.mean(np.sign(distance) == np.sign(middle)) >= ONE_SIDE
    if abs(middle) < FAR or not is_one_sided:
        return None
    best: tuple[float, str, float] | None = None
    before = _root_mean_square(distance)
    for x, factor in _factors(by):
        shift = np.log(factor)
        shifted = {
            "N": log_loss - curve.log_loss(log_N + shift, log_D),
            "D": log_loss - curve.log_loss(log_N, log_D + shift),
            "loss": log_loss + shift - curve.log_loss(log_N, log_D),
        }
        after = _root_mean_square(shifted[x] / scale)
        gain = before - after
        is_explained = after <= NEAR and after <= LARGEST_REST * before
        if is_explained and (best is None or gain > best[0]):
            best = gain, x, factor
    return best


def _factors(by: str) -> Iterator[tuple[str, float]]:
    """Yield the columns that may be off in a group, each with its factors."""
    for x, powers in (("N", POWERS), ("D", POWERS), ("loss", LOSS_FACTORS)):
        is_likely = x in (by, "loss") or by == "group"
        for power in powers:
            # Runs of one N may have D in thousands; a factor of ten is rather a misfit of the law.
            if not is_likely and power < LEAST_ELSEWHERE:
                continue
            yield x, power
            yield x, 1 / power


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
