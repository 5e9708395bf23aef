"""Whether the loss of a table rises with an input by more than its noise, other inputs held.

Under every law of this package the loss falls, or stays, as an input grows. Rows that differ in one
input alone form a line, and along a line of a table that such a law describes

    log L_k = f(x_k) + noise_k,    f not increasing.

The smallest noise-free curve that is allowed is the antitonic regression of log L on x. The
statistic of a line is its residual sum of squares over the variance of the noise, and that of an
input is the largest of its lines. The noise scale is estimated without the assumption that is
tested: from rows at equal inputs, and from the distance of each row from the straight line between
its neighbours (Gasser et al. 1986). A running median of three precedes the regression, so one
outlier is no rise.

Among all curves that do not increase, a constant one makes the statistic largest, so the p-value is
the share of tables with a constant loss and Student-t noise whose statistic is at least as large.

References
----------
Gasser, Sroka and Jennen-Steinmetz (1986), Residual variance and residual pattern in nonlinear
regression, doi:10.1093/biomet/73.3.625. Robertson, Wright and Dykstra (1988), Order restricted
statistical inference, section 2.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalebayes.data.findings.dominated import rising_pairs
from scalebayes.data.runs import Runs
from scalebayes.messages import Message
from scalebayes.units import format_quantity
from scalebayes.utils.parallel import split

SAME_INPUT = 0.01
"""Largest difference of the log of an input within which it counts as held."""
LEVEL = 0.005
"""Probability of a rise that is reported although there is none, for each of two inputs."""
SIMULATIONS = 999
"""Tables simulated for a p-value."""
DEGREES = 4.0
"""Degrees of freedom of the simulated noise: tails as heavy as those of published sweeps."""
SHORTEST_LINE = 4
"""Fewest distinct values of a line: with three, the running median leaves one value."""
VALUES_AT_ONCE = 1_000_000
"""Simulated losses that are made at once."""
MOST_VALUES = 200
"""Values of a long line that are used, evenly spaced by rank: the tests' power needs no more."""
LEAST_RISE = 1e-3
"""Relative rise of the loss below which nothing is reported: a tenth of a percent."""
FEWEST_DISTANCES = 8
"""Distances from which a noise scale is estimated by themselves."""
ROWS_OF_A_MEAN = 3
"""Rows at one value from which their mean is not taken for an outlier."""
LEAST_STATISTIC = 4.0
"""Statistic below which no table is simulated: its p-value is far above `LEVEL`."""
NORMAL_MEDIAN = 0.6745
"""Median of the absolute value of a standard Normal variable."""


@dataclass(frozen=True)
class Rise:
    """The largest rise of the loss along an input.

    Attributes
    ----------
    x
        The input.
    low, high
        Its values between which the loss rises.
    size
        Relative rise of the loss.
    held
        Values of the other inputs, by name.
    runs
        Ids of the runs at the two values and between them.
    noise
        Noise scale of the log loss that the rise exceeds.
    """

    x: str
    low: float
    high: float
    size: float
    held: dict[str, float]
    runs: tuple[str, ...]
    noise: float


@dataclass(frozen=True)
class Line:
    """Rows that differ in one input alone.

    Attributes
    ----------
    rows
        Indices of the rows by increasing input.
    starts
        Index in `rows` of the first row at each distinct value of the input.
    """

    rows: np.ndarray
    starts: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of rows at each distinct value."""
        return np.diff(self.starts, append=len(self.rows))

    def means(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of values (..., rows of the table) at each distinct input."""
        return np.add.reduceat(values[..., self.rows], self.starts, axis=-1) / self.counts


@dataclass(frozen=True)
class Noise:
    """Noise scale of the log losses of several tables, by rows at equal inputs and by neighbours.

    Attributes
    ----------
    pooled
        Of all lines together, (tables,).
    by_line
        Of each line, at least the pooled one, (lines, tables).
    """

    pooled: np.ndarray
    by_line: np.ndarray


def monotone_messages(runs: Runs, may_rise: Sequence[str] = ()) -> tuple[Message, ...]:
    """Return a NOT_MONOTONE warning for each of N and D (or C, S) with which the loss rises.

    may_rise: inputs with which the loss may rise under the law that was fitted.
    """
    messages = []
    for rise in rises(runs):
        if rise.x in may_rise:
            continue
        held = [f"{x} = {format_quantity(value)}" for x, value in rise.held.items()]
        where = f" at {', '.join(held)}" if held else ""
        text = (
            f"the loss rises with {rise.x}{where}: by {rise.size:.1%} from "
            f"{rise.x} = {format_quantity(rise.low)} (run {rise.runs[0]}) to "
            f"{format_quantity(rise.high)} (run {rise.runs[-1]}), where the noise scale is "
            f"{rise.noise:.2%}. {_laws_that_allow(runs, rise.x)}"
        )
        messages.append(Message("NOT_MONOTONE", "warning", text))
    if messages or set(may_rise) & set(_inputs(runs)):
        return tuple(messages)
    return _falling_never(runs)


def _laws_that_allow(runs: Runs, x: str) -> str:
    """Return which laws of the package allow a rise with an input, and what to do."""
    if x == "N" and "U" in runs.table:
        return (
            "Of the laws of this package data-limited alone allows that, as overfitting: fit it, "
            "or the range where the loss falls"
        )
    return (
        f"Under every law of this package the loss falls with {x}, so none describes these runs: "
        "fit the range where it falls"
    )


def _falling_never(runs: Runs) -> tuple[Message, ...]:
    """Return a NOT_MONOTONE warning of a table whose loss rises with its inputs all over."""
    names = [name for name in (*_inputs(runs), "U", "E") if name in runs.table]
    if not names:
        return ()
    inputs = np.log([getattr(runs, name) for name in names])
    pairs = rising_pairs(inputs, runs.loss)
    if pairs is None:
        return ()
    more = " and no less ".join(names) if len(names) > 1 else names[0]
    text = (
        f"the loss rises in {pairs.rising:.0%} of the {pairs.number} pairs of runs of which one "
        f"has more {more}. Under every law of this package it falls: is the column an accuracy, or "
        "is another column the loss?"
    )
    return (Message("NOT_MONOTONE", "warning", text),)


_KEPT: weakref.WeakKeyDictionary[Runs, tuple[Rise, ...]] = weakref.WeakKeyDictionary()


def rises(runs: Runs) -> tuple[Rise, ...]:
    """Return the largest significant rise of the loss along each of N and D (or C, S).

    The result is kept for as long as the table is alive.
    """
    if runs not in _KEPT:
        found = [_rise(runs, x) for x in _inputs(runs)]
        _KEPT[runs] = tuple(rise for rise in found if rise is not None)
    return _KEPT[runs]


def _inputs(runs: Runs) -> list[str]:
    """Return the inputs along which the loss is checked: S is a measure of data, like D."""
    sizes = [x for x in ("N", "D") if x in runs.table]
    if "D" not in sizes and "S" in runs.table:
        sizes.append("S")
    if not sizes and "C" in runs.table:
        sizes.append("C")
    return sizes


def _rise(runs: Runs, x: str) -> Rise | None:
    """Return the largest rise along an input, or None if noise explains it."""
    held = [name for name in (*_inputs(runs), "U", "E") if name != x and name in runs.table]
    lines = _lines(runs, x, held)
    if not lines:
        return None
    log_x = np.log(getattr(runs, x))
    log_loss = np.log(runs.loss)[None, :]
    noise = _noise(lines, log_x, log_loss)
    if noise is None:
        return None
    statistics = _statistics(lines, log_loss, noise)[:, 0]
    worst = int(np.argmax(statistics))
    rise = _largest_rise(runs, x, held, lines[worst], float(noise.by_line[worst, 0]))
    if rise is None or rise.size < LEAST_RISE or statistics[worst] < LEAST_STATISTIC:
        return None
    if _p_value(lines, log_x, float(statistics[worst])) > LEVEL:
        return None
    return rise


def _lines(runs: Runs, x: str, held: Sequence[str]) -> list[Line]:
    """Return the lines along an input with enough distinct values, within one group of runs."""
    keys = [_labels(np.log(getattr(runs, name))) for name in held]
    if "group" in runs.table:
        keys.append(runs.table["group"].astype("category").cat.codes.to_numpy())
    key = np.column_stack([np.zeros(len(runs), int), *keys])
    _, line_of = np.unique(key, axis=0, return_inverse=True)
    _, distinct = np.unique(getattr(runs, x), return_inverse=True)
    lines = []
    for i in range(line_of.max() + 1):
        rows = np.flatnonzero(line_of == i)
        rows = rows[np.argsort(distinct[rows], kind="stable")]
        starts = np.flatnonzero(np.diff(distinct[rows], prepend=-1))
        line = Line(rows, starts)
        if len(starts) > MOST_VALUES:
            line = _thinned(rows, starts)
        if len(line.starts) >= SHORTEST_LINE:
            lines.append(line)
    return lines


def _thinned(rows: np.ndarray, starts: np.ndarray) -> Line:
    """Return a line of one row at each of `MOST_VALUES` of its distinct values."""
    chosen = np.unique(np.linspace(0, len(starts) - 1, MOST_VALUES).astype(int))
    return Line(rows[starts[chosen]], np.arange(len(chosen)))


def _labels(log_values: np.ndarray) -> np.ndarray:
    """Return the rank of each value, equal for neighbours within `SAME_INPUT`, shape (rows,)."""
    order = np.argsort(log_values, kind="stable")
    is_larger = np.diff(log_values[order], prepend=log_values[order[0]]) > SAME_INPUT
    labels = np.empty(len(log_values), int)
    labels[order] = np.cumsum(is_larger)
    return labels


def _noise(lines: Sequence[Line], log_x: np.ndarray, log_loss: np.ndarray) -> Noise | None:
    """Return the noise scale of tables, log_loss (tables, rows), or None where there is none.

    Of the estimate from rows at equal inputs and that from neighbours the larger one counts: rows
    of equal inputs may share a training, and then they differ by less than neighbours do. From few
    neighbours there is no estimate beside many repeats, because the curve itself may bend there.
    """
    bends = [_second_differences(line, log_x, log_loss) for line in lines]
    all_bends = np.concatenate(bends, axis=1)
    repeats = np.concatenate([_within(line, log_loss) for line in lines], axis=1)
    pooled = np.maximum(_scale(all_bends), _scale(repeats))
    if all_bends.shape[1] < FEWEST_DISTANCES <= repeats.shape[1]:
        pooled = _scale(repeats)
    if np.any(pooled <= 0):
        return None
    by_line = []
    for bend in bends:
        has_own = bend.shape[1] >= FEWEST_DISTANCES
        by_line.append(np.maximum(pooled, _scale(bend)) if has_own else pooled)
    return Noise(pooled, np.stack(by_line))


def _second_differences(line: Line, log_x: np.ndarray, log_loss: np.ndarray) -> np.ndarray:
    """Return distances from the straight line between neighbours, of the variance of one row.

    Shape (tables, distinct values - 2).
    """
    x, y = line.means(log_x), line.means(log_loss)
    weight = (x[2:] - x[1:-1]) / (x[2:] - x[:-2])
    distance = y[..., 1:-1] - weight * y[..., :-2] - (1 - weight) * y[..., 2:]
    one = 1.0 / line.counts
    variance = one[1:-1] + weight**2 * one[:-2] + (1 - weight) ** 2 * one[2:]
    return distance / np.sqrt(variance)


def _within(line: Line, log_loss: np.ndarray) -> np.ndarray:
    """Return distances of rows from the mean at their input, of the variance of one row.

    Shape (tables, rows at repeated inputs).
    """
    counts = np.repeat(line.counts, line.counts)
    is_repeated = counts > 1
    distance = log_loss[:, line.rows] - np.repeat(line.means(log_loss), line.counts, axis=-1)
    counts = counts[is_repeated]
    return distance[:, is_repeated] * np.sqrt(counts / (counts - 1))


def _scale(distances: np.ndarray) -> np.ndarray:
    """Return the robust standard deviation of distances, (tables, distances): 0 of none."""
    if distances.shape[1] == 0:
        return np.zeros(len(distances))
    return np.median(np.abs(distances), axis=1) / NORMAL_MEDIAN


def _statistics(lines: Sequence[Line], log_loss: np.ndarray, noise: Noise) -> np.ndarray:
    """Return the statistic of each line and table, (lines, tables)."""
    statistics = np.empty((len(lines), len(log_loss)))
    for i, line in enumerate(lines):
        smooth = _smoothed(line, log_loss)
        for j, values in enumerate(smooth):
            misfit = values - _falling(values, line.counts)
            statistics[i, j] = line.counts @ misfit**2
        statistics[i] /= noise.by_line[i] ** 2
    return statistics


def _smoothed(line: Line, log_loss: np.ndarray) -> np.ndarray:
    """Return the log loss at each distinct value of a line, (..., values), without outliers.

    A mean of several rows stands for itself, other values are replaced by the running median.
    """
    means = line.means(log_loss)
    return np.where(line.counts >= ROWS_OF_A_MEAN, means, _running_median(means))


def _running_median(values: np.ndarray) -> np.ndarray:
    """Return the median of each value and its neighbours, (..., values).

    At the ends a value that alone contradicts a fall is drawn to its neighbours.
    """
    smooth = values.copy()
    triples = np.stack([values[..., :-2], values[..., 1:-1], values[..., 2:]])
    smooth[..., 1:-1] = np.median(triples, axis=0)
    smooth[..., -1] = np.minimum(smooth[..., -1], np.maximum(smooth[..., -2], values[..., -2]))
    smooth[..., 0] = np.maximum(smooth[..., 0], np.minimum(smooth[..., 1], values[..., 1]))
    return smooth


def _falling(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the antitonic regression of values in order of the input."""
    from scipy.optimize import isotonic_regression

    return isotonic_regression(values, weights=weights, increasing=False).x


def _largest_rise(runs: Runs, x: str, held: Sequence[str], line: Line, noise: float) -> Rise | None:
    """Return the largest rise of the smoothed loss along a line, or None where it only falls."""
    smooth = _smoothed(line, np.log(runs.loss))
    lowest = np.minimum.accumulate(smooth)
    end = int(np.argmax(smooth - lowest))
    size = float(np.expm1(smooth[end] - lowest[end]))
    if size <= 0:
        return None
    start = int(np.argmin(smooth[: end + 1]))
    last = line.starts[end] + line.counts[end]
    rows = line.rows[line.starts[start] : last]
    values = line.means(getattr(runs, x))
    first = rows[0]
    return Rise(
        x=x,
        low=float(values[start]),
        high=float(values[end]),
        size=size,
        held={name: float(getattr(runs, name)[first]) for name in held},
        runs=tuple(str(name) for name in runs.table.index[rows]),
        noise=noise,
    )


def _p_value(lines: Sequence[Line], log_x: np.ndarray, statistic: float) -> float:
    """Return the share of tables with a constant loss whose statistic is at least as large."""
    rng = np.random.default_rng(0)
    exceeding = 0
    # In parts, since all tables of 100,000 rows would take a gigabyte.
    for part in split(SIMULATIONS, 1 + SIMULATIONS * len(log_x) // VALUES_AT_ONCE):
        log_loss = rng.standard_t(DEGREES, (part.stop - part.start, len(log_x)))
        noise = _noise(lines, log_x, log_loss)
        assert noise is not None  # simulated losses are all different
        largest = _statistics(lines, log_loss, noise).max(axis=0)
        exceeding += int(np.sum(largest >= statistic))
    return float((1 + exceeding) / (1 + SIMULATIONS))
