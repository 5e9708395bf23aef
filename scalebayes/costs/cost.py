"""The cost of a run: compute as a function of N and D, its inverse, and its price in money."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalebayes.errors import QueryError
from scalebayes.units import format_quantity, parse_quantity
from scalebayes.utils.shares import check_share

type Numeric = Any

LOG_SIZES = (-20.0, 80.0)
"""Bounds of log N in `sizes_for`, wider than any model: 2e-9 to 6e34 parameters."""
SIZE_TOLERANCE = 1e-12
"""Absolute tolerance of log N in `sizes_for`."""
MOST_TOKENS = 1e40
"""Most tokens that are looked for where a cost has no inverse: a model of one parameter takes as
many for a budget far above any other. Costs in dollars are far below the tokens that they buy."""


@dataclass(frozen=True)
class Cost:
    """A cost C = flop(N, D), increasing in both.

    Attributes
    ----------
    name
        The name printed with results.
    flop
        FLOP of N parameters trained on D tokens.
    tokens
        The inverse D = tokens(N, C), which may be NaN or negative where N alone costs more than C.
        Solved numerically if None.
    """

    name: str
    flop: Callable[[Numeric, Numeric], Numeric]
    tokens: Callable[[Numeric, Numeric], Numeric] | None = None

    def __repr__(self) -> str:
        return f"<Cost C = {self.name}>"

    def affordable_tokens(self, N: np.ndarray, C: float | np.ndarray) -> np.ndarray:
        """Return the tokens on which N parameters can be trained for C FLOP; NaN where none.

        N and C broadcast against each other.
        """
        if self.tokens is None:
            return _invert(self.flop, N, C)
        D = np.asarray(self.tokens(N, C), float)
        return np.where(D > 0, D, np.nan)


def _invert(
    flop: Callable[[Numeric, Numeric], Numeric], N: np.ndarray, C: float | np.ndarray
) -> np.ndarray:
    """Return D with flop(N, D) = C between one token and `MOST_TOKENS`; NaN where there is none."""
    from scipy.optimize import elementwise

    def excess(log_D: np.ndarray, N: np.ndarray, log_C: np.ndarray) -> np.ndarray:
        return np.log(flop(N, np.exp(log_D))) - log_C

    N, log_C = np.broadcast_arrays(np.asarray(N, float), np.log(C))
    bracket = (np.zeros_like(log_C), np.full_like(log_C, np.log(MOST_TOKENS)))
    root = elementwise.find_root(excess, bracket, args=(N, log_C))
    return np.where(root.success, np.exp(root.x), np.nan)


def _six_nd(N: Numeric, D: Numeric) -> Numeric:
    return 6.0 * N * D


def _six_nd_tokens(N: Numeric, C: Numeric) -> Numeric:
    return C / (6.0 * N)


SIX_ND = Cost("6 N D", _six_nd, _six_nd_tokens)
"""Training compute C = 6 N D: 2 N D forward and twice that backward (Kaplan et al. 2020, 2.1)."""


def as_cost(cost: Cost | Callable[[Numeric, Numeric], Numeric]) -> Cost:
    """Return a cost as it is, or a function of (N, D) as a cost with the function's name.

    The function is called with arrays, and from several threads at once.
    """
    if isinstance(cost, Cost):
        return cost
    name = getattr(cost, "__name__", "cost")
    return Cost(name, cost)


def with_inference(tokens: float | str, training: Cost = SIX_ND) -> Cost:
    """Return the cost of training and inference, C = 6 N D + 2 N T.

    A token of inference costs a forward pass, 2 N FLOP, a third of a token of training. If a
    model serves T tokens over its life, the cheapest model of a given loss is smaller and trained
    on more data than the compute-optimal one:
    ``reach(fit, loss=2.0, cost=with_inference("2T"))``.

    Parameters
    ----------
    tokens
        T, a number or text such as "2T".
    training
        The cost of training, proportional to D. The cost of both is flop(N, D + T/3).

    Raises
    ------
    QueryError
        When T is not a positive number.

    References
    ----------
    Sardana, Portes, Doubov and Frankle (2023), Beyond Chinchilla-optimal: accounting for inference
    in language model scaling laws, arXiv:2401.00448.

    Examples
    --------
    >>> fit = sb.load("chinchilla.nc")
    >>> best = sb.frontier(fit, C="1e24", cost=sb.with_inference("10T"))
    >>> f"{best['N'].median():.2g}", f"{sb.frontier(fit, C='1e24')['N'].median():.2g}"
    ('2.5e+10', '9.4e+10')
    """
    T = positive("tokens", tokens)
    name = f"{training.name} + serving"
    if training is SIX_ND:
        name = "6 N D + 2 N T"

    def flop(N: Numeric, D: Numeric) -> Numeric:
        return training.flop(N, D + T / 3.0)

    def training_tokens(N: Numeric, C: Numeric) -> Numeric:
        return training.affordable_tokens(N, C) - T / 3.0

    return Cost(f"{name}, T = {format_quantity(T)}", flop, training_tokens)


@dataclass(frozen=True)
class Price:
    """The price of compute: what an accelerator costs and how many FLOP/s training gets from it.

    Attributes
    ----------
    per_hour
        Money for an hour of one accelerator.
    flop_per_second
        FLOP/s of one accelerator, counted like the cost: sustained, or peak with a utilisation.
    currency
        The symbol printed before amounts.
    utilisation
        The share of those FLOP/s that training achieves; 1 if they are sustained.

    Examples
    --------
    >>> price = sb.Price(per_hour=2.5, flop_per_second=4e14)
    >>> f"{price.hours(1e24):,.0f} hours, {price.currency}{price.of(1e24):,.0f}"
    '694,444 hours, $1,736,111'
    """

    per_hour: float
    flop_per_second: float
    currency: str = "$"
    utilisation: float = 1.0

    def __post_init__(self) -> None:
        """Convert the numbers, which may be text such as "989e12", and check them.

        Raises
        ------
        QueryError
            When a number is not positive, or the utilisation is above 1.
        """
        for name in ("per_hour", "flop_per_second", "utilisation"):
            number = positive(name, getattr(self, name))
            object.__setattr__(self, name, number)  # the class is frozen
        check_share("utilisation", self.utilisation, "a share of the FLOP/s")

    def hours(self, flop: Numeric) -> Numeric:
        """Return the hours of one accelerator for a number of FLOP."""
        return flop / (3600.0 * self.flop_per_second * self.utilisation)

    def of(self, flop: Numeric) -> Numeric:
        """Return the money for a number of FLOP."""
        return self.hours(flop) * self.per_hour


def positive(name: str, value: object) -> float:
    """Return a positive number given as a number or text such as "2T".

    Raises
    ------
    QueryError
        When it is not one; the message begins with the name.
    """
    try:
        number = parse_quantity(value)
    except ValueError as error:
        raise QueryError(f"{name}: {error}") from None
    if number <= 0:
        raise QueryError(f"{name} must be positive; got {value}")
    return number


def positive_numbers(name: str, value: Any) -> Any:
    """Return text such as "70B", or a list with such text, as positive numbers.

    A number or an array is returned as it is.

    Raises
    ------
    QueryError
        When text or an entry of a list is no positive number; the message begins with the name.
    """
    if isinstance(value, str):
        return positive(name, value)
    if isinstance(value, list | tuple):
        return np.array([positive(name, one) for one in value])
    return value


def sizes_for(cost: Cost, tokens_per_param: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Return the N with cost(N, tokens_per_param N) = C of each pair of these, (n,).

    Raises
    ------
    QueryError
        When no size within `LOG_SIZES` has this cost.
    """
    from scipy.optimize import elementwise

    def excess(log_N: np.ndarray, tokens_per_param: np.ndarray, log_C: np.ndarray) -> np.ndarray:
        N = np.exp(log_N)
        return np.log(cost.flop(N, tokens_per_param * N)) - log_C

    low, high = np.multiply.outer(LOG_SIZES, np.ones(len(C)))
    root = elementwise.find_root(
        excess,
        (low, high),
        args=(tokens_per_param, np.log(C)),
        tolerances={"xatol": SIZE_TOLERANCE},
    )
    if not root.success.all():
        without = float(C[~root.success][0])
        raise QueryError(f"no size costs {format_quantity(without)} in units of '{cost.name}'")
    return np.exp(root.x)
