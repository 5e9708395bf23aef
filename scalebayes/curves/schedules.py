"""Learning-rate schedules: piecewise linear functions of the step, given as arrays or by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalebayes.errors import QueryError
from scalebayes.specs.faults import nearest

POINTS_OF_A_CURVE = 256
"""Points by which a smooth decay, such as half a cosine, is replaced by straight pieces."""


@dataclass(frozen=True, eq=False)
class Schedule:
    r"""A learning rate :math:`\eta(t)` that is linear between points.

    Attributes
    ----------
    steps
        Steps of the points, increasing, shape (points,). A step that occurs twice is a jump from
        the first rate to the second.
    rates
        Learning rates at the points, zero or more, shape (points,).
    warmup
        Step at which the warm-up ends; 0 for a schedule without one.
    """

    steps: np.ndarray
    rates: np.ndarray
    warmup: float = 0.0

    def __post_init__(self) -> None:
        """Refuse points that are no schedule.

        Raises
        ------
        QueryError
            When the points are too few, not finite, or not in order, or a rate is negative.
        """
        steps, rates = np.asarray(self.steps, float), np.asarray(self.rates, float)
        if steps.shape != rates.shape or steps.ndim != 1 or len(steps) < 2:
            raise QueryError(
                "a schedule has at least two points, a step and a learning rate each; got "
                f"{steps.size} steps and {rates.size} rates"
            )
        if not (np.isfinite(steps).all() and np.isfinite(rates).all()):
            raise QueryError("the steps and the learning rates of a schedule are finite numbers")
        if (np.diff(steps) < 0).any():
            raise QueryError("the steps of a schedule increase")
        if (rates < 0).any() or rates.max() <= 0:
            raise QueryError(
                f"learning rates are zero or more, and one is positive; got {rates.min():g} to "
                f"{rates.max():g}"
            )
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "rates", rates)

    @property
    def end(self) -> float:
        """The last step."""
        return float(self.steps[-1])

    @property
    def peak(self) -> float:
        """The largest learning rate."""
        return float(self.rates.max())

    @functools.cached_property
    def _areas(self) -> np.ndarray:
        """Area from the first point to each point, shape (points,)."""
        means = (self.rates[1:] + self.rates[:-1]) / 2
        return np.concatenate([[0.0], np.cumsum(means * np.diff(self.steps))])

    def rate(self, steps: np.ndarray) -> np.ndarray:
        """Return the learning rate at steps; at a jump, that after it."""
        steps = np.asarray(steps, float)
        piece = np.clip(np.searchsorted(self.steps, steps, side="right") - 1, 0, None)
        following = np.minimum(piece + 1, len(self.steps) - 1)
        width = self.steps[following] - self.steps[piece]
        share = (steps - self.steps[piece]) / np.where(width > 0, width, 1.0)
        share = np.clip(share, 0.0, 1.0)
        return self.rates[piece] + share * (self.rates[following] - self.rates[piece])

    def area(self, steps: np.ndarray) -> np.ndarray:
        r"""Return :math:`S_1(s) = \sum_{i \leq s} \eta_i`, the area below the schedule up to steps.

        The sum over steps is replaced by the integral. Beyond the last point the last rate holds.
        """
        steps = np.asarray(steps, float)
        piece = np.clip(np.searchsorted(self.steps, steps, side="right") - 1, 0, None)
        mean = (self.rates[piece] + self.rate(steps)) / 2
        return self._areas[piece] + mean * np.maximum(steps - self.steps[piece], 0.0)

    def until(self, step: float) -> Schedule:
        """Return the schedule up to a step."""
        kept = self.steps < step
        steps = np.append(self.steps[kept], step)
        # The rate before a jump at this very step: the jump has had no effect yet.
        before = self.rate(np.array([np.nextafter(step, -np.inf)]))
        rates = np.append(self.rates[kept], before)
        if len(steps) < 2:
            steps, rates = np.append(steps, step), np.append(rates, rates[-1])
        return Schedule(steps, rates, min(self.warmup, step))

    def then(self, other: Schedule) -> Schedule:
        """Return this schedule followed by another, whose steps count on from its own."""
        steps = np.concatenate([self.steps, other.steps])
        rates = np.concatenate([self.rates, other.rates])
        return Schedule(steps, rates, self.warmup)


def _warmed_up(peak: float, warmup: float) -> tuple[list[float], list[float]]:
    """Return the points of a linear warm-up to the peak."""
    if warmup > 0:
        return [0.0, warmup], [0.0, peak]
    return [0.0], [peak]


def _decay(
    form: Callable[[np.ndarray], np.ndarray], start: float, end: float, first: float, last: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a decay. form: from the share of steps to the share that is left."""
    share = np.linspace(0.0, 1.0, POINTS_OF_A_CURVE)[1:]
    return start + share * (end - start), last + (first - last) * form(share)


def constant(steps: float, *, peak: float, warmup: float = 0.0) -> Schedule:
    """Return a constant learning rate after a linear warm-up."""
    at, rates = _warmed_up(peak, warmup)
    return Schedule(np.array([*at, steps]), np.array([*rates, peak]), warmup)


def cosine(steps: float, *, peak: float, warmup: float = 0.0, final: float = 0.1) -> Schedule:
    """Return half a cosine from the peak to its share ``final``, after a linear warm-up."""
    at, rates = _warmed_up(peak, warmup)
    further = _decay(
        lambda share: (1 + np.cos(np.pi * share)) / 2, warmup, steps, peak, final * peak
    )
    return Schedule(np.append(at, further[0]), np.append(rates, further[1]), warmup)


def linear(steps: float, *, peak: float, warmup: float = 0.0, final: float = 0.0) -> Schedule:
    """Return a straight line from the peak to its share ``final``, after a linear warm-up."""
    at, rates = _warmed_up(peak, warmup)
    return Schedule(np.array([*at, steps]), np.array([*rates, final * peak]), warmup)


def wsd(
    steps: float,
    *,
    peak: float,
    warmup: float = 0.0,
    decay: float = 0.1,
    final: float = 0.1,
    form: str = "exponential",
) -> Schedule:
    """Return warm-up, stable rate and decay (WSD).

    Parameters
    ----------
    decay
        Share of the steps in which the rate decays, or, above 1, their number.
    final
        Share of the peak at the end.
    form
        ``"exponential"`` or ``"linear"``.
    """
    length = decay * steps if decay <= 1 else decay
    start = steps - length
    if not warmup <= start < steps:
        raise QueryError(
            f"the decay of a WSD schedule starts after the warm-up; got a decay of {length:g} of "
            f"{steps:g} steps, and a warm-up of {warmup:g}"
        )
    if form not in ("exponential", "linear"):
        raise QueryError(f"form is 'exponential' or 'linear'; got {form!r}")
    at, rates = _warmed_up(peak, warmup)
    at, rates = [*at, start], [*rates, peak]
    if form == "linear":
        return Schedule(np.array([*at, steps]), np.array([*rates, final * peak]), warmup)
    if final <= 0:
        raise QueryError(f"an exponential decay ends above zero; got final={final:g}")

    def left(share: np.ndarray) -> np.ndarray:
        return (final**share - final) / (1 - final)

    further = _decay(left, start, steps, peak, final * peak)
    return Schedule(np.append(at, further[0]), np.append(rates, further[1]), warmup)


def stairs(
    steps: float,
    *,
    peak: float,
    warmup: float = 0.0,
    at: Sequence[float] = (),
    factors: Sequence[float] = (),
) -> Schedule:
    """Return a rate that jumps to factors of the peak at given steps (the name "steps")."""
    if len(at) != len(factors) or not at:
        raise QueryError(
            "a schedule of steps takes as many steps at as factors of the peak, such as "
            f"at=[8000], factors=[0.3]; got {len(at)} and {len(factors)}"
        )
    points, rates = _warmed_up(peak, warmup)
    for step, factor in zip(at, factors, strict=True):
        points += [step, step]
        rates += [rates[-1], factor * peak]
    return Schedule(np.array([*points, steps]), np.array([*rates, rates[-1]]), warmup)


NAMED: Mapping[str, Callable[..., Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "wsd": wsd,
    "steps": stairs,
}
"""Schedules by name."""
DESCRIBED_BY_NAME = tuple(name for name in NAMED if name != "steps")
"""Names that describe a schedule without further arguments."""


def named_schedule(name: str, steps: float, **arguments: Any) -> Schedule:
    """Return a schedule by its name.

    Raises
    ------
    QueryError
        When there is none of that name, or it does not take an argument.
    """
    key = name.lower()
    if key not in NAMED:
        raise QueryError(
            f"no schedule {name!r}{nearest(key, NAMED)}; allowed: {', '.join(NAMED)}, or an array "
            "with the learning rate of each step"
        )
    if not steps > 0:
        raise QueryError(f"steps is a positive number; got {steps!r}")
    if not 0 <= arguments.get("warmup", 0.0) < steps:
        raise QueryError(
            f"the warm-up is shorter than the run; got {arguments['warmup']:g} of {steps:g} steps"
        )
    try:
        return NAMED[key](steps, **arguments)
    except TypeError as error:
        raise QueryError(f"the schedule {name!r} does not take these arguments: {error}") from None


def schedule_of_array(rates: Any) -> Schedule:
    """Return the schedule with the learning rate of each step from 0, or of points (step, rate).

    Parameters
    ----------
    rates
        Shape (steps,), or (points, 2). The warm-up ends where the rate is first as high as it gets.
    """
    values = np.asarray(rates, dtype=float)
    if values.ndim == 2 and values.shape[1] == 2:
        steps, values = values.T
    elif values.ndim == 1:
        steps = np.arange(len(values), dtype=float)
    else:
        raise QueryError(
            "a schedule is an array with one learning rate a step, or with rows (step, rate); got "
            f"the shape {values.shape}"
        )
    if len(values) < 2:
        raise QueryError(f"a schedule has at least two steps; got {len(values)}")
    return Schedule(steps, values, warmup_end(steps, values))


def warmup_end(steps: np.ndarray, rates: np.ndarray) -> float:
    """Return the step at which the first rise of the rate ends; 0 where the rate does not rise."""
    rises = np.diff(rates) > 0
    if not rises[:1].any():
        return 0.0
    last = int(np.argmin(rises)) if not rises.all() else len(rises)
    return float(steps[last])
