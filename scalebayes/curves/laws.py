r"""Laws of the loss along a run under a learning-rate schedule.

Both have one form. The loss falls as a power of the area :math:`S_1` below the schedule, and each
fall of the learning rate lowers it further, by a share of the fall that grows as training goes on:

.. math:: L = L_0 + A S_1^{-\alpha} - B \sum_k (\eta_{k-1} - \eta_k) G_k

They differ in the response :math:`G_k` to a change at step k. Its gradient is written out here, by
the logs of its parameters, because the density is evaluated in NumPy (`scalebayes.curves.density`);
tests compare it with differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalebayes.curves.areas import CELLS, changes
from scalebayes.curves.schedules import Schedule
from scalebayes.specs.faults import one_of

SHARED = ("L_0", "A", "alpha", "B")
"""Parameters that both laws have in the form in which they are sampled, in their order."""


SMALLEST_RATE = 1e-9
"""Least learning rate over the largest one; a power of zero would have no gradient."""


@dataclass(frozen=True)
class Scale:
    """The units in which a law is sampled.

    Attributes
    ----------
    area
        The area S_1 at which the amplitude A is stated: the geometric mean of the checkpoints.
    rate
        The largest learning rate.
    """

    area: float
    rate: float


@dataclass(frozen=True)
class Points:
    """Checkpoints as a law sees them, with the changes of the learning rate before them.

    Attributes
    ----------
    log_area
        Log of S_1 over `Scale.area`, shape (rows,).
    first
        Place of the first change before each checkpoint, and the number of changes, (rows + 1,).
    drop, drop_after_warmup
        Falls of the rate over `Scale.rate`, (changes,): all, and those after the warm-up.
    log_rate, log_since
        Logs of the rate after each change over `Scale.rate`, and of the area since over
        `Scale.area`.
    elapsed
        Steps since each change.
    """

    log_area: np.ndarray
    first: np.ndarray
    drop: np.ndarray
    drop_after_warmup: np.ndarray
    log_rate: np.ndarray
    log_since: np.ndarray
    elapsed: np.ndarray

    def per_row(self, values: np.ndarray) -> np.ndarray:
        """Return sums over the changes before each checkpoint, (..., changes) to (..., rows)."""
        total = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
        np.cumsum(values, axis=-1, out=total[..., 1:])
        at_ends = total[..., self.first]
        return at_ends[..., 1:] - at_ends[..., :-1]


def points_of(schedule: Schedule, steps: np.ndarray, scale: Scale, cells: int = CELLS) -> Points:
    """Return checkpoints of a schedule as a law sees them."""
    area = np.maximum(schedule.area(steps), np.finfo(float).tiny)
    found = changes(schedule, steps, cells)
    drop = found.drop / scale.rate
    # A rate of zero, at the end of a decay, counts as a very small one.
    rate = np.maximum(found.rate / scale.rate, SMALLEST_RATE)
    return Points(
        np.log(area / scale.area),
        np.searchsorted(found.row, np.arange(found.rows + 1)),
        drop,
        np.where(found.in_warmup, 0.0, drop),
        np.log(rate),
        np.log(np.maximum(found.area / scale.area, np.finfo(float).tiny)),
        found.elapsed,
    )


def join(parts: Sequence[Points]) -> Points:
    """Return checkpoints of several schedules as one."""
    begins = np.cumsum([0, *(len(part.drop) for part in parts)])
    firsts = [part.first[:-1] + begin for part, begin in zip(parts, begins, strict=False)]
    names = ("log_area", "drop", "drop_after_warmup", "log_rate", "log_since", "elapsed")
    joined = {}
    for name in names:
        joined[name] = np.concatenate([getattr(part, name) for part in parts])
    return Points(first=np.concatenate([*firsts, begins[-1:]]).astype(int), **joined)


@dataclass(frozen=True)
class CurveLaw:
    """A law of the loss along a run.

    Attributes
    ----------
    name
        Name of the law.
    sampled
        Parameters in which it is sampled, all positive: `SHARED` and those of the response. A is
        the size of the power at `Scale.area`, and B the loss that complete annealing from
        `Scale.rate` saves.
    published
        Parameters as the paper writes the law.
    response
        Function of the parameters of the response and the checkpoints: the share G of each change
         that has taken effect, and its derivatives by the logs of the parameters,
        (parameters, nodes).
    counts_warmup
        Whether the rises of the warm-up count among the changes.
    to_published
        Function from the sampled parameters, and the scale, to the published ones.
    formula, reference
        The formula as text, and the key in ``models/references.bib``.
    """

    name: str
    sampled: tuple[str, ...]
    published: tuple[str, ...]
    response: Callable[[np.ndarray, Points], tuple[np.ndarray, np.ndarray]]
    counts_warmup: bool
    to_published: Callable[[Mapping[str, np.ndarray], Scale], dict[str, np.ndarray]]
    formula: str
    reference: str


def multi_power(
    schedule: Schedule,
    steps: np.ndarray,
    *,
    L_0: float,
    A: float,
    alpha: float,
    B: float,
    C: float,
    beta: float,
    gamma: float,
    cells: int = CELLS,
) -> np.ndarray:
    r"""Return the loss at steps by the multi-power law, shape (steps,).

    .. math::
        L = L_0 + A S_1^{-\alpha} - B \sum_k (\eta_{k-1} - \eta_k) G(\eta_k^{-\gamma} S_k), \quad
        G(x) = 1 - (C x + 1)^{-\beta}

    :math:`S_k` is the area from step k on. As in the authors' code, :math:`S_1` contains the
    area of the warm-up, and the sum its rises: so L_0 is the limit at a learning rate of zero.

    References
    ----------
    Luo et al. (2025), A multi-power law for loss curve prediction across learning rate schedules,
    arXiv:2503.12811.
    """
    found = changes(schedule, steps, cells)
    response = 1 - (C * found.rate**-gamma * found.area + 1) ** -beta
    return L_0 + A * schedule.area(steps) ** -alpha - B * found.per_row(found.drop * response)


def annealing(
    schedule: Schedule,
    steps: np.ndarray,
    *,
    L_0: float,
    A: float,
    alpha: float,
    C: float,
    lambda_: float,
    cells: int = CELLS,
) -> np.ndarray:
    r"""Return the loss at steps by the law of learning-rate annealing, shape (steps,).

    .. math::
        L = L_0 + A S_1^{-\alpha} - C S_2, \quad
        S_2 = \sum_{i \leq s} \sum_{k \leq i} (\eta_{k-1} - \eta_k) \lambda^{i-k}

    The inner sum over i is geometric, so a change at step k counts with
    :math:`(1 - \lambda^{s-k+1}) / (1 - \lambda)`. The warm-up has no part in :math:`S_2`.

    References
    ----------
    Tissue et al. (2024), Scaling law with learning rate annealing, arXiv:2408.11029.
    """
    found = changes(schedule, steps, cells)
    momentum = (1 - lambda_ ** (found.elapsed + 1)) / (1 - lambda_)
    counted = np.where(found.in_warmup, 0.0, found.drop)
    return L_0 + A * schedule.area(steps) ** -alpha - C * found.per_row(counted * momentum)


def _power_response(parameters: np.ndarray, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Return G(x) = 1 - (C x + 1)^-beta and its derivatives by log C, log beta and log gamma."""
    C, beta, gamma = parameters
    x = C * np.exp(points.log_since - gamma * points.log_rate)
    log_power = np.log1p(x)
    left = np.exp(-beta * log_power)
    by_beta = left * beta * log_power
    by_C = left * beta * x / (1 + x)
    return 1 - left, np.stack([by_C, by_beta, -gamma * points.log_rate * by_C])


def _exponential_response(parameters: np.ndarray, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Return 1 - exp(-(elapsed + 1) / T) and its derivative by log T. T: memory in steps."""
    (memory,) = parameters
    times = (points.elapsed + 1) / memory
    left = np.exp(-times)
    return 1 - left, (-times * left)[None]


def _multi_power_parameters(
    sampled: Mapping[str, np.ndarray], scale: Scale
) -> dict[str, np.ndarray]:
    """Return the parameters of Luo et al. from those that are sampled."""
    return {
        "L_0": sampled["L_0"],
        "A": sampled["A"] * scale.area ** sampled["alpha"],
        "alpha": sampled["alpha"],
        "B": sampled["B"] / scale.rate,
        "C": sampled["C"] * scale.rate ** sampled["gamma"] / scale.area,
        "beta": sampled["beta"],
        "gamma": sampled["gamma"],
    }


def _annealing_parameters(sampled: Mapping[str, np.ndarray], scale: Scale) -> dict[str, np.ndarray]:
    """Return the parameters of Tissue et al. from those that are sampled."""
    lambda_ = np.exp(-1 / sampled["memory"])
    return {
        "L_0": sampled["L_0"],
        "A": sampled["A"] * scale.area ** sampled["alpha"],
        "alpha": sampled["alpha"],
        "C": sampled["B"] * (1 - lambda_) / scale.rate,
        "lambda_": lambda_,
    }


MULTI_POWER = CurveLaw(
    name="multi-power",
    sampled=(*SHARED, "C", "beta", "gamma"),
    published=("L_0", "A", "alpha", "B", "C", "beta", "gamma"),
    response=_power_response,
    counts_warmup=True,
    to_published=_multi_power_parameters,
    formula=(
        "L_0 + A S_1^-alpha - B sum_k (eta_(k-1) - eta_k) (1 - (C eta_k^-gamma S_k + 1)^-beta)"
    ),
    reference="luo2025",
)
ANNEALING = CurveLaw(
    name="annealing",
    sampled=(*SHARED, "memory"),
    published=("L_0", "A", "alpha", "C", "lambda_"),
    response=_exponential_response,
    counts_warmup=False,
    to_published=_annealing_parameters,
    formula="L_0 + A S_1^-alpha - C S_2",
    reference="tissue2024",
)
CURVE_LAWS: Mapping[str, CurveLaw] = {law.name: law for law in (MULTI_POWER, ANNEALING)}
"""Laws of curves by name."""


def curve_law(name: str) -> CurveLaw:
    """Return a law of curves by its name.

    Raises
    ------
    ValueError
        When there is none of that name.
    """
    return CURVE_LAWS[one_of(name, CURVE_LAWS, "law of curves")]


def evaluate(
    law: CurveLaw, parameters: np.ndarray, points: Points
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the loss, its gradient and what annealing has saved, at some checkpoints.

    Parameters
    ----------
    parameters
        The sampled parameters, shape (parameters,).

    Returns
    -------
    tuple
        Loss (rows,); its derivatives by the logs of the parameters (parameters, rows); and the part
        of the loss that falls of the rate after the warm-up have saved, (rows,).
    """
    L_0, A, alpha, B = parameters[: len(SHARED)]
    share, slopes = law.response(parameters[len(SHARED) :], points)
    drop = points.drop if law.counts_warmup else points.drop_after_warmup
    weighted = np.concatenate([[drop * share], [points.drop_after_warmup * share], drop * slopes])
    sums = points.per_row(weighted)
    power = A * np.exp(-alpha * points.log_area)
    loss = L_0 + power - B * sums[0]
    gradient = np.stack(
        [
            np.full_like(loss, L_0),
            power,
            -alpha * points.log_area * power,
            -B * sums[0],
            *(-B * sums[2:]),
        ]
    )
    return loss, gradient, B * sums[1]
